"""`mlo-nas search`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from applications.nas import launch
from applications.nas.commands.common import choose_preset, parse, resumed_folder
from applications.nas.dry_run import describe, make_plan, time_step
from applications.nas.presets import SEARCH
from applications.nas.progress import Tick, progress, silent
from applications.nas.run_folder import read_search_settings
from applications.nas.run_folder.place import is_finished, place
from applications.nas.search import SearchOutcome, can_resume, resume, search
from applications.nas.search.words import next_command
from applications.nas.settings import SearchSettings
from applications.nas.stopping import stoppable
from mlo import ConfigError


@dataclass(frozen=True)
class SearchCommand:
    """Search a cell, and write settings, metrics, genotype and pictures into a folder."""

    settings: Annotated[SearchSettings, tyro.conf.arg(name="")]
    out: Path | None = None
    """Folder of the run, which must be new or empty; left out: runs/PRESET-N."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print problems, schedule, cost and memory of the search, and do nothing."""
    time: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With --dry-run: make two steps of each stage, and tell how long the search would take."""


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas search` with the words behind it; under `torchrun`, with all its ranks."""
    with launch.ranks() as ranks:
        folder = resumed_folder(words, "search")
        if folder is not None:
            _resume(folder, console, ranks)
            return
        name, default, rest = choose_preset(words, SEARCH, read_search_settings, "search")
        command = SearchCommand(default)
        command = parse(command, rest, f"mlo-nas search {name}")
        if command.time and not command.dry_run:
            raise ConfigError("search: --time tells how long a search would take: give --dry-run with it")
        if command.dry_run:
            _describe(command, console, ranks)
            return
        with place(command.out, Path("runs"), name, "search", ranks) as (folder, begun):
            if begun and (can_resume(folder) or is_finished(folder)):
                _resume(folder, console, ranks)
            else:
                _search(command.settings, folder, console, ranks)


def _describe(command: SearchCommand, console: Console, ranks: launch.Ranks) -> None:
    if ranks.first:
        plan = make_plan(command.settings, ranks.world)
        seconds = [time_step(plan, number) for number in range(len(plan.stages))] if command.time else []
        console.print(describe(plan, seconds), highlight=False, markup=False, soft_wrap=True, end="")
        if ranks.world > 1:
            told = f"This is the search in one process; {ranks.world} ranks share its batches, or stages, and time"
            console.print(f"\n{told}.", highlight=False, soft_wrap=True)


def _search(settings: SearchSettings, folder: Path, console: Console, ranks: launch.Ranks) -> None:
    with progress(console) as begin, stoppable() as stopper:
        tick = _announced(begin, folder, console) if ranks.first else silent
        outcome = search(settings, folder, tick, ranks, stopper)
    _show(outcome, folder, console)


def _resume(folder: Path, console: Console, ranks: launch.Ranks) -> None:
    with progress(console) as begin, stoppable() as stopper:
        outcome = resume(folder, begin("search") if ranks.first else silent, ranks, stopper)
    _show(outcome, folder, console)


def _show(outcome: SearchOutcome, folder: Path, console: Console) -> None:
    console.print(str(outcome.genotype), highlight=False)
    done = f"{outcome.steps} steps, {outcome.gradients} gradients, {outcome.seconds:.0f} s"
    console.print(f"{done}; start with {folder / 'README.md'}", highlight=False, soft_wrap=True)
    command = next_command(read_search_settings(folder), folder)
    console.print(f"to train the cell from scratch: {command}", highlight=False, soft_wrap=True)


def _announced(begin: Callable[[str], Tick], folder: Path, console: Console) -> Tick:
    """Return the progress of a search, which names its folder when it begins: then the request has proved sound."""
    shown: list[Tick] = []

    def tick(done: int, total: int, text: str) -> None:
        if not shown:
            console.print(f"run folder: {folder}", highlight=False, soft_wrap=True)
            shown.append(begin("search"))
        shown[0](done, total, text)

    return tick
