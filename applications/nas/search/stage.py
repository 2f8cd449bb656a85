"""One stage of a search: supernets, problem graph and engine, trained epoch by epoch."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch

import mlo
from applications.nas.data import AbstractBatches, Task
from applications.nas.formulations import (
    ARCHITECTURE,
    Clock,
    build_graph,
    gradients_per_step,
    looks_ahead,
)
from applications.nas.launch import Ranks
from applications.nas.learner import Learner
from applications.nas.methods import Progress, Stage
from applications.nas.networks.batched import BatchedSupernet, in_form
from applications.nas.networks.supernet import Supernet
from applications.nas.optimizers import cosine
from applications.nas.search.record import AbstractRecord, Epoch
from applications.nas.seeded import seeded
from applications.nas.settings import SearchSettings
from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.watch import Sight, Watch


@dataclass(frozen=True, eq=False)
class Course:
    """All that the stages of a search share.

    Attributes:
        settings: Of the search.
        tasks: Those that take part, in order.
        streams: Training and validation batches of each task.
        device: Where to compute.
        generator: Draws the architecture variables of all stages.
        watch: Measures, and changes nothing; on the first rank alone.
        parallel: The ranks that share the search.
    """

    settings: SearchSettings
    tasks: tuple[Task, ...]
    streams: tuple[tuple[AbstractBatches, AbstractBatches], ...]
    device: torch.device
    generator: torch.Generator
    watch: Watch
    parallel: mlo.Alone | mlo.Parallel

    @property
    def epoch_steps(self) -> int:
        """Outer steps of an epoch: the batches of the first task."""
        return len(self.streams[0][0])

    @property
    def total_steps(self) -> int:
        """Outer steps of the whole search, if nothing stops it."""
        return self.epoch_steps * sum(stage.epochs for stage in self.settings.stages())


def make_streams(
    settings: SearchSettings, task: Task, index: int, device: torch.device, share: Ranks = Ranks()
) -> tuple[AbstractBatches, AbstractBatches]:
    """Return training and validation batches of a task; their order depends on seed and place of the task alone.

    Args:
        settings: Of the search.
        task: The task.
        index: Its place.
        device: Where the batches end.
        share: Whose share of each batch is given.
    """
    base = _seed(settings, index)
    size = settings.batches[index] if settings.batches else settings.batch
    return (
        task.stream("train", size=size, seed=base + 1, device=device, training=True, ranks=share),
        task.stream("valid", size=size, seed=base + 2, device=device, training=True, ranks=share),
    )


@dataclass(frozen=True, eq=False)
class Prepared:
    """A stage that is ready to run.

    Attributes:
        number: Of the stage, from 0.
        stage: Its settings.
        space: What its edges hold.
        learners: The tasks with their supernets.
        clock: What tells the losses how far the stage is.
        graph: The problem graph.
    """

    number: int
    stage: Stage
    space: CellSpace
    learners: tuple[Learner, ...]
    clock: Clock
    graph: mlo.ProblemGraph


def prepare(course: Course, number: int, space: CellSpace) -> Prepared:
    """Build supernets, architecture variables and problem graph of a stage."""
    stage = course.settings.stages()[number]
    learners = tuple(_learner(course, index, number, stage, space) for index in range(len(course.tasks)))
    clock = Clock(number, stage.epochs)
    drawn = course.settings.method.initial(space, course.generator)
    variables = {name: table.to(course.device) for name, table in drawn.items()}
    graph = build_graph(learners, variables, course.settings, stage=stage, clock=clock)
    return Prepared(number, stage, space, learners, clock, graph)


def metric_columns(graph: mlo.ProblemGraph) -> list[str]:
    """Return the columns of the metrics of a search."""
    kinds = [f"{kind}/{name}" for kind in ("loss", "gradient") for name in graph.names]
    return ["step", "stage", "epoch", "lr", *kinds]


def run_stage(course: Course, prepared: Prepared, record: AbstractRecord) -> Epoch:
    """Run one stage.

    Args:
        course: The search.
        prepared: The stage.
        record: Where steps and epochs are written down.

    Returns:
        Its last epoch.
    """
    settings, stage = course.settings, prepared.stage
    engine = mlo.Engine(prepared.graph, look_ahead=looks_ahead(settings), parallel=course.parallel)
    moved = []
    for place in (Progress(prepared.number, epoch, stage.epochs) for epoch in range(stage.epochs)):
        prepared.clock.now = place
        for learner in prepared.learners:
            settings.method.begin_epoch(learner.network, place)
        frozen = place.epoch < stage.warm_up
        _run_epoch(course, engine, place, frozen, record)
        last = _look(course, engine, prepared, place, frozen)
        record.end_epoch(last)
        record.keep(engine, place)
        moved += [] if frozen else [last.genotype]
        reason = settings.method.stop(moved) if moved else None
        if reason is not None:
            record.stop(place, reason)
            break
    return last


def _look(course: Course, engine: mlo.Engine, prepared: Prepared, place: Progress, frozen: bool) -> Epoch:
    """Return what stands at the end of an epoch."""
    method, space = course.settings.method, prepared.space
    variables = {name: table.cpu() for name, table in engine.export(ARCHITECTURE).items()}
    genotype, strengths = method.derive(variables, space, place), method.strengths(variables, space, place)
    sight = Sight() if frozen else course.watch.look(engine, prepared.learners, space, place, genotype)
    return Epoch(place, variables, strengths, space, genotype, frozen, sight)


def _run_epoch(course: Course, engine: mlo.Engine, place: Progress, frozen: bool, record: AbstractRecord) -> None:
    settings = course.settings
    rate = cosine(settings.weights, place.epochs, course.epoch_steps)
    cost = gradients_per_step(settings.formulation, settings.rule, len(course.tasks), frozen=frozen)
    for report in engine.run(course.epoch_steps, frozen=frozen):
        record.step(report, place, rate(report.step - 1), cost)


def _learner(course: Course, index: int, number: int, stage: Stage, space: CellSpace) -> Learner:
    """Make a task's supernet; every number depends on the seed, the task's place and the stage alone."""
    settings, task = course.settings, course.tasks[index]
    base = _seed(settings, index)
    with seeded(base if number == 0 else base + 2 + number, course.device):
        network = Supernet(
            space,
            stage.channels,
            stage.layers,
            task.objective,
            mixed=settings.method.mixed_operation,
            in_channels=task.train.shape[0],
            large=settings.supernet.stem == "large",
        )
    if settings.parallel.sync_batch_norm:
        formed: Supernet | BatchedSupernet = cast(Supernet, mlo.SyncBatchNorm.convert(network))
    else:
        formed = in_form(network, settings.supernet.form)
    _check_fit(formed, task)
    train, valid = course.streams[index]
    return Learner(task.name, formed.to(course.device), train, valid, task.objective.loss)


def _seed(settings: SearchSettings, index: int) -> int:
    return settings.seed * 1000 + index * 10


def _check_fit(network: Supernet | BatchedSupernet, task: Task) -> None:
    """Refuse images that are too small for the reductions, before anything is written."""
    shapes = copy.deepcopy(network).to("meta")
    with torch.no_grad():  # on shapes alone, no numbers
        table = torch.zeros(network.space.edges, network.encoder.columns, device="meta")
        shapes(torch.zeros(2, *task.train.shape, device="meta"), dict.fromkeys(CELL_TYPES, table))
