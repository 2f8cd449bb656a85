"""Mixing weights by name, and their pictures: areas over the epochs, and heat maps; and the curves of a log."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from applications.nas.draw import draw_alphas, draw_log, draw_mixture, draw_weights
from applications.nas.draw.panels import epoch_rows, group_columns
from applications.nas.run_folder import Snapshot
from applications.nas.space.mixture import edge_names, in_order, mean_weights, named_weights, operations_of
from applications.nas.space.zoo import DARTS_V1, DARTS_V2
from mlo import DataError

NAMES = ["none", "skip_connect", "sep_conv_3x3"]
CHOICES = {"normal": [["none", "sep_conv_3x3"], ["dil_conv_5x5", "skip_connect"]]}
TABLE = {"normal": torch.tensor([[0.25, 0.75], [0.4, 0.6]], dtype=torch.float64)}
SMALL = named_weights(TABLE, CHOICES)


def test_entries_are_named() -> None:
    found = named_weights({"normal": torch.tensor([[0.5, 0.25, 0.25]], requires_grad=True)}, NAMES)
    assert found == {"normal": [{"none": 0.5, "skip_connect": 0.25, "sep_conv_3x3": 0.25}]}
    assert SMALL["normal"][1] == {"dil_conv_5x5": 0.4, "skip_connect": 0.6}


def test_an_operation_that_an_edge_has_lost_counts_as_nothing() -> None:
    operations = operations_of(SMALL)
    assert operations == ("none", "skip_connect", "sep_conv_3x3", "dil_conv_5x5"), "in the usual order"
    assert mean_weights(SMALL["normal"], operations) == [0.125, 0.3, 0.375, 0.2]  # halves of exact doubles
    assert in_order(["new", "sep_conv_7x7", "none", "new"]) == ("none", "sep_conv_7x7", "new")


@pytest.mark.parametrize(
    ("table", "names", "message"),
    [
        (torch.ones(2, 3), ["a", "b"], r"normal: a table \(2, 3\) for 2 edges with \[2\] operations"),
        (torch.ones(3), ["a", "b", "c"], r"normal: a table \(3,\)"),
        (torch.ones(1, 2), {"normal": [["a", "b"], ["a", "b"]]}, "for 2 edges"),
        (torch.ones(2, 2), {"normal": [["a", "b"], ["a"]]}, r"\[1, 2\] operations"),
        (torch.ones(1, 2), ["a", "a"], "each name once"),
        (torch.ones(1, 2), [], r"a table \(1, 2\)"),
    ],
)
def test_tables_that_do_not_fit_their_names(table: torch.Tensor, names: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        named_weights({"normal": table}, names)  # type: ignore[arg-type]


@pytest.mark.parametrize(("edges", "names"), [(2, ["0 to 2", "1 to 2"]), (3, ["0", "1", "2"])])
def test_edges_have_names(edges: int, names: list[str]) -> None:
    assert edge_names(edges) == names
    assert edge_names(14)[-1] == "4 to 5"


def test_edges_with_choices_of_their_own_are_drawn(tmp_path: Path) -> None:
    svg, _ = draw_alphas(TABLE, operations_of(SMALL), ["0 to 2", "1 to 2"], tmp_path / "a", choices=CHOICES)
    same, _ = draw_mixture(SMALL, tmp_path / "b")
    assert svg.read_bytes() == same.read_bytes()
    text = svg.read_text()
    assert [text.count(f"<!-- {mark} -->") for mark in (".25", ".75", ".40", ".60", "·")] == [1, 1, 1, 1, 4]
    assert all(f"<!-- {name} -->" in text for name in ("dil_conv_5x5", "skip_connect", "1 to 2"))


def test_heat_maps_that_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="operation 'dil_conv_5x5' has no column"):
        draw_alphas(TABLE, NAMES, ["0 to 2", "1 to 2"], tmp_path / "a", choices=CHOICES)
    with pytest.raises(DataError, match=r"mixing weights of \[1, 2\] edges"):
        draw_mixture({**SMALL, "reduction": SMALL["normal"][:1]}, tmp_path / "a")
    with pytest.raises(DataError, match="mixing weights of no edges"):
        draw_mixture({}, tmp_path / "a")


@pytest.mark.parametrize("epochs", [1, 2])
def test_areas_are_drawn(epochs: int, tmp_path: Path) -> None:
    history = [Snapshot(1, DARTS_V1, stage=number + 1, weights=SMALL) for number in range(epochs)]
    text = draw_weights(history, tmp_path / "w")[0].read_text()
    assert all(f"<!-- {label} -->" in text for label in ("normal cell", "mean weight on an edge", "dil_conv_5x5"))
    assert ("<!-- stage 2 -->" in text) is (epochs == 2)


def test_areas_need_the_weights_of_every_epoch(tmp_path: Path) -> None:
    for history in ([], [Snapshot(1, DARTS_V1, weights=SMALL), Snapshot(2, DARTS_V1)]):
        with pytest.raises(DataError, match="no mixing weights to draw"):
            draw_weights(history, tmp_path / "w")


# ---------------------------------------------------------------- the curves of a log


def test_columns_are_grouped() -> None:
    columns = ["step", "epoch", "stage", "lr", "loss/a", "mine", "loss/b", "hessian/a", "gap/a"]
    assert group_columns(columns) == {
        "loss": ["loss/a", "loss/b"],
        "largest eigenvalue of the Hessian": ["hessian/a"],
        "discretization gap": ["gap/a"],
        "learning rate": ["lr"],
        "mine": ["mine"],
    }


def test_skip_connections_stand_at_the_last_step_of_their_epoch() -> None:
    rows = [{"step": float(step), "epoch": 1.0 + step // 3, "stage": 1.0} for step in range(6)]
    history = [Snapshot(1, DARTS_V1), Snapshot(2, DARTS_V2), Snapshot(1, DARTS_V1, stage=2)]
    found = epoch_rows(rows, history)
    assert [row["step"] for row in found] == [2.0, 5.0], "no step of stage 2 is logged yet"
    assert found[0] == {"step": 2.0, "skips/normal cell": 3.0, "skips/reduction cell": 3.0}
    assert epoch_rows([{"step": 1.0}], history) == []


def test_a_log_is_drawn_with_its_skip_connections(tmp_path: Path) -> None:
    rows = [{"step": float(step), "epoch": 1.0, "loss/a": 10.0 ** -(step / 300), "_x": 1.0} for step in range(900)]
    rows += [{"step": 900.0, "loss/$b": float("nan")}]
    text = draw_log(rows, [Snapshot(1, DARTS_V1)], tmp_path / "c")[0].read_text()
    assert all(f"<!-- {label} -->" in text for label in ("skip connections", "loss", "normal cell"))
    assert "_x" in text
    assert "$b" in text, "no formula"
    assert len(text) < 300_000, "900 points are thinned out"


def test_names_in_any_letters_are_no_error(tmp_path: Path) -> None:
    draw_log([{"step": 1.0, "loss/\N{CJK UNIFIED IDEOGRAPH-732B}": 1.0, "loss/_hidden": 2.0}], [], tmp_path / "c")
    text = (tmp_path / "c.svg").read_text()
    assert "_hidden" in text
