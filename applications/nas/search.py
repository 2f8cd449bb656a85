"""One architecture search, from settings to a genotype in a run folder."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mlo
from applications.nas.data import Batches, Images, Task
from applications.nas.draw import draw_genotype
from applications.nas.formulations import (
    ARCHITECTURE,
    Learner,
    build_graph,
    cosine,
    gradients_per_step,
    looks_ahead,
)
from applications.nas.methods.darts import derive, initial_alphas, softmax_relaxation
from applications.nas.plots import draw_alphas, draw_curves
from applications.nas.progress import Tick, silent
from applications.nas.run_folder import GENOTYPE, RESULTS, MetricsFile, write_config, write_json, write_text
from applications.nas.settings import Interleaving, MultiTask, SearchSettings, SingleTask
from applications.nas.space.cell import CELL_TYPES
from applications.nas.space.genotype import Genotype
from applications.nas.supernet import Supernet
from applications.nas.tasks import choose_device, choose_task, load_tasks, located


@dataclass(frozen=True)
class SearchOutcome:
    """What a search found and what it took.

    Attributes:
        genotype: The cell.
        steps: Outer steps.
        gradients: Gradients of one task's loss, a double backward counted as two.
        seconds: Wall time.
    """

    genotype: Genotype
    steps: int
    gradients: int
    seconds: float


def search(settings: SearchSettings, folder: Path, tick: Tick = silent) -> SearchOutcome:
    """Search a cell and write everything about it into a folder.

    Args:
        settings: What to search, and how.
        folder: An empty folder; made, once the request has proved sound, if it does not exist.
        tick: Told how far it is.

    Returns:
        The outcome.

    Raises:
        MLOError: If the settings, the data or the numbers do not allow it; what was measured until then is in the
            folder.
    """
    settings = replace(settings, data=located(settings.data))
    tasks = load_tasks(settings.data, settings.seed)
    if isinstance(settings.formulation, SingleTask):
        tasks = (choose_task(tasks, settings.formulation.task),)
    space, device = settings.supernet.space, choose_device(settings.device)
    learners = [_learner(settings, task, index, device) for index, task in enumerate(tasks)]
    drawn = initial_alphas(space, torch.Generator().manual_seed(settings.seed))
    alphas = {name: table.to(device) for name, table in drawn.items()}
    graph = build_graph(learners, alphas, settings)
    engine = mlo.Engine(graph, look_ahead=looks_ahead(settings))
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, settings)
    write_text(folder / "graph.mmd", graph.to_mermaid() + "\n")
    started = time.monotonic()
    with MetricsFile(folder / "metrics.csv") as metrics:
        steps = _train(engine, settings, len(learners[0].train), metrics, folder, tick)
    found = {name: table.cpu() for name, table in engine.values[ARCHITECTURE].items()}
    genotype = derive(found, space)
    cost = gradients_per_step(settings.formulation, settings.darts, len(tasks))
    outcome = SearchOutcome(genotype, steps, steps * cost, time.monotonic() - started)
    _write_outcome(folder, settings, tasks, found, metrics.rows, outcome)
    return outcome


def _learner(settings: SearchSettings, task: Task, index: int, device: torch.device) -> Learner:
    """Make a task's supernet and batches; every number depends on the seed and the task's place alone."""
    net, base = settings.supernet, settings.seed * 1000 + index * 10
    with torch.random.fork_rng():
        torch.manual_seed(base)
        in_channels = task.train.shape[0]
        network = Supernet(net.space, net.channels, net.layers, len(task.classes), in_channels=in_channels)
    _check_fit(network, task)
    return Learner(
        task.name,
        network.to(device),
        _batches(settings, task, task.train.to(device), base + 1),
        _batches(settings, task, task.valid.to(device), base + 2),
    )


def _check_fit(network: Supernet, task: Task) -> None:
    """Refuse images that are too small for the reductions, before anything is written."""
    space, shapes = network.space, copy.deepcopy(network).to("meta")
    with torch.no_grad():  # on shapes alone, no numbers
        table = torch.zeros(space.edges, len(space.primitives), device="meta")
        shapes(torch.zeros(2, *task.train.shape, device="meta"), dict.fromkeys(CELL_TYPES, table))


def _batches(settings: SearchSettings, task: Task, images: Images, seed: int) -> Batches:
    return Batches(
        images,
        size=settings.batch,
        seed=seed,
        mean=task.mean,
        std=task.std,
        augment=task.augment,
        drop_last=len(images) % settings.batch == 1,  # one image alone has no batch statistics
    )


def _train(
    engine: mlo.Engine, settings: SearchSettings, epoch_steps: int, metrics: MetricsFile, folder: Path, tick: Tick
) -> int:
    """Run the engine; one row of metrics a step, one genotype an epoch."""
    total = settings.epochs * epoch_steps
    rate = cosine(settings.weights, settings.epochs, epoch_steps)
    history: list[dict[str, object]] = []
    tick(0, total, "")
    for report in engine.run(total):
        metrics.write(_row(report, rate(report.step - 1), epoch_steps))
        tick(report.step, total, f"validation loss {report.losses[ARCHITECTURE]:.3f}")
        if report.step % epoch_steps == 0:
            genotype = derive(engine.values[ARCHITECTURE], settings.supernet.space)
            skips = genotype.count("skip_connect")
            history.append({"epoch": report.step // epoch_steps, "skips": skips, "cell": str(genotype)})
            write_json(folder / "genotypes.json", history)
    return total


def _row(report: mlo.Report, lr: float, epoch_steps: int) -> dict[str, float]:
    row = {"step": float(report.step), "epoch": (report.step - 1) // epoch_steps + 1.0, "lr": lr}
    row |= {f"loss/{name}": value for name, value in report.losses.items()}
    return row | {f"gradient/{name}": value for name, value in report.norms.items()}


def _write_outcome(
    folder: Path,
    settings: SearchSettings,
    tasks: Sequence[Task],
    alphas: Mapping[str, Tensor],
    rows: Sequence[Mapping[str, float]],
    outcome: SearchOutcome,
) -> None:
    space = settings.supernet.space
    # The cell before its pictures, so that a disk that is full loses no search.
    write_json(folder / "alphas.json", {name: table.tolist() for name, table in alphas.items()})
    write_json(folder / RESULTS, _results(settings, tasks, outcome))
    write_text(folder / GENOTYPE, outcome.genotype.to_json())
    labels = [f"{source} to {node}" for node, source in space.rows]
    draw_alphas(softmax_relaxation(alphas), space.primitives, labels, folder / "alphas")
    draw_genotype(outcome.genotype, folder / "cell")
    losses = [column for column in rows[0] if column.startswith("loss/")]
    norms = [column for column in rows[0] if column.startswith("gradient/")]
    draw_curves(rows, {"loss": losses, "norm of the gradient": norms}, folder / "curves")
    write_text(folder / "README.md", _explain(settings, tasks, outcome))


def _results(settings: SearchSettings, tasks: Sequence[Task], outcome: SearchOutcome) -> dict[str, Any]:
    """Return what tables tell about a search."""
    forms = {SingleTask: "single", MultiTask: "multi", Interleaving: "interleaving"}
    device = choose_device(settings.device)
    cells = {"normal": outcome.genotype.normal, "reduction": outcome.genotype.reduction}
    return {
        "kind": "search",
        "method": "DARTS-1st" if settings.darts.gradient == "first" else "DARTS-2nd",
        "formulation": forms[type(settings.formulation)],
        "tasks": [task.name for task in tasks],
        "seed": settings.seed,
        "steps": outcome.steps,
        "gradients": outcome.gradients,
        "seconds": outcome.seconds,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "devices": 1,
        "skips": {name: sum(edge.operation == "skip_connect" for edge in cell.edges) for name, cell in cells.items()},
    }


def _explain(settings: SearchSettings, tasks: Sequence[Task], outcome: SearchOutcome) -> str:
    form = settings.formulation
    kind = type(form).__name__
    if isinstance(form, Interleaving):
        c = 2 * settings.weights.lr * form.weight
        strength = f"c = 2 lr lambda = {c:g} and rho = c / (1 + c) = {c / (1 + c):.3g} at the start"
        kind += f", {form.rounds} rounds, lambda {form.weight:g}, {strength} ({form.form})"
    lines = [
        "# An architecture search",
        "",
        f"{kind}; tasks {', '.join(task.name for task in tasks)}; seed {settings.seed}.",
        f"{outcome.steps} steps, {outcome.gradients} gradients of one task's loss, {outcome.seconds:.0f} s.",
        "",
        "```",
        str(outcome.genotype),
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
        "| genotypes.json | the cell after each epoch, with the skip connections of both its parts |",
        "| alphas.json, alphas.svg | the architecture variables, and their mixing weights |",
        "| genotype.json, cell.svg | the cell that was found |",
        "| curves.svg | the losses and gradient norms of metrics.csv |",
        "| results.json | what the search took: steps, gradients, seconds |",
        "",
        "Each picture is there as PNG too.",
    ]
    return "\n".join(lines) + "\n"
