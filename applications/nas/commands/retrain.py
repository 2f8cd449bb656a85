"""`mlo-nas retrain`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from applications.nas.commands.common import choose_preset, parse
from applications.nas.presets import RETRAIN
from applications.nas.progress import progress
from applications.nas.retrain import Training, check_fit, retrain_seeds
from applications.nas.run_folder import (
    GENOTYPE,
    RESULTS,
    new_folder,
    read_cost,
    read_genotype,
    read_search_settings,
    write_config,
    write_json,
    write_text,
)
from applications.nas.settings import RetrainSettings
from applications.nas.summary import Contender, as_json, as_markdown, as_table
from applications.nas.tasks import load_tasks


@dataclass(frozen=True)
class RetrainCommand:
    """Train a cell from scratch on each task of a search, and test it."""

    run: Path
    """Folder of the search: its data, its split, and its cell."""
    settings: Annotated[RetrainSettings, tyro.conf.arg(name="")] = field(default_factory=RetrainSettings)
    cell: str | None = None
    """Another cell: the name of a published one, or a genotype file."""
    out: Path | None = None
    """Folder for results, which must be new or empty; left out: RUN/retrain-N."""


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas retrain` with the words behind it."""
    name, default, rest = choose_preset(words, RETRAIN, None, "retrain")
    command = parse(RetrainCommand(Path(), default), rest, f"mlo-nas retrain {name}", required=("run",))
    searched = read_search_settings(command.run)
    cell = read_genotype(command.cell if command.cell is not None else command.run)
    gradients = read_cost(command.run) if command.cell is None else None
    tasks = load_tasks(searched.data, searched.seed)
    for task in tasks:
        check_fit(cell, task, command.settings)
    trainings: tuple[Training, ...] = ()
    with new_folder(command.out, command.run, "retrain") as folder, progress(console) as begin:
        write_config(folder, command.settings)
        write_text(folder / GENOTYPE, cell.to_json())
        for task in tasks:
            tick = begin(f"retrain on {task.name}")
            arguments = (cell, searched.data, searched.seed, task.name, command.settings, folder)
            trainings += retrain_seeds(*arguments, tick)
    result = [Contender(command.cell or command.run.resolve().name, cell, gradients, trainings)]
    write_json(folder / RESULTS, as_json(result))
    source = f"The cell {result[0].name}, on the data and the split of the search in {command.run.resolve()}."
    write_text(folder / "README.md", f"# Retraining\n\n{source}\n\n{as_markdown(result)}")
    console.print(as_table(result))
    console.print(f"results: {folder}", highlight=False, soft_wrap=True)
