"""The folder of a study without weights and pictures, as one small file that the repository keeps.

    PYTHONPATH=. python benchmarks/evidence/archive.py pack runs/evidence-table-cpu-1
    PYTHONPATH=. python benchmarks/evidence/archive.py unpack evidence-table runs/evidence-table-cpu-1

`pack` writes docs/evidence/results/NAME/runs.zip and points.csv. What `unpack` makes of it is a folder of a study:
`mlo-nas report` reads it, and `mlo-nas sweep --resume` does what is missing. Settings of runs hold the whole paths of
their images; in the archive these are data/NAME, and `unpack` puts them where data/ is here.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Iterator
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
RUNS, POINTS = "runs.zip", "points.csv"
_KEPT = ("config.json", "data.json", "results.json", "genotype.json", "environment.json", "README.md", TAKEN)
_PLACED = ("config.json", "data.json", SWEEP)
_DATA = Path("data")
_DAY = (2026, 1, 1, 0, 0, 0)  # one date for all, so that the same content is the same file


def pack(folder: Path, results: Path = RESULTS) -> Path:
    """Keep what a study has finished, and return where it is kept.

    Args:
        folder: Of the study.
        results: Where studies are kept.

    Raises:
        ConfigError: If it is none.
    """
    settings = read_sweep(folder)
    if not isinstance(settings, StudySettings):
        raise ConfigError(f"{folder} is a sweep, and no study: name the folder of a study")
    plan = swept_points(settings)
    place = results / settings.name
    place.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(place / RUNS, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in _files(folder, plan):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _DAY)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, _moved(file.read_text(encoding="utf-8"), file.name, _DATA))
    (place / POINTS).write_text(points_csv(plan, folder), encoding="utf-8")
    return place


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
    with zipfile.ZipFile(source) as archive:
        for entry in archive.namelist():
            target = folder / entry
            if not target.resolve().is_relative_to(folder.resolve()):
                raise ConfigError(f"{source}: {entry} leads out of the folder: pack it again")
            target.parent.mkdir(parents=True, exist_ok=True)
            here = _DATA if entry == SWEEP else Path.cwd() / _DATA
            target.write_text(_moved(archive.read(entry).decode(), target.name, here), encoding="utf-8")


def _files(folder: Path, plan: tuple[Point, ...]) -> Iterator[Path]:
    yield folder / SWEEP
    for point in plan:
        if finished(folder / point.name, point):
            yield from sorted(file for file in (folder / point.name).rglob("*") if file.name in _KEPT)


def _moved(text: str, name: str, where: Path) -> str:
    """Put the folders of images elsewhere; of the folder of another point, keep the last two names."""
    if name == TAKEN:
        return "/".join(Path(text.strip()).parts[-2:]) + "\n"
    if name not in _PLACED:
        return text
    content = json.loads(text)
    return text if not _move(content, where) else json.dumps(content, indent=2) + "\n"


def _move(content: Any, where: Path) -> bool:
    """Change paths in place, and say whether there were any."""
    if isinstance(content, list):
        return any([_move(one, where) for one in content])
    if not isinstance(content, dict):
        return False
    roots = content.get("roots")
    if content.get("kind") == "FolderData" and isinstance(roots, list):
        content["roots"] = [(where / Path(root).name).as_posix() for root in roots]
        return True
    return any([_move(one, where) for one in content.values()])


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
