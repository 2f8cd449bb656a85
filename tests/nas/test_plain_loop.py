"""Search graphs against a plain training loop, and formulations against each other where they must agree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import mlo
from applications.nas.formulations import ARCHITECTURE, Learner, build_graph, looks_ahead
from applications.nas.methods import AbstractMethod, Progress
from applications.nas.settings import (
    Formulation,
    GradientSettings,
    Interleaving,
    MultiTask,
    SearchSettings,
    SingleTask,
)
from tests.nas.tiny import ALPHAS, DARTS, PARTIAL, SPACE, learner, setup

Tables = dict[str, Tensor]
ROUNDING = 1e-10  # two float64 computations of the same numbers in another order; seen: below 1e-12
PAIR = [learner("a", 3), learner("b", 5, weight=0.5)]
PARTIAL_PAIR = [learner("a", 3, method=PARTIAL), learner("b", 5, weight=0.5, method=PARTIAL)]
START = Progress(0, 0, 4)
EDGES = {name: 100 * t.double() for name, t in PARTIAL.initial(SPACE, torch.Generator().manual_seed(5)).items()}


def hypergradient(learners: list[Learner], settings: SearchSettings) -> Tables:
    return mlo.hypergradient(build_graph(learners, ALPHAS, settings), of=ARCHITECTURE)  # type: ignore[no-any-return]


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = ROUNDING) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=tolerance * float(value.abs().max()))


class PlainLoop:
    """Equations 5 and 10 as one would write them with autograd alone: every stage kept as a graph, then one backward.

    Momentum, decay, clipping and the schedule are written out; the architecture has torch's own Adam.
    """

    def __init__(self, learners: list[Learner], settings: SearchSettings) -> None:
        form = settings.formulation
        rounds = form.rounds if isinstance(form, Interleaving) else 1
        self.settings, self.learners, self.stages = settings, learners, learners * rounds
        self.held = form if isinstance(form, Interleaving) else Interleaving(weight=0.0)
        self.weights: list[Tables] = [
            {n: p.detach().clone() for n, p in one.network.named_parameters()} for one in self.stages
        ]
        self.momenta: list[Tables] = [{n: torch.zeros_like(p) for n, p in own.items()} for own in self.weights]
        drawn = EDGES if settings.method is PARTIAL else ALPHAS
        self.alphas = {name: table.clone().requires_grad_() for name, table in drawn.items()}
        adam = settings.architecture
        self.adam = torch.optim.Adam(self.alphas.values(), adam.lr, betas=adam.betas, weight_decay=adam.decay)
        self.count, self.clipped = 0, 0

    def loss(self, one: Learner, weights: Tables, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        mixing = self.settings.method.relax(self.alphas, START)
        return cross_entropy(functional_call(one.network, weights, (x, mixing)), y)

    def sweep(self) -> tuple[list[Tables], list[Tables]]:
        """Train each stage, held near the one before."""
        how = self.settings.weights
        eta = how.min_lr + (how.lr - how.min_lr) * (1 + math.cos(math.pi * self.count / self.settings.epochs)) / 2
        ends: list[Tables] = []
        momenta: list[Tables] = []
        last = self.weights[-1] if self.held.anchor == "cyclic" else None
        handed = self.weights[-1] if self.held.start == "previous" else {}
        for one, kept, momentum in zip(self.stages, self.weights, self.momenta, strict=True):
            own = kept | {name: value for name, value in handed.items() if name.startswith("encoder.")}
            for _ in range(self.held.updates):
                own, momentum = self.update(one, own, momentum, eta, last)
            last, handed = own, own if handed else {}
            ends.append(own)
            momenta.append({name: step.detach() for name, step in momentum.items()})
        return ends, momenta

    def update(
        self, one: Learner, start: Tables, momentum: Tables, eta: float, last: Tables | None
    ) -> tuple[Tables, Tables]:
        """Make one update of a stage."""
        how, c = self.settings.weights, 2 * eta * self.held.weight
        own = {name: value if value.requires_grad else value.clone().requires_grad_() for name, value in start.items()}
        grads = torch.autograd.grad(self.loss(one, own, one.train[0]), list(own.values()), create_graph=True)  # type: ignore[index]
        norm = torch.cat([grad.flatten() for grad in grads]).norm()
        self.clipped += int(norm > how.clip)
        scale = (how.clip / norm).clamp(max=1.0)
        moved = {
            name: how.momentum * momentum[name] + scale * grad + how.decay * own[name]
            for name, grad in zip(own, grads, strict=True)
        }
        end = {name: own[name] - eta * step for name, step in moved.items()}
        for name in [name for name in end if name.startswith("encoder.") and last is not None]:
            assert last is not None
            explicit = end[name] - c * (own[name] - last[name])
            end[name] = explicit if self.held.form == "explicit" else (end[name] + c * last[name]) / (1 + c)
        return end, moved

    def objective(self, ends: list[Tables]) -> Tensor:
        pairs = list(zip(self.learners, ends[-len(self.learners) :], strict=True))
        losses = [one.weight * self.loss(one, end, one.valid[0]) for one, end in pairs]  # type: ignore[index]
        return torch.stack(losses).sum()

    def gradient(self) -> Tables:
        found = torch.autograd.grad(self.objective(self.sweep()[0]), list(self.alphas.values()))
        return dict(zip(self.alphas, found, strict=True))

    def keep(self, ends: list[Tables], momenta: list[Tables]) -> None:
        self.weights = [{name: value.detach() for name, value in end.items()} for end in ends]
        self.momenta = momenta
        self.count += 1

    def step(self, *, frozen: bool = False) -> None:
        ends, momenta = self.sweep()
        if frozen:
            self.keep(ends, momenta)
            return
        tables = list(self.alphas.values())
        for table, grad in zip(tables, torch.autograd.grad(self.objective(ends), tables), strict=True):
            table.grad = grad
        self.adam.step()
        if looks_ahead(self.settings):
            ends, momenta = self.sweep()
        self.keep(ends, momenta)


PLAIN = {"momentum": 0.0, "decay": 0.0, "clip": 1e9}
REAL = {"clip": 0.5}  # with the default momentum and decay; so small a clip is active
FORMS = [
    Interleaving(weight=100.0),
    Interleaving(weight=10.0),
    Interleaving(weight=100.0, rounds=3),
    Interleaving(weight=20.0, form="explicit"),
    Interleaving(weight=20.0, anchor="cyclic"),
    Interleaving(weight=20.0, start="previous"),
    Interleaving(weight=20.0, start="previous", updates=2),
    Interleaving(weight=20.0, updates=2, rounds=1),
]


@pytest.mark.parametrize("weights", [PLAIN, REAL], ids=["plain", "real"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_interleaving_equals_autograd_through_the_chain(form: Interleaving, weights: dict[str, float]) -> None:
    settings = setup(form, **weights)
    loop = PlainLoop(PAIR, settings)
    close(hypergradient(PAIR, settings), loop.gradient())
    assert loop.clipped == (len(loop.stages) * form.updates if weights is REAL else 0)


@pytest.fixture
def double() -> Iterator[None]:
    """torchopt's Adam corrects its moments in the default type: off by up to 1e-5 where that is float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("form", [SingleTask(), MultiTask(), *FORMS], ids=str)
