"""What a user can get wrong: one clear error each, which names the culprit and what to do.

Every case is (what is done, class of the error, pattern that names the culprit, pattern that names the cure).
"""

from __future__ import annotations

import math
import re

import pytest
import torch
import torchopt
from torch.utils.data import DataLoader, TensorDataset

import mlo

SGD = torchopt.sgd(0.1)
X, W = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)


def follow(v, batch):
    return ((v.w - v.x) ** 2).sum()


def upper(v, batch):
    return (v.w**2).sum() + v.x.sum()


def problem(name="w", loss=follow, variable=W, **how):
    return mlo.Problem(name, loss, variable, **{"reads": ["x"], "update": SGD, **how})


def graph(lower=follow, top=upper, w=W, x=X, top_how=None, **how):
    first = problem("x", top, x, **{"reads": ["w"], **(top_how or {})})
    return mlo.ProblemGraph([first, problem("w", lower, w, **how)])


def gradient(*args, of="x", values=None, batches=None, **how):
    return mlo.hypergradient(graph(*args, **how), of=of, values=values, batches=batches)


def frozen():
    return torch.nn.Linear(2, 1).requires_grad_(False)


DECLARATIONS = {
    "no name": (lambda: problem(name=""), "a problem's name", "non-empty string"),
    "name of a number": (lambda: problem(name=3), "a problem's name", "non-empty string"),
    "name that a view has": (lambda: problem(name="renamed"), "'renamed'", "choose another name"),
    "loss": (lambda: problem(loss=3.0), "'w': loss .*float", r"function of \(view, batch\)"),
    "reads: a string": (lambda: problem(reads="abc"), "'w': reads .*'abc'", "list of problem names"),
    "reads: numbers": (lambda: problem(reads=[1]), r"'w': reads .*\[1\]", "list of problem names"),
    "reads: None": (lambda: problem(reads=None), "'w': reads .*None", "list of problem names"),
    "steps < 0": (lambda: problem(steps=-1), "'w': steps .*-1", "whole number >= 0"),
    "steps 1.5": (lambda: problem(steps=1.5), "'w': steps .*1.5", "whole number >= 0"),
    "steps True": (lambda: problem(steps=True), "'w': steps .*True", "whole number >= 0"),
    "a rule's class": (lambda: problem(response=mlo.Unroll), "'w': response .*class", r"mlo.Unroll\(\)"),
    "a step size": (lambda: problem(update=0.1), "'w': update .*float", r"torchopt.adam\(1e-3\)"),
    "batches": (lambda: problem(batches=3), "'w': batches .*int", "or the like, or None"),
    "ints": (lambda: problem(variable=torch.zeros(2, dtype=torch.int64)), "'w'.*int64", "only floats"),
    "a list": (lambda: problem(variable=[W]), "'w': its variable .*list", "nn.Module, a dict of tensors, or one"),
    "a dict of lists": (lambda: problem(variable={"a": [1.0]}), "'w': its variable", "nn.Module, a dict of tensors"),
    "an empty dict": (lambda: problem(variable={}), "'w': its variable", "no trainable tensor"),
    "all frozen": (lambda: problem(variable=frozen()), "'w': its variable", "all frozen"),
    "lazy": (lambda: problem(variable=torch.nn.LazyLinear(2)), "'w': its module has lazy", "call it once"),
    "empty graph": (lambda: mlo.ProblemGraph([]), "a problem graph", "at least one problem"),
    "no list": (lambda: mlo.ProblemGraph(problem()), "a problem graph .*got Problem", "list of mlo.Problem"),
    "no problems": (lambda: mlo.ProblemGraph([problem(), 3]), "int at place 1", "made of mlo.Problem"),
    "cycle": (lambda: graph(reads=["x", "w"]), "cycle: problem 'w' reads itself", "leave 'w' out of reads"),
    "unknown read": (lambda: graph(reads=["x", "zz"]), "'w' reads 'zz'", "its problems: 'x', 'w'"),
    "one name twice": (lambda: mlo.ProblemGraph([problem(), problem()]), "called 'w'", "give each its own name"),
    "no lower update": (lambda: graph(update=None), "'w' .*no update", r"torchopt.sgd\(0.1\)\), or steps=0"),
    "clip under Unroll": (
        lambda: graph(update=torchopt.chain(torchopt.clip.clip_grad_norm(1.0), SGD)),
        "'w' cannot be unrolled",
        r"use mlo.clip_norm\(max_norm\)",
    ),
    "no top update": (lambda: mlo.Engine(graph(top_how={"update": None})), "outermost .*'x'", r"torchopt.adam\(1e-2\)"),
    "top steps": (lambda: mlo.Engine(graph(top_how={"steps": 2})), "outermost .*'x' .*=2", "leave steps at 1"),
    "Engine of a list": (lambda: mlo.Engine([problem()]), "Engine: .*list", "mlo.ProblemGraph"),
    "idle problem without update": (
        lambda: mlo.Engine(graph(lambda v, batch: (v.w**2).sum(), reads=[], update=None)),
        "'w' has to be solved",
        r"torchopt.sgd\(0.1\)\), or steps=0",
    ),
}

