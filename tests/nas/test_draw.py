"""Figures: the files are there, say what they should, come out the same each time, and are legible."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from matplotlib.image import imread

from applications.nas.draw import cells, draw_alphas, draw_cell, draw_curves, draw_genotype, to_dot
from applications.nas.draw.cell_layout import lay_out
from applications.nas.space.genotype import Cell, Edge, Genotype
from applications.nas.space.zoo import DARTS_V2, ZOO
from mlo import DataError

TWO_NODES = Cell(
    (Edge("sep_conv_3x3", 0), Edge("skip_connect", 1), Edge("dil_conv_5x5", 0), Edge("max_pool_3x3", 2)), (2, 3)
)
PARALLEL = Cell((Edge("sep_conv_3x3", 0), Edge("avg_pool_3x3", 0), Edge("skip_connect", 1), Edge("none", 1)), (3,))
CELLS = {"two": TWO_NODES, "parallel": PARALLEL} | {
    f"{name} {kind}": getattr(genotype, kind) for name, genotype in ZOO.items() for kind in ("normal", "reduction")
}
ROWS = [{"step": float(step), "train": 1.0 / (1 + step), "valid": 2.0 / (1 + step)} for step in range(20)]


def assert_drawn(paths: tuple[Path, Path], *labels: str) -> None:
    svg, png = paths
    assert (svg.suffix, png.suffix) == (".svg", ".png")
    text = svg.read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    for label in labels:
        assert label in text
    pixels = imread(png)
    assert min(pixels.shape[:2]) > 200
    # Between a blank page and a blot.
    assert 0.005 < float((pixels[..., :3].min(axis=2) < 0.9).mean()) < 0.9


@pytest.mark.parametrize("cell", [TWO_NODES, PARALLEL, DARTS_V2.normal], ids=["two", "parallel", "four"])
def test_cell_is_drawn_with_all_its_operations(cell: Cell, tmp_path: Path) -> None:
    paths = draw_cell(cell, tmp_path / "deep" / "cell.v1", title="my cell")
    assert paths[0].name == "cell.v1.svg"
    assert_drawn(paths, "my cell", "concat", "c_{k-2}", "c_{k-1}", *(edge.operation for edge in cell.edges))


def test_genotype_is_drawn_with_both_cells(tmp_path: Path) -> None:
    edges = (*DARTS_V2.normal.edges, *DARTS_V2.reduction.edges)
    paths = draw_genotype(DARTS_V2, tmp_path / "genotype")
    assert_drawn(paths, "normal cell", "reduction cell", *(edge.operation for edge in edges))


def test_drawing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, again = (draw_genotype(Genotype(TWO_NODES, PARALLEL), tmp_path / name) for name in "ab")
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_labels_lie_on_their_edges_and_do_not_collide(cell: Cell) -> None:
    figure = cells._figure({"": lay_out(cell)})
    figure.canvas.draw()
    boxes = [
        (text.get_text(), text.get_window_extent().padded(0.5)) for text in figure.axes[0].texts if text.get_visible()
    ]
    page = figure.bbox
    for name, box in boxes:
        assert page.x0 <= box.x0 <= box.x1 <= page.x1, name
        assert page.y0 <= box.y0 <= box.y1 <= page.y1, name
    for (name, box), (other, another) in combinations(boxes, 2):
        assert not box.overlaps(another), f"{name} lies on {other}"


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_no_two_edges_lie_on_each_other(cell: Cell) -> None:
    arrows = lay_out(cell).arrows
    assert len({(arrow.source, arrow.target, arrow.bend) for arrow in arrows}) == len(cell.edges) + len(cell.concat)


def test_edges_between_the_same_two_nodes_are_both_bent() -> None:
    first, second, third, fourth = (arrow.bend for arrow in lay_out(PARALLEL).arrows[:4])
    assert 0.0 not in (first, second, third, fourth)
    assert first != second
    assert third != fourth


def test_dot_text_names_every_edge() -> None:
    lines = [line.strip() for line in to_dot(TWO_NODES).splitlines()]
    assert lines[0] == "digraph cell {"
    assert '0 -> 2 [label="sep_conv_3x3"];' in lines
    assert '2 -> 3 [label="max_pool_3x3"];' in lines
    assert "3 -> 4 [style=dashed];" in lines
    assert sum("->" in line for line in lines) == 6
    assert lines[-1] == "}"


@pytest.mark.parametrize("panels", [1, 5])
def test_curves_are_drawn_in_panels(panels: int, tmp_path: Path) -> None:
    series = {f"panel {number}": ["train", "valid"] for number in range(panels)}
    assert_drawn(draw_curves(ROWS, series, tmp_path / "curves"), *series, "train", "valid")


def test_rows_without_a_column_are_passed_over(tmp_path: Path) -> None:
    rows = [*ROWS, {"step": 20.0, "accuracy": 0.5}, {"step": 21.0, "train": float("nan")}]
    assert_drawn(draw_curves(rows, {"accuracy": ["accuracy"], "loss": ["train"]}, tmp_path / "curves"), "accuracy")


@pytest.mark.parametrize(
    ("rows", "series", "message"),
    [
        ([], {"loss": ["train"]}, "0 rows and 1 panels"),
        (ROWS, {}, "20 rows and 0 panels"),
        ([{"train": 1.0}], {"loss": ["train"]}, "row 0 has no 'step'"),
        (ROWS, {"loss": ["tain"]}, r"panel 'loss': no column \['tain'\]: choose from \['train', 'valid'\]"),
        (ROWS, {"loss": []}, "panel 'loss': no column given"),
    ],
)
def test_curves_of_nothing_are_refused(
    rows: list[dict[str, float]], series: dict[str, list[str]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        draw_curves(rows, series, tmp_path / "curves")


def test_probabilities_are_drawn(tmp_path: Path) -> None:
    table = torch.tensor([[1.0, 0.0], [0.25, 0.75]], requires_grad=True)
    paths = draw_alphas({"normal": table, "reduction": table}, ["none", "skip_connect"], ["0-2", "1-2"], tmp_path / "a")
    assert_drawn(paths, "normal", "reduction", "skip_connect", "1-2", "1.00", ".25")


def test_table_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="normal: a table of 3 edges, but 2 of their names"):
        draw_alphas({"normal": torch.ones(3, 2)}, ["a", "b"], ["x", "y"], tmp_path / "a")
    with pytest.raises(DataError, match="no mixing weights are given"):
        draw_alphas({}, ["a", "b"], ["x", "y"], tmp_path / "a")
