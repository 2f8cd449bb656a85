"""Reports as files: Markdown, LaTeX, CSV, the published rows, and `mlo-nas report`."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from rich.console import Console

from applications.nas.cli import main
from applications.nas.report.csv_file import COLUMNS, as_csv
from applications.nas.report.quoted import PUBLISHED, Quoted, read_quoted, same_data
from applications.nas.report.read import find_runs
from applications.nas.report.table import Table, make_tables
from applications.nas.report.writers import as_latex, as_markdown, cells, number, print_table, tex
from mlo import DataError
from tests.nas.made_runs import made_retraining, made_search


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")


QUOTED = [
    Quoted("CIFAR-10", "theirs", 2.5, 0.07, None, 3.4, None, 0.3, True, "A paper"),
    Quoted("CIFAR-10", "rumor", 1.0, None, None, None, None, None, False, "B & C"),
]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    folder = made_search(tmp_path / "runs" / "s", tasks=["cifar10"])
    made_retraining(folder / "r", {"cifar10": [3.0, 3.2]}, search=folder, multiply_adds=528_359_040)
    made_retraining(tmp_path / "runs" / "odd", {"cifar10": [30.0, 31.0]}, cell="o_d|d & 5%", multiply_adds=10**6)
    (found,) = make_tables(find_runs([tmp_path / "runs"]).retrained, QUOTED)
    return found


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("quoted", [[], QUOTED])
def test_a_console_shows_every_column(
    tmp_path: Path, quoted: list[Quoted], width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where all columns are filled, as for a classification, and the console is too narrow for them."""
    search = made_search(tmp_path / "s", tasks=["cifar10"])
    made_retraining(search / "r", {"cifar10": [13.0, 13.2]}, search=search, top5=10.8, multiply_adds=528_359_040)
    (found,) = make_tables(find_runs([tmp_path]).retrained, quoted)
    print_table(found, Console(width=width))
    shown = capsys.readouterr().out
    assert [
        word for word in ("13.10 ± 0.14", "10.80 ± 0.00", "3.30", "528.36", "0.10 CPU", "search") if word not in shown
    ] == []
    assert ("[1]" in shown) == bool(quoted)
    assert width < 80 or max(map(len, shown.splitlines())) <= width


def test_cells(table: Table) -> None:
    found = cells(table)
    assert found.header == [
        "method",
        "test error %",
        "over",
        "params (M)",
        "multiply-adds (M)",
        "skips",
        "search cost (days)",
        "source",
    ], "nothing told a top-5 error"
    assert found.measured[0] == [
        "IL-DARTS-2nd",
        "3.10 ± 0.14",
        "2 retrainings",
        "3.30",
        "528.36",
        "2.0",
        "0.10 CPU",
        "measured",
    ]
    assert found.quoted == [
        ["theirs †", "2.50 ± 0.07", "", "3.4", "", "", "0.3 GPU", "[1]"],
        ["rumor †", "1.00", "", "", "", "", "", "[2] (unchecked)"],
    ]


def test_markdown(table: Table) -> None:
    lines = as_markdown([table], ["x: why"]).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows[2].startswith("| **IL-DARTS-2nd** | **3.10 ± 0.14** | 2 retrainings | 3.30 |")
    assert rows[3].startswith(r"| o\_d\|d & 5% | 30.50 ± 0.71 |"), "markup in a name is no markup"
    assert rows[4].startswith("| *quoted, not measured here* |")
    assert rows[5].startswith("| theirs † | 2.50 ± 0.07 | - |")
    assert r"- \[2\] B & C" in lines
    assert {line.replace(r"\|", "").count("|") for line in rows} == {9}
    assert lines[-1] == "- x: why"


def test_latex(table: Table) -> None:
    text = as_latex([table], ["x: why"])
    assert r"\textbf{IL-DARTS-2nd} & \textbf{3.10 $\pm$ 0.14} & 2 retrainings" in text
    assert r"o\_d|d \& 5\% & 30.50 $\pm$ 0.71" in text
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    assert body.count(r"\midrule") == 2, "one below the header, one above what is quoted"
    assert r"\multicolumn{8}{l}{\emph{quoted, not measured here}}" in body
    assert r"theirs \textsuperscript{\textdagger} & 2.50 $\pm$ 0.07 & - & 3.4" in body
    assert all(
        line.count(" & ") == 7 for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line
    )
    assert text.count("{") == text.count("}")
    assert "% left out: x: why" in text


def test_latex_of_every_special_letter() -> None:
    assert tex(r"\{}&%$#_~^") == r"\textbackslash{}\{\}\&\%\$\#\_\textasciitilde{}\textasciicircum{}"