VALUES = {
    "of": (lambda: gradient(of="zz"), "'zz'", "the problems are 'x', 'w'"),
    "no graph": (lambda: mlo.hypergradient([problem()], of="w"), "hypergradient: .*list", "mlo.ProblemGraph"),
    "values of a list": (lambda: gradient(values=[W]), "values .*list", "dict by problem name"),
    "batches of a tuple": (lambda: gradient(batches=(X, W)), "batches .*tuple", "dict by problem name"),
    "values of whom": (lambda: gradient(values={"zz": W}), "values: .*'zz'", "the problems are x, w"),
    "batches for whom": (lambda: gradient(batches={"zz": 1}), "batches: .*'zz'", "the problems are x, w"),
    "shape": (lambda: gradient(values={"w": torch.zeros(3)}), r"'w'.*got .*\(3,\)", r"shape \(2,\)"),
    "no tensor": (lambda: gradient(values={"w": [0.0, 0.0]}), "'w'.*got list", "tensor of shape"),
    "complex": (lambda: gradient(values={"w": W + 1j}), "'w'.*complex128", "real tensor"),
    "unknown entry": (lambda: gradient(w={"a": W}, values={"w": {"a": W, "b": W}}), r"'w'.*\['b'\]", "under its name"),
    "missing entry": (lambda: gradient(w={"a": W, "b": W}, values={"w": {"a": W}}), r"'w'.*\['b'\]", "under its name"),
    "dict expected": (lambda: gradient(w={"a": W}, values={"w": W}), "'w': .*got Tensor", "expected a dict"),
    "module expected": (
        lambda: gradient(w=torch.nn.Linear(2, 1), values={"w": W}),
        "'w': .*got Tensor",
        "expected a module or a dict",
    ),
    "another module": (
        lambda: gradient(w=torch.nn.Linear(2, 1), values={"w": torch.nn.Linear(2, 1, bias=False)}),
        r"'w'.*missing entries \['bias'\]",
        "under its name",
    ),
}


def check(act, error, culprit, cure):
    with pytest.raises(error) as caught:
        act()
    assert type(caught.value) is error
    assert isinstance(caught.value, mlo.MLOError)
    message = str(caught.value)
    assert re.search(culprit, message), message
    assert re.search(cure, message), message


@pytest.mark.parametrize("case", [*DECLARATIONS, *VALUES])
def test_what_is_declared_or_given(case):
    check(*_with_error((DECLARATIONS | VALUES)[case]))


def _with_error(case):
    act, *patterns = case
    return act, mlo.GraphError, *patterns


