"""P-DARTS: stages, what is dropped between them, dropout, and the derivation with a limit on skips."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from applications.nas.methods import PDarts, Progress
from applications.nas.methods.pdarts import DroppedSkip, skip_dropout
from applications.nas.networks.supernet import Supernet
from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.operations import PRIMITIVES
from mlo import ConfigError, DataError

METHOD, END = PDarts(), Progress(2, 24, 25)


def test_the_published_stages() -> None:
    found = [(s.layers, s.channels, s.operations, s.epochs, s.warm_up) for s in METHOD.stages(5, 16, 8, 25)]
    assert found == [(5, 16, 8, 25, 10), (11, 16, 5, 25, 10), (17, 16, 3, 25, 10)]


@pytest.mark.parametrize("operations", range(1, 9))
def test_there_is_always_something_to_choose(operations: int) -> None:
    held = [stage.operations for stage in METHOD.stages(5, 16, operations, 1)]
    assert held == sorted(held, reverse=True)
    assert held[0] == operations
    assert held[-1] >= min(2, operations)


def test_the_lightest_operations_of_each_edge_go() -> None:
    space = CellSpace(nodes=1, primitives=("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"))
    tables = {"normal": torch.tensor([[4.0, 1, 3, 2], [1, 2, 3, 4]]), "reduction": torch.tensor([[1.0, 2, 3, 4]] * 2)}
    smaller = METHOD.narrow(tables, space, 2)
    assert smaller.choices == {
        "normal": (("none", "max_pool_3x3"), ("max_pool_3x3", "sep_conv_3x3")),
        "reduction": (("max_pool_3x3", "sep_conv_3x3"),) * 2,
    }
    again = METHOD.narrow({name: torch.tensor([[0.0, 1.0], [1.0, 0.0]]) for name in CELL_TYPES}, smaller, 1)
    assert again.choices["normal"] == (("max_pool_3x3",), ("max_pool_3x3",))


def test_narrowing_refuses_numbers_without_order() -> None:
    bad = {name: torch.full((2, 8), math.nan) for name in CELL_TYPES}
    with pytest.raises(DataError, match="NaN"):
        METHOD.narrow(bad, CellSpace(nodes=1), 5)


SIZES = [
    (PRIMITIVES[:5], 887_226, 10),
    (PRIMITIVES[3:], 2_585_146, 10),
    (PRIMITIVES[:5], 910_356, 100),
    (PRIMITIVES[3:], 2_608_276, 100),
]


@pytest.mark.parametrize(("kept", "weights", "classes"), SIZES)
def test_sizes_of_the_second_stage(kept: tuple[str, ...], weights: int, classes: int) -> None:
    space = CellSpace().narrow(dict.fromkeys(CELL_TYPES, (kept,) * 14))
    with torch.device("meta"):
        net = Supernet(space, 16, 11, classes, mixed=METHOD.mixed_operation)
    assert sum(value.numel() for value in net.parameters()) == weights
    assert sum(table.numel() for table in METHOD.initial(space, torch.Generator()).values()) == 140


def test_edges_with_operations_of_their_own() -> None:
    """A supernet of a narrowed space computes each edge with its own operations, in the order of its columns."""
    space = CellSpace(nodes=1, primitives=("none", "skip_connect", "max_pool_3x3"))
    mixed = space.narrow(dict.fromkeys(CELL_TYPES, (("none", "skip_connect"), ("skip_connect", "max_pool_3x3"))))
    net = Supernet(mixed, 4, 3, 5, in_channels=1).eval()
    kinds = [[type(op).__name__ for op in edge.operations] for edge in net.encoder.cells[0].edges]  # type: ignore[union-attr]
    assert kinds == [["Zero", "Identity"], ["Identity", "Pool"]]


# ---------------------------------------------------------------- dropout behind skips


def test_the_rate_of_dropout() -> None:
    rates = [skip_dropout(0.7, Progress(2, epoch, 25), 10) for epoch in range(25)]
    assert rates[0] == pytest.approx(0.7 * 24 / 25)
    assert rates[9] == pytest.approx(0.7 * 15 / 25)
    assert rates[10] == pytest.approx(0.7), "it jumps up again where the architecture begins to move"
    assert rates[24] == pytest.approx(0.7 * math.exp(-2.8))


def test_dropout_is_behind_skips_of_stride_one_only() -> None:
    space = CellSpace(nodes=1, primitives=("skip_connect", "sep_conv_3x3"))
    net = Supernet(space, 4, 3, 5, in_channels=1, mixed=METHOD.mixed_operation)
    METHOD.begin_epoch(net, Progress(1, 0, 25))
    skips = [module for module in net.modules() if isinstance(module, DroppedSkip)]
    assert len(skips) == 2, "two edges of the one normal cell; those of reductions have stride 2"
    assert [skip.rate for skip in skips] == pytest.approx([0.4 * 24 / 25] * 2)
    x = torch.ones(1, 4, 50, 50)
    dropped = skips[0](x)
    share = float((dropped == 0).double().mean())
    assert share == pytest.approx(0.384, abs=0.03), "six standard deviations of 10,000 draws"
    torch.testing.assert_close(dropped[dropped != 0], torch.full_like(dropped[dropped != 0], 1 / (1 - 0.384)))
    assert torch.equal(skips[0].eval()(x), x)


def test_no_dropout_draws_no_numbers() -> None:
    before = torch.random.get_rng_state()
    DroppedSkip()(torch.ones(4))
    assert torch.equal(torch.random.get_rng_state(), before)


# ---------------------------------------------------------------- derivation

SPACE = CellSpace(nodes=2, primitives=("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"))
SMALL = SPACE.narrow(dict.fromkeys(CELL_TYPES, (("none", "skip_connect", "sep_conv_3x3"),) * 5))


def derived(method: PDarts, rows: list[list[float]], space: CellSpace = SMALL) -> list[tuple[str, int]]:
    table = torch.tensor(rows, dtype=torch.float64).log()  # rows that sum to 1 are their own softmax
    cell = method.derive({"normal": table, "reduction": table.clone()}, space, END).normal
    return [(edge.operation, edge.predecessor) for edge in cell.edges]


def test_edges_come_in_the_order_of_predecessors() -> None:
    rows = [[0.1, 0.2, 0.7], [0.1, 0.3, 0.6], [0.2, 0.1, 0.7], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]
    conv = "sep_conv_3x3"
    assert derived(METHOD, rows) == [(conv, 0), (conv, 1), (conv, 0), (conv, 2)]


def test_none_is_never_kept_and_lends_no_strength() -> None:
    rows = [[0.9, 0.06, 0.04], [0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [0.9, 0.06, 0.04]]
    assert derived(PDarts(skips=4), rows)[2:] == [("skip_connect", 0), ("skip_connect", 1)]


def test_the_lightest_skips_give_way() -> None:
    """Four skips; with two allowed, those of weight 0.5 and 0.55 become the second heaviest operation of their edge."""
    rows = [[0.05, 0.6, 0.35], [0.05, 0.5, 0.45], [0.05, 0.7, 0.25], [0.05, 0.55, 0.4], [0.9, 0.05, 0.05]]
    free = derived(PDarts(skips=4), rows)
    assert [name for name, _ in free] == ["skip_connect"] * 4
    held = derived(METHOD, rows)
    assert held == [("skip_connect", 0), ("sep_conv_3x3", 1), ("skip_connect", 0), ("sep_conv_3x3", 1)]


def test_an_edge_without_its_skip_may_lose_its_place() -> None:
    """The skip from 1 to the second node goes first; what is left of its edge is weaker than the edge from 2."""
    rows = [[0.05, 0.92, 0.03], [0.05, 0.91, 0.04], [0.05, 0.9, 0.05], [0.2, 0.5, 0.3], [0.2, 0.35, 0.45]]
    assert [name for name, _ in derived(PDarts(skips=4), rows)] == ["skip_connect"] * 4
    assert derived(PDarts(skips=3), rows)[2:] == [("skip_connect", 0), ("sep_conv_3x3", 2)]


def test_the_reduction_cell_has_no_limit() -> None:
    rows = torch.tensor([[0.05, 0.9, 0.05]] * 5, dtype=torch.float64).log()
    genotype = METHOD.derive({"normal": rows, "reduction": rows.clone()}, SMALL, END)
    skips = {name: sum(e.operation == "skip_connect" for e in getattr(genotype, name).edges) for name in CELL_TYPES}
    assert skips == {"normal": 2, "reduction": 4}


def test_edges_that_offer_nothing_but_skips(caplog: pytest.LogCaptureFixture) -> None:
    only = SPACE.narrow(dict.fromkeys(CELL_TYPES, (("none", "skip_connect"),) * 5))
    rows = [[0.1, 0.9]] * 5
    with caplog.at_level("WARNING"):
        assert {name for name, _ in derived(METHOD, rows, only)} == {"skip_connect"}
    assert "4 skip connections stay, 2 allowed" in caplog.text


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"deeper": (0, 6)}, "one number for each stage, got 2, 3 and 3"),
        ({"dropout": (0.0, 0.4, 1.0)}, "below 1"),
        ({"kept": (0.5, 0.4, 0.3)}, "begin with 1"),
        ({"kept": (1.0, 0.4, 0.5)}, "fall"),
        ({"skips": -1}, "negative"),
    ],
)
def test_bad_settings(change: dict[str, Tensor], culprit: str) -> None:
    with pytest.raises(ConfigError, match=culprit):
        PDarts(**change)  # type: ignore[arg-type]


def test_a_warm_up_is_a_share() -> None:
    with pytest.raises(ConfigError, match="warm_up=10"):
        PDarts(warm_up=10).stages(5, 16, 8, 25)
