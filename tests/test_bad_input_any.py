"""Random mistakes in the declaration of a graph: it works to the end, or raises an error of this library."""

from __future__ import annotations

import math

import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

import mlo

SGD = torchopt.sgd(0.1)
X, W = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
NAMES = st.sampled_from(["x", "w", "u", "zz", "renamed", "", None, 3])
READS = st.one_of(st.lists(NAMES, max_size=3), st.sampled_from(["xw", None, 3, ("x",), {"x": 1}]))
VARIABLES = [W, torch.tensor(1.0), {}, {"a": W}, torch.zeros(2, dtype=torch.int32), torch.nn.Linear(2, 2), None, [W]]
CORRUPT = {
    "name": NAMES,
    "loss": st.sampled_from([None, "loss", lambda v, batch: v.zz.sum(), lambda v, batch: 0.0]),
    "variable": st.sampled_from(VARIABLES),
    "reads": READS,
    "update": st.sampled_from([SGD, torchopt.adam(0.1), None, torch.optim.SGD, "sgd"]),
    "steps": st.sampled_from([0, 1, 2, -1, 1.0, None, math.nan]),
    "response": st.sampled_from([mlo.Unroll(), mlo.FirstOrder(), mlo.Implicit(mlo.Dense()), mlo.Unroll, None]),
    "batches": st.sampled_from([None, [], [1], 3, iter([])]),
}


def total(v, batch):
    """A loss that works for whatever it sees."""
    return sum((t.double() ** 2).sum() for value in _seen(v) for t in value) + sum(_cross(v))


def _seen(v):
    for name in ("x", "u", "w"):
        if name in v:
            value = getattr(v[name], "params", v[name])
            yield list(value.values()) if isinstance(value, dict) else [value]


def _cross(v):
    means = [sum(t.double().mean() for t in value) for value in _seen(v)]
    return [a * b for a in means for b in means]


@settings(max_examples=100)
@given(st.data())
def test_any_corruption_works_or_is_an_error_of_ours(data):
    # What works must work to the end: a finite hypergradient of the right shape, and an engine step.
    fields = [
        {"name": "x", "loss": total, "variable": X, "reads": ["w"], "update": SGD},
        {"name": "u", "loss": total, "variable": X, "reads": ["w", "x"], "update": SGD},
        {"name": "w", "loss": total, "variable": W, "reads": ["u"], "update": SGD},
    ]
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(CORRUPT)))
        data.draw(st.sampled_from(fields))[key] = data.draw(CORRUPT[key])
    fields = data.draw(st.permutations(fields))
    try:
        made = mlo.ProblemGraph([mlo.Problem(**each) for each in fields])
        found = mlo.hypergradient(made, of="x")
        mlo.Engine(made).step()
    except mlo.MLOError:
        return
    entries = found.values() if isinstance(found, dict) else [found]
    assert all(bool(torch.isfinite(entry).all()) for entry in entries)
