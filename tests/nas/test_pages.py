"""A run explains itself: pages that need nothing but their folder, and show names as they are."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch

from applications.nas.cli import main
from applications.nas.draw import GraphSketch, Stage, write_sketch
from applications.nas.presets import SEARCH
from applications.nas.run_folder import GENOTYPES, History, RunLog, write_config, write_json, write_text
from applications.nas.run_folder.index import write_index, write_readme
from applications.nas.run_folder.page import Code, Picture, Section, Table, Text, fact_table
from applications.nas.search.pages import draw_search, explain_search
from applications.nas.search.words import describe_cost, describe_formulation, show_seconds, strength, strength_label
from applications.nas.settings import Interleaving, MultiTask, SearchSettings, SingleTask
from applications.nas.settings_table import settings_table
from applications.nas.space.genotype import random_genotype
from applications.nas.space.mixture import named_weights
from mlo import DataError

NASTY = "<script>alert('x')</script> & \"dogs\"|cats"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and gathers links and what stands in the page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(file.read_text())
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_everything_given_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "a b#%?.svg").write_text("<svg/>")
    blocks = [
        Text(NASTY),
        Code(NASTY),
        Table((NASTY,), [(NASTY,)]),
        Picture("a b#%?.svg", NASTY),
        Picture(NASTY, NASTY),
    ]
    write_index(
        tmp_path,
        NASTY,
        summary=[NASTY],
        facts={NASTY: NASTY},
        sections=[Section(NASTY, blocks)],
        files={"a b#%?.svg": NASTY, "gone.txt": "not there"},
        warnings=[NASTY],
    )
    page = Page(tmp_path / "index.html")
    assert "script" not in page.tags
    assert page.text.count(NASTY) == 15  # the title twice, the missing picture twice, all else once
    assert {unquote(link) for link in page.links} == {"a b#%?.svg"}
    assert "gone.txt" not in page.text


def test_a_page_needs_no_network_and_no_script(tmp_path: Path) -> None:
    text = write_index(tmp_path, "t", summary=[], facts={}, sections=[], files={}).read_text()
    assert not re.search(r"https?:|//|<script|<link|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert "color-scheme: light dark" in text


def test_the_same_as_markdown(tmp_path: Path) -> None:
    blocks = [Text("some text"), Code("a\nb"), fact_table({"a|b": "1"}), Table(("x", "y"), [("1", "2")], numbers=True)]
    file = write_readme(tmp_path, "Title", [*blocks, Picture("a b.svg", "it")], {"README.md": "this", "x.csv": "gone"})
    assert file.read_text() == (
        "# Title\n\nsome text\n\n```\na\nb\n```\n\n|  |  |\n| --- | --- |\n| a\\|b | 1 |\n\n| x | y |\n| --- | ---: |\n"
        "| 1 | 2 |\n\n![it](a%20b.svg)\n\n| file | what it is |\n| --- | --- |\n"
    )


def test_a_page_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.html cannot be written"):
        write_index(tmp_path / "gone", "t", summary=[], facts={}, sections=[], files={})


# ---------------------------------------------------------------- settings and words


def test_settings_are_told_with_their_meaning() -> None:
    rows = {name: (value, meaning) for name, value, meaning in settings_table(SearchSettings()).rows}
    assert rows["formulation"][0] == "Interleaving"
    assert rows["formulation.weight"][0] == "100.0"
    assert rows["formulation.weight"][1].startswith("lambda")
    assert rows["formulation.allow-unstable"][0] == "no"
    assert rows["epochs"] == (
        "50",
        "Passes over the first task's training part; P-DARTS makes as many in each stage.",
    )
    single = {name: value for name, value, _ in settings_table(SearchSettings(formulation=SingleTask())).rows}
    assert single["formulation.task"] == "left out"


@pytest.mark.parametrize(("form", "rho"), [("implicit", 5 / 6), ("explicit", 5.0)])
def test_strength_is_that_of_the_engine(form: str, rho: float) -> None:
    settings = Interleaving(weight=100.0, form=form)  # type: ignore[arg-type]
    # c = 2 * 0.025 * 100; implicit: W' = (W_half + c W_prev) / (1 + c), explicit: W' = W_half - c (W - W_prev)
    assert strength(settings, 0.025) == pytest.approx((5.0, rho), rel=1e-15)


def test_formulations_in_words() -> None:
    settings = SEARCH["darts-2nd-paper"][1]
    text = describe_formulation(settings, ["CIFAR-100", "CIFAR-10"])
    assert text == (
        "Interleaving of 2 tasks (CIFAR-100, CIFAR-10) over 2 rounds: lambda = 100, so c = 2 lr lambda = 5 and rho = "
        "0.833 at the start, falling with the learning rate towards c = 0.2 and rho = 0.167; implicit proximal step; "
        "the first stage is held near nothing."
    )
    handed = replace(settings, formulation=Interleaving(start="previous", updates=3))
    assert describe_formulation(handed, ["a", "b"]).endswith(
        "held near nothing; each stage begins at the encoder that the one before has just trained; "
        "3 updates of a stage on each batch."
    )
    assert strength_label(settings.formulation, 0.025) == "c = 5, \N{GREEK SMALL LETTER RHO} = 0.833"
    assert strength_label(MultiTask(), 0.025) == ""
    assert describe_formulation(replace(settings, formulation=SingleTask()), ["a"]) == "Single task: a."
    assert "a, b" in describe_formulation(replace(settings, formulation=MultiTask()), ["a", "b"])


@pytest.mark.parametrize(
    ("results", "told"),
    [
        (
            {"steps": 3, "gradients": 42, "seconds": 86400.0, "device": "cpu", "devices": 1},
            "24 h 0 min on cpu, that is 1 CPU",
        ),
        (
            {"seconds": 43200.0, "device": "NVIDIA H100", "devices": 4},
            "12 h 0 min on 4 x NVIDIA H100, that is 2 GPU days.",
        ),
        ({"steps": 3}, "The search has finished: 3 steps."),
        ({}, "The search has finished."),
    ],
)
def test_cost_in_words(results: dict[str, object], told: str) -> None:
    assert told in describe_cost(results)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0 s"), (59.4, "59.4 s"), (59.7, "1 min 0 s"), (7260, "2 h 1 min")]
)
def test_times_are_shown(seconds: float, shown: str) -> None:
    assert show_seconds(seconds) == shown


# ---------------------------------------------------------------- a search


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a search of two epochs, as one finds it just before its pictures and pages are made."""
    settings = SEARCH["digits"][1]
    space, generator = settings.supernet.space, torch.Generator().manual_seed(0)
    write_config(tmp_path, settings)
    with RunLog(tmp_path, ["step", "epoch"]) as log:
        for step in (1, 2):
            log.write({"step": step, "epoch": step, "loss/digits@1": 1.0 / step})
    history = History(tmp_path)
    for epoch in (1, 2):
        tables = {
            kind: torch.rand(space.edges, len(space.primitives), generator=generator)
            for kind in ("normal", "reduction")
        }
        weights = named_weights({kind: table.softmax(1) for kind, table in tables.items()}, space.primitives)
        history.add(epoch, random_genotype(space, generator), alphas=tables, weights=weights)
    write_sketch(tmp_path, GraphSketch(Stage("architecture", "outermost", ("digits@1",)), (Stage("digits@1"),)))
    write_text(tmp_path / "genotype.json", history.snapshots[-1].genotype.to_json())
    results = {"method": "DARTS-2nd", "tasks": ["digits", "loops"], "steps": 2, "seconds": 3.0, "device": "cpu"}
    write_json(tmp_path / "results.json", results)
    return tmp_path


