"""Small graphs with one mistake in what they declare, for `test_reads.py`."""

from __future__ import annotations

import torch
import torchopt

import mlo
from mlo.update import TorchOptUpdate

SGD = torchopt.sgd(0.1)
F64 = torch.float64
X, W = torch.ones(2, dtype=F64), torch.zeros(2, dtype=F64)


def follow(v, batch):
    return ((v.w - v.x) ** 2).sum()


def upper(v, batch):
    return (v.w**2).sum() + v.x.sum()


def problem(name, loss, variable, reads=(), **how):
    return mlo.Problem(name, loss, variable, reads=reads, **{"update": SGD, **how})


def pair(*, top=upper, low=follow, x=X, w=W, top_reads=("w",), low_reads=("x",), more=(), **how):
    return mlo.ProblemGraph([problem("x", top, x, top_reads), problem("w", low, w, low_reads, **how), *more])


def first(make, of="x"):
    """Take a hypergradient, without which nothing can be found that only a call shows."""
    return lambda: mlo.hypergradient(make(), of=of)


class UpdateThatReads(TorchOptUpdate):
    """An update that needs the value of another problem."""

    def __init__(self, *names):
        super().__init__(SGD)
        object.__setattr__(self, "reads", names)


def module_case(make_top, top_reads=("w",)):
    """A module as the lower variable, and a loss above that is given the module itself."""

    def make():
        net = torch.nn.Linear(2, 1, dtype=F64)

        def fit(v, batch):
            return (v.w(X) - v.x.sum()).pow(2).sum()

        return pair(top=make_top(net), low=fit, w=net, top_reads=top_reads)

    return make


def tensor_case(make_low, *, low_reads=("x",), **how):
    """A tensor that requires a gradient as the upper variable, and a loss below that is given the tensor itself."""

    def make():
        x = torch.nn.Parameter(X.clone())
        return pair(low=make_low(x), x=x, low_reads=low_reads, **how)

    return make


def dict_case():
    entries = {"a": X.clone().requires_grad_(), "b": X.clone()}
    return pair(
        low=lambda v, b: ((v.w - entries["a"]) ** 2).sum() + v.x["b"].sum(),
        top=lambda v, b: (v.w**2).sum() + v.x["a"].sum(),
        x=entries,
    )


def middle_case():
    """Three levels; the middle loss takes the deepest module itself, though it declares it."""
    net = torch.nn.Linear(2, 1, dtype=F64)
    return mlo.ProblemGraph(
        [
            problem("u", lambda v, b: v.m.sum() ** 2, X, ["m"]),
            problem("m", lambda v, b: net(v.m).sum() + (v.m - v.u).pow(2).sum(), X, ["u", "deep"]),
            problem("deep", lambda v, b: (v.deep(X) - v.m.sum()).pow(2).sum(), net, ["m"]),
        ]
    )


def unused_in_the_middle():
    return mlo.ProblemGraph(
        [
            problem("u", lambda v, b: v.m.sum() ** 2, X, ["m"]),
            problem("m", lambda v, b: (v.m - v.u).pow(2).sum(), X, ["u", "deep"]),
            problem("deep", lambda v, b: (v.deep - v.m).pow(2).sum(), W, ["m"]),
        ]
    )


def stages(loss, names=("a",)):
    """Interleaved learners below an upper problem; every learner has this loss."""
    nets = {name: torch.nn.Linear(2, 1, dtype=F64) for name in names}
    learners = [problem(name, loss(name, nets[name]), nets[name], ["x"]) for name in names]
    chain = mlo.interleave(learners, rounds=2, proximal=mlo.Proximal(1.0, step_size=0.1), shared="")
    last = chain[0].name
    return mlo.ProblemGraph([problem("x", lambda v, b: v[last](X).sum() ** 2 + v.x.sum(), X, [last]), *chain])


def stage_without_x(name, net):
    return lambda v, batch: v[name](X).pow(2).sum()


def stage_of_its_own_net(name, net):
    return lambda v, batch: v[name](X).sum() * v.x.sum() + net(X).sum()


def net_in_the_loss(net):
    return lambda v, batch: net(X).sum() ** 2 + v.x.sum()


def weight_made_before(net):
    doubled = 2 * net.weight
    return lambda v, batch: doubled.sum() ** 2 + v.x.sum()


def net_by_default(net):
    def loss(v, batch, model=net):
        return model(X).sum() ** 2 + v.x.sum()

    return loss


def both(net):
    return lambda v, batch: v.w(X).sum() ** 2 + net(X).sum() + v.x.sum()


def use_zz(v, batch):
    return ((v.w - v.zz) ** 2).sum()


def use_zz_as_item(v, batch):
    return ((v["w"] - v["zz"]) ** 2).sum()


def learns_itself():
    w = torch.nn.Parameter(W.clone())
    return pair(low=lambda v, b: ((w - v.x) ** 2).sum() + 0 * v.w.sum(), w=w)


def idle(loss=lambda v, b: (v.idle**2).sum(), reads=()):
    return [problem("idle", loss, W, reads)]


