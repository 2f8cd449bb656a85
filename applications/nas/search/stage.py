"""One stage of a search: supernets, problem graph and engine, trained epoch by epoch."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

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
from applications.nas.search.epoch import Epoch
from applications.nas.search.keeper import Keeper
from applications.nas.search.record import AbstractRecord
from applications.nas.search.standing import Standing
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


def run_stage(
    course: Course, prepared: Prepared, record: AbstractRecord, keeper: Keeper, begun: Standing | None = None
) -> Epoch:
    """Run one stage.

    Args:
        course: The search.
        prepared: The stage.
        record: Where steps and epochs are written down.
        keeper: Where the search is kept.
        begun: Where it stood in this stage when it was stopped; None to begin the stage.

    Returns:
        Its last epoch.

    Raises:
        Stopped: If a signal asks for it.
    """
    settings, ranks = course.settings, course.parallel
    policy = settings.on_divergence
    engine = mlo.Engine(prepared.graph, look_ahead=looks_ahead(settings), parallel=ranks, on_divergence=policy)
    if begun is None:
        at = Standing(prepared.number, 0, 0, False, prepared.space, (), course.generator.get_state(), record.state())
        keeper.milestone(engine, at)
    else:
        keeper.restore(engine)
        course.generator.set_state(begun.generator)
        at = begun
    if at.ended:
        place = _begin_epoch(course, prepared, at.epoch - 1)
        return _look(course, engine, prepared, place, frozen=place.epoch < prepared.stage.warm_up)
    while not at.ended:
        at, last = _run_epoch(course, prepared, engine, record, keeper, at)
    return last


def _begin_epoch(course: Course, prepared: Prepared, epoch: int) -> Progress:
    """Let losses and networks know which epoch it is."""
    place = Progress(prepared.number, epoch, prepared.stage.epochs)
    prepared.clock.now = place
    for learner in prepared.learners:
        course.settings.method.begin_epoch(learner.network, place)
    return place


def _run_epoch(
    course: Course, prepared: Prepared, engine: mlo.Engine, record: AbstractRecord, keeper: Keeper, at: Standing
) -> tuple[Standing, Epoch]:
    """Run an epoch, or the rest of one; return where the search stands then, and what it has found."""
    settings, stage = course.settings, prepared.stage
    place = _begin_epoch(course, prepared, at.epoch)
    frozen = place.epoch < stage.warm_up
    rate = cosine(settings.weights, place.epochs, course.epoch_steps)
    cost = gradients_per_step(settings.formulation, settings.rule, len(course.tasks), frozen=frozen)
    for step in range(at.step + 1, course.epoch_steps + 1):
        report = engine.step(frozen=frozen)
        record.step(report, place, rate(report.step - 1), cost)
        if step < course.epoch_steps:  # the last step belongs to the end of the epoch
            keeper.step(engine, partial(_standing, course, record, at, step=step))
    last = _look(course, engine, prepared, place, frozen)
    record.end_epoch(last)
    record.keep(engine, place)
    moved = at.moved if frozen else (*at.moved, last.genotype)
    reason = settings.method.stop(moved) if moved else None
    if reason is not None:
        record.stop(place, reason)
    ended = reason is not None or place.epoch + 1 == stage.epochs
    at = _standing(course, record, at, epoch=place.epoch + 1, step=0, moved=moved, ended=ended)
    keeper.milestone(engine, at, last=ended and prepared.number + 1 == len(settings.stages()))
    return at, last


def _standing(course: Course, record: AbstractRecord, at: Standing, **changes: Any) -> Standing:
    return replace(at, generator=course.generator.get_state(), record=record.state(), **changes)


def _look(course: Course, engine: mlo.Engine, prepared: Prepared, place: Progress, frozen: bool) -> Epoch:
    """Return what stands at the end of an epoch."""
    method, space = course.settings.method, prepared.space
    variables = {name: table.cpu() for name, table in engine.export(ARCHITECTURE).items()}
    genotype, strengths = method.derive(variables, space, place), method.strengths(variables, space, place)
    sight = Sight() if frozen else course.watch.look(engine, prepared.learners, space, place, genotype)
    return Epoch(place, variables, strengths, space, genotype, frozen, sight)


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
