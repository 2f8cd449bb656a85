"""`mlo-nas retrain`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from applications.nas import launch
from applications.nas.commands.choices import choices
from applications.nas.commands.common import choose_preset, parse
from applications.nas.presets import RETRAIN
from applications.nas.progress import progress
from applications.nas.retrain import Training
from applications.nas.retrain.folder import read_begun
from applications.nas.retrain.place import place
from applications.nas.retrain.run import retrain_run
from applications.nas.retrain.table import as_table
from applications.nas.retrain.training import PartlyTrained
from applications.nas.run_folder import read_genotype, read_search_settings
from applications.nas.settings import Data, DigitsData, RetrainSettings, SearchSettings, TorchvisionForm
from applications.nas.space.genotype import Genotype, random_genotype
from mlo import ConfigError

TORCHVISION, RANDOM = "torchvision:", "random:"


@dataclass(frozen=True)
class RetrainCommand:
    """Train a cell from scratch on each task, and test it."""

    settings: Annotated[RetrainSettings, tyro.conf.arg(name="")]
    data: Data = field(default_factory=DigitsData)
    run: Path | None = None
    """Folder of a search: its cell, its data and its split, where nothing else is named."""
    cell: str | None = None
    """Another cell: a published one by name, a genotype file, random:SEED, or torchvision:NAME for a whole network."""
    split_seed: int | None = None
    """Of the split, where no run gives it; left out: 0."""
    out: Path | None = None
    """Folder for results, which must be new or empty; left out: RUN/retrain-N, or runs/retrain-N without a run."""


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas retrain` with the words behind it; under `torchrun`, with all its ranks."""
    with launch.ranks() as ranks:
        if words and words[0].partition("=")[0] == "--resume":
            _resume(words, console, ranks)
        else:
            _begin(words, console, ranks)


def _begin(words: list[str], console: Console, ranks: launch.Ranks) -> None:
    name, default, rest = choose_preset(words, RETRAIN, None, "retrain")
    if "network:torchvision" in rest:  # it has no paths to drop, whatever the preset says
        default = replace(default, network=TorchvisionForm(), drop_path=0.0)
    found = _run_of(rest)
    searched = SearchSettings(data=DigitsData()) if found is None else read_search_settings(found)
    _check_data_named(rest, found)
    command = RetrainCommand(default, searched.data)
    command = parse(command, rest, f"mlo-nas retrain {name}")
    if command.split_seed is not None and found is not None:
        raise ConfigError("retrain: --split-seed mixes what the search kept apart: leave out it or --run")
    searched = replace(searched, data=command.data, seed=command.split_seed or searched.seed)
    cell, settings, label = _architecture(command, searched, default)
    search = command.run if command.cell is None and cell is not None else None
    where = place(command.out, command.run or Path("runs"), ranks)
    with where as (folder, resumed), _shown(console, label, folder), progress(console) as begin:
        trainings = retrain_run(
            cell, label, searched, settings, folder, begin, search=search, ranks=ranks, resumed=resumed
        )
    _show(console, label, trainings, folder)


def _resume(words: list[str], console: Console, ranks: launch.Ranks) -> None:
    _, equals, value = words[0].partition("=")
    given, rest = ([value], words[1:]) if equals else (words[1:2], words[2:])
    if not given or given[0].startswith("-") or rest:
        raise ConfigError("retrain: --resume takes a folder and nothing else, for that holds all settings")
    folder = Path(given[0])
    one = read_begun(folder)
    with _shown(console, one.name, folder), progress(console) as begin:
        trainings = retrain_run(
            one.genotype,
            one.name,
            replace(SearchSettings(data=DigitsData()), data=one.source.data, seed=one.source.seed),
            one.settings,
            folder,
            begin,
            search=one.search,
            ranks=ranks,
            resumed=True,
        )
    _show(console, one.name, trainings, folder)


@contextmanager
def _shown(console: Console, label: str, folder: Path) -> Iterator[None]:
    """Show the trainings that have finished although others diverged."""
    try:
        yield
    except PartlyTrained as partly:
        _show(console, label, partly.trainings, folder)
        raise


def _show(console: Console, label: str, trainings: tuple[Training, ...], folder: Path) -> None:
    console.print(f"{label}:", highlight=False)
    console.print(as_table(trainings))
    console.print(f"results: {folder}", highlight=False, soft_wrap=True)


def _run_of(words: list[str]) -> Path | None:
    """Find --run DIR before anything else is parsed, since its settings are defaults."""
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option == "--run":
            following = words[index + 1 : index + 2]
            return Path(value) if equals else (Path(following[0]) if following else None)
    return None


def _check_data_named(words: list[str], found: Path | None) -> None:
    kinds = next(choice.words for choice in choices(RetrainCommand) if choice.path == ("data",))
    if found is None and not set(words) & {*kinds, "-h", "--help", "--run"}:
        raise ConfigError(
            f"retrain: on which data? Give --run RUN for those of a search, or name them: {', '.join(kinds)}"
        )


def _architecture(
    command: RetrainCommand, searched: SearchSettings, preset: RetrainSettings
) -> tuple[Genotype | None, RetrainSettings, str]:
    """Return the cell, the settings, and what to call the cell."""
    settings, cell = command.settings, command.cell
    if cell is not None and cell.startswith(TORCHVISION):
        settings = _hand_made(cell.removeprefix(TORCHVISION), settings, preset)
    elif cell is not None and isinstance(settings.network, TorchvisionForm):
        raise ConfigError(
            f"retrain: network:torchvision has no cell, so --cell {cell} is in vain: leave one of them out"
        )
    if isinstance(settings.network, TorchvisionForm):
        small = ", small stem" if settings.network.stem == "small" else ""
        return None, settings, f"{TORCHVISION}{settings.network.model}{small}"
    if cell is not None and cell.startswith(RANDOM):
        return _draw(cell, searched), settings, "random"
    if cell is None and command.run is None:
        raise ConfigError("retrain: which cell? Give --run RUN for a found one, or --cell NAME for a published one")
    source = cell if cell is not None else command.run
    return read_genotype(str(source)), settings, cell or Path(str(source)).resolve().name


def _hand_made(model: str, settings: RetrainSettings, preset: RetrainSettings) -> RetrainSettings:
    """Put a network of torchvision in the place of a preset's network of cells."""
    if isinstance(settings.network, TorchvisionForm):
        return replace(settings, network=replace(settings.network, model=model))
    if (settings.network, settings.drop_path) != (preset.network, preset.drop_path):
        raise ConfigError(
            f"retrain: --cell {TORCHVISION}{model} is a whole network, without the options of networks of cells: leave "
            "out --channels, --layers, --auxiliary, --drop-path and the like"
        )
    return replace(settings, network=TorchvisionForm(model), drop_path=0.0)


def _draw(cell: str, searched: SearchSettings) -> Genotype:
    """Draw a cell from the space of the search, or from that of DARTS without one."""
    seed = cell.removeprefix(RANDOM)
    if not seed.isdecimal():
        raise ConfigError(f"cell: {cell!r} is no random:SEED: give a number, such as random:0")
    return random_genotype(searched.supernet.space, torch.Generator().manual_seed(int(seed)))