def test_a_search_equals_a_plain_loop(form: Formulation) -> None:
    """Three steps, so that momenta, the schedule, Adam's moments and the order of updates play a part."""
    settings = setup(form, **REAL)
    learners = PAIR[:1] if isinstance(form, SingleTask) else PAIR
    graph = build_graph(learners, ALPHAS, settings)
    engine, loop = mlo.Engine(graph, look_ahead=looks_ahead(settings)), PlainLoop(learners, settings)
    for _ in engine.run(3):
        loop.step()
    close(engine.values[ARCHITECTURE], {name: table.detach() for name, table in loop.alphas.items()})
    stages = graph.names[:0:-1] if isinstance(form, Interleaving) else graph.names[1:]
    for name, expected in zip(stages, loop.weights, strict=True):
        close(engine.values[name], expected)


@pytest.mark.parametrize("form", [SingleTask(), MultiTask(), Interleaving()], ids=str)
def test_short_differences_are_nearly_exact(form: Formulation) -> None:
    """So short that no ReLU changes sign in between; rounding, divided by the length, is what is left."""
    learners = PAIR[:1] if isinstance(form, SingleTask) else PAIR
    settings = setup(form, **REAL)
    short = replace(settings, gradient=GradientSettings("difference", epsilon=1e-6))
    close(hypergradient(learners, short), hypergradient(learners, settings), 1e-7)


def test_multi_task_is_the_sum_of_single_tasks() -> None:
    both = hypergradient(PAIR, setup(MultiTask()))
    one, other = (hypergradient([task], setup(SingleTask())) for task in PAIR)
    close(both, {name: one[name] + other[name] for name in one}, 1e-12)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("form", [SingleTask(), MultiTask(), FORMS[1]], ids=str)
def test_partial_channels_after_a_warm_up_equal_a_plain_loop(form: Formulation) -> None:
    """PC-DARTS: one step in which alphas and betas rest, then two with both; clipped on both sides."""
    settings = replace(setup(form, **REAL), method=PARTIAL)
    learners = PARTIAL_PAIR[:1] if isinstance(form, SingleTask) else PARTIAL_PAIR
    engine = mlo.Engine(build_graph(learners, EDGES, settings), look_ahead=looks_ahead(settings))
    loop = PlainLoop(learners, settings)
    for frozen in (True, False, False):
        engine.step(frozen=frozen)
        loop.step(frozen=frozen)
    found = {name: table.detach() for name, table in loop.alphas.items()}
    close(engine.values[ARCHITECTURE], found)
    assert all(float((table - EDGES[name]).abs().max()) > 0.01 for name, table in found.items()), "all moved"


METHODS = [(DARTS, PAIR, ALPHAS), (PARTIAL, PARTIAL_PAIR, EDGES)]
GRADIENTS = ["exact", "difference", "first"]


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize(("method", "pair", "tables"), METHODS, ids=["darts", "pcdarts"])
def test_one_task_and_one_round_is_single_task(
    gradient: str, method: AbstractMethod, pair: list[Learner], tables: Tables
) -> None:
    forms = (Interleaving(rounds=1), SingleTask())
    graphs = [build_graph(pair[:1], tables, replace(setup(form, gradient), method=method)) for form in forms]
    one, single = (mlo.hypergradient(graph, of=ARCHITECTURE) for graph in graphs)
    assert all(torch.equal(one[name], single[name]) for name in tables)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize(("method", "pair", "tables"), METHODS, ids=["darts", "pcdarts"])
def test_without_lambda_the_chains_are_independent(
    gradient: str, method: AbstractMethod, pair: list[Learner], tables: Tables
) -> None:
    forms = (Interleaving(weight=0.0), MultiTask())
    graphs = [build_graph(pair, tables, replace(setup(form, gradient), method=method)) for form in forms]
    free, multi = map(mlo.Engine, graphs)
    for _ in zip(free.run(2), multi.run(2), strict=True):
        pass
    for ours, theirs in ((ARCHITECTURE, ARCHITECTURE), ("a@2", "a"), ("b@2", "b"), ("a@1", "a"), ("b@1", "b")):
        close(free.values[ours], multi.values[theirs], 1e-12)
