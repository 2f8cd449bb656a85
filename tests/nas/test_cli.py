"""The command line: what it teaches, what it refuses and how, and a search that is retrained, drawn and repeated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from applications.nas.cli import COMMANDS, main
from applications.nas.commands import search as command
from applications.nas.config_file import from_json
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.retrain import run as retrain_run
from applications.nas.run_folder import write_config
from applications.nas.search import record as search_record
from applications.nas.settings import FolderData, SearchSettings, SingleTask

SMALL = ["--data.side", "8", "--epochs", "1", "--batch", "6", "--supernet.nodes", "1", "--supernet.channels", "2"]
SMALL += ["--data.subset", "None", "--gradient.rule", "first", "--device", "cpu"]
SMALL_RETRAIN = ["--epochs", "1", "--channels", "2", "--layers", "3", "--batch", "8", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")  # so that no message is broken into lines


def images(root: Path, classes: int) -> None:
    """Write 6 training and 2 test images for each class, each class of a color of its own."""
    draw = np.random.default_rng(classes)
    for part, count in (("train", 6), ("test", 2)):
        for label in range(classes):
            folder = root / part / f"class-{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(60 * label, 60 * label + 60, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture
def roots(tmp_path: Path) -> list[str]:
    images(tmp_path / "cats", 2)
    images(tmp_path / "dogs@home", 3)
    return ["--data.roots", "cats", "dogs@home"]


# ---------------------------------------------------------------- help and refusals


def test_without_a_command_the_commands_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"mlo-nas {command}" in shown for command in COMMANDS)
    assert all(preset in shown for preset in (*SEARCH, *RETRAIN))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("search --help", ["PRESET", *SEARCH]),
        ("search folders --help", ["--data.roots", "--formulation.weight", "formulation:single", "(default: 20.0)"]),
        ("search folders formulation:single --help", ["--formulation.task", "data:cifar"]),
        ("retrain --help", ["PRESET", *RETRAIN]),
        ("retrain digits --help", ["--run", "--drop-path", "network:imagenet", "schedule:linear", "(default: 15)"]),
        ("draw --help", ["--out", "published cell"]),
        ("demo --help", ["--workers", "--search.seed", "--retrain.seeds"]),
    ],
)
def test_help(words: str, told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 0
    shown = capsys.readouterr().out
    assert [word for word in told if word not in shown] == []


REFUSED = [
    ("serch", "no command is called 'serch'; the commands are search, retrain, evaluate, "),
    ("search", "name a preset first (none was given)"),
    ("search nope", "name a preset first ('nope' is none)"),
    ("retrain", "name a preset first"),
    ("search digits method:nope", "method:nope: there is no such choice; there are method:darts, "),
    ("search digits --epoch 3", "--epochs"),
    ("search folders --data.root here", "did you mean --data.roots? `mlo-nas search folders --help` lists"),
    ("search digits --formulation.task x formulation:multi", "formulation:multi: `mlo-nas search digits --help`"),
    ("search digits --weights.learning-rate 3", "--weights.learning-rate"),
    ("search digits --epochs x", "--epochs: 'x' is no number"),
    ("search digits --epochs 0", "epochs must be at least 1, got epochs=0"),
    ("search digits --weights.lr -1", "lr must be positive, got lr=-1.0"),
    ("search digits --weights.lr nan", "lr must be finite, got lr=nan"),
    ("search digits --gradient.rule third", "third"),
    ("search folders", "data: no task is named: give --data.roots"),
    ("search folders --data.roots /nowhere", "/nowhere: no such folder"),
    ("search darts-2nd-original --data.root /nowhere", "/nowhere/cifar-10-batches-py: no complete CIFAR-10 here"),
    ("search digits --formulation.form explicit --formulation.weight 100", "c = 2*eta*lambda = 2*0.025*100 = 5"),
    ("search digits formulation:single --formulation.task nope", "the tasks are digits, loops"),
    ("search digits --batch 5000", "task 'digits': a batch of 5000 images, but train has 312: take a smaller batch"),
    ("search digits --supernet.layers 9 --supernet.primitives skip_connect nope", "operation 'nope' is unknown"),
    ("search --config", "--config needs the folder of a run"),
    ("search --config nope.json", "nope.json does not exist"),
    ("retrain digits", "--run"),
    ("retrain digits --run /nowhere", "/nowhere does not exist"),
    ("search digits --supernet.primitives", "supernet: primitives must name an operation or more"),
    ("draw", "required"),
    ("draw nope", "published cells are NASNet-A"),
    ("demo --workers 0", "workers must be at least 1"),
    ("demo search.formulation:multi", "compares interleaving"),
]


@pytest.mark.parametrize(("words", "told"), REFUSED)
def test_refusals(words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    found = capsys.readouterr()
    assert told in found.err + found.out
    assert "Traceback" not in found.err
    assert list(tmp_path.iterdir()) == [], "nothing is left of a request that never began"


@pytest.mark.parametrize("command", ["search", "retrain", "sweep"])
@pytest.mark.parametrize("words", ["", " nope"])
def test_a_preset_that_is_missing_is_told_of_in_one_line(
    command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(f"{command}{words}".split()) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_word_without_letters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "digits", ""]) == 2
    assert "unrecognized options: ''" in capsys.readouterr().err


def test_images_that_do_not_survive_the_reductions(roots: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "folders", *roots, *SMALL, "--data.side", "3"]) == 2
    assert "feature map of 3x3" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_task_with_the_name_of_the_outermost_problem(capsys: pytest.CaptureFixture[str]) -> None:
    images(Path("architecture"), 2)
    assert main(["search", "folders", "--data.roots", "architecture", *SMALL]) == 2
    assert "no task can be called 'architecture'" in capsys.readouterr().err


def test_an_occupied_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("all of it")
    for words in ("search digits --out mine", "demo --out mine"):
        assert main(words.split()) == 2
        assert "mine exists and is not empty: name another with --out" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.tex"]


def test_an_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "search", interrupted)
    assert main(["search", "digits"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--config", "run"], ["--config=run/config.json"]])
def test_what_a_search_is_asked_for(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file gives the settings, and words behind it, in any order, override them."""
    Path("run").mkdir()
    write_config(Path("run"), SearchSettings(data=FolderData((Path("a"),), side=8), epochs=7, seed=3))
    asked: list[SearchSettings] = []
    monkeypatch.setattr(command, "search", lambda settings, *_: asked.append(settings) or 1 / 0)
    for more in ([], ["--weights.lr", "0.5", "formulation:single", "--data.roots", "b", "c"]):
        with pytest.raises(ZeroDivisionError):
            main(["search", *words, *more])
    plain, changed = asked
    assert plain == SearchSettings(data=FolderData((Path("a"),), side=8), epochs=7, seed=3)
    assert (changed.epochs, changed.weights.lr, changed.formulation) == (7, 0.5, SingleTask())
    assert changed.data == FolderData((Path("b"), Path("c")), side=8)


