"""A search in lower precision, in parts of batches, with compiled networks, and with validation losses one by one."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import interpolate

import mlo
from applications.nas.formulations import ARCHITECTURE, build_graph, looks_ahead
from applications.nas.learner import Learner
from applications.nas.methods.base import initial_alphas
from applications.nas.networks.batched import BatchedSupernet, plain_state
from applications.nas.networks.supernet import Supernet
from applications.nas.settings import GradientSettings, Interleaving, SearchSettings, SingleTask, SupernetSettings
from applications.nas.space.cell import CellSpace
from mlo.meter import LiveBytes
from tests.nas.tiny import ALPHAS, learner, setup

BATCH = 16


# ---------------------------------------------------------------- the cosine to float32


def digits() -> list[tuple[Tensor, Tensor]]:
    data = load_digits()
    x = interpolate(torch.tensor(data.images, dtype=torch.float32)[: 2 * BATCH, None] / 16 - 0.3, size=(16, 16))
    y = torch.tensor(data.target)[: 2 * BATCH]
    return list(zip(x.split(BATCH), y.split(BATCH), strict=True))


def network() -> Supernet:
    torch.manual_seed(0)
    return Supernet(CellSpace(), 8, 4, 10, in_channels=1)


def graph_of(net: nn.Module, **settings: Any) -> mlo.ProblemGraph:
    train, valid = digits()
    tables = initial_alphas(CellSpace(), torch.Generator().manual_seed(0))
    whole = SearchSettings(formulation=SingleTask(), batch=BATCH, **settings)
    return build_graph([Learner("task", net, [train], [valid])], tables, whole)


@pytest.fixture(scope="module")
def forms() -> dict[str, nn.Module]:
    """Both forms with weights that were trained for a few steps.

    With fresh ones the gradient in the architecture is no better known in float32: it turns by 1 - cosine = 0.06 where
    each weight changes by 5e-4 of itself, as the sum of large numbers that it is there.
    """
    engine = mlo.Engine(graph_of(BatchedSupernet(network()), gradient=GradientSettings("first")))
    list(engine.run(18, frozen=True))
    batched, plain = engine.export("task"), network()
    plain.load_state_dict(plain_state(batched))
    return {"batched": batched, "plain": plain}


def hypergradient(net: nn.Module, rule: str, precision: str) -> Tensor:
    graph = graph_of(net, gradient=GradientSettings(rule), precision=precision)  # type: ignore[arg-type]
    found = mlo.hypergradient(graph, of=ARCHITECTURE)
    assert {part.dtype for part in found.values()} == {torch.float32}
    return torch.cat([part.flatten() for part in found.values()]).double()


@pytest.mark.parametrize(
    ("form", "rule", "precisions"),
    [
        ("batched", "exact", ("bfloat16", "float16")),
        ("batched", "difference", ("bfloat16",)),
        ("plain", "exact", ("bfloat16",)),
    ],
)
def test_the_cosine_to_float32(forms: dict[str, nn.Module], form: str, rule: str, precisions: tuple[str, ...]) -> None:
    exact = hypergradient(forms[form], rule, "float32")
    for precision in precisions:
        found = hypergradient(forms[form], rule, precision)
        assert not torch.equal(found, exact), "the lower precision was not used"
        cosine = float(found @ exact / (found.norm() * exact.norm()))
        assert cosine > 0.999, precision


def test_statistics_and_weights_stay_float32() -> None:
    engine = mlo.Engine(build_graph([small("a", 3)], singles(), setup(SingleTask())), look_ahead=True)
    lower = replace(setup(SingleTask()), precision="bfloat16")
    other = mlo.Engine(build_graph([small("a", 3)], singles(), lower), look_ahead=True)
    engine.step(), other.step()
    ours, theirs = (one.export("a").state_dict() for one in (other, engine))
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype
        if value.is_floating_point():
            torch.testing.assert_close(ours[name], value, rtol=0.05, atol=0.05)
    assert not torch.equal(ours["head.weight"], theirs["head.weight"])


def small(name: str, classes: int) -> Learner:
    one = learner(name, classes)
    single = [[(x.float(), y) for x, y in part] for part in (one.train, one.valid)]
    return Learner(name, one.network.float(), *single)


def singles() -> dict[str, Tensor]:
    return {name: table.float() for name, table in ALPHAS.items()}


# ---------------------------------------------------------------- validation losses one by one


def together(graph: mlo.ProblemGraph) -> mlo.ProblemGraph:
    """Return the graph with the validation losses of all tasks as one function."""
    top, *rest = graph.problems
    assert isinstance(top.loss, mlo.Sum)
    return mlo.ProblemGraph([replace(top, loss=lambda view, batch: top.loss(view, batch)), *rest])


@pytest.mark.parametrize("rule", ["exact", "difference"])
def test_validation_losses_one_by_one_are_their_sum(rule: str) -> None:
    """Sums in another order; a difference of gradients enlarges that some hundredfold. Seen: 2e-15 and 1e-13."""
    ends = []
    for change in (together, lambda graph: graph):
        pair = [learner("a", 3, 0.5), learner("b", 5, 2.0)]
        engine = mlo.Engine(change(build_graph(pair, ALPHAS, setup(Interleaving(), rule))))
        last = list(engine.run(2))[-1]
        ends.append((engine.values, last.losses))
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-12, atol=1e-12)


def test_one_by_one_they_take_less_memory() -> None:
    """Two of the same size: of two graphs one is alive; the rest is weights. Seen: 0.7 of it."""
    peaks = []
    for change in (together, lambda graph: graph):
        pair = [learner("a", 3), learner("b", 3)]
        wide = [replace(one, valid=[(x.repeat(8, 1, 1, 1), y.repeat(8)) for x, y in one.valid]) for one in pair]
        engine = mlo.Engine(change(build_graph(wide, ALPHAS, setup(Interleaving(), "difference"))))
        engine.step()
        with LiveBytes() as meter:
            engine.step()
        peaks.append(meter.peak)
    assert peaks[1] < 0.8 * peaks[0]


# ---------------------------------------------------------------- settings


def test_all_problems_are_cut_and_the_weights_are_cast() -> None:
    settings = replace(setup(Interleaving()), accumulate=2, precision="float16", batch=4)
    top, *stages = build_graph([learner("a", 3), learner("b", 5)], ALPHAS, settings).problems
    assert {problem.accumulate for problem in (top, *stages)} == {2}
    assert top.precision is None
    assert {problem.precision for problem in stages} == {mlo.Autocast(torch.float16)}


def test_parts_of_batches_are_those_of_the_whole_without_batch_norm() -> None:
    """In evaluation mode BatchNorm sees no batch; so the parts are exactly the whole."""
    found = []
    for parts in (1, 2):
        one = learner("a", 3)
        one.network.eval()
        settings = replace(setup(SingleTask()), accumulate=parts, batch=4)
        found.append(mlo.hypergradient(build_graph([one], ALPHAS, settings), of=ARCHITECTURE))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"accumulate": 9, "batch": 16}, "accumulate must be .* leave 2 images for BatchNorm"),
        ({"accumulate": 4, "batches": (64, 6)}, "accumulate must be"),
        (
            {"supernet": SupernetSettings(compile=True), "gradient": GradientSettings("exact")},
            "supernet: compile must be off where gradient.rule is exact.*got compile=True",
        ),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(mlo.ConfigError, match=words):
        SearchSettings(**wrong)


# ---------------------------------------------------------------- compiled networks


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo looks at it
def test_a_compiled_network_searches_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a backend that compiles nothing; up to the order of sums, which a difference enlarges."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager", fullgraph=True))
    ends = []
    for compiled in (False, True):
        settings = replace(setup(SingleTask(), "difference"), supernet=SupernetSettings(compile=compiled))
        engine = mlo.Engine(build_graph([learner("a", 3)], ALPHAS, settings), look_ahead=looks_ahead(settings))
        list(engine.run(2))
        ends.append(engine.values)
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-10, atol=1e-10)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
    torch._dynamo.reset()
