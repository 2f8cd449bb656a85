"""Problem graphs of a search: golden values, who reads whom, what is held, learning rates, counted losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mlo
from applications.nas.formulations import ARCHITECTURE, Learner, build_graph, gradients_per_step, looks_ahead
from applications.nas.networks.supernet import Supernet
from applications.nas.optimizers import cosine, sgd
from applications.nas.settings import (
    Formulation,
    Interleaving,
    MultiTask,
    SingleTask,
    WeightSettings,
)
from applications.nas.space.cell import CellSpace
from tests.nas.tiny import ALPHAS, learner, setup

Tables = dict[str, Tensor]
PAIR = [learner("a", 3), learner("b", 5)]
HANDED = Interleaving(start="previous", updates=2)


# ---------------------------------------------------------------- golden values

# gradient, steps of the weights; norms of (normal, reduction), first entries of normal (None: not printed)
GOLDEN = [
    ("first", 0, [0.0745102011, 0.0344834874], [0.0098624683, -0.0124810959, -0.0116540312]),
    ("difference", 1, [0.1602115557, 0.0675146295], [0.0104071212, 0.0073028368, 0.0106821196]),
    ("exact", 1, [0.1122780687, 0.0549889543], None),
]


@pytest.mark.parametrize(("gradient", "steps", "norms", "entries"), GOLDEN)
def test_golden_hypergradient(
    gradient: str,
    steps: int,
    norms: list[float],
    entries: list[float] | None,
    fill: Callable[[nn.Module], None],
    batch: Callable[[int], tuple[Tensor, Tensor]],
) -> None:
    net = Supernet(CellSpace(), 4, 3, 10).to(torch.float64)
    fill(net)
    wave = 0.5 * torch.sin(torch.arange(1, 113, dtype=torch.float64)).view(14, 8)
    one = Learner("task", net, [batch(0)], [batch(1)])  # type: ignore[arg-type]
    settings = setup(SingleTask(), gradient, momentum=0.0, clip=1e9)  # the golden step neither clips nor remembers
    top, weights = build_graph([one], {"normal": wave, "reduction": -wave}, settings).problems
    graph = mlo.ProblemGraph([top, replace(weights, steps=steps)])
    found = mlo.hypergradient(graph, of=ARCHITECTURE)
    # Golden values are printed to ten decimals: half a unit of the last, and a little for other kernels.
    assert [found[name].norm().item() for name in ("normal", "reduction")] == pytest.approx(norms, abs=0.6e-10)
    assert entries is None or found["normal"][0, :3].tolist() == pytest.approx(entries, abs=0.6e-10)


# ---------------------------------------------------------------- the shape of the graphs


@pytest.mark.parametrize(
    ("formulation", "count", "levels", "reads"),
    [
        (SingleTask(), 1, 2, {ARCHITECTURE: ("a",), "a": (ARCHITECTURE,)}),
        (MultiTask(), 2, 2, {ARCHITECTURE: ("a", "b"), "a": (ARCHITECTURE,), "b": (ARCHITECTURE,)}),
        (
            Interleaving(),
            2,
            5,
            {
                ARCHITECTURE: ("a@2", "b@2"),
                "b@2": (ARCHITECTURE, "a@2"),
                "a@2": (ARCHITECTURE, "b@1"),
                "b@1": (ARCHITECTURE, "a@1"),
                "a@1": (ARCHITECTURE,),
            },
        ),
    ],
)
def test_who_reads_whom(formulation: Formulation, count: int, levels: int, reads: dict[str, tuple[str, ...]]) -> None:
    graph = build_graph(PAIR[:count], ALPHAS, setup(formulation))
    assert {problem.name: problem.dependencies for problem in graph.problems} == reads
    assert graph.names == tuple(reads)
    assert graph.levels == levels
    assert set(graph.responders(ARCHITECTURE)) == set(reads) - {ARCHITECTURE}


def test_the_first_stage_is_held_only_by_a_cyclic_anchor() -> None:
    graph = build_graph(PAIR, ALPHAS, setup(Interleaving(anchor="cyclic")))
    rule = graph["a@1"].rule
    assert rule is not None
    assert rule.remembers == ("b@2",)


def test_encoders_are_handed_on() -> None:
    graph = build_graph(PAIR, ALPHAS, setup(HANDED))
    starts = {problem.name: problem.start for problem in graph.problems[1:]}
    assert {name: (start.source, start.stored) for name, start in starts.items() if start is not None} == {
        "a@1": ("b@2", True), "b@1": ("a@1", False), "a@2": ("b@1", False), "b@2": ("a@2", False)
    }  # fmt: skip
    names = starts["a@1"].names if starts["a@1"] else None
    assert names == {name for name in graph["a@1"].kind.initial() if name.startswith("encoder.")}
    assert {problem.steps for problem in graph.problems[1:]} == {2}


def test_only_encoders_are_held() -> None:
    """With a nearly infinite lambda all encoders become one; heads go where their own update takes them."""
    tied, free = (
        mlo.Engine(build_graph(PAIR, ALPHAS, setup(Interleaving(weight=weight), "first"))) for weight in (1e14, 0.0)
    )
    tied.step(), free.step()
    first, second = tied.values["a@1"], tied.values["b@1"]
    assert first["head.weight"].shape != second["head.weight"].shape
    for name, value in second.items():
        target = first if name.startswith("encoder.") else free.values["b@1"]
        torch.testing.assert_close(value, target[name], rtol=0, atol=1e-9)  # c = 5e12 leaves a gap of 1 / c
    assert {name.split(".")[0] for name in second} == {"encoder", "head"}


# ---------------------------------------------------------------- learning rates and the proximal strength


def test_the_rate_is_a_cosine_by_epoch() -> None:
    rate = cosine(WeightSettings(lr=0.025, min_lr=0.001), epochs=50, steps_per_epoch=391)
    assert rate(0) == 0.025
    assert {rate(count) for count in (0, 1, 390)} == {0.025}, "constant within an epoch"
    for epoch in (1, 25, 49):
        expected = 0.001 + 0.024 * (1 + math.cos(math.pi * epoch / 50)) / 2
        assert rate(391 * epoch) == rate(391 * epoch + 390) == pytest.approx(expected, rel=1e-14)
    assert rate(391 * 50 - 1) > 0.001, "the smallest rate is never quite reached"
    assert rate(391 * 50) == rate(10**9) == pytest.approx(0.001, rel=1e-12), "and kept afterwards"


def test_the_rate_counts_as_torchopt_does() -> None:
    settings = WeightSettings(momentum=0.0, decay=0.0, clip=1e9)
    rate, seen = cosine(settings, epochs=3, steps_per_epoch=2), []

    def watched(count: Tensor) -> float:
        seen.append(count)
        return rate(count)

    line = mlo.Problem("line", lambda v, _: v.line.sum(), torch.zeros(1).double(), update=sgd(settings, watched))
    engine = mlo.Engine(mlo.ProblemGraph([line]))
    places = [0.0] + [engine.values["line"].item() for _ in engine.run(6)]
    moves = [before - after for before, after in pairwise(places)]
    assert moves == pytest.approx([rate(count) for count in range(6)], rel=1e-12)
    assert all(isinstance(count, Tensor) for count in seen)


def test_the_proximal_strength_follows_the_rate() -> None:
    """With an encoder that no loss moves, b@1 keeps 1 / (1 + c) of its gap to a@1 in each step, c = 2 lr lambda."""

    def flat(prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.sum() * 0.0

    pair = [learner("a", 3, loss=flat), learner("b", 5, loss=flat)]
    settings = setup(Interleaving(rounds=1, weight=20.0), "first", decay=0.0, momentum=0.0)
    engine = mlo.Engine(build_graph(pair, ALPHAS, settings))
    rate = cosine(settings.weights, settings.epochs, 1)
    key = "encoder.stem.convolution.0.weight"

    def gap() -> float:
        return float((engine.values["b@1"][key] - engine.values["a@1"][key]).norm())

    gaps = [gap()] + [gap() for _ in engine.run(settings.epochs)]
    kept = [after / before for before, after in pairwise(gaps)]
    assert kept == pytest.approx([1 / (1 + 2 * rate(count) * 20.0) for count in range(4)], rel=1e-12)
    assert kept == sorted(kept), "the pull weakens as the rate falls"
    assert kept[0] == pytest.approx(0.5)


def test_the_explicit_form_is_refused_where_it_diverges() -> None:
    with pytest.raises(mlo.StabilityError, match=r"c = 2\*eta\*lambda = 2\*0.025\*100 = 5 >= 2.*implicit.*1/eta = 40"):
        build_graph(PAIR, ALPHAS, setup(Interleaving(form="explicit")))
    build_graph(PAIR, ALPHAS, setup(Interleaving(form="explicit", weight=39.9)))
    build_graph(PAIR, ALPHAS, setup(Interleaving(form="implicit")))


# ---------------------------------------------------------------- the cost of a step


@pytest.mark.parametrize("gradient", ["first", "difference", "exact"])
@pytest.mark.parametrize("formulation", [SingleTask(), MultiTask(), Interleaving(), Interleaving(rounds=3), HANDED])
def test_gradients_of_a_step(formulation: Formulation, gradient: str) -> None:
    """The claimed cost against counted calls of the tasks' losses, and against the engine's own count.

    The engine counts the architecture's loss once, though it holds one loss of each of the K tasks: K - 1 fewer. It
    does not count double backwards, of which "exact" takes one for each stage in place of two gradients.
    """
    calls = 0

    def counted(prediction: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return cross_entropy(prediction, target)

    tasks = [learner("a", 3, loss=counted), learner("b", 5, loss=counted)]
    tasks = tasks[:1] if isinstance(formulation, SingleTask) else tasks
    settings = setup(formulation, gradient)
    report = mlo.Engine(build_graph(tasks, ALPHAS, settings), look_ahead=looks_ahead(settings)).step()
    stages = len(tasks) * (formulation.rounds * formulation.updates if isinstance(formulation, Interleaving) else 1)
    doubled = 2 * stages if gradient == "exact" else 0
    claimed = gradients_per_step(formulation, settings.rule, len(tasks))
    assert calls + doubled == claimed
    assert report.gradients + (len(tasks) - 1) + doubled == claimed


def test_printed_costs() -> None:
    costs = [(SingleTask(), 1, 5), (MultiTask(), 2, 10), (Interleaving(), 2, 14)]
    assert [gradients_per_step(form, "difference", tasks) for form, tasks, _ in costs] == [cost for *_, cost in costs]
    assert [gradients_per_step(form, "first", tasks) for form, tasks, _ in costs] == [2, 4, 6]
