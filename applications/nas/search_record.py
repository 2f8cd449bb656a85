"""What a search writes down: every step, every epoch, and what came out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import mlo
from applications.nas.draw import draw_genotype
from applications.nas.formulations import ARCHITECTURE
from applications.nas.methods import Progress
from applications.nas.plots import draw_alphas, draw_curves
from applications.nas.progress import Tick
from applications.nas.run_folder import GENOTYPE, RESULTS, MetricsFile, write_json, write_text
from applications.nas.settings import Interleaving, MultiTask, SearchSettings
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Genotype
from applications.nas.watch import Alarms, Sight, write_epochs, write_warnings

log = logging.getLogger("mlo.nas")


@dataclass(frozen=True)
class Epoch:
    """What stands at the end of an epoch.

    Attributes:
        place: Which epoch of which stage.
        variables: The architecture variables, on the CPU.
        genotype: The cell that they give.
        space: What edges may hold.
        frozen: Whether the architecture rested.
        sight: What was measured.
    """

    place: Progress
    variables: dict[str, Tensor]
    genotype: Genotype
    space: CellSpace
    frozen: bool = False
    sight: Sight = Sight()


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        genotype: The cell.
        variables: The architecture variables at the end.
        space: What edges held in the last stage.
        place: Where it ended.
    """

    genotype: Genotype
    variables: dict[str, Tensor]
    space: CellSpace
    place: Progress


class Record:
    """Writes a search down as it runs.

    Attributes:
        steps: Outer steps made.
        gradients: Gradients of one task's loss taken.
        alarms: Signs of collapse.
    """

    def __init__(self, folder: Path, metrics: MetricsFile, tick: Tick, total: int, alarms: Alarms) -> None:
        """Tell the progress bar how long it will be."""
        self.alarms = alarms
        self.steps, self.gradients, self.metrics = 0, 0, metrics
        self._folder, self._tick, self._total = folder, tick, total
        self._history: list[dict[str, object]] = []
        tick(0, total, "")

    def step(self, report: mlo.Report, place: Progress, lr: float, cost: int) -> None:
        """Write a step down."""
        self.steps += 1
        self.gradients += cost
        row = {"step": float(self.steps), "stage": place.stage + 1.0, "epoch": place.epoch + 1.0, "lr": lr}
        row |= {f"loss/{name}": value for name, value in report.losses.items()}
        row |= {f"gradient/{name}": value for name, value in report.norms.items()}
        self.metrics.write(row)
        loss = report.losses.get(ARCHITECTURE)
        text = "warm-up of the weights" if loss is None else f"validation loss {loss:.3f}"
        self._tick(self.steps, self._total, text)

    def end_epoch(self, epoch: Epoch) -> None:
        """Write an epoch down."""
        stage, number = epoch.place.stage + 1, epoch.place.epoch + 1
        if not epoch.frozen:
            self.alarms.look(stage, number, epoch.genotype.normal, epoch.space, epoch.sight.eigenvalue)
        self._history.append(
            {
                "stage": stage,
                "epoch": number,
                "skips": skip_counts(epoch.genotype),
                "gap": epoch.sight.gap,
                "eigenvalue": epoch.sight.eigenvalue,
                "cell": str(epoch.genotype),
                "genotype": epoch.genotype.to_plain(),
                "alphas": {name: table.tolist() for name, table in epoch.variables.items()},
            }
        )
        write_json(self._folder / "genotypes.json", self._history)
        write_epochs(self._folder, self._history)
        write_warnings(self._folder, self.alarms.all)

    def stop(self, place: Progress, reason: str) -> None:
        """Say that a method has ended its stage."""
        log.warning("stage %d ends after epoch %d: %s", place.stage + 1, place.epoch + 1, reason)


def skip_counts(genotype: Genotype) -> dict[str, int]:
    """Return the skip connections of each type of cell."""
    cells = {"normal": genotype.normal, "reduction": genotype.reduction}
    return {name: sum(edge.operation == "skip_connect" for edge in cell.edges) for name, cell in cells.items()}


