"""Choices of a problem and arguments of a hypergradient that do not belong; for graphs, tests/test_bad_input_any.py.

A documented warning is a result: a solver that was asked for too little says so.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import torch
import torchopt
from hypothesis import given
from hypothesis import strategies as st

import mlo
from tests.fuzz.harness import attempt, cases
from tests.fuzz.junk import python_values

F64 = torch.float64
X, W = torch.ones(2, dtype=F64), torch.zeros(2, dtype=F64)
TENSORS = [X, W, torch.ones(3, dtype=F64), torch.ones(2), torch.tensor(1.0), torch.ones(2, dtype=torch.int64)]
TENSORS += [torch.full((2,), torch.nan, dtype=F64), torch.ones(0, dtype=F64), torch.ones(2, dtype=torch.complex128)]
TENSORS += [
    torch.ones(2, dtype=F64, device="meta"),
    torch.ones(1, 2, dtype=F64).to_sparse(),
    torch.full((2,), 1e300, dtype=F64),
]
junk = python_values.filter(lambda value: not isinstance(value, int) or abs(value) < 1000)
sensible = st.sampled_from([1, 2, 3, 5, 0.1, 0.5, 1e-6, True, False, None, mlo.Dense(), mlo.Exact(), torchopt.sgd(0.1)])
values = (
    sensible
    | sensible
    | junk
    | st.sampled_from([*TENSORS, {"a": X}, {}, torch.nn.Linear(2, 1), None, mlo.CG(), mlo.Exact(), mlo.Unroll()])
)
NAMES = st.sampled_from(["x", "u", "w"]) | junk
MADE: list[Any] = [mlo.CG, mlo.GMRES, mlo.Neumann, mlo.Nystrom, mlo.Dense, mlo.Identity, mlo.Damped, mlo.FixedPoint]
MADE += [mlo.FiniteDifference, mlo.Implicit, mlo.Penalty, mlo.SingleLoop, mlo.Unroll, mlo.Recompute, mlo.Proximal]
MADE += [mlo.ClipParts, mlo.Autocast, mlo.Clipped, mlo.Learned, mlo.Sum]


def upper(v: mlo.View, batch: Any) -> torch.Tensor:
    return (v.w**2).sum() + (v.w * v.u).sum() + v.x.sum()


def middle(v: mlo.View, batch: Any) -> torch.Tensor:
    return ((v.u - v.x) ** 2).sum()


def lower(v: mlo.View, batch: Any) -> torch.Tensor:
    return ((v.w - v.x * v.u) ** 2).sum()


def problems(**how: Any) -> list[mlo.Problem]:
    sgd = torchopt.sgd(0.1)
    return [
        mlo.Problem("x", upper, X, reads=["w", "u"], update=sgd),
        mlo.Problem("u", middle, X, reads=["x"], update=sgd),
        mlo.Problem("w", lower, W, reads=["x", "u"], **{"update": sgd, **how}),
    ]


def solved(**how: Any) -> Any:
    """Take a hypergradient and a step, with the warnings that are documented allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mlo.UnconvergedWarning)
        graph = mlo.ProblemGraph(problems(**how))
        mlo.Engine(graph).step()
        return mlo.hypergradient(graph, of="x")


def checked(call: Any) -> None:
    found, refused = attempt("graphs", call)
    assert refused is not None or found is None or bool(torch.isfinite(found).all())


@cases("graphs", 0.45)
@given(st.data())
def test_a_choice_with_values_that_do_not_belong(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(MADE))
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    least = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and f.init]
    least = [name for name in least if kind.__dataclass_fields__[name].default_factory is dataclasses.MISSING]
    given_values = data.draw(st.fixed_dictionaries({name: values for name in least})) if least else {}
    given_values |= data.draw(st.dictionaries(st.sampled_from(names), values, max_size=2)) if names else {}

    def make() -> Any:
        made = kind(**given_values)
        if hasattr(made, "solve"):
            return solved(response=mlo.Implicit(made))
        if isinstance(made, mlo.FiniteDifference):
            return solved(response=mlo.Unroll(product=made))
        if isinstance(made, mlo.Implicit | mlo.Penalty | mlo.SingleLoop | mlo.Unroll | mlo.FixedPoint):
            return solved(response=made)
        if isinstance(made, mlo.Autocast):
            return solved(precision=made)
        if isinstance(made, mlo.Clipped | mlo.Learned):
            return solved(update=made)
        return None

    checked(make)


@cases("graphs", 0.35)
@given(st.data())
def test_arguments_of_a_hypergradient(data: st.DataObject) -> None:
    how: dict[str, Any] = {"of": data.draw(st.sampled_from(["x", "u", "w"]) | NAMES)}
    if data.draw(st.booleans()):
        how["values"] = data.draw(st.dictionaries(st.sampled_from(["x", "u", "w", "zz"]), values, max_size=2) | values)
    if data.draw(st.booleans()):
        how["batches"] = data.draw(st.dictionaries(st.sampled_from(["x", "w", "zz"]), values, max_size=2) | values)
    if data.draw(st.integers(0, 4)) == 0:
        how[data.draw(st.sampled_from(["partial", "parallel"]))] = data.draw(values)
    graph = data.draw(st.sampled_from([mlo.ProblemGraph(problems())] * 9 + [None, problems(), "graph"]))
    checked(lambda: mlo.hypergradient(graph, **how))


@cases("graphs", 0.2)
@given(st.data())
def test_a_chain_of_learners(data: st.DataObject) -> None:
    learners = [mlo.Problem(name, middle, X, reads=["x"], update=torchopt.sgd(0.1)) for name in ("u", "w")]
    how: dict[str, Any] = {"rounds": 2, "proximal": mlo.Proximal(1.0, step_size=0.1), "shared": ""}
    # A predicate of the user's that fails is for the user to see as it is.
    how[data.draw(st.sampled_from(sorted(how)))] = data.draw(values.filter(lambda value: not callable(value)))
    chosen = data.draw(st.sampled_from([learners, learners[:1], [], [learners[0]] * 2, None, learners[0], [X]]))
    attempt("graphs", lambda: mlo.interleave(chosen, **how))
