"""`mlo-nas sweep`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from applications.nas.commands.common import choose_preset, parse
from applications.nas.commands.study import StudyCommand, read_study
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.presets.scales import SCALES
from applications.nas.run_folder import read_search_settings
from applications.nas.settings import RetrainSettings, SearchSettings
from applications.nas.stopping import interruptible
from applications.nas.sweep.folder import find_folder, read_sweep
from applications.nas.sweep.launch.settings import Launching, Local
from applications.nas.sweep.look import describe
from applications.nas.sweep.look_study import describe_study
from applications.nas.sweep.plan import Axis, SweepSettings, points
from applications.nas.sweep.point import finished
from applications.nas.sweep.reuse import find_finished, ran_by
from applications.nas.sweep.run import sweep
from applications.nas.sweep.studies import STUDIES
from applications.nas.sweep.study import StudySettings, Swept, swept_points
from mlo import ConfigError

_USAGE = """\
mlo-nas sweep PRESET --vary FIELD VALUE... [--vary FIELD VALUE...] [--retrain PRESET] [options]
mlo-nas sweep --resume DIR [launcher:...] [--workers N]
mlo-nas sweep STUDY [--scale {scales}] [options]

One search for each combination of the values; with --retrain, each found cell is trained from scratch, too.
Run the same command again, or --resume, to go on: finished points are skipped, failed ones are tried again, and
those that were stopped go on where they were.

  --vary FIELD VALUE...  a setting of the search by its dotted path, as in config.json:
                           --vary formulation.weight 0.1 1 10 100   --vary seed 0 1 2
                           --vary formulation single multi          --vary data.classes 100,10 10,100
                         a comma stands between the members of a list; over seeds, means and deviations are taken
  --retrain PRESET       {retrain}; options of it begin with --retrain. (--retrain.epochs 5)
  --dry-run              tell what would be launched, and launch nothing

Where the points run; the folder and the results are the same:
  launcher:local           worker processes of this program: the default
  launcher:submitit-local  processes that go on if this program dies; --resume waits for them
  launcher:slurm           jobs of a cluster: --launcher.partition gpu --launcher.hours 24 --launcher.gpus 1
                           --launcher.array 16
The last two need pip install 'mlo-torch[cluster]'. Ctrl-C ends the points with each of them, and cancels their jobs:
what runs finishes its step and keeps it; a second Ctrl-C does not wait for that.

A STUDY is a set of sweeps with a question (mlo-nas sweep STUDY --help):
{studies}

"""


@dataclass(frozen=True)
class SweepCommand:
    """Run a search at each combination of some values, and compare what comes out."""

    settings: Annotated[SearchSettings, tyro.conf.arg(name="")]
    launcher: Launching = Local()
    """Where the points run."""
    workers: int = 1
    """Points at a time on this machine, in processes of one thread each."""
    dry_run: bool = False
    """Tell what would be launched, and launch nothing."""
    reuse: tuple[Path, ...] = ()
    """Folders of other sweeps or studies: points that they have finished with the same settings are copied."""
    out: Path | None = None
    """Folder of the sweep; left out: runs/sweep-PRESET-N, the one that holds this very sweep if there is one."""


@dataclass(frozen=True)
class SweepRetrainCommand(SweepCommand):
    """Run a search at each combination of some values, train the found cells, and compare their test errors."""

    retrain: RetrainSettings = RetrainSettings()


@dataclass(frozen=True)
class ResumeCommand:
    """Go on with a sweep: run what is missing, and try again what failed."""

    resume: Path
    """Folder of the sweep."""
    launcher: Launching = Local()
    """Where the points run: it need not be where they ran before."""
    workers: int = 1
    """Points at a time on this machine, in processes of one thread each."""
    dry_run: bool = False
    """Tell what would be launched, and launch nothing."""
    reuse: tuple[Path, ...] = ()
    """Folders of other sweeps or studies: points that they have finished with the same settings are copied."""


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas sweep` with the words behind it."""
    if words and words[0] in STUDIES:
        study, folder, asked = read_study(words)
        _run(study, folder, asked, "PRESET", console)
        return
    if {"-h", "--help"}.intersection(words):
        _tell_usage()
    if any(word.partition("=")[0] == "--resume" for word in words):
        resumed = parse(ResumeCommand(Path()), words, "mlo-nas sweep")
        _run(read_sweep(resumed.resume), resumed.resume, resumed, "PRESET", console)
        return
    name, default, rest = choose_preset(words, SEARCH, read_search_settings, "sweep")
    axes, rest = _take_axes(rest)
    retrain, rest = _take_retrain(rest)
    command = SweepCommand(default)
    if retrain is not None:
        command = SweepRetrainCommand(default, retrain=retrain)
    command = parse(command, rest, f"mlo-nas sweep {name}")
    wanted = command.retrain if isinstance(command, SweepRetrainCommand) else None
    settings = SweepSettings(command.settings, axes, wanted)
    points(settings)  # what does not fit is refused before a folder is looked for
    folder = find_folder(settings, command.out, Path("runs"), f"sweep-{name}")
    _run(settings, folder, command, name, console)


