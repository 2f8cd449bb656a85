"""Nothing stays of a step but what the next one needs, whatever the rule, update and graph, and however it ends."""

from __future__ import annotations

import gc
import os
import threading
from functools import partial

import pytest
import torch
import torchopt

import mlo
from tests.held import SMALL, STEPS, Held, apart, check_steps
from tests.steady_graphs import bilevel, chain, learned, network, trilevel

pytestmark = pytest.mark.filterwarnings("ignore::mlo.UnconvergedWarning")

CG = mlo.CG(max_steps=2)
DIFFERENCE = mlo.FiniteDifference(epsilon=0.01)
RULES = {
    "unroll": bilevel(mlo.Unroll(), steps=2),
    "recompute": bilevel(mlo.Unroll(memory=mlo.Recompute()), steps=2),
    "forward": bilevel(mlo.Unroll(memory=mlo.Forward()), steps=2),
    "truncated": bilevel(mlo.Unroll(truncate=1), steps=2),
    "difference": bilevel(mlo.Unroll(product=DIFFERENCE)),
    "first order": bilevel(mlo.FirstOrder()),
    "cg": bilevel(mlo.Implicit(CG)),
    "cg, unconverged": bilevel(mlo.Implicit(mlo.CG(max_steps=1, tol=0.0), warm_start=False)),
    "cg, difference": bilevel(mlo.Implicit(CG, product=DIFFERENCE)),
    "gmres": bilevel(mlo.Implicit(mlo.GMRES(max_steps=2))),
    "neumann": bilevel(mlo.Implicit(mlo.Neumann(max_steps=2, step_size=0.1))),
    "nystrom": bilevel(mlo.Implicit(mlo.Nystrom(rank=2))),
    "dense": bilevel(mlo.Implicit(mlo.Dense())),
    "fixed point": bilevel(mlo.FixedPoint(mlo.GMRES(max_steps=2))),
    "penalty": bilevel(mlo.Penalty(10.0, steps=2)),
    "single loop": bilevel(mlo.SingleLoop(0.1)),
}
UPDATES = {
    "momentum": bilevel(mlo.Unroll(), update=torchopt.sgd(0.1, momentum=0.5)),
    "adam": bilevel(mlo.Unroll(), update=torchopt.adam(0.05, eps_root=1e-8), top=torchopt.adam(0.01)),
    "torch.optim": bilevel(
        mlo.Unroll(), update=partial(torch.optim.SGD, lr=0.1, momentum=0.5), top=partial(torch.optim.AdamW, lr=0.01)
    ),
    "clipped": bilevel(mlo.Unroll(), update=mlo.Clipped(torchopt.sgd(0.1), 0.5)),
    "learned": learned(),
}
GRAPHS = {
    "trilevel": trilevel(mlo.Unroll()),
    "trilevel, implicit": trilevel(mlo.Implicit(CG)),
    "chain": chain(mlo.Unroll()),
    "chain, difference": chain(mlo.Unroll(product=DIFFERENCE)),
    "network": network(mlo.Unroll()),
}


@pytest.mark.parametrize(
    "graph", [*RULES.values(), *UPDATES.values(), *GRAPHS.values()], ids=[*RULES, *UPDATES, *GRAPHS]
)
def test_steps_of_an_engine(graph):
    check_steps(mlo.Engine(graph).step)


WAYS = {
    "look ahead": {"look_ahead": True},
    "clip": {"clip": mlo.ClipParts(0.5, 0.5)},
    "partial": {"partial": True},
}


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_ways_of_an_engine(how):
    check_steps(mlo.Engine(RULES["unroll"], **how).step)


def test_frozen_steps():
    check_steps(partial(mlo.Engine(UPDATES["momentum"]).step, frozen=True))


@pytest.mark.parametrize("rule", ["unroll", "recompute", "cg"])
def test_hypergradients(rule):
    check_steps(partial(mlo.hypergradient, RULES[rule], of="a"))


def broken(v, _):
    return (v.w - v.a.tanh()).sum() * torch.nan


def raising(v, _):
    raise KeyError(str(v.w.sum()))


def row(v, _):
    return v.w - v.a.tanh()


@pytest.mark.parametrize("look_ahead", [False, True], ids=["warm", "look ahead"])
@pytest.mark.parametrize(
    ("loss", "error"),
    [(broken, mlo.DivergenceError), (raising, KeyError), (row, mlo.LossError)],
    ids=["nan", "error", "row"],
)
def test_steps_that_fail(loss, error, look_ahead):
    engine, failed = mlo.Engine(bilevel(mlo.Unroll(), loss=loss), look_ahead=look_ahead), []

    def step():
        try:
            engine.step()
        except error:
            failed.append(1)

    check_steps(step)
    assert len(failed) == 5 * (STEPS // 5)


def test_a_step_leaves_nothing_to_the_collector_of_garbage():
    """What is in a cycle would stay, with its graph and its memory on a GPU, until the collector comes."""
    engine = mlo.Engine(RULES["cg"])
    engine.step()
    with apart():
        gc.disable()
        try:
            for _ in range(20):
                engine.step()
            cycles = gc.collect()
        finally:
            gc.enable()
    assert cycles == 0


def test_reports_hold_no_graph():
    engine, reports = mlo.Engine(RULES["cg"]), []
    with apart():
        reports += engine.run(10)
        before = Held.now()
        reports += engine.run(STEPS)
        after = Held.now()
    assert after.nodes == before.nodes
    assert after.tensors - before.tensors == STEPS, "of each report, the solution of its solve"
    assert not any(one.solves["w"].value.requires_grad for one in reports)


def leaking(kind, kept):
    """Return a loss that leaks one thing each time it is taken."""

    def loss(v, _):
        found = ((v.w - v.a.tanh()) ** 2).sum()
        if kind == "tensor":
            kept.append(torch.zeros(SMALL // 8, dtype=torch.float64))
        elif kind == "graph":
            kept.append(found)
        elif kind == "file":
            kept.append(os.open(os.devnull, os.O_RDONLY))
        elif kind == "object":
            kept.append([])
        elif kind == "thread":
            kept.append(threading.Thread(target=kept[0].wait, daemon=True))
            kept[-1].start()
        elif kind == "memory":  # which no tensor shows
            kept.append(torch.zeros(2**14, dtype=torch.float64).numpy())
        return found

    return loss


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("tensor", "tensors"),
        ("graph", "nodes"),
        ("file", "files"),
        ("object", "objects"),
        ("thread", "threads"),
        ("memory", "heap"),
    ],
)
def test_a_leak_is_found(kind, named):
    kept = [threading.Event()]
    engine = mlo.Engine(bilevel(mlo.FirstOrder(), loss=leaking(kind, kept)))
    try:
        with pytest.raises(AssertionError, match=f"'{named}'"):
            check_steps(engine.step)
    finally:
        kept[0].set()
        for one in kept:
            if isinstance(one, int):
                os.close(one)
