"""The pictures and the pages of a search, made of nothing but what is in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from applications.nas.draw import (
    animate_evolution,
    draw_chain,
    draw_evolution,
    draw_genotype,
    draw_log,
    draw_mixture,
    draw_weights,
    read_sketch,
)
from applications.nas.draw.sketch import GRAPH
from applications.nas.files import read_json
from applications.nas.run_folder import (
    CONFIG,
    ENVIRONMENT,
    FAILURE,
    GENOTYPE,
    GENOTYPES,
    METRICS,
    RESULTS,
    SPLITS,
    Snapshot,
    read_genotype,
    read_history,
    read_metrics,
    read_results,
    read_search_settings,
)
from applications.nas.run_folder.history import count_skips
from applications.nas.run_folder.index import INDEX, README, write_index, write_readme
from applications.nas.run_folder.page import AbstractBlock, Code, Picture, Section, Text, fact_table
from applications.nas.search.checkpoint import CHECKPOINT, CHECKPOINTS
from applications.nas.search.words import describe_cost, describe_formulation, describe_ranks, next_command
from applications.nas.settings import SearchSettings
from applications.nas.settings_table import settings_table
from applications.nas.space.genotype import Genotype
from applications.nas.watch.files import EPOCHS, WARNINGS
from mlo import DataError

T = TypeVar("T")

FILES: Mapping[str, str] = {
    INDEX: "the page of this run: start here",
    README: "the same, short, as text",
    CONFIG: "every setting; `mlo-nas search --config config.json` repeats the search",
    ENVIRONMENT: "versions, hardware, commit and command",
    SPLITS: "which images were used for what",
    GRAPH: "the problem graph, as plain data",
    "graph.mmd": "the problem graph, in Mermaid",
    "graph.svg": "the problem graph",
    METRICS: "losses, gradient norms and learning rate of each step",
    "tensorboard/": "the same for TensorBoard: `tensorboard --logdir tensorboard`",
    "curves.svg": "the numbers of metrics.csv",
    GENOTYPES: "the cell after each epoch, with its skip connections and the architecture variables",
    EPOCHS: "skips, discretization gap and largest eigenvalue of the Hessian (if measured) by epoch",
    WARNINGS: "signs that the search was collapsing, and from when to when",
    "evolution.svg": "the cell after some epochs",
    "evolution.gif": "the cell after every epoch",
    "weights.svg": "the mean mixing weight of each operation, by epoch",
    f"{CHECKPOINTS}/": "what `mlo-nas search --resume` goes on from, until the search has finished",
    FAILURE: "why the run failed",
    CHECKPOINT: "weights of all supernets and the architecture variables after the last epoch",
    "alphas.json": "the architecture variables at the end",
    "alphas.svg": "the mixing weights at the end",
    GENOTYPE: "the cell that was found; other commands read it",
    "cell.svg": "the cell that was found; each picture is there as PNG, too",
    RESULTS: "method, tasks and cost",
}
"""What the folder of a search holds."""

_CAPTIONS = {
    "cell.svg": "The cell that was found. Arrows are operations, dashed ones lead to the output.",
    "evolution.svg": "The cell after some epochs; the nodes stay where they are.",
    "evolution.gif": "The cell after every epoch.",
    "weights.svg": "The mixing weight of each operation after each epoch, averaged over the edges of the cell.",
    "alphas.svg": "The mixing weights at the end: rows are edges, bold is the heaviest operation; a dot marks one "
    "that the edge no longer holds.",
    "curves.svg": "What was logged. Of many steps, lines are means of neighbors; 80 % of the steps lie in the band.",
    "graph.svg": "The problem graph. Arrows point the way that values flow.",
}


def draw_search(folder: Path, stem: Callable[[str], Path] | None = None) -> tuple[list[Path], list[str]]:
    """Draw everything that a folder of a search has data for.

    Args:
        folder: The folder.
        stem: Where a picture goes, by its name ("cell", "evolution", "weights", "alphas", "curves", "graph"), without
            suffix; left out: into the folder, under that name.

    Returns:
        The pictures, and notes: what could not be drawn, and why.

    Raises:
        DataError: If there is no cell, or it cannot be read, or a picture cannot be written.
    """
    place = stem if stem is not None else lambda name: folder / name
    notes: list[str] = []
    history = _try(lambda: read_history(folder), "how the cell evolved is not drawn", notes) or ()
    rows = _try(lambda: read_metrics(folder), "curves are not drawn", notes)
    sketch = _try(lambda: read_sketch(folder), "the problem graph is not drawn", notes)
    if not (folder / GENOTYPE).is_file() and history:
        notes.append("the search has not finished: the cell is its last epoch's")
    # Without a cell there is nothing to draw; that error tells why.
    drawn = [*draw_genotype(last_genotype(folder, history) or read_genotype(folder), place("cell"))]
    if history:
        drawn += draw_evolution(history, place("evolution"))
        drawn.append(animate_evolution(history, Path(f"{place('evolution')}.gif")))
    if history and all(snapshot.weights for snapshot in history):
        drawn += draw_weights(history, place("weights"))
        drawn += draw_mixture(history[-1].weights, place("alphas"))
    if rows:
        drawn += draw_log(rows, history, place("curves"))
    if sketch is not None:
        drawn += draw_chain(sketch, place("graph"))
    return drawn, notes


def _try(read: Callable[[], T], lost: str, notes: list[str]) -> T | None:
    """Read a file that only pictures need; of one that is missing or damaged, note what is lost."""
    try:
        return read()
    except DataError as error:
        notes.append(f"{lost}: {error}")
        return None


def last_genotype(folder: Path, history: Sequence[Snapshot]) -> Genotype | None:
    """Return the cell that a search found; of one that has not finished, that of its last epoch; None without any."""
    if (folder / GENOTYPE).is_file():
        return read_genotype(folder)
    return history[-1].genotype if history else None


def explain_search(folder: Path, tasks: Sequence[str] = (), warnings: Sequence[str] = ()) -> None:
    """Write `index.html` and `README.md` of a search, of what is in its folder by then.

    Args:
        folder: The folder, with its settings, and its results if the search has finished.
        tasks: Names of the tasks, in order; left out: those of the results.
        warnings: What the reader should know before believing the outcome, such as that the search collapsed.

    Raises:
        DataError: If a file is there and cannot be read, or a page cannot be written.
    """
    settings = read_search_settings(folder)
    results = read_results(folder) if (folder / RESULTS).is_file() else {}
    history = read_history(folder) if (folder / GENOTYPES).is_file() else ()
    found = last_genotype(folder, history)
    names = list(tasks) or [str(name) for name in results.get("tasks", [])]
    cost = describe_cost(results) if results else "The search has not finished."
    cost = " ".join(text for text in (cost, describe_ranks(settings, results)) if text)
    title = f"An architecture search by {results['method']}" if "method" in results else "An architecture search"
    outcome: list[AbstractBlock] = [Code(str(found)), Text(_skips(found))] if found is not None else []
    repeat = [Text("To repeat it, in this folder:"), Code("mlo-nas search --config config.json --out ../again")]
    if results:
        repeat += [Text("To train the cell from scratch and test it:"), Code(next_command(settings, Path()))]
    files = {name: text for name, text in FILES.items() if not (results and name == f"{CHECKPOINTS}/")}
    write_index(
        folder,
        title,
        summary=[cost],
        facts=_facts(settings, names, results),
        sections=_sections(folder, settings, outcome, repeat),
        files=files,
        warnings=warnings,
    )
    alarms = [Text(f"**Warning:** {text}") for text in warnings]
    pictures = [Picture("cell.svg", "the cell")] if (folder / "cell.svg").is_file() else []
    texts = [Text(describe_formulation(settings, names)), Text(cost)]
    write_readme(folder, title, [*texts, *alarms, *outcome, *pictures, *repeat], files)


def _facts(settings: SearchSettings, tasks: Sequence[str], results: Mapping[str, Any]) -> dict[str, str]:
    return {
        "method": str(results.get("method", "")) or "(not known before the end)",
        "formulation": describe_formulation(settings, tasks),
        "tasks": ", ".join(tasks) or "(not known before the end)",
        "length": f"{settings.epochs} epochs, batches of {', '.join(map(str, settings.batches or (settings.batch,)))}",
        "seed": str(settings.seed),
    }


def _skips(genotype: Genotype) -> str:
    counts = " and ".join(f"{count} in the {kind} cell" for kind, count in count_skips(genotype).items())
    alarm = " Many of them are the sign of a search that has collapsed." if genotype.count("skip_connect") else ""
    return f"Skip connections: {counts}.{alarm}"


def _sections(
    folder: Path, settings: SearchSettings, outcome: Sequence[AbstractBlock], repeat: Sequence[AbstractBlock]
) -> list[Section]:
    shown = {name: Picture(name, text) for name, text in _CAPTIONS.items() if (folder / name).is_file()}
    cell = [shown.pop("cell.svg")] if "cell.svg" in shown else []
    sections = [
        Section("The cell", [*outcome, *cell]),
        Section("How to repeat it, and to go on", [*repeat, *_command(folder)]),
    ]
    if shown:
        sections.append(Section("How it went", list(shown.values())))
    sections.append(Section("Settings", [settings_table(settings)]))
    if (folder / ENVIRONMENT).is_file():
        values = read_json(folder / ENVIRONMENT, "it is cut off; run the search again")
        sections.append(Section("Environment", [fact_table({str(key): str(value) for key, value in values.items()})]))
    return sections


def _command(folder: Path) -> list[AbstractBlock]:
    """Return the command that the search was started with, if it was started by one."""
    if not (folder / ENVIRONMENT).is_file():
        return []
    command = str(read_json(folder / ENVIRONMENT, "it is cut off; run the search again").get("command", ""))
    return [Text("It was started as:"), Code(command)] if "mlo-nas" in command or "applications.nas" in command else []
