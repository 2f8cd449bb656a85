"""A whole iteration of the engine against the order of computation of the original programs, written with torch alone.

Weights, momenta and architecture agree. Running statistics agree once the passes of the architecture step are kept out
of them: the original updates those of its live network in all four passes that go through it (the gradient of the
virtual step, both sides of the difference, the weight step), the engine in the weight step alone. No number of a search
depends on them, for a supernet in training normalizes by the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import mlo
from applications.nas.formulations import ARCHITECTURE, Learner, build_graph, looks_ahead
from applications.nas.methods.base import initial_alphas
from applications.nas.networks.batched import BatchedSupernet, plain_state
from applications.nas.networks.supernet import Supernet
from applications.nas.optimizers import cosine
from applications.nas.settings import Interleaving, SearchSettings, SingleTask
from applications.nas.space.cell import CellSpace
from benchmarks.original_interleaving import OriginalInterleaving
from benchmarks.original_order import OriginalDarts
from tests.nas.tiny import setup

# Both compute the same numbers in float64 in another order. A difference of two gradients, divided by 0.02 over the
# norm of the direction, enlarges rounding some hundredfold, and three iterations carry it on. Seen: below 1e-13.
ROUNDING = 1e-11
SPACE = CellSpace(nodes=1)  # with all eight operations
STEPS = 3
WEIGHTS = {"clip": 1.0}  # so small a clip is active, at the default momentum and decay
SHAPE = (4, 3, 8, 8)

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture
def double() -> Iterator[None]:
    """torchopt's Adam corrects its moments in the default type: off by up to 1e-5 where that is float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def network(classes: int) -> Supernet:
    return Supernet(SPACE, 4, 3, classes)


def learner(name: str, classes: int, *, batched: bool = False) -> Learner:
    """Two batches in each part, so that the second epoch, with another rate, begins in the third step."""
    torch.manual_seed(classes)
    batches = [(torch.randn(SHAPE), torch.arange(SHAPE[0]) % classes) for _ in range(4)]
    drawn = network(classes)
    return Learner(name, BatchedSupernet(drawn) if batched else drawn, batches[:2], batches[2:])


def tables() -> dict[str, Tensor]:
    return {n: 100 * t.double() for n, t in initial_alphas(SPACE, torch.Generator().manual_seed(3)).items()}


def settings_of(form: SingleTask | Interleaving) -> SearchSettings:
    return setup(form, "difference", **WEIGHTS)


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        value = value.detach()
        torch.testing.assert_close(found[name], value, rtol=0, atol=ROUNDING * max(1.0, float(value.abs().max())))


def state(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by their names in the plain form."""
    return plain_state(module) if isinstance(module, BatchedSupernet) else module.state_dict()


def buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.named_buffers()}


def put_back(module: nn.Module, kept: Mapping[str, Tensor]) -> None:
    for name, value in module.named_buffers():
        value.copy_(kept[name])


@pytest.mark.parametrize("batched", [False, True], ids=["plain", "batched"])
def test_darts_equals_the_original_order(batched: bool) -> None:
    settings, one, drawn = settings_of(SingleTask()), learner("a", 3, batched=batched), tables()
    engine = mlo.Engine(build_graph([one], drawn, settings), look_ahead=looks_ahead(settings))
    original = OriginalDarts(lambda: network(3), learner("a", 3).network, drawn, settings)
    rate = cosine(settings.weights, settings.epochs, len(one.train))
    for step, report in enumerate(engine.run(STEPS)):
        assert report.norms["a"] > settings.weights.clip
        train, valid = one.train[step % 2], one.valid[step % 2]  # type: ignore[index]
        kept = buffers(original.network)
        original.architecture_step(train, valid, rate(step))
        put_back(original.network, kept)
        original.weight_step(train, rate(step))
    close(engine.values[ARCHITECTURE], original.alphas)
    close(state(engine.export("a")), original.network.state_dict())


def test_darts_as_it_is_counts_four_batches_in_each_iteration() -> None:
    """What the statistics of the original hold: weights that were never kept."""
    settings, one = settings_of(SingleTask()), learner("a", 3)
    original = OriginalDarts(lambda: network(3), one.network, tables(), settings)
    original.step(one.train[0], one.valid[0], 0.025)  # type: ignore[index]
    counts = {int(v) for name, v in original.network.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {4}


@pytest.mark.parametrize(("weight", "batched"), [(10.0, False), (100.0, True)])
def test_interleaving_equals_the_straightforward_order(weight: float, batched: bool) -> None:
    settings, drawn = settings_of(Interleaving(weight=weight)), tables()
    pair, starts = ([learner("a", 3, batched=one), learner("b", 5, batched=one)] for one in (batched, False))
    graph = build_graph(pair, drawn, settings)
    engine = mlo.Engine(graph, look_ahead=looks_ahead(settings))
    original = OriginalInterleaving([one.network for one in starts], drawn, settings)
    rate = cosine(settings.weights, settings.epochs, len(pair[0].train))
    for step, report in enumerate(engine.run(STEPS)):
        assert all(report.norms[name] > settings.weights.clip for name in graph.names[1:])
        trains = [one.train[step % 2] for one in pair * 2]  # type: ignore[index]
        original.train(trains, rate(step))
        kept = [buffers(one) for one in original.networks]
        original.architecture_step(trains, [one.valid[step % 2] for one in pair], rate(step))  # type: ignore[index]
        for one, values in zip(original.networks, kept, strict=True):
            put_back(one, values)
    close(engine.values[ARCHITECTURE], original.alphas)
    for name, expected in zip(graph.names[:0:-1], original.networks, strict=True):
        close(state(engine.export(name)), expected.state_dict())


def test_the_comparison_sees_a_wrong_radius() -> None:
    """An epsilon off by a tenth shows in the architecture far above the tolerance."""
    settings, one, drawn = settings_of(SingleTask()), learner("a", 3), tables()
    off = replace(settings, gradient=replace(settings.gradient, epsilon=0.011))
    ends = []
    for how in (settings, off):
        original = OriginalDarts(lambda: network(3), one.network, drawn, how)
        original.step(one.train[0], one.valid[0], 0.025)  # type: ignore[index]
        ends.append(original.alphas)
    gap = max(float((ends[0][name] - ends[1][name]).detach().abs().max()) for name in drawn)
    assert gap > 1e3 * ROUNDING
