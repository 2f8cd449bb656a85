"""PC-DARTS: sizes to the unit, golden values in double precision, its mixed operation and its edges."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import mlo
from applications.nas.formulations import ARCHITECTURE, Learner, build_graph
from applications.nas.methods import PCDarts, Progress
from applications.nas.methods.pcdarts import edge_weights
from applications.nas.networks.supernet import Supernet
from applications.nas.settings import GradientSettings, SearchSettings, SingleTask, WeightSettings
from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.mixed import PartialMixedOperation
from applications.nas.space.operations import PRIMITIVES
from mlo import ConfigError

Tables = dict[str, Tensor]
METHOD, START = PCDarts(warm_up=0.0), Progress(0, 0, 1)
PRINTED = 0.6e-10  # golden values are printed to ten decimals: half a unit of the last, and a little for other kernels

SIZES = [
    (16, 8, 10, 299_578, 1399, 56_596_992),
    (16, 8, 100, 322_708, 1399, 56_620_032),
    (8, 5, 10, 66_586, 889, 12_907_776),
    (8, 5, 100, 78_196, 889, 12_919_296),
]


@pytest.mark.parametrize(("channels", "layers", "classes", "weights", "tensors", "cost"), SIZES)
def test_size_and_cost(
    channels: int,
    layers: int,
    classes: int,
    weights: int,
    tensors: int,
    cost: int,
    multiply_adds: Callable[[nn.Module, Callable[[], object]], int],
) -> None:
    with torch.device("meta"):
        net = Supernet(CellSpace(), channels, layers, classes, mixed=METHOD.mixed_operation).eval()
        mixing, images = {name: torch.zeros(14, 9) for name in CELL_TYPES}, torch.zeros(1, 3, 32, 32)
    sizes = [value.numel() for value in net.parameters()]
    assert (sum(sizes), len(sizes)) == (weights, tensors)
    assert multiply_adds(net, lambda: net(images, mixing)) == cost


def test_statistics_of_the_full_supernet() -> None:
    with torch.device("meta"):
        net = Supernet(CellSpace(), 16, 8, 10, mixed=METHOD.mixed_operation)
    assert sum(value.numel() for value in net.buffers()) == 20_609


def variables() -> Tables:
    """The point at which golden values were taken."""
    table = 0.5 * torch.sin(torch.arange(1, 113, dtype=torch.float64)).view(14, 8)
    edges = 0.5 * torch.sin(torch.arange(1, 15, dtype=torch.float64))
    return {"normal": table, "reduction": -table, "normal_edges": edges, "reduction_edges": -edges}


# norms of the gradients by (normal, reduction, normal edges, reduction edges)
GOLDEN = [
    ("first", [0.0033503776, 0.0062513489, 0.0029567056, 0.0132453102]),
    ("difference", [0.0047069139, 0.0063084013, 0.0022163912, 0.0115134503]),
    ("exact", [0.0042437713, 0.0063003636, 0.0024055280, 0.0119870826]),
]


@pytest.fixture
def net(fill: Callable[[nn.Module], None]) -> Supernet:
    made = Supernet(CellSpace(), 4, 3, 10, mixed=METHOD.mixed_operation).to(torch.float64)
    fill(made)
    return made


@pytest.mark.parametrize(("rule", "norms"), GOLDEN)
def test_golden_hypergradients(rule: str, norms: list[float], net: Supernet, batch: Callable[[int], object]) -> None:
    one = Learner("task", net, [batch(0)], [batch(1)])  # type: ignore[list-item]
    settings = SearchSettings(
        method=METHOD,
        formulation=SingleTask(),
        gradient=GradientSettings(rule),  # type: ignore[arg-type]
        weights=WeightSettings(momentum=0.0, clip=1e9),
    )
    top, weights = build_graph([one], variables(), settings).problems
    # The first-order golden value is taken at the weights themselves, the others after one step.
    steps = 0 if rule == "first" else 1
    graph = mlo.ProblemGraph([top, mlo.Problem(**_fields(weights, steps=steps))])
    found = mlo.hypergradient(graph, of=ARCHITECTURE)
    assert [found[name].norm().item() for name in variables()] == pytest.approx(norms, abs=PRINTED)
    if rule == "first":
        printed = [-0.0000638339, 0.0005490705, -0.0004416592]
        assert found["normal"][0, :3].tolist() == pytest.approx(printed, abs=PRINTED)


def _fields(problem: mlo.Problem, **changes: object) -> dict[str, object]:
    names = ("name", "loss", "variable", "reads", "update", "steps", "tolerance", "response", "batches")
    return {name: getattr(problem, name) for name in names} | changes


def test_golden_losses_and_logits(net: Supernet, batch: Callable[[int], tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        weights = METHOD.relax(variables(), START)
        logits = net(batch(0)[0], weights)
        train, valid = (nn.functional.cross_entropy(net(x, weights), y).item() for x, y in (batch(0), batch(1)))
    assert [train, valid] == pytest.approx([2.3063189740, 2.2842749757], abs=PRINTED)
    printed = [-0.00407599, -0.16897165, -0.22704308, -0.14157740]
    assert logits[0, :4].tolist() == pytest.approx(printed, abs=0.6e-8)


# ---------------------------------------------------------------- the mixed operation


@pytest.mark.parametrize("stride", [1, 2])
def test_channels_that_pass_by(stride: int) -> None:
    """With no weight on operations the bypass alone is left, shuffled: output channel 4 j + g is channel g C/4 + j."""
    edge = PartialMixedOperation(PRIMITIVES, 8, stride, 4).double()
    x = torch.randn(2, 8, 8, 8, dtype=torch.float64)
    out = edge(x, torch.tensor([0.0] * 8 + [0.5], dtype=torch.float64))
    passed = x if stride == 1 else nn.functional.max_pool2d(x, 2)
    for source in range(8):
        place = 4 * (source % 2) + source // 2
        expected = torch.zeros_like(passed[:, 0]) if source < 2 else 0.5 * passed[:, source]
        torch.testing.assert_close(out[:, place], expected, rtol=0, atol=0)


@pytest.mark.parametrize("stride", [1, 2])
def test_all_channels_are_an_ordinary_edge(stride: int) -> None:
    edge = PartialMixedOperation(PRIMITIVES, 4, stride, 1).double()
    x, weights = torch.randn(2, 4, 8, 8).double(), torch.rand(9).double()
    torch.testing.assert_close(edge(x, weights), weights[-1] * edge.mixed(x, weights[:-1]))


def test_channels_that_do_not_divide() -> None:
    with pytest.raises(ConfigError, match=r"channels=6.*multiple of 4"):
        PartialMixedOperation(PRIMITIVES, 6, 1, 4)
    with pytest.raises(ConfigError, match="channels=1"):  # an odd part where a skip of stride 2 makes two halves
        PartialMixedOperation(PRIMITIVES, 4, 2, 4)


# ---------------------------------------------------------------- edges


def test_edges_of_a_node_share_one_softmax() -> None:
    betas = torch.randn(14, dtype=torch.float64)
    found = edge_weights(betas)
    for start, end in ((0, 2), (2, 5), (5, 9), (9, 14)):
        torch.testing.assert_close(found[start:end], betas[start:end].softmax(0))


def test_edges_decide_what_is_kept() -> None:
    """All operations weigh alike, so betas alone rank the edges; the operation is the heaviest but none."""
    space = CellSpace(nodes=2, primitives=("none", "skip_connect", "sep_conv_3x3"))
    table = torch.tensor([[3.0, 0.0, 1.0]] * 5)
    betas = {"normal_edges": torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0]), "reduction_edges": torch.zeros(5)}
    cell = METHOD.derive({"normal": table, "reduction": table, **betas}, space, START).normal
    assert [(edge.operation, edge.predecessor) for edge in cell.edges] == [
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 2),
    ]


def test_variables_are_small_and_repeat() -> None:
    first, again = (METHOD.initial(CellSpace(), torch.Generator().manual_seed(1)) for _ in range(2))
    assert sum(table.numel() for table in first.values()) == 224 + 28
    for name, table in first.items():
        assert torch.equal(table, again[name])
        assert 0 < table.abs().max() < 5e-3


def test_the_published_schedule() -> None:
    (stage,) = PCDarts().stages(8, 16, 8, 50)
    assert (stage.warm_up, stage.epochs) == (15, 50)