def test_csv(table: Table) -> None:
    rows = list(csv.DictReader(as_csv([table]).splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["origin"], row["best"]) for row in rows] == [
        ("measured", "yes"),
        ("measured", "no"),
        ("quoted", ""),
        ("quoted", ""),
    ]
    assert float(rows[0]["mean"]) == pytest.approx(3.1, abs=1e-12)
    assert float(rows[0]["search_days"]) == pytest.approx(0.1)
    assert [row["skips"] for row in rows] == ["2.0", "", "", ""], "what has no cell, and what was published, tell none"
    assert (rows[2]["parameters"], rows[2]["search_days"], rows[2]["checked"]) == ("3400000", "0.3", "yes")
    assert (rows[3]["std"], rows[3]["parameters"], rows[3]["checked"]) == ("", "", "no")


@pytest.mark.parametrize(("value", "text"), [(0, "0.00"), (3.349342, "3.35"), (0.000632, "0.00063"), (0.1, "0.10")])
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


# ---------------------------------------------------------------- published figures


def test_the_figures_that_ship() -> None:
    rows = read_quoted(PUBLISHED)
    found = {(row.table, row.method): row for row in rows}
    assert len(found) == len(rows), "each once"
    assert {row.table for row in rows} == {"CIFAR-10", "CIFAR-100", "ImageNet"}
    second = found["CIFAR-10", "DARTS-2nd"]
    assert (second.error, second.std, second.params_M, second.cost_gpu_days) == (2.76, 0.09, 3.3, 4.0)
    mine = found["CIFAR-100", "IL-DARTS2nd"]
    assert (mine.error, mine.std, mine.params_M, mine.cost_gpu_days) == (17.12, 0.08, 2.6, 3.2)
    assert all(row.top5 is not None and row.multiply_adds_M is not None for row in rows if row.table == "ImageNet")
    assert all("arXiv" in row.source for row in rows), "traceable"


def test_names_of_data_sets() -> None:
    assert same_data("CIFAR-10", "cifar10")
    assert same_data("ImageNet", "imagenet")
    assert not same_data("CIFAR-10", "cifar100")
    assert same_data("CIFAR-10", "cifar10-mini")
    assert not same_data("CIFAR-10", "cifar100-mini")
    assert not same_data("CIFAR-10", "mini")
    assert not same_data("ge", "gemini")


def test_a_part_of_a_data_set_says_that_the_quoted_rows_had_all_of_it(tmp_path: Path) -> None:
    made_retraining(tmp_path / "a", {"cifar10-mini": [50.0], "cifar10": [3.0]})
    whole, part = make_tables(find_runs([tmp_path]).retrained, QUOTED)
    told = "cifar10-mini is a part of CIFAR-10; the quoted rows were trained and tested on all of it."
    assert [told in table.notes for table in (whole, part)] == [table.task == "cifar10-mini" for table in (whole, part)]
    assert len(part.quoted) == len(whole.quoted) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("table,method,error,source\nx,m,abc,s\n", "row 1: 'error' is 'abc', no number"),
        ("table,method,error,source\nx,m,-1,s\n", "finite number that is not negative"),
        ("table,method,error,source\nx,m,nan,s\n", "finite number"),
        ("table,method,error\nx,m,1\n", "row 1: 'source' is empty"),
        ("table,method,error,source,speed\nx,m,1,s,2\n", "no column is called speed"),
        ("table,method,error,source\nx,m,1,s,2\n", "no column is called None"),
        ("table,method,source,checked\nx,m,s,maybe\n", "'checked' is 'maybe'"),
        ('table,method,source\nx,"m,s\n', "cannot be read as CSV"),
    ],
)
def test_broken_figures(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        read_quoted(tmp_path / "mine.csv")


# ---------------------------------------------------------------- the command


def test_the_command(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.csv").write_text("table,method,error,source\nCIFAR-10,own,2.22,my thesis\n")
    made_search(Path("runs/lonely"))
    assert main(["report", "runs", "--out", "tables", "--quoted", "mine.csv"]) == 0
    shown = capsys.readouterr().out
    for text in ("3.10 ± 0.14", "DARTS-2nd †", "own †", "] my thesis", "quoted, not measured here"):
        assert text in shown
    assert "left out: runs/lonely: the cell of this search was not retrained" in shown
    assert {path.name for path in Path("tables").iterdir()} == {
        "report.md",
        "report.csv",
        "report.tex",
        "comparisons.csv",
        "verdicts.csv",
    }
    assert "runs/lonely" in Path("tables/report.md").read_text().replace("\\", "")
    assert main(["report", "runs", "--out", "tables", "--no-published"]) == 0, "written anew"
    assert "†" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "no run is named"),
        ("nowhere", "nowhere is no folder"),
        ("empty", "there is no finished retraining to report; left out: empty: there is no run in it"),
        ("empty --quoted nope.csv", "nope.csv cannot be read as CSV"),
        ("empty --out file", "file is no folder: name another with --out"),
    ],
)
def test_refusals(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    Path("file").touch()
    assert main(["report", *words.split()]) == 2
    found = capsys.readouterr()
    assert told in found.err + found.out
    assert "Traceback" not in found.err
    assert not Path("report").exists()
