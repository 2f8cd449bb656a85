"""`mlo-nas evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console

from applications.nas import launch
from applications.nas.commands.common import parse
from applications.nas.progress import progress
from applications.nas.retrain.folder import evaluate_again, read_retrain_folder
from applications.nas.retrain.table import as_table
from applications.nas.settings import Data, Device, DigitsData
from mlo import ConfigError, deterministic


@dataclass(frozen=True)
class EvaluateCommand:
    """Test the networks of a retraining again."""

    folder: tyro.conf.Positional[Path]
    """The folder that `mlo-nas retrain` named at its end; it comes first."""
    data: Data = field(default_factory=DigitsData)
    """Left out: the data of the retraining, where they were then."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    deterministic: bool = False
    """Give the same bits each time on a GPU, too, which is slower; a CPU does so in any case."""


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas evaluate` with the words behind it; under `torchrun`, with all its ranks."""
    with launch.ranks() as ranks:
        _evaluate(words, console, ranks)


def _evaluate(words: list[str], console: Console, ranks: launch.Ranks) -> None:
    if {"-h", "--help"}.intersection(words):
        parse(EvaluateCommand(Path("FOLDER")), words, "mlo-nas evaluate")
    if not words or words[0].startswith("-"):
        raise ConfigError("evaluate: name the folder of a retraining first: mlo-nas evaluate FOLDER [options]")
    trained = read_retrain_folder(Path(words[0]))
    rest = words[1:]
    command = parse(
        EvaluateCommand(trained.path, trained.source.data, deterministic=trained.settings.deterministic),
        rest,
        "mlo-nas evaluate FOLDER",
    )
    with deterministic(on=command.deterministic), progress(console) as begin:
        found = evaluate_again(trained, command.data, command.device, begin, ranks)
    console.print(f"{trained.name}:", highlight=False)
    console.print(as_table(found))
    for before, now in zip(trained.trainings, found, strict=True):
        if abs(before.error - now.error) > 1e-9:
            where = f"{now.task}, seed {now.seed}"
            console.print(f"{where}: {before.error:.4f} in results.json, {now.error:.4f} now", highlight=False)
