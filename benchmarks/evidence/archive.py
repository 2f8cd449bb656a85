"""The folder of a study without weights and pictures, as one small file that the repository keeps.

    PYTHONPATH=. python benchmarks/evidence/archive.py pack runs/evidence-table-cpu-1
    PYTHONPATH=. python benchmarks/evidence/archive.py unpack evidence-table runs/evidence-table-cpu-1

`pack` writes docs/evidence/results/NAME/runs.tar.gz and points.csv. What `unpack` makes of it is a folder of a study:
`mlo-nas report` reads it, and `mlo-nas sweep --resume` does what is missing. Settings of runs hold the whole paths of
their images; in the archive these are data/NAME, and `unpack` puts them where data/ is here.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from applications.nas.sweep.folder import SWEEP, read_sweep
from applications.nas.sweep.plan import Point
from applications.nas.sweep.point import finished
from applications.nas.sweep.raw import points_csv
from applications.nas.sweep.reuse import TAKEN
from applications.nas.sweep.study import StudySettings, swept_points
from mlo import ConfigError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "evidence" / "results"
RUNS, POINTS = "runs.tar.gz", "points.csv"
_KEPT = ("config.json", "data.json", "results.json", "genotype.json", "environment.json", "README.md", TAKEN)
_PLACED = ("config.json", "data.json", SWEEP)
_DATA = Path("data")


def read_study(folder: Path) -> StudySettings:
    """Read what the folder of a study runs.

    Raises:
        ConfigError: If it is the folder of none.
    """
    settings = read_sweep(folder)
    if not isinstance(settings, StudySettings):
        raise ConfigError(f"{folder} is a sweep, and no study: name the folder of a study")
    return settings


def pack(folder: Path, results: Path = RESULTS) -> Path:
    """Keep what a study has finished, and return where it is kept.

    Args:
        folder: Of the study.
        results: Where studies are kept.

    Raises:
        ConfigError: If it is none, nothing of it has finished, or another study is kept under its name.
    """
    settings = read_study(folder)
    plan = swept_points(settings)
    files = list(_files(folder, plan))
    if len(files) == 1:
        raise ConfigError(f"{folder}: no point of this study has finished: run it first")
    place = results / settings.name
    texts = {file.relative_to(folder).as_posix(): _moved(file, _DATA) for file in files}
    _check_kept(place / RUNS, texts[SWEEP])
    points = points_csv(plan, folder)
    place.mkdir(parents=True, exist_ok=True)
    fresh = place / f"{RUNS}.new"
    fresh.write_bytes(_archive(texts))
    fresh.replace(place / RUNS)
    (place / POINTS).write_text(points, encoding="utf-8")
    return place


def _archive(texts: Mapping[str, str]) -> bytes:
    """Return files as an archive without dates and owners, so that the same content is the same archive."""
    file = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, text in texts.items():
            content = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def _entries(archive: Path) -> dict[str, bytes]:
    """Return the content of each file of an archive; what is no plain file is left out."""
    with tarfile.open(archive, "r:gz") as opened:
        found = {entry.name: opened.extractfile(entry) for entry in opened if entry.isreg()}
        return {name: file.read() for name, file in found.items() if file is not None}


def _check_kept(kept: Path, sweep: str) -> None:
    """Refuse to write one study over another."""
    if kept.is_file() and _entries(kept)[SWEEP].decode() != sweep:
        raise ConfigError(f"{kept} holds another study (other seeds, scale or settings): move it away first")


def unpack(name: str, folder: Path, results: Path = RESULTS) -> None:
    """Make the folder of a study of what is kept of it.

    Args:
        name: Of the study, such as "evidence-table".
        folder: New or empty.
        results: Where studies are kept.

    Raises:
        ConfigError: If nothing is kept under this name, or the folder holds something.
    """
    source = results / name / RUNS
    if not source.is_file():
        raise ConfigError(f"{source} is not there: pack the folder of {name} first")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name another")
    for entry, content in _entries(source).items():
        target = folder / entry
        if not target.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(f"{source}: {entry} leads out of the folder: pack it again")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.write_text(_moved(target, _DATA if entry == SWEEP else Path.cwd() / _DATA), encoding="utf-8")


def _files(folder: Path, plan: tuple[Point, ...]) -> Iterator[Path]:
    yield folder / SWEEP
    for point in plan:
        if finished(folder / point.name, point):
            yield from sorted(file for file in (folder / point.name).rglob("*") if file.name in _KEPT)


def _moved(file: Path, where: Path) -> str:
    """Return a text with the folders of images elsewhere; of where a point was copied from, the last names."""
    text = file.read_text(encoding="utf-8")
    if file.name == TAKEN:
        return "/".join(Path(text.strip()).parts[-2:]) + "\n"
    if file.name not in _PLACED:
        return text
    content = json.loads(text)
    _move(content, where)
    return json.dumps(content, indent=2) + "\n"


def _move(content: Any, where: Path) -> None:
    """Change the folders of images in place, wherever they stand in settings."""
    if isinstance(content, list):
        for one in content:
            _move(one, where)
    if not isinstance(content, dict):
        return
    if isinstance(content.get("roots"), list):
        content["roots"] = [_there(root, where) for root in content["roots"]]
    if isinstance(content.get("root"), str):
        content["root"] = _there(content["root"], where)
    for one in content.values():
        _move(one, where)


def _there(root: str, where: Path) -> str:
    return (where if Path(root).name == _DATA.name else where / Path(root).name).as_posix()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(required=True, dest="action")
    actions.add_parser("pack").add_argument("folder", type=Path)
    to = actions.add_parser("unpack")
    to.add_argument("name")
    to.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.action == "pack":
        print(f"kept in {pack(options.folder)}")
    else:
        unpack(options.name, options.folder)


if __name__ == "__main__":
    main()
