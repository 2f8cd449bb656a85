"""Rows on TorchOpt."""

from typing import Any

import torch
import torchopt
from torch import Tensor, nn

import mlo
from benchmarks.peers.problems import H2, bilevel, linear_system, pull_to, scalar, solved_by, total, vector
from benchmarks.peers.record import Defect, Value, numbers, refused
from mlo.gradient import make_context
from mlo.testing.objective import objective

STEP = 0.01


def over_an_implicit_bottom(power: int = 2) -> mlo.ProblemGraph:
    """The middle problem lowers w*(m)^2 - u m with w*(m) = m^2: at u = 32, m = 2 it rests, with curvature 48."""

    def middle(v: mlo.View, _: object) -> Tensor:
        return v.w**power - v.u * v.m

    def bottom(v: mlo.View, _: object) -> Tensor:
        return 0.5 * (v.w - v.m**2) ** 2

    u = mlo.Problem("u", lambda v, _: v.m, scalar(32), reads=["m"], update=torchopt.sgd(0.1))
    m = mlo.Problem("m", middle, scalar(2), reads=["w", "u"], update=torchopt.sgd(STEP), steps=2)
    how = {"reads": ["m"], "update": torchopt.sgd(1.0), "response": mlo.Implicit()}
    return mlo.ProblemGraph([u, m, mlo.Problem("w", bottom, scalar(0), **how)])


def second_derivative(power: int) -> Value:
    context = make_context(over_an_implicit_bottom(power), {}, {})
    m = scalar(2).requires_grad_()
    (first,) = torch.autograd.grad(objective(context.with_values({"m": {"value": m}}), "m"), m, create_graph=True)
    return float(torch.autograd.grad(first, m)[0])


def implicit_over_implicit() -> Value:
    def middle(v: mlo.View, _: object) -> Tensor:
        return 0.5 * v.m**2 + 0.5 * (v.w - v.u) ** 2

    how = {"response": mlo.Implicit()}
    u = mlo.Problem("u", pull_to(3, "m"), scalar(1), reads=["m"], update=torchopt.sgd(0.1))
    m = mlo.Problem("m", middle, scalar(0), reads=["w", "u"], update=torchopt.sgd(0.5), **how)
    w = mlo.Problem("w", pull_to("m"), scalar(0), reads=["m"], update=torchopt.sgd(1.0), **how)
    return total(mlo.ProblemGraph([u, m, w]), "u")


def squared(solver: mlo.CG | mlo.Dense) -> Value:
    def lower(v: mlo.View, _: object) -> Tensor:
        return 0.5 * (v.w - v.x**2) ** 2

    return total(bilevel(lambda v, _: v.w**2, lower, rate=1.0, response=mlo.Implicit(solver)))


def history(tensors: Any) -> float:
    """Count the autograd nodes that tensors hold on to."""
    seen, waiting = set(), [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += [above for above, _ in node.next_functions if above is not None]
    return float(len(seen))


def kept_history() -> Value:
    engine = mlo.Engine(bilevel(lambda v, _: v.w, pull_to("x"), update=torchopt.adam(0.1)))
    list(engine.run(30))
    return history(engine.values.values())


def at_rest(update: Any) -> Value:
    return refused(lambda: total(bilevel(lambda v, _: v.w, pull_to("x"), w=1, update=update)), "w")


def two_tensors() -> Value:
    x, (first, second), _ = linear_system(H2)

    def lower(v: mlo.View, _: object) -> Tensor:
        w = torch.stack([v.w["a"], v.w["b"]])
        return 0.5 * w @ H2 @ w - w @ v.x

    def upper(v: mlo.View, _: object) -> Tensor:
        return 0.5 * (v.w["a"] - 3) ** 2 + 0.5 * (v.w["b"] - 3) ** 2

    return total(bilevel(upper, lower, x=x, w={"a": first, "b": second}, response=mlo.Implicit(mlo.Dense())))


def diverging() -> Value:
    rule = mlo.Neumann(max_steps=100, step_size=1.0)
    return refused(lambda: solved_by(rule, 3 * torch.eye(2, dtype=torch.float64)), "w")


def clipped() -> Value:
    update = torchopt.chain(mlo.clip_norm(1.0), torchopt.sgd(1.0))
    return total(bilevel(lambda v, _: v.w[0], pull_to("x"), x=vector(3, 4), w=vector(0, 0), update=update))


def dictionary() -> Value:
    def pulled(target: float | None) -> Any:
        return lambda v, _: 0.5 * (v.w["a"] - (v.x if target is None else target)) ** 2

    return total(bilevel(pulled(3), pulled(None), w={"a": scalar(1)}, response=mlo.Implicit()))


def tasks() -> Value:
    return total(bilevel(pull_to(3), pull_to("x"), x=vector(1, 2, 3), w=vector(1, 2, 3), response=mlo.Implicit()))


def batch_norm() -> Value:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1)).double()
    inputs = torch.randn(8, 2, dtype=torch.float64)

    def lower(v: mlo.View, _: object) -> Tensor:
        return ((v.w(inputs) - v.x) ** 2).mean()

    mlo.hypergradient(bilevel(lambda v, _: v.w(inputs).mean(), lower, w=net), of="x")
    return float(net[0].num_batches_tracked)