# ---------------------------------------------------------------- from a search to a picture


def test_search_retrain_draw_and_again(roots: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "folders", *roots, *SMALL]) == 0
    run = Path("runs/folders-1")
    shown = capsys.readouterr().out
    assert f"run folder: {run}" in shown
    assert f"start with {run}/README.md\nto train the cell from scratch: mlo-nas retrain folders --run {run}\n" in shown
    pages = (run / "README.md").read_text() + (run / "index.html").read_text()
    assert (pages.count("mlo-nas retrain folders --run ."), pages.count("checkpoints/")) == (2, 0)
    written = from_json(SearchSettings, (run / "config.json").read_text(), "there")
    assert (written.epochs, written.batch, written.rule) == (1, 6, "first")
    assert written.formulation == SEARCH["folders"][1].formulation
    assert isinstance(written.data, FolderData)
    assert [path.name for path in written.data.roots] == ["cats", "dogs@home"]
    assert all(path.is_absolute() for path in written.data.roots)

    Path("else").mkdir()
    with pytest.MonkeyPatch.context() as moved:
        moved.chdir("else")
        moved.setattr(search_record, "draw_search", lambda _: ([], []))  # pictures take longer than the search
        assert main(["search", "--config", "../runs/folders-1/config.json", "--out", "again"]) == 0
    for name in ("metrics.csv", "genotype.json", "genotypes.json", "alphas.json", "config.json", "graph.mmd"):
        assert (run / name).read_bytes() == (Path("else/again") / name).read_bytes(), name

    assert main(["retrain", "folders", "--run", str(run), *SMALL_RETRAIN]) == 0
    folder = run / "retrain-1"
    names = {"README.md", "config.json", "environment.json", "genotype.json", "results.json"}
    names |= {"data.json", "index.html", "cell.svg", "cell.png"}
    names |= {f"curves-{task}.{end}" for task in ("cats", "dogs@home") for end in ("svg", "png")}
    names |= {f"{task}-0.{end}" for task in ("cats", "dogs@home") for end in ("csv", "pt")}
    assert {path.name for path in folder.iterdir()} == names
    assert (folder / "genotype.json").read_text() == (run / "genotype.json").read_text()
    result = json.loads((folder / "results.json").read_text())
    assert (result["kind"], result["cell"], result["search"]) == ("retrain", "folders-1", "..")

    with pytest.MonkeyPatch.context() as unseen:
        unseen.setattr(retrain_run, "write_pages", lambda *_: None)
        assert main(["retrain", "folders", "--run", str(run), "--cell", "DARTS_V1", *SMALL_RETRAIN]) == 0
    result = json.loads((run / "retrain-2/results.json").read_text())
    assert (result["cell"], result["search"]) == ("DARTS_V1", None), "this search did not find it"

    capsys.readouterr()
    for cell in ("DARTS_V2", str(run / "genotype.json")):
        assert main(["draw", cell, "--out", "pictures/cell"]) == 0
        assert capsys.readouterr().out.split() == ["pictures/cell.svg", "pictures/cell.png"]
    assert "<svg" in Path("pictures/cell.svg").read_text()

    assert main(["report", "runs", "--out", "tables"]) == 0
    told = Path("tables/report.md").read_text()
    assert all(word in told for word in ("cats", "dogs@home", "IL-DARTS-1st", r"DARTS\_V1"))
    assert Path("tables/report.csv").read_text().count("IL-DARTS-1st") == 2, "one row a task"
    assert r"\toprule" in Path("tables/report.tex").read_text()

    # What is not there is found before anything is trained.
    (run / "genotype.json").unlink()
    assert main(["retrain", "folders", "--run", str(run)]) == 2
    assert "the search has not finished" in capsys.readouterr().err
    assert main(["draw", str(run)]) == 0
    drawn = capsys.readouterr().out
    assert "cell-graph.svg" in drawn, "of a search, all of its pictures"
    assert "the cell is its last epoch's" in drawn
    assert main(["retrain", "cifar", "--run", str(run), "--cell", "DARTS_V1"]) == 2
    assert "auxiliary=True: its head needs 8x8 feature maps" in capsys.readouterr().err
    assert main(["retrain", "folders", "--run", str(run / "retrain-1")]) == 2
    assert "kind 'RetrainSettings' does not belong here" in capsys.readouterr().err
    assert not (run / "retrain-3").exists()