def test_a_search_explains_itself(folder: Path) -> None:
    drawn, notes = draw_search(folder)
    assert notes == []
    names = ("cell", "evolution", "weights", "alphas", "curves", "graph")
    assert {path.name for path in drawn} == {f"{n}.{s}" for n in names for s in ("svg", "png")} | {"evolution.gif"}
    explain_search(folder, warnings=[NASTY])
    page = Page(folder / "index.html")
    assert [link for link in page.links if not (folder / unquote(link)).exists()] == []
    shown = {path.name for path in drawn if path.suffix != ".png"}
    assert shown <= set(page.links)
    words = ("by DARTS-2nd", "lambda = 20,", "lr lambda = 1 and", "rho = 0.5", "mlo-nas search --config")
    for told in (*words, f"Warning: {NASTY}"):
        assert told in page.text, told
    readme = (folder / "README.md").read_text()
    listed = set(re.findall(r"^\| ([\w.]+/?) \|", readme, flags=re.MULTILINE)) - {"file"}
    there = {path.name + "/" * path.is_dir() for path in folder.iterdir() if path.suffix != ".png"}
    assert listed == there - {"README.md"}, "every file is listed, and no other"
    assert "rho = 0.5" in readme


def test_a_search_that_has_not_finished(folder: Path) -> None:
    for name in ("genotype.json", "results.json", "graph.json"):
        (folder / name).unlink()
    drawn, notes = draw_search(folder, lambda name: folder / "pictures" / name)
    assert folder / "pictures/cell.svg" in drawn
    assert len(notes) == 2
    assert notes[0].startswith("the problem graph is not drawn: ")
    assert notes[1] == "the search has not finished: the cell is its last epoch's"
    explain_search(folder, ["digits", "loops"])
    assert "The search has not finished." in Page(folder / "index.html").text


def test_damaged_files_cost_their_pictures_only(folder: Path) -> None:
    (folder / GENOTYPES).write_text("[{")
    (folder / "metrics.csv").write_text("step,lr\n1\n")
    drawn, notes = draw_search(folder)
    assert {path.name for path in drawn} == {"cell.svg", "cell.png", "graph.svg", "graph.png"}
    assert [note.partition(":")[0] for note in notes] == ["how the cell evolved is not drawn", "curves are not drawn"]
    with pytest.raises(DataError, match=rf"{GENOTYPES} is not JSON"):
        explain_search(folder)


def test_the_command_draws_all_of_a_search(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "graph.json").unlink()
    assert main(["draw", str(folder), "--out", str(folder / "p" / "x.png")]) == 0
    *pictures, note = capsys.readouterr().out.splitlines()
    names = ["x", *(f"x-{name}" for name in ("evolution", "weights", "alphas", "curves"))]
    found = {f"{name}{suffix}" for name in names for suffix in (".svg", ".png")} | {"x-evolution.gif"}
    assert {Path(line).name for line in pictures} == {path.name for path in (folder / "p").iterdir()} == found
    assert note.startswith("the problem graph is not drawn: ")


def test_a_search_without_a_cell_cannot_be_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("genotype.json", GENOTYPES):
        (folder / name).unlink()
    assert main(["draw", str(folder)]) == 2
    assert "genotype.json: no genotype there (the search has not finished)" in capsys.readouterr().err
