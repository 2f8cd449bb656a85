"""Figures of sweeps: the axis that the values ask for, a line each, and error bars as long as the spread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from applications.nas.presets import SEARCH
from applications.nas.report.spread import Spread
from applications.nas.settings import CifarData, SearchSettings
from applications.nas.sweep import figures
from applications.nas.sweep.figures import draw_axis
from applications.nas.sweep.line import Line
from applications.nas.sweep.plan import Axis, SweepSettings, points

COLUMNS = ["digits: test error %", "depth: test RMSE"]


def lines_of(search: SearchSettings, axes: Sequence[Axis]) -> list[Line]:
    """Results whose mean is the number of the line, with a spread of a tenth of it; the first has none."""
    return [
        Line(point.words, point, {name: Spread(float(n), n / 10 if n else None, 2, "searches") for name in COLUMNS})
        for n, point in enumerate(points(SweepSettings(search, tuple(axes))))
    ]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures themselves, in the place of files."""
    found: list[Figure] = []

    def keep(figure: Figure, stem: Path) -> tuple[Path, Path]:
        found.append(figure)
        figure.draw_without_rendering()  # lays it out, and warns of what does not fit
        return stem, stem

    monkeypatch.setattr(figures, "save", keep)
    return found


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (("1", "2", "50"), "linear"),
        (("1", "10", "100"), "log"),
        (("0", "0.1", "10"), "symlog"),
        (("0", "0.5"), "linear"),
        (("5",), "linear"),
    ],
)
def test_the_axis_is_logarithmic_over_two_decades(values: tuple[str, ...], scale: str, drawn: list[Figure]) -> None:
    axis = Axis("formulation.weight", values)
    draw_axis(axis, [axis], lines_of(SEARCH["digits"][1], [axis]), COLUMNS, Path("x"))
    for panel in drawn[0].axes:
        assert panel.get_xscale() == scale
        labels = [label.get_text().split("\n") for label in panel.get_xticklabels()]
        assert [float(label[0]) for label in labels] == [float(value) for value in values]
        assert [label[1] for label in labels] == [f"c = {0.05 * float(value):.3g}" for value in values], "2 lr lambda"


def test_means_and_error_bars(drawn: list[Figure]) -> None:
    axis = Axis("formulation.weight", ("100", "1", "10"))
    draw_axis(axis, [axis], lines_of(SEARCH["digits"][1], [axis]), COLUMNS, Path("x"))
    assert [panel.get_title(loc="left") for panel in drawn[0].axes] == ["digits", "depth"]
    assert [panel.get_ylabel() for panel in drawn[0].axes] == ["test error %", "test RMSE"]
    for panel in drawn[0].axes:
        (container,) = panel.containers
        line, _, (bars,) = container.lines
        assert line.get_xydata().tolist() == [[1, 1], [10, 2], [100, 0]], "in the order of the values"
        heights = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
        assert heights == pytest.approx([0.2, 0.4, 0.0]), "from mean - deviation to mean + deviation"


def test_values_that_are_no_numbers_stand_side_by_side(drawn: list[Figure]) -> None:
    order, rounds = Axis("data.classes", ("100,10", "10,100")), Axis("formulation.rounds", ("1", "2"))
    search = SearchSettings(data=CifarData())
    draw_axis(order, [order, rounds], lines_of(search, [order, rounds]), COLUMNS[:1], Path("x"))
    (panel,) = drawn[0].axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["100,10", "10,100"]
    places = [container.lines[0].get_xdata().tolist() for container in panel.containers]
    assert places[0] != places[1], "or one would hide the other"
    assert [[round(place) for place in one] for one in places] == [[0, 1], [0, 1]]
    assert all(container.lines[0].get_linestyle() == "None" for container in panel.containers)
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["rounds 1", "rounds 2"]


def test_a_point_that_is_missing_leaves_a_gap(drawn: list[Figure]) -> None:
    axis = Axis("formulation.weight", ("1", "10"))
    first, second = lines_of(SEARCH["digits"][1], [axis])
    draw_axis(axis, [axis], [Line(first.words, first.point, {}), second], COLUMNS[:1], Path("x"))
    assert drawn[0].axes[0].containers[0].lines[0].get_xydata().tolist() == [[10, 1]]


def test_files_are_written(tmp_path: Path) -> None:
    axis = Axis("formulation.weight", ("1", "10"))
    paths = draw_axis(axis, [axis], lines_of(SEARCH["digits"][1], [axis]), COLUMNS, tmp_path / "by-formulation.weight")
    assert [path.name for path in paths] == ["by-formulation.weight.svg", "by-formulation.weight.png"]
    assert all(path.stat().st_size > 1000 for path in paths)


def test_many_strengths_are_named_alone(drawn: list[Figure]) -> None:
    """Their c and rho would lie over each other, and the page lists them."""
    axis = Axis("formulation.weight", ("0", "1", "10", "20", "100", "1000"))
    draw_axis(axis, [axis], lines_of(SEARCH["digits"][1], [axis]), COLUMNS, Path("x"))
    labels = [label.get_text() for label in drawn[0].axes[0].get_xticklabels()]
    assert labels == list(axis.values)
