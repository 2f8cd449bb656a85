"""Signs of collapse: what is one, when it begins, and when it ends."""

from __future__ import annotations

import logging

import pytest

from applications.nas.settings import WatchSettings
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Cell, Edge
from applications.nas.space.zoo import ZOO
from applications.nas.watch import Alarms, signs_in_cell
from mlo import ConfigError

SPACE = CellSpace()


def cell(*names: str) -> Cell:
    """A cell with these operations, two a node."""
    edges = tuple(Edge(name, index % 2) for index, name in enumerate(names))
    return Cell(edges, tuple(range(2, len(names) // 2 + 2)))


def mixed(skips: int, pools: int = 0) -> Cell:
    rest = 8 - skips - pools
    return cell(*["skip_connect"] * skips, *["max_pool_3x3"] * pools, *["sep_conv_3x3"] * rest)


@pytest.mark.parametrize("name", [name for name, found in ZOO.items() if found.normal.nodes == 4])
def test_no_published_cell_of_four_nodes_has_collapsed(name: str) -> None:
    assert signs_in_cell(ZOO[name].normal, SPACE) == {}


@pytest.mark.parametrize(
    ("skips", "pools", "least", "signs"),
    [
        (3, 0, None, set()),
        (4, 0, None, {"skips"}),
        (8, 0, None, {"skips", "no convolution"}),
        (3, 5, None, {"no convolution"}),
        (0, 8, None, {"no convolution"}),
        (0, 7, None, set()),
        (2, 0, 2, {"skips"}),
        (1, 0, 2, set()),
        (5, 0, 6, set()),
    ],
)
def test_signs(skips: int, pools: int, least: int | None, signs: set[str]) -> None:
    assert set(signs_in_cell(mixed(skips, pools), SPACE, least)) == signs


def test_half_of_the_edges_of_other_cells() -> None:
    small = CellSpace(nodes=1)
    assert "skips" in signs_in_cell(cell("skip_connect", "sep_conv_3x3"), small)
    assert (
        "1 of the 2 edges of the normal cell are skip"
        in signs_in_cell(cell("skip_connect", "sep_conv_3x3"), small)["skips"]
    )
    assert signs_in_cell(cell("max_pool_3x3", "sep_conv_3x3"), small) == {}


def test_a_space_that_offers_nothing_else_is_no_sign() -> None:
    skips = cell("skip_connect", "skip_connect")
    assert signs_in_cell(skips, CellSpace(1, ("none", "skip_connect"))) == {}
    assert set(signs_in_cell(skips, CellSpace(1, ("skip_connect", "avg_pool_3x3")))) == {"skips"}
    narrowed = CellSpace(1).narrow({name: (("skip_connect",),) * 2 for name in ("normal", "reduction")})
    assert signs_in_cell(skips, narrowed) == {}


def test_an_alarm_is_told_once_and_its_end_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms(WatchSettings())
    with caplog.at_level(logging.WARNING, "mlo.nas"):
        for epoch, skips in enumerate([0, 4, 5, 3, 3, 6], start=1):
            alarms.look(1, epoch, mixed(skips), SPACE, None)
    first, second = alarms.all
    assert (first.stage, first.epoch, first.sign, first.ended) == (1, 2, "skips", 4)
    assert (second.epoch, second.ended) == (6, None)
    assert first.text.startswith("stage 1, epoch 2: 4 of the 8 edges of the normal cell are skip connections")
    assert first.told.endswith("; gone in epoch 4")
    assert second.told.endswith("; it stayed so")
    assert alarms.standing == (second,)
    assert [record.message for record in caplog.records] == [first.text, second.text]


def test_a_stage_begins_anew() -> None:
    alarms = Alarms(WatchSettings(skips=1))
    for epoch in (1, 2):
        alarms.look(1, epoch, mixed(1), SPACE, 1.0)
    alarms.look(2, 1, mixed(1), SPACE, 50.0)
    alarms.look(2, 2, mixed(0), SPACE, 50.0)
    assert [(one.stage, one.epoch, one.ended) for one in alarms.all] == [(1, 1, None), (2, 1, 2)]
    assert alarms.standing == ()


def test_the_eigenvalue_of_one_stage() -> None:
    alarms = Alarms(WatchSettings())
    values = [1.0] * 5 + [None, *[2.0] * 4]  # an epoch in which it was not measured does not count
    for epoch, value in enumerate(values, start=1):
        alarms.look(1, epoch, mixed(0), SPACE, value)
    assert [(one.sign, one.epoch) for one in alarms.all] == [("eigenvalue", 10)]
    assert "grown to 2" in alarms.all[0].text
    for epoch in range(1, 9):
        alarms.look(2, epoch, mixed(0), SPACE, float(epoch))
    assert len(alarms.all) == 1, "eight values of the new stage are too few"


@pytest.mark.parametrize("wrong", [{"skips": 0}, {"skips": -1}, {"eigenvalue": -1}])
def test_settings_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=rf"watch: {next(iter(wrong))} must"):
        WatchSettings(**wrong)  # type: ignore[arg-type]
