"""Folders of runs in any state, given to every command that reads one."""

from __future__ import annotations

import json
import shutil
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from applications.nas.cli import main
from applications.nas.search import record
from applications.nas.settings import SearchSettings
from applications.nas.sweep.folder import sweep_folder
from applications.nas.sweep.plan import Axis, SweepSettings
from tests.fuzz.harness import cases, command, scratch
from tests.fuzz.junk import broken_bytes, mutated
from tests.fuzz.stops import stopped
from tests.nas.made_runs import SETTINGS, made_retraining, made_search

__all__ = ["stopped"]

SEARCH = "search digits formulation:single --epochs 1 --supernet.nodes 1 --supernet.channels 2 --gradient.rule first"
SEARCH += " --batch 300 --supernet.primitives skip_connect max_pool_3x3 --device cpu"
RETRAIN = "retrain digits --epochs 1 --channels 2 --layers 3 --batch 600 --device cpu"
READERS = [
    "report {0} --out tables",
    "report {0} {1} --no-published --out tables",
    "report . --out tables",
    "draw {0} --out picture",
    "retrain digits --run {0}",
    "retrain digits --cell {0}/genotype.json data:digits",
    "retrain --resume {0}",
    "evaluate {0}",
    "evaluate {1}",
    "search --config {0}",
    "search --config {0}/config.json --epochs 1 --dry-run",
    "sweep --resume {0}",
    "sweep --config {0} --vary seed 0 1 --out {0}",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real runs, a search and its retraining, beside some that were written for the purpose."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()):
        patch.chdir(root)
        patch.setattr(record, "draw_search", lambda _: ([], []))  # pictures take longer than the search
        patch.setattr("applications.nas.retrain.run.write_pages", lambda *_: None)
        assert main([*SEARCH.split(), "--out", "search"]) == 0
        assert main([*RETRAIN.split(), "--run", "search", "--out", "retraining"]) == 0
        made_retraining(Path("made"), {"digits": [1.0, 2.0], "loops": [3.0]}, search=made_search(Path("found")))
        with sweep_folder(root / "sweep", SweepSettings(SETTINGS, (Axis("seed", ("0", "1")),))):
            pass  # it was stopped before its first point
    return root


@pytest.mark.usefixtures("stopped")
@cases("run folders")
@given(data=st.data())
def test_a_run_that_is_not_as_it_was_written(runs: Path, data: st.DataObject) -> None:
    names = ["search", "retraining", "made", "found", "sweep"]
    first, second = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    words = data.draw(st.sampled_from(READERS)).format(first, second).split()
    with scratch() as folder:
        for name in {first, second}:
            shutil.copytree(runs / name, name, symlinks=True)
        for _ in range(data.draw(st.integers(0, 2))):
            _spoil(data, Path(data.draw(st.sampled_from([first, second]))))
        command("run folders", words, folder)


def _spoil(data: st.DataObject, folder: Path) -> None:
    """Change a file, or take it away."""
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".png", ".svg", ".html")
    )
    if not files:
        return
    file, how = data.draw(st.sampled_from(files)), data.draw(st.integers(0, 9))
    if how == 0:
        file.unlink()
    elif how == 1:
        file.unlink()
        file.mkdir()
    elif how <= 3 or file.suffix != ".json":
        text = file.read_bytes()
        content = text[: data.draw(st.integers(0, len(text)))]
        if how > 5 and file.suffix in (".csv", ".txt"):
            content = data.draw(broken_bytes(text.decode()))
        file.write_bytes(content)
    elif how == 4:
        file.write_bytes(data.draw(broken_bytes(file.read_text())))
    else:
        with suppress(ValueError):  # it has been spoiled before
            plain: Any = json.loads(file.read_text())
            file.write_text(json.dumps(data.draw(mutated(plain))))


def test_the_settings_of_these_runs_are_read(runs: Path) -> None:
    assert SearchSettings.__name__ in (runs / "search" / "config.json").read_text()