def method_title(settings: SearchSettings) -> str:
    """Return the name of a search's method in tables, such as DARTS-2nd."""
    title = settings.method.title
    if title == "DARTS":
        return title + ("-1st" if settings.rule == "first" else "-2nd")
    usual = settings.rule == settings.method.published
    return title if usual else f"{title}, {'first' if settings.rule == 'first' else 'second'} order"


def formulation_name(settings: SearchSettings) -> str:
    """Return "single", "multi" or "interleaving"."""
    form = settings.formulation
    if isinstance(form, Interleaving):
        return "interleaving"
    return "multi" if isinstance(form, MultiTask) else "single"


def write_outcome(
    folder: Path, settings: SearchSettings, tasks: Sequence[str], found: Found, record: Record, seconds: float
) -> None:
    """Write the cell, its cost and the pictures."""
    # The cell before its pictures, so that a disk that is full loses no search.
    write_json(folder / "alphas.json", {name: table.tolist() for name, table in found.variables.items()})
    results = {
        "kind": "search",
        "method": method_title(settings),
        "formulation": formulation_name(settings),
        "tasks": list(tasks),
        "seed": settings.seed,
        "steps": record.steps,
        "gradients": record.gradients,
        "seconds": seconds,
        "device": torch.cuda.get_device_name() if settings.device != "cpu" and torch.cuda.is_available() else "cpu",
        "devices": 1,
        "skips": skip_counts(found.genotype),
    }
    write_json(folder / RESULTS, results)
    write_text(folder / GENOTYPE, found.genotype.to_json())
    _draw(folder, settings, found, record)
    write_text(folder / "README.md", _explain(settings, tasks, found, record, seconds))


def _draw(folder: Path, settings: SearchSettings, found: Found, record: Record) -> None:
    space = found.space
    labels = [f"{source} to {node}" for node, source in space.rows]
    weights = settings.method.strengths(found.variables, space, found.place)
    if space.kept is None:
        draw_alphas(weights, space.primitives, labels, folder / "alphas")
    draw_genotype(found.genotype, folder / "cell")
    columns = list(record.metrics.columns)
    losses = [column for column in columns if column.startswith("loss/")]
    norms = [column for column in columns if column.startswith("gradient/")]
    draw_curves(record.metrics.rows, {"loss": losses, "norm of the gradient": norms}, folder / "curves")


def _explain(settings: SearchSettings, tasks: Sequence[str], found: Found, record: Record, seconds: float) -> str:
    form = settings.formulation
    kind = f"{method_title(settings)}, {formulation_name(settings)}"
    if isinstance(form, Interleaving):
        c = 2 * settings.weights.lr * form.weight
        strength = f"c = 2 lr lambda = {c:g} and rho = c / (1 + c) = {c / (1 + c):.3g} at the start"
        kind += f", {form.rounds} rounds, lambda {form.weight:g}, {strength} ({form.form})"
    lines = [
        "# An architecture search",
        "",
        f"{kind}; tasks {', '.join(tasks)}; seed {settings.seed}.",
        f"{record.steps} steps, {record.gradients} gradients of one task's loss, {seconds:.0f} s.",
        "",
        *[f"**Warning:** {alarm.told}.\n" for alarm in record.alarms.standing],
        "```",
        str(found.genotype),
        "```",
        "",
        "![the cell](cell.svg)",
        "",
        "| file | what it is |",
        "|---|---|",
        "| config.json | every setting; `mlo-nas search --config config.json` repeats the search |",
        "| environment.json | versions and hardware |",
        "| graph.mmd | the problem graph, in Mermaid |",
        "| metrics.csv | losses, gradient norms and learning rate of each step |",
        "| genotypes.json | the cell and the architecture variables after each epoch, and how many skips |",
        "| epochs.csv | skips, discretization gap and largest eigenvalue of the Hessian (if measured) by epoch |",
        "| warnings.json | signs that the search was collapsing, and from when to when |",
        "| alphas.json, alphas.svg | the architecture variables, and their mixing weights |",
        "| genotype.json, cell.svg | the cell that was found |",
        "| curves.svg | the losses and gradient norms of metrics.csv |",
        "| results.json | what the search took: steps, gradients, seconds |",
        "",
        "Each picture is there as PNG too.",
    ]
    return "\n".join(lines) + "\n"
