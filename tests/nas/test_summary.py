"""Tables of errors: what they show of each number, and what they do not claim."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from applications.nas.console_table import console_table
from applications.nas.retrain import Training
from applications.nas.retrain.table import mean_and_spread
from applications.nas.space.zoo import ZOO
from applications.nas.summary import Contender, as_json, as_markdown, as_table, rows


def contender(name: str, gradients: int | None, **errors: list[float]) -> Contender:
    found = [
        Training(task, seed, error, 1000 + len(task), 0.5, 100)
        for task, values in errors.items()
        for seed, error in enumerate(values)
    ]
    return Contender(name, ZOO["DARTS_V2"], gradients, tuple(found))


PAIR = [contender("mine", 12_345, a=[1.0, 2.0, 3.0], bb=[4.0]), contender("theirs", None, bb=[], a=[0.0, 0.0])]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "-"),
        ([3.456], "3.46"),
        ([1.0, 3.0], "2.00 ± 1.41 (n=2)"),  # the standard deviation of a sample: divided by n - 1
        ([2.0, 2.0, 2.0], "2.00 ± 0.00 (n=3)"),
    ],
)
def test_mean_and_spread(values: list[float], text: str) -> None:
    assert mean_and_spread(values) == text


def test_rows() -> None:
    assert rows(PAIR) == [
        ["cell", "a: error %", "bb: error %", "a: parameters", "skips", "search gradients"],
        ["mine", "2.00 ± 1.00 (n=3)", "4.00", "1,001", "5", "12,345"],
        ["theirs", "0.00 ± 0.00 (n=2)", "-", "1,001", "5", "-"],
    ]


def test_skips_are_those_of_both_cells() -> None:
    cell = ZOO["DARTS_V2"]
    assert PAIR[0].skips == cell.count("skip_connect") == str(cell).count("skip_connect") == 5
    assert cell.count("max_pool_3x3") == 5
    assert cell.count("nothing") == 0


def test_markdown_is_one_table() -> None:
    lines = as_markdown(PAIR).splitlines()
    assert lines[1] == "| --- | --- | --- | --- | --- | --- |"
    assert {line.count("|") for line in lines} == {7}
    assert len(lines) == 4


def test_the_console_shows_every_number() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(as_table(PAIR))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(entry in shown for row in rows(PAIR) for entry in row)


def test_json_holds_everything() -> None:
    content = json.loads(json.dumps(as_json(PAIR)))
    assert content[0]["cell"] == "mine"
    assert content[0]["search_gradients"] == 12_345
    assert content[1]["search_gradients"] is None
    trainings = [Training(**one) for one in content[0]["trainings"]]
    assert tuple(trainings) == PAIR[0].trainings


def test_a_name_that_looks_like_markup_is_shown() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(as_table([contender("mine", 1, **{"[red]": [1.0]})]))
    console.print(console_table(["a"], [["[bold]"]]))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]: error %" in shown
    assert "[bold]" in shown


def test_a_name_of_a_column_breaks_between_words_only() -> None:
    lines = {}
    for width in (24, 36):
        console = Console(file=io.StringIO(), width=width)
        console.print(console_table(["cell", "CIFAR-100 params", "mult-adds"], [["DARTS_V2", "3.40 M", "1.20 M"]]))
        lines[width] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "CIFAR-100┃" in lines[36][1]
    assert "params┃ mult-adds┃" in lines[36][2]
    letters = "".join(character for line in lines[24] for character in line if character.isalnum())
    assert len(letters) == len("cell CIFAR100 params multadds DARTSV2 340M 120M".replace(" ", "")), "none is cut off"
