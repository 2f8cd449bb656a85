"""DARTS: starting point, relaxation and derivation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from applications.nas.methods import Darts, Progress
from applications.nas.methods.base import initial_alphas, softmax_tables
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Cell, Edge, Genotype
from mlo import ConfigError, DataError

START = Progress(0, 0, 1)
SPACE = CellSpace(nodes=2, primitives=("none", "skip_connect", "max_pool_3x3"))  # rows: 2<-0, 2<-1, 3<-0, 3<-1, 3<-2


def derive(alphas: dict[str, Tensor], space: CellSpace) -> Genotype:
    return Darts().derive(alphas, space, START)


def both(table: list[list[float]]) -> dict[str, Tensor]:
    values = torch.tensor(table, dtype=torch.float64)
    return {"normal": values, "reduction": values.clone()}


def test_initial_alphas_are_small_and_reproducible() -> None:
    space = CellSpace(nodes=20)
    alphas = initial_alphas(space, torch.Generator().manual_seed(0))
    again = initial_alphas(space, torch.Generator().manual_seed(0))
    assert list(alphas) == ["normal", "reduction"]
    for name, table in alphas.items():
        assert table.shape == (space.edges, 8)
        assert table.std().item() == pytest.approx(1e-3, rel=0.1)
        assert torch.equal(table, again[name])
    assert not torch.equal(alphas["normal"], alphas["reduction"])


def test_relaxation_is_a_softmax_of_each_row() -> None:
    weights = softmax_tables(both([[0.0, 1.0, 2.0]] * 5))
    expected = torch.tensor([1.0, torch.e, torch.e**2], dtype=torch.float64)
    for table in weights.values():
        torch.testing.assert_close(table, (expected / expected.sum()).expand(5, 3))


def test_relaxation_is_differentiable() -> None:
    alphas = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)

    def normal(table: Tensor) -> Tensor:
        return softmax_tables({"normal": table, "reduction": table})["normal"]

    assert torch.autograd.gradcheck(normal, alphas)


def test_two_strongest_edges_strongest_first() -> None:
    alphas = both([[0, 1, 0], [0, 0, 2], [0, 3, 0], [0, 0, 1], [0, 0, 4]])
    genotype = derive(alphas, SPACE)
    expected = (Edge("max_pool_3x3", 1), Edge("skip_connect", 0), Edge("max_pool_3x3", 2), Edge("skip_connect", 0))
    assert genotype.normal == genotype.reduction == Cell(expected, (2, 3))


def test_cells_are_derived_from_their_own_table() -> None:
    alphas = both([[0, 1, 0]] * 5)
    alphas["reduction"] = alphas["reduction"][:, [0, 2, 1]]
    genotype = derive(alphas, SPACE)
    assert {edge.operation for edge in genotype.normal.edges} == {"skip_connect"}
    assert {edge.operation for edge in genotype.reduction.edges} == {"max_pool_3x3"}


def test_none_is_never_chosen() -> None:
    genotype = derive(both([[50, 0, 1]] * 5), SPACE)
    assert {edge.operation for edge in genotype.normal.edges} == {"max_pool_3x3"}


def test_none_takes_its_share_of_the_softmax() -> None:
    # The last edge has the largest alpha, but "none" leaves it a smaller share than the other two keep.
    alphas = both([[0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1.5, 0], [5, 2, 0]])
    assert [edge.predecessor for edge in derive(alphas, SPACE).normal.edges[2:]] == [1, 0]


def test_ties_go_to_the_smaller_index() -> None:
    genotype = derive(both([[0, 0, 0]] * 5), SPACE)
    assert genotype.normal.edges == tuple(Edge("skip_connect", source) for source in (0, 1, 0, 1))


def test_order_of_keys_plays_no_part() -> None:
    alphas = both([[0, 1, 0], [0, 0, 2], [0, 3, 0], [0, 0, 1], [0, 0, 4]])
    swapped = {name: alphas[name] for name in ("reduction", "normal")}
    assert derive(swapped, SPACE) == derive(alphas, SPACE)


def test_parameters_are_accepted_and_not_changed() -> None:
    alphas = {name: table.requires_grad_() for name, table in both([[0, 1, 0]] * 5).items()}
    before = {name: table.detach().clone() for name, table in alphas.items()}
    derive(alphas, SPACE)
    assert all(torch.equal(alphas[name], before[name]) for name in alphas)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_finite(bad: float) -> None:
    alphas = both([[0, 1, 0]] * 5)
    alphas["reduction"][3, 1] = bad
    with pytest.raises(DataError, match="reduction cell"):
        derive(alphas, SPACE)


def test_wrong_tables() -> None:
    with pytest.raises(ConfigError, match=r"\(4, 3\)"):
        derive(both([[0, 1, 0]] * 4), SPACE)
    with pytest.raises(ConfigError, match="normal"):
        derive({"normal": torch.zeros(5, 3)}, SPACE)
