"""The command `mlo-nas`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console

from applications.nas.demo import DemoSettings, demo
from applications.nas.draw import draw_genotype
from applications.nas.presets import RETRAIN, SEARCH
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
from applications.nas.search import search
from applications.nas.settings import (
    CifarData,
    DigitsData,
    FolderData,
    Interleaving,
    MultiTask,
    RetrainSettings,
    SearchSettings,
    SingleTask,
)
from applications.nas.summary import Contender, as_json, as_markdown, as_table
from applications.nas.tasks import load_tasks
from mlo import ConfigError, MLOError

T = TypeVar("T")

USAGE = """\
mlo-nas: architecture search by multi-level optimization

  mlo-nas demo                        search, retrain and compare on digits, in minutes, without a download
  mlo-nas search PRESET [options]     search a cell; presets: {search}
  mlo-nas search --config FILE [..]   the same with the settings of an earlier run
  mlo-nas retrain PRESET --run DIR    train a found cell from scratch and test it; presets: {retrain}
  mlo-nas draw CELL [--out STEM]      draw a cell as SVG and PNG

`mlo-nas COMMAND --help` explains each option. Every option is a setting: what you leave out, the preset gives.
"""


@dataclass(frozen=True)
class SearchCommand:
    """Search a cell, and write settings, metrics, genotype and pictures into a folder."""

    settings: Annotated[SearchSettings, tyro.conf.arg(name="")]
    out: Path | None = None
    """Folder of the run, which must be new or empty; left out: runs/PRESET-N."""


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


@dataclass(frozen=True)
class DrawCommand:
    """Draw a cell as SVG and PNG."""

    cell: tyro.conf.Positional[str]
    """The name of a published cell, a genotype file, or the folder of a search."""
    out: Path = Path("cell")
    """Path of the pictures without their suffix."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words of the command line; None for those of the process.

    Returns:
        0 if it succeeded, 2 if the request or the data was at fault; then one line says what and what to do.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE.format(search=", ".join(SEARCH), retrain=", ".join(RETRAIN)))
        return 0
    console = Console()
    try:
        if words[0] not in COMMANDS:
            raise ConfigError(f"no command is called {words[0]!r}; the commands are {', '.join(COMMANDS)}")
        COMMANDS[words[0]](words[1:], console)
    except (MLOError, OSError) as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        sys.stderr.write(f"error: {error}{notes}\n")
        return 2
    except SystemExit as stop:  # tyro has printed its message, or the help
        return int(stop.code or 0)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was measured until now is in the run folder\n")
        return 130
    return 0


def _search(words: list[str], console: Console) -> None:
    name, default, rest = _preset(words, SEARCH, read_search_settings, "search")
    command = _parse(SearchCommand(default), _with_choices(default, rest), f"mlo-nas search {name}")
    with new_folder(command.out, Path("runs"), name) as folder:
        console.print(f"run folder: {folder}", highlight=False, soft_wrap=True)
        with progress(console) as begin:
            outcome = search(command.settings, folder, begin("search"))
    console.print(str(outcome.genotype), highlight=False)
    done = f"{outcome.steps} steps, {outcome.gradients} gradients, {outcome.seconds:.0f} s"
    console.print(f"{done}; start with {folder / 'README.md'}", highlight=False, soft_wrap=True)


def _retrain(words: list[str], console: Console) -> None:
    name, default, rest = _preset(words, RETRAIN, None, "retrain")
    command = _parse(RetrainCommand(Path(), default), rest, f"mlo-nas retrain {name}", required=("run",))
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


def _draw(words: list[str], console: Console) -> None:
    command = tyro.cli(DrawCommand, args=words, prog="mlo-nas draw")
    stem = command.out.with_suffix("") if command.out.suffix in (".svg", ".png") else command.out
    for path in draw_genotype(read_genotype(command.cell), stem):
        console.print(str(path), highlight=False, soft_wrap=True)


def _demo(words: list[str], console: Console) -> None:
    demo(_parse(DemoSettings(), words, "mlo-nas demo"), console)


ANY_ORDER = (tyro.conf.CascadeSubcommandArgs,)
"""Lets options stand behind a choice such as formulation:single, wherever it stands."""

COMMANDS: dict[str, Callable[[list[str], Console], None]] = {
    "search": _search,
    "retrain": _retrain,
    "draw": _draw,
    "demo": _demo,
}


def _preset(
    words: list[str], presets: Mapping[str, tuple[str, T]], read: Callable[[Path], T] | None, command: str
) -> tuple[str, T, list[str]]:
    """Return name, settings and remaining words of a command that begins with a preset or with --config FILE."""
    if words and words[0] in presets:
        return words[0], presets[words[0]][1], words[1:]
    if read is not None and words and words[0].partition("=")[0] == "--config":
        file, *rest = [*words[0].split("=", 1), *words[1:]][1:] or [""]
        if not file:
            raise ConfigError(f"{command}: --config needs the folder of a run, or the file of its settings")
        return "config", read(Path(file)), rest
    listing = "\n".join(f"  {name:14}{text}" for name, (text, _) in presets.items())
    if words and words[0] in ("-h", "--help"):
        usage = f"mlo-nas {command} PRESET [options]; `mlo-nas {command} PRESET --help` lists them"
        sys.stdout.write(f"{usage}\n{listing}\n")
        raise SystemExit(0)
    found = f"{words[0]!r} is none" if words else "none was given"
    raise ConfigError(f"{command}: name a preset first ({found}):\n{listing}")


def _with_choices(default: SearchSettings, words: list[str]) -> list[str]:
    """Put the choices (data:..., formulation:...) first, and name those that the user leaves to the preset.

    So options may stand anywhere, and those of a choice are there without naming it again.
    """
    kinds = {DigitsData: "data:digits", FolderData: "data:folders", CifarData: "data:cifar"}
    forms = {
        SingleTask: "formulation:single",
        MultiTask: "formulation:multi",
        Interleaving: "formulation:interleaving",
    }
    chosen = []
    for known, preset in ((kinds, type(default.data)), (forms, type(default.formulation))):
        named = [word for word in words if word in known.values()]
        chosen.append(named[-1] if named else known[preset])
    if {"-h", "--help"}.intersection(words):
        sys.stdout.write(f"Choices, anywhere behind the preset:\n  {' | '.join(kinds.values())}\n")
        sys.stdout.write(f"  {' | '.join(forms.values())}\n\n")
    return chosen + [word for word in words if word not in {*kinds.values(), *forms.values()}]


def _parse(default: T, words: list[str], prog: str, *, required: tuple[str, ...] = ()) -> T:
    """Let the words of a command line override settings."""
    if required:
        default = replace(default, **dict.fromkeys(required, tyro.MISSING))  # type: ignore[type-var]
    kind: Any = type(default)
    parsed: T = tyro.cli(kind, default=default, args=words, prog=prog, config=ANY_ORDER)
    return parsed