# What is done; what names the culprit; what says how to mend it.
CASES = {
    "unknown": (lambda: pair(low_reads=["x", "zz"]), "'w' reads 'zz'", "its problems: 'x', 'w'"),
    "unknown, above": (lambda: pair(top_reads=["weights"]), "'x' reads 'weights'", "its problems"),
    "itself": (lambda: pair(low_reads=["x", "w"]), "'w' reads itself", "leave 'w' out of reads"),
    "itself alone": (lambda: mlo.ProblemGraph([problem("x", upper, X, ["x"])]), "'x' reads itself", "leave 'x' out"),
    "a string": (lambda: pair(low_reads="x1"), "'w': reads .*'x1'", "list of problem names"),
    "a problem": (lambda: pair(low_reads=[problem("x", upper, X)]), "'w': reads", "list of problem names"),
    "None": (lambda: pair(low_reads=None), "'w': reads", "list of problem names"),
    "two of one name": (lambda: pair(more=[problem("w", follow, W, ["x"])]), "called 'w'", "give each its own name"),
    "a name of the view": (lambda: pair(more=[problem("renamed", follow, W)]), "'renamed'", "choose another name"),
    "the update, unknown": (lambda: pair(update=UpdateThatReads("zz")), "'w' reads 'zz'", "its problems: 'x', 'w'"),
    "the update, a responder": (
        lambda: mlo.ProblemGraph([problem("x", upper, X, ["w"], update=UpdateThatReads("w")), pair()["w"]]),
        "update of problem 'x' reads 'w'",
        "must not read 'x'",
    ),
    "a stage without the one before": (
        lambda: mlo.ProblemGraph(stages(stage_without_x).problems[:2]),
        "'a@2' reads 'a@1'",
        "its problems: 'x', 'a@2'",
    ),
    "undeclared": (first(lambda: pair(low=use_zz)), "'w' uses 'zz'", "add it to reads of 'w'"),
    "undeclared item": (first(lambda: pair(low=use_zz_as_item)), "'w' uses 'zz'", "add it to reads of 'w'"),
    "undeclared, in the graph": (first(lambda: pair(low_reads=[])), "'w' uses 'x'", "add it to reads of 'w'"),
    "undeclared, above": (first(lambda: pair(top_reads=[])), "'x' uses 'w'", "add it to reads of 'x'"),
    "undeclared, in an idle problem": (
        first(lambda: pair(more=idle(lambda v, b: (v.idle * v.x).sum()))),
        "'idle' uses 'x'",
        "add it to reads of 'idle'",
    ),
    "unused": (first(lambda: pair(low=lambda v, b: (v.w**2).sum())), "'w' declares .* 'x'", "remove it from reads"),
    "unused, above": (first(lambda: pair(top=lambda v, b: v.x.sum())), "'x' declares .* 'w'", r"_ = v\['w'\]"),
    "unused, of two": (
        first(lambda: pair(more=idle(), low_reads=["x", "idle"])),
        "'w' declares .* 'idle'",
        "remove it from reads of 'w'",
    ),
    "unused, in an idle problem": (first(lambda: pair(more=idle(reads=["x"]))), "'idle' declares .* 'x'", "remove it"),
    "unused, in the middle": (first(unused_in_the_middle, "u"), "'m' declares .* 'deep'", "from reads of 'm'"),
    "unused, in a stage": (first(lambda: stages(stage_without_x)), "'a@1' declares .* 'x'", "remove it from reads"),
    "unused, asked for alone": (
        first(lambda: pair(low=lambda v, b: (v.w**2).sum() if "x" in v else v.w.sum())),
        "'w' declares .* 'x'",
        "remove it",
    ),
    "missing: module": (first(module_case(net_in_the_loss)), "'x' uses .*variable of 'w' itself", r"v\['w'\]"),
    "missing: module, not declared": (
        first(module_case(net_in_the_loss, ())),
        "'x' uses the declared variable of 'w' itself .*'weight'",
        r"v\['w'\], and add 'w' to its reads",
    ),
    "missing: made before": (first(module_case(weight_made_before)), "'x' uses .* 'w' itself .*'weight'", r"v\['w'\]"),
    "missing: default": (first(module_case(net_by_default)), "'x' uses .* of 'w' itself", r"v\['w'\]"),
    "missing: beside the view": (first(module_case(both)), "'x' uses .* of 'w' itself", r"v\['w'\]"),
    "missing: tensor": (
        first(tensor_case(lambda x: lambda v, b: ((v.w - x) ** 2).sum(), low_reads=[])),
        "'w' uses the declared variable of 'x' itself",
        r"v\['x'\], and add 'x' to its reads",
    ),
    "missing: entry of a dict": (first(dict_case), "'w' uses .* of 'x' itself .*'a'", r"v\['x'\]"),
    "missing: in the middle": (first(middle_case, "u"), "'m' uses .* of 'deep' itself", r"v\['deep'\]"),
    "missing: its own": (first(learns_itself), "'w' uses its own declared variable itself", r"v\['w'\]"),
    "missing: a stage's own": (
        first(lambda: stages(stage_of_its_own_net)),
        "'a@1' uses its own declared variable",
        r"v\['a@1'\]",
    ),
}
