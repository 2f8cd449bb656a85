"""`mlo-nas search`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from applications.nas.commands.common import choose_preset, parse
from applications.nas.presets import SEARCH
from applications.nas.progress import progress
from applications.nas.run_folder import new_folder, read_search_settings
from applications.nas.search import search
from applications.nas.settings import SearchSettings


@dataclass(frozen=True)
class SearchCommand:
    """Search a cell, and write settings, metrics, genotype and pictures into a folder."""

    settings: Annotated[SearchSettings, tyro.conf.arg(name="")]
    out: Path | None = None
    """Folder of the run, which must be new or empty; left out: runs/PRESET-N."""


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas search` with the words behind it."""
    name, default, rest = choose_preset(words, SEARCH, read_search_settings, "search")
    command = SearchCommand(default)
    command = parse(command, rest, f"mlo-nas search {name}")
    with new_folder(command.out, Path("runs"), name) as folder:
        console.print(f"run folder: {folder}", highlight=False, soft_wrap=True)
        with progress(console) as begin:
            outcome = search(command.settings, folder, begin("search"))
    console.print(str(outcome.genotype), highlight=False)
    done = f"{outcome.steps} steps, {outcome.gradients} gradients, {outcome.seconds:.0f} s"
    console.print(f"{done}; start with {folder / 'README.md'}", highlight=False, soft_wrap=True)
