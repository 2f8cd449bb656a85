"""How a cell evolved: which epochs are shown, nodes that stay in place, frames that keep size and colors."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import hypot
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from applications.nas.draw import animate_evolution, draw_evolution
from applications.nas.draw.canvas import new_figure
from applications.nas.draw.colors import LINE_COLORS, area_color, line_color
from applications.nas.draw.evolution import paint_kind
from applications.nas.draw.frames import (
    Span,
    cells_of,
    choose,
    name_span,
    new_edges,
    spans,
    steady_layout,
    steady_positions,
)
from applications.nas.run_folder import Snapshot
from applications.nas.space.genotype import Cell, Edge, Genotype
from applications.nas.space.operations import OPERATIONS
from applications.nas.space.zoo import DARTS_V1, DARTS_V2, ZOO
from mlo import DataError

A = Cell((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1), Edge("dil_conv_5x5", 0), Edge("max_pool_3x3", 2)), (2, 3))
B = Cell((Edge("sep_conv_3x3", 0), Edge("avg_pool_3x3", 1), Edge("dil_conv_5x5", 0), Edge("max_pool_3x3", 2)), (2, 3))
TURNED = replace(A, edges=(A.edges[1], A.edges[0], *A.edges[2:]))
HISTORY = [Snapshot(epoch, Genotype(normal=cell, reduction=B)) for epoch, cell in enumerate((A, TURNED, B, B, A), 1)]


def test_spans_ignore_the_order_of_a_nodes_edges() -> None:
    found = spans(HISTORY)
    assert found == [Span(0, 1), Span(2, 3), Span(4, 4)]
    assert [name_span(HISTORY, span) for span in found] == ["epochs 1 to 2", "epochs 3 to 4", "epoch 5"]


def test_a_stage_begins_a_span_of_its_own() -> None:
    staged = [replace(one, stage=1 + index // 4, epoch=1 + index % 4) for index, one in enumerate([HISTORY[3]] * 6)]
    assert [name_span(staged, span) for span in spans(staged)] == ["stage 1, epochs 1 to 4", "stage 2, epochs 1 to 2"]


@pytest.mark.parametrize("count", range(1, 12))
@pytest.mark.parametrize("most", [2, 3, 4, 7])
def test_choice_keeps_first_and_last_in_order(count: int, most: int) -> None:
    found = [Span(3 * index, 3 * index + 2) for index in range(count)]
    chosen = choose(found, most)
    assert len(chosen) == min(count, most)
    assert (chosen[0], chosen[-1]) == (found[0], found[-1])
    assert chosen == sorted(set(chosen), key=lambda span: span.first)


def test_choice_is_even_in_time() -> None:
    found = [Span(time, time) for time in (0, 1, 2, 3, 20, 40, 59, 60)]
    assert [span.first for span in choose(found, 4)] == [0, 20, 40, 60]


def test_new_edges_are_those_that_the_node_did_not_have() -> None:
    assert new_edges(A, None) == set()
    assert new_edges(B, A) == {1}
    moved = replace(A, edges=(*A.edges[:2], Edge("sep_conv_3x3", 0), A.edges[3]))
    doubled = replace(A, edges=(A.edges[0], A.edges[0], *A.edges[2:]))
    assert new_edges(doubled, A) == {1}
    assert new_edges(moved, A) == {2}, "the same edge at another node is new there"


@pytest.mark.parametrize("nodes", range(1, 8))
def test_no_straight_edge_passes_through_another_node(nodes: int) -> None:
    places = steady_positions(nodes)
    assert sorted(places) == list(range(nodes + 3))
    for start, end in combinations(places, 2):
        if (start, end) == (0, 1):
            continue
        (x, y), (u, v) = places[start], places[end]
        for other in set(places) - {start, end, nodes + 2}:  # edges to the output are faint, and may bend
            p, q = places[other]
            share = ((p - x) * (u - x) + (q - y) * (v - y)) / hypot(u - x, v - y) ** 2
            if 0 < share < 1:
                off = hypot(x + share * (u - x) - p, y + share * (v - y) - q)
                assert off > 0.2, (start, end, other)


def test_nodes_stay_where_they_are_in_all_cells() -> None:
    kinds = [cell for genotype in ZOO.values() for cell in cells_of(Snapshot(1, genotype)).values()]
    assert {cell.nodes for cell in kinds} == {4, 5}
    for cell in kinds:
        assert steady_layout(cell).positions == steady_positions(cell.nodes)


@pytest.mark.parametrize("name", ZOO)
def test_labels_do_not_collide(name: str) -> None:
    snapshot = Snapshot(1, ZOO[name])
    figure = new_figure(9, 9)
    for index, (kind, cell) in enumerate(cells_of(snapshot).items()):
        box = steady_layout(cell).extent
        paint_kind(figure, (0.0, 0.5 * index, 1.0, 0.44), kind, box, snapshot, None)
    figure.canvas.draw()
    for axes in figure.axes:
        # Only what lies on another hides something; that boxes touch does not.
        boxes = [(text.get_text(), text.get_window_extent().padded(-1.5)) for text in axes.texts]
        hidden = [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)]
        assert not hidden


def test_the_strip_shows_the_chosen_epochs(tmp_path: Path) -> None:
    svg, png = draw_evolution(HISTORY, tmp_path / "evolution")
    text = svg.read_text()
    counts = ("normal cell, 1 skip connection ", "reduction cell, 0 skip connections")
    for label in ("epochs 1 to 2", "epoch 5", "filled: new since", *counts):
        assert label in text, label
    assert png.stat().st_size > 10_000


def test_the_animation_has_a_frame_for_each_epoch(tmp_path: Path) -> None:
    path = animate_evolution(HISTORY, tmp_path / "evolution.gif")
    with Image.open(path) as image:
        assert image.n_frames == len(HISTORY)
        frames = []
        for index in range(image.n_frames):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")).astype(int))
            assert image.info["duration"] == (2500 if index == len(HISTORY) - 1 else 350)
        assert image.info["loop"] == 0
    assert {frame.shape for frame in frames} == {frames[0].shape}
    assert all((frame == 255).all(axis=2).mean() > 0.5 for frame in frames), "the paper is white"
    # The one skip connection keeps its color in the frames that have it, and only in those.
    pink = np.array([round(255 * part) for part in to_rgb(line_color("skip_connect"))])
    assert [bool((abs(frame - pink).max(axis=2) < 3).any()) for frame in frames] == [True, True, False, False, True]


def test_a_history_without_an_epoch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no epoch to draw"):
        draw_evolution([], tmp_path / "x")
    with pytest.raises(DataError, match="no epoch to draw"):
        animate_evolution([], tmp_path / "x.gif")
    assert list(tmp_path.iterdir()) == []


def test_a_search_of_the_published_cells_is_drawn(tmp_path: Path) -> None:
    animate_evolution([Snapshot(1, DARTS_V1), Snapshot(2, DARTS_V2)], tmp_path / "x.gif")
    assert (tmp_path / "x.gif").stat().st_size > 5_000


def test_every_operation_has_a_color() -> None:
    assert {line_color(name) for name in ("", *OPERATIONS)} <= set(LINE_COLORS)
    areas = [area_color(name) for name in OPERATIONS]
    assert len(set(areas)) == len(areas), "no two operations share an area's color"
    assert area_color("of a method to come", 2) != area_color("and another", 3)
