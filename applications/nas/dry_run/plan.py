"""What a search would do, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import mlo
from applications.nas.data import Images, Task
from applications.nas.dry_run.blank import blank_tasks
from applications.nas.dry_run.memory import Footprint, Memory, estimate, footprint, saved_bytes
from applications.nas.formulations import gradients_per_step
from applications.nas.methods import Progress, Stage
from applications.nas.optimizers import cosine
from applications.nas.search import begin, check_ranks, chosen_tasks, complete, stage_gradients
from applications.nas.search.stage import Prepared, prepare
from applications.nas.settings import CifarData, FashionData, ImageNetData, SearchSettings, WatchSettings
from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.operations import operation
from mlo import DataError


@dataclass(frozen=True)
class StagePlan:
    """What one stage would do.

    Attributes:
        stage: Its settings.
        space: What its edges hold; after the first stage, what they hold at most.
        steps: Outer steps of an epoch.
        rates: Learning rate of the weights in the first and in the last epoch.
        resting: Gradients of one task's loss that a step of the warm-up takes.
        moving: Those of every other step.
        gradients: Those of the whole stage.
        tasks: What each task takes, by name.
        memory: At the stage's peak.
    """

    stage: Stage
    space: CellSpace
    steps: int
    rates: tuple[float, float]
    resting: int
    moving: int
    gradients: int
    tasks: Mapping[str, Footprint]
    memory: Memory

    @property
    def multiply_adds(self) -> float:
        """Of the whole stage, roughly: a gradient counts as three forward passes, of a batch of the mean task."""
        a_pass = sum(task.multiply_adds * task.images for task in self.tasks.values()) / len(self.tasks)
        return 3.0 * self.gradients * a_pass


@dataclass(frozen=True, eq=False)
class Plan:
    """What a search would do.

    Attributes:
        settings: Of the search, resolved.
        tasks: Those that take part.
        missing: Why the data are not there, in which case published sizes stand in; empty if they are.
        graph: The problems of the first stage.
        stages: What each does.
    """

    settings: SearchSettings
    tasks: tuple[Task, ...]
    missing: str
    graph: mlo.ProblemGraph
    stages: tuple[StagePlan, ...]

    @property
    def data(self) -> int:
        """Bytes of the images that the search holds where it computes; those that stay on disk are not among them."""
        if isinstance(self.settings.data, ImageNetData):
            return 0  # blank ones would look as if they were held
        parts = [part for task in self.tasks for part in (task.train, task.valid)]
        held = [part for part in parts if isinstance(part, Images)]
        return sum(part.pixels.nbytes + part.labels.nbytes for part in held)


def make_plan(settings: SearchSettings, world: int = 1) -> Plan:
    """Plan a search without running any of it: on shapes, not on numbers, and never on a GPU.

    Args:
        settings: Of the search.
        world: How many ranks are to share it. What is planned is the search in one process; how ranks share the
            stages is settled, and is 1 in the plan.

    Returns:
        The plan. Where CIFAR, Fashion-MNIST or ImageNet is not there, its published sizes stand in. Operations that a
        later stage would keep are not known before: those that take most memory are assumed.

    Raises:
        MLOError: Whatever the search itself would refuse before its first step.
    """
    check_ranks(settings, world)
    settings = replace(complete(settings), parallel=replace(settings.parallel, stages=1))
    tasks, missing = _tasks(settings)
    course = begin(replace(settings, device="cpu", watch=WatchSettings(gap=False)), tasks)
    first = prepared = prepare(course, 0, settings.supernet.space)
    stages = [_plan_stage(settings, prepared, course.epoch_steps)]
    for number, stage in enumerate(settings.stages()[1:], start=1):
        prepared = prepare(course, number, _costliest(prepared, settings, stage))
        stages.append(_plan_stage(settings, prepared, course.epoch_steps))
    return Plan(settings, tasks, missing, first.graph, tuple(stages))


def _tasks(settings: SearchSettings) -> tuple[tuple[Task, ...], str]:
    """Return the tasks, and why their data are not there if they are blank."""
    data = settings.data
    if isinstance(data, CifarData | FashionData):
        data = replace(data, download=False)
    try:
        return chosen_tasks(replace(settings, data=data)), ""
    except DataError as error:
        blank = blank_tasks(data)
        if not blank:
            raise
        return chosen_tasks(settings, blank), str(error)


def _plan_stage(settings: SearchSettings, prepared: Prepared, steps: int) -> StagePlan:
    stage, form, rule, count = prepared.stage, settings.formulation, settings.rule, len(prepared.learners)
    rate, start = cosine(settings.weights, stage.epochs, steps), Progress(prepared.number, 0, stage.epochs)
    tables = settings.method.relax(_variables(prepared, settings), start)
    prints: dict[str, Footprint] = {}
    for learner in prepared.learners:
        settings.method.begin_epoch(learner.network, start)
        prints[learner.name] = footprint(learner, tables, rule, hessian=settings.watch.eigenvalue > 0)
    return StagePlan(
        stage,
        prepared.space,
        steps,
        rates=(rate(0), rate((stage.epochs - 1) * steps)),
        resting=gradients_per_step(form, rule, count, frozen=True),
        moving=gradients_per_step(form, rule, count),
        gradients=stage_gradients(settings, stage, count, steps),
        tasks=prints,
        memory=estimate(list(prints.values()), form, rule, chunks=settings.accumulate),
    )


def _costliest(prepared: Prepared, settings: SearchSettings, stage: Stage) -> CellSpace:
    """Return the space of the next stage if each edge kept the operations that save most for the backward pass."""
    space, variables = prepared.space, _variables(prepared, settings)
    cost = {name: _saved_by(name, prepared.stage.channels) for name in space.primitives}
    for name in CELL_TYPES:
        rows = [[cost[one] for one in edge] for edge in space.choices[name]]
        ranks = [[sorted(row).index(value) for value in row] for row in rows]
        variables[name] = torch.tensor(ranks, dtype=variables[name].dtype)
    return settings.method.narrow(variables, space, stage.operations)


def _saved_by(name: str, channels: int) -> int:
    module = operation(name, channels, 1, affine=False, pool_norm=True).to("meta")
    x = torch.empty(2, channels, 8, 8, device="meta", requires_grad=True)
    return saved_bytes(lambda: module(x))


def _variables(prepared: Prepared, settings: SearchSettings) -> dict[str, Tensor]:
    """Return architecture variables of the shapes of a stage."""
    return settings.method.initial(prepared.space, torch.Generator().manual_seed(0))
