"""Rows on hypertorch, BOAT and higher."""

import gc
import math
import warnings
from typing import Any

import torch
import torchopt
from torch import Tensor, nn
from torchopt.base import GradientTransformation

import mlo
from benchmarks.peers.problems import H2, H3, bilevel, linear_system, pull_to, scalar, solved_by, total
from benchmarks.peers.record import Defect, Value, refused

ISOTROPIC = 2 * torch.eye(2, dtype=torch.float64)


def unused_entry() -> Value:
    start, minimum, _ = linear_system(H2)

    def lower(v: mlo.View, _: object) -> Tensor:
        return 0.5 * v.w @ H2 @ v.w - v.w @ v.x["used"]

    x = {"used": start, "unused": scalar(0)}
    rule = mlo.Implicit(mlo.Neumann(max_steps=500, step_size=0.1))
    found = mlo.hypergradient(bilevel(pull_to(3), lower, x=x, w=minimum, response=rule), of="x")
    return tuple(found["used"].tolist())


def truncated() -> Value:
    return total(bilevel(pull_to(3), pull_to("x"), steps=5, response=mlo.Unroll(truncate=2)))


def neumann() -> Value:
    rule = mlo.Implicit(mlo.Neumann(max_steps=50, step_size=0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mlo.UnconvergedWarning)  # fifty terms leave 5e-3, as the row says
        return total(bilevel(pull_to(3), pull_to("x"), w=1, response=rule))


def spoilt() -> Value:
    return refused(lambda: total(bilevel(lambda v, _: math.nan * (v.w + v.x), pull_to("x"))), "x")


def reported_norm() -> Value:
    def lower(v: mlo.View, _: object) -> Tensor:
        return 3 * v.w["a"] + 4 * v.w["b"]

    w = {"a": scalar(0), "b": scalar(0)}
    return mlo.Engine(bilevel(lambda v, _: v.w["a"] + v.x, lower, w=w, reads=[])).step().norms["w"]


def scheduled() -> Value:
    update = torchopt.sgd(lambda count: 0.5 * 0.5 ** int(count))
    return total(bilevel(lambda v, _: v.w, pull_to("x"), update=update, steps=3))


def weights_alive(shape: tuple[int, ...]) -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) and thing.shape == shape for thing in gc.get_objects())


def kept() -> Value:
    graph = bilevel(lambda v, _: v.w.sum(), pull_to("x"), w=torch.zeros(3, 1, 7, dtype=torch.float64), steps=5)
    before = weights_alive((3, 1, 7))
    mlo.hypergradient(graph, of="x")
    return float(weights_alive((3, 1, 7)) - before)


def batch_norm() -> Value:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1)).double()
    inputs = torch.randn(8, 2, dtype=torch.float64)

    def lower(v: mlo.View, _: object) -> Tensor:
        return ((v.w(inputs) - v.x) ** 2).mean()

    engine = mlo.Engine(bilevel(lambda v, _: v.w(inputs).mean(), lower, w=net, steps=3))
    engine.step()
    return float(engine.export("w")[0].num_batches_tracked)


def momentum(step: int) -> float:
    return 0.9 * (1 - 0.5 * 0.96 ** (0.004 * step))


def first_nadam_step(rate: float, eps: float) -> GradientTransformation:
    """The first update of Nesterov-accelerated Adam, as a user would write it, with torch's constants."""

    def update(updates: Any, state: Any, *, params: Any = None, inplace: bool = True) -> Any:
        ahead = 0.1 * momentum(2) / (1 - momentum(1) * momentum(2))
        return {name: -rate * (1 + ahead) * g / (g.abs() + eps) for name, g in updates.items()}, state

    return GradientTransformation(lambda params: (), update)


DEFECTS = (
    Defect("H1", "CG, one unknown", linear_system(H2[:1, :1])[2], lambda: solved_by(mlo.CG(), H2[:1, :1])),
    Defect("H1b", "CG, H = 2 I", linear_system(ISOTROPIC)[2], lambda: solved_by(mlo.CG(), ISOTROPIC)),
    Defect(
        "H1c",
        "CG, 3 x 3",
        linear_system(H3)[2],
        lambda: solved_by(mlo.CG(), H3),
        note="The iterate that is returned is the one before the last.",
    ),
    Defect(
        "H2",
        "Neumann series, one upper variable is not used",
        linear_system(H2)[2],
        unused_entry,
        rel=1e-8,  # the series is cut where its residual is 1e-10
    ),
    Defect(
        "O1",
        "implicit gradient by CG, one unknown",
        -2.0,
        lambda: total(bilevel(pull_to(3), pull_to("x"), w=1, response=mlo.Implicit(mlo.CG()))),
        note="The solver is the same as that of H1.",
    ),
    Defect(
        "O2",
        "five steps, of which the last two are differentiated (theirs: `RGT`)",
        (1 - 0.9**5 - 3) * (1 - 0.9**2),
        truncated,
        note="The lower loss leaks its own gradient into that of the upper variable, once for each step cut off.",
    ),
    Defect(
        "O3",
        "gradient through five steps (theirs: `ngd`, `rad` in lower case)",
        (1 - 0.9**5 - 3) * (1 - 0.9**5),
        lambda: total(bilevel(pull_to(3), pull_to("x"), steps=5)),
        note="Right with `NGD`, `RAD`; lower case is accepted.",
    ),
    Defect(
        "O4",
        "Neumann series of 50 terms, step size 0.1",
        -2 * (1 - 0.9**51),
        neumann,
        note="The number of terms is taken from the settings of CG, 10 here.",
    ),
    Defect("O5", "an upper gradient that is NaN", "refused, names 'x'", spoilt),
    Defect("O7", "norm of a gradient of two tensors, 3 and 4", 5.0, reported_norm, note="The sum of the norms."),
    Defect(
        "U1",
        "gradient through steps of size 0.5, 0.25, 0.125, set by a schedule",
        1 - 0.5 * 0.75 * 0.875,
        scheduled,
        note="A torch scheduler has no effect in its context; `override`, or its own `param_groups`, has.",
    ),
    Defect(
        "U2",
        "copies of the weights kept after the gradient of five steps was taken",
        0.0,
        kept,
        rel=0.0,
        note="By design, until its context is left.",
    ),
    Defect(
        "U3",
        "BatchNorm updates of the module after three training steps",
        3.0,
        batch_norm,
        rel=0.0,
        note="By design: its context trains a copy.",
    ),
    Defect(
        "U4",
        "derivative of one NAdam step, step size 0.1, eps = 1, gradient -1",
        0.1 * (1 + 0.1 * momentum(2) / (1 - momentum(1) * momentum(2))) / 4,
        lambda: total(bilevel(lambda v, _: v.w, pull_to("x"), update=first_nadam_step(0.1, 1.0))),
        note="Ours takes a rule that the user writes down; torchopt has no NAdam either.",
    ),
)