@pytest.mark.parametrize("steps", [-1, 1.5, "5", True])
def test_the_number_of_engine_steps(steps):
    check(lambda: mlo.Engine(graph()).run(steps), mlo.ConfigError, f"Engine.run: .*{steps!r}", "whole number >= 0")


def undeclared(v, batch):
    return ((v.w - v.other) ** 2).sum()


LOSSES = {
    "undeclared": (undeclared, mlo.ReadError, "problem 'w' uses 'other'", "add it to reads of 'w'"),
    "vector": (lambda v, batch: (v.w - v.x) ** 2, mlo.LossError, r"'w'.*shape \(2,\)", r"\.mean\(\)"),
    "float": (lambda v, batch: 1.0, mlo.LossError, "'w'.*got float", "must return a scalar tensor"),
    "None": (lambda v, batch: None, mlo.LossError, "'w'.*got NoneType", "must return a scalar tensor"),
    "detached": (lambda v, batch: follow(v, batch).detach(), mlo.LossError, "loss of problem 'w'", "look for .*detach"),
    "NaN": (lambda v, batch: math.nan * follow(v, batch), mlo.DivergenceError, "'w' is nan at step 0", "step size"),
    "infinite": (
        lambda v, batch: math.inf * follow(v, batch),
        mlo.DivergenceError,
        "'w' is inf at step 0",
        "step size",
    ),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("use", ["hypergradient", "engine"])
def test_losses(kind, use):
    loss, *expected = LOSSES[kind]
    check((lambda: gradient(loss)) if use == "hypergradient" else mlo.Engine(graph(loss)).step, *expected)


def test_a_read_error_names_what_could_be_meant():
    with pytest.raises(mlo.ReadError, match=r"it sees 'w', 'x'") as caught:
        gradient(undeclared)
    assert isinstance(caught.value, AttributeError)


def test_a_detached_upper_loss():
    check(lambda: gradient(top=lambda v, batch: v.w.sum().detach()), mlo.LossError, "objective of problem 'x'", "reads")


def test_divergence_in_the_engine_names_the_step_and_keeps_the_last_good_state():
    def lower(v, batch):
        return follow(v, batch) * (math.nan if batch == 2 else 1.0)

    engine = mlo.Engine(graph(lower, batches=[0, 1, 2], steps=3))
    reports = engine.run(3)
    next(reports), next(reports)
    before = {name: value.clone() for name, value in engine.values.items()}
    with pytest.raises(mlo.DivergenceError, match="'w' is nan at step 0 of its solve") as caught:
        next(reports)
    assert caught.value.__notes__ == ["in outer step 3 of the engine; batch 3 of pass 1 of problem 'w'"]
    assert engine.step_count == 2
    assert all(torch.equal(value, before[name]) for name, value in engine.values.items())


def test_a_solve_that_leaves_the_numbers():
    case = graph(lambda v, batch: follow(v, batch) ** 2, steps=12, update=torchopt.sgd(1e9))
    check(lambda: mlo.hypergradient(case, of="x"), mlo.DivergenceError, "problem 'w' is (inf|nan) at step", "step size")


def used_up():
    batches = iter([1, 2])
    list(batches)
    return batches


EMPTY = {
    "list": list,
    "loader": lambda: DataLoader(TensorDataset(torch.zeros(0, 2))),
    "loader that drops": lambda: DataLoader(TensorDataset(torch.zeros(1)), batch_size=2, drop_last=True),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_no_batch(kind):
    case = graph(batches=EMPTY[kind]())
    check(lambda: mlo.hypergradient(case, of="x"), mlo.DataError, "problem 'w'", "its batches are empty")
    check(mlo.Engine(case).step, mlo.DataError, "problem 'w'", "its batches are empty")


def test_a_generator_that_is_used_up():
    case = graph(batches=used_up())
    check(mlo.Engine(case).step, mlo.DataError, "'w': its batches are used up", "list or a DataLoader")
    check(lambda: mlo.hypergradient(case, of="x"), mlo.DataError, "'w': .*only once", r"give batches=\{'w'")