def _tell_usage() -> None:
    studies = "\n".join(f"  {name:16} {study.about}" for name, study in STUDIES.items())
    sys.stdout.write(_USAGE.format(retrain=", ".join(RETRAIN), scales="|".join(SCALES), studies=studies))


def _run(
    settings: Swept,
    folder: Path,
    command: SweepCommand | ResumeCommand | StudyCommand,
    preset: str,
    console: Console,
) -> None:
    """Run a sweep or a study, or tell what it would be."""
    if command.dry_run:
        launching = command.launcher.words(command.workers)
        if isinstance(settings, StudySettings):
            sys.stdout.write(describe_study(settings, folder, launching))
        else:
            cost = f"mlo-nas search {preset} --dry-run, with its options"
            sys.stdout.write(describe(settings, folder, launching, cost))
        _tell_taken(settings, folder, command.reuse)
        return
    launcher = command.launcher.launcher(command.workers, folder.absolute().name)
    with interruptible():
        sweep(settings, folder, console, launcher=launcher, reuse=command.reuse)


def _tell_taken(settings: Swept, folder: Path, reuse: Sequence[Path]) -> None:
    missing = [point for point in swept_points(settings) if not finished(folder / point.name, point)]
    found = find_finished(missing, folder, reuse)
    for name, source in found.items():
        sys.stdout.write(f"would be taken: {name} from {source} ({ran_by(source)})\n")
    if reuse and not found:
        sys.stdout.write("would be taken: none of the missing points\n")


def _take_axes(words: list[str]) -> tuple[tuple[Axis, ...], list[str]]:
    """Return what is varied, and the other words."""
    axes, rest, left = [], [], list(words)
    while left:
        word = left.pop(0)
        name, sign, first = word.partition("=")
        if name != "--vary":
            rest.append(word)
            continue
        given = [first] if sign else []
        while left and not left[0].startswith(("--", "launcher:")):
            given.append(left.pop(0))
        if not given:
            raise ConfigError("sweep: --vary names no field: give --vary FIELD VALUE ...")
        axes.append(Axis(given[0], tuple(given[1:])))
    return tuple(axes), rest


def _take_retrain(words: list[str]) -> tuple[RetrainSettings | None, list[str]]:
    """Return the preset of the retraining, if one is named, and the other words."""
    found, rest, left = None, [], list(words)
    while left:
        word, sign, value = left.pop(0).partition("=")
        if word != "--retrain":
            rest.append(f"{word}{sign}{value}")
            continue
        name = value if sign else (left.pop(0) if left else "")
        if name not in RETRAIN:
            raise ConfigError(f"sweep: --retrain {name or 'names no preset'}: the presets are {', '.join(RETRAIN)}")
        found = RETRAIN[name][1]
    astray = [word for word in rest if word.startswith("--retrain.")]
    if found is None and astray:
        raise ConfigError(f"sweep: {astray[0]} changes a retraining, and there is none: give --retrain PRESET with it")
    return found, rest