def accelerated() -> Value:
    update = torchopt.adam(0.1, use_accelerated_op=True)
    return refused(lambda: bilevel(pull_to(3), pull_to("x"), update=update), "w")


DEFECTS = (
    Defect("T1", "second derivative of w*² in m, w* = m² implicit, at m = 2", 48.0, lambda: second_derivative(2)),
    Defect(
        "T1b",
        "gradient through two steps over that implicit answer",
        STEP * (2 - 48 * STEP),
        lambda: total(over_an_implicit_bottom(), "u"),
        note="The curvature through the implicit answer is lost, as for T1; nothing shows it.",
    ),
    Defect("T1c", "an implicit answer inside an implicit answer", 0.5 * (0.5 - 3), implicit_over_implicit),
    Defect("T1d", "second derivative of w* itself", 2.0, lambda: second_derivative(1)),
    Defect(
        "T2",
        "implicit gradient, tensors without dimensions",
        4.0,
        lambda: squared(mlo.CG()),
        note="Issue 222; right for shape (1,).",
    ),
    Defect("T2b", "the same, direct solve (theirs: `solve_inv`)", 4.0, lambda: squared(mlo.Dense())),
    Defect(
        "T3",
        "autograd nodes that the weights hold after 30 steps of Adam",
        0.0,
        kept_history,
        rel=0.0,
        note="By design: `torchopt.stop_gradient` is the user's to call. Issue 218 asks for bounded memory.",
    ),
    Defect(
        "T4",
        "unrolled Adam where a gradient is exactly 0",
        "refused, names 'w'",
        lambda: at_rest(torchopt.adam(0.1)),
        note="Its `eps_root=1e-8` cures it; our error says so.",
    ),
    Defect(
        "T4b",
        "the same for RMSProp, Adagrad",
        ("refused, names 'w'", "refused, names 'w'"),
        lambda: (at_rest(torchopt.rmsprop(0.1)), at_rest(torchopt.adagrad(0.1))),
    ),
    Defect(
        "T6",
        "implicit gradient, two coupled tensors (theirs: `solve_inv(ns=False)`)",
        linear_system(H2)[2],
        two_tensors,
        note="It solves tensor by tensor; one flat tensor is right.",
    ),
    Defect(
        "T7",
        "Neumann series with |I - A| = 2",
        "refused, names 'w'",
        diverging,
        note="A smaller `alpha` cures it.",
    ),
    Defect("T8", "derivative of one clipped step", (0.64 / 5, -0.48 / 5), clipped, note="The norm is held constant."),
    Defect("T9", "implicit gradient, the answer is a dict", -2.0, dictionary, note="Tuples of tensors work."),
    Defect(
        "T10",
        "gradient through a functional step with its default arguments",
        -0.2,
        lambda: total(bilevel(pull_to(3), pull_to("x"), w=1)),
        note="`inplace=False` cures it, in both calls.",
    ),
    Defect(
        "T11",
        "implicit gradients of three tasks at once (theirs: `torch.vmap`)",
        numbers(vector(1, 2, 3) - 3),
        tasks,
        note="Ours by one variable with an entry for each task; `torch.vmap` of ours is not offered. Issue 223.",
    ),
    Defect(
        "T12",
        "BatchNorm updates that a look ahead leaves behind",
        0.0,
        batch_norm,
        rel=0.0,
        note="Its `by='copy'` or `detach_buffers=True` protects them.",
    ),
    Defect(
        "T13",
        "Adam with kernels that do not load (theirs: `use_accelerated_op`)",
        "refused, names 'w'",
        accelerated,
        note="Its answer is right: it falls back to Python, without a word.",
    ),
)
