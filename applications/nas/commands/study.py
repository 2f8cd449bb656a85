"""`mlo-nas sweep STUDY`: several sweeps that answer one question, at a scale."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from applications.nas.commands.common import parse
from applications.nas.commands.study_options import check_options
from applications.nas.presets.scales import SCALES, Scale
from applications.nas.settings import FolderData
from applications.nas.sweep.folder import find_folder
from applications.nas.sweep.launch.settings import Launching, Local
from applications.nas.sweep.studies import STUDIES, make_study
from applications.nas.sweep.study import StudySettings, swept_points
from mlo import ConfigError

_USAGE = """\
mlo-nas sweep {name} [--scale SCALE] [options]
mlo-nas sweep --resume DIR [launcher:...] [--workers N]

{about}

Each found cell is trained from scratch on all tasks. Points run in the order of their seeds: when the first seed is
finished, every method has been tried once. Ctrl-C ends it; the same command again, or --resume, goes on.

  --scale SCALE    how large everything is, {scales}
{each}
  --data.roots A B the folders of images, where the scale takes folders; each is a task
  --seeds 0 1 2    the searches of each line of the table
  --random 4       random cells for each seed, where the study has them
  --reuse DIR      copy what another sweep or study has finished with the same settings
  --dry-run        list the points and what is missing, and run nothing

Any field of the scale can be changed: those of the search as --epochs 5 --supernet.channels 8, those of the retraining
as --retrain.epochs 20, those of P-DARTS and PC-DARTS as --pdarts.deeper 0 2 4 --pcdarts.portion 4. What the study
varies or sets itself is no option.

"""


@dataclass(frozen=True)
class StudyCommand:
    """Run the sweeps that answer a question, and compare what comes out."""

    settings: Annotated[Scale, tyro.conf.arg(name="")]
    launcher: Launching = Local()
    """Where the points run."""
    workers: int = 1
    """Points at a time on this machine, in processes of one thread each."""
    dry_run: bool = False
    """Tell what would be run, and run nothing."""
    reuse: tuple[Path, ...] = ()
    """Folders of other sweeps or studies: points that they have finished with the same settings are copied."""
    out: Path | None = None
    """Folder of the study; left out: runs/STUDY-SCALE-N, the one that holds this very study if there is one."""


def read_study(words: list[str]) -> tuple[StudySettings, Path, StudyCommand]:
    """Return the study that words ask for, its folder, and how it is to be run.

    Raises:
        ConfigError: If something does not fit; the message names it.
    """
    name, label, rest = words[0], *_take_scale(words[1:])
    scale = SCALES[label][1]
    if {"-h", "--help"}.intersection(rest):
        each = "\n".join(f"    {one:6} {text}" for one, (text, _) in SCALES.items())
        about = STUDIES[name].about
        sys.stdout.write(_USAGE.format(name=name, about=about, scales=" or ".join(SCALES), each=each))
    command = parse(StudyCommand(scale), rest, f"mlo-nas sweep {name} --scale {label}")
    _check_given(command.settings, scale)
    settings = make_study(name, command.settings, label if _same_size(command.settings, scale) else f"{label}, changed")
    check_options(name, rest, command.settings, scale)
    swept_points(settings)  # what does not fit is refused before a folder is looked for
    return settings, find_folder(settings, command.out, Path("runs"), f"{name}-{label}"), command


def _take_scale(words: list[str]) -> tuple[str, list[str]]:
    """Return the scale that is named, or the smallest, and the other words."""
    found, rest, left = next(iter(SCALES)), [], list(words)
    while left:
        word, sign, value = left.pop(0).partition("=")
        if word != "--scale":
            rest.append(f"{word}{sign}{value}")
            continue
        found = value if sign else (left.pop(0) if left else "")
        if found not in SCALES:
            raise ConfigError(f"sweep: --scale {found or 'names no scale'}: the scales are {', '.join(SCALES)}")
    return found, rest


def _check_given(given: Scale, scale: Scale) -> None:
    """Refuse a seed and a method, which every study sets."""
    asked, base = given.search, scale.search
    pairs = {
        "--seed": (asked.seed, base.seed, "give --seeds"),
        "method": (asked.method, base.method, "fields of P-DARTS and PC-DARTS are --pdarts... and --pcdarts..."),
    }
    for name, (found, known, cure) in pairs.items():
        if found != known:
            raise ConfigError(f"sweep: {name} is set by the study for each of its parts: {cure}")


def _same_size(given: Scale, scale: Scale) -> bool:
    """Say whether a scale is as it was named; where its folders are and how often it is repeated are no part of it."""
    data, known = given.search.data, scale.search.data
    if isinstance(data, FolderData) and isinstance(known, FolderData):
        data = replace(data, roots=known.roots)
    return replace(given, search=replace(given.search, data=data), seeds=scale.seeds, random=scale.random) == scale
