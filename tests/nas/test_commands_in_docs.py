"""Every command that a page shows is run: as it stands, made small, or by a test that the table of ways names.

Pages are independent: each begins in an empty folder, in which its commands follow each other. What a page takes for
granted, such as a search of another page, is put there (`stage_props`).
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from applications.nas.cli import main
from tests.markdown import ROOT, code_spans, fences, name_of, pages
from tests.nas.doing import do, program, quicken
from tests.nas.shell import Command, commands
from tests.nas.stage_props import Props
from tests.nas.ways import RECIPES, WAYS, Way

SHOWN = {page: commands(page) for page in pages()}
ANY_NUMBER = re.compile(r"\d[\d,.]* GB")  # of the machine


def way_of(command: Command) -> Way | None:
    return next((way for way in WAYS if way.fits(command.text)), None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("page", [page for page, shown in SHOWN.items() if shown], ids=name_of)
def test_the_commands_of_a_page(
    page: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    quicken(monkeypatch)
    props, spent = Props(store, monkeypatch), list[str]()
    run: set[tuple[str, ...]] = {()}
    for command in SHOWN[page]:
        way = way_of(command)
        assert way is not None, f"{command.text}: no way to run it: add one to tests/nas/ways.py"
        words = program(command, way) if way.here else ()
        if words in run:  # or a test that is named runs it
            continue
        run.add(words)
        props.provide(command.text)
        capfd.readouterr()
        begun = time.perf_counter()
        code = do(words)
        printed, seconds = "".join(capfd.readouterr()), time.perf_counter() - begun
        spent.append(f"{seconds:6.1f} s  {command.text}")
        refused = (command.told or "").startswith("error: ")
        assert code == (2 if refused else 0), f"{command.text}: {printed}"
        assert ANY_NUMBER.sub("", command.told or "") in ANY_NUMBER.sub("", printed), command.text
    print(*spent, sep="\n")  # pytest -rP shows it


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.pattern)
def test_a_way_is_needed_and_the_tests_that_it_names_exist(way: Way) -> None:
    every = [command for shown in SHOWN.values() for command in shown]
    mine = [command for command in every if way_of(command) is way]
    assert mine, f"{way.pattern}: fits no command of any page: remove it from tests/nas/ways.py"
    recipes = [RECIPES[command.words[1]][1] for command in mine if command.words[0] == "make"]
    files = [word for command in mine for word in command.words if word.startswith("tests/")]
    assert way.here or way.tests or files
    for name in [*way.tests, *recipes, *files]:
        file, _, test = name.partition("::")
        assert f"def {test or 'test_'}" in (ROOT / file).read_text(), name


def test_sweeps_outside_of_fences(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lines of options such as `--vary seed 0 1`, and sweeps within a sentence or a table: their words are read."""
    monkeypatch.chdir(tmp_path)
    texts = [page.read_text(encoding="utf-8") for page in SHOWN]
    lines = [line.partition("#")[0] for text in texts for fence in fences(text) for line in fence.body.splitlines()]
    sweeps = [f"darts-2nd-paper {line}" for line in lines if line.startswith("--vary ")]
    sweeps += [f"darts-2nd-paper {span}" for text in texts for span in code_spans(text) if span.startswith("--vary ")]
    begin = "mlo-nas sweep "
    sweeps += [span.removeprefix(begin) for text in texts for span in code_spans(text) if span.startswith(begin)]
    placeholder = re.compile(r"\.\.\.|--resume|\b[A-Z]{2,}\b")  # words such as FOLDER stand for something else
    whole = [sweep for sweep in sweeps if not placeholder.search(sweep)]
    assert len(whole) > 5
    for sweep in whole:
        assert main(["sweep", *sweep.split(), "--dry-run"]) == 0, sweep


def test_commands_are_read_as_a_shell_reads_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\n# nothing\nA=1 python -m x 'a b' \\\n    --more  # why\n```\n\n```text\nno command\n```\n"
        "```console\n$ mlo-nas nope\nerror: this\n$ mlo-nas zoo\n```\n"
    )
    first, second, third = commands(page)
    assert (first.words, first.told) == (("python", "-m", "x", "a b", "--more"), None)
    assert first.text == "A=1 python -m x 'a b' --more"
    assert (second.text, second.told) == ("mlo-nas nope", "error: this\n")
    assert (third.text, third.told) == ("mlo-nas zoo", "")
    assert way_of(Command("rm -rf /", ("rm",))) is None
