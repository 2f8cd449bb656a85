"""What is asked of a search: its settings made complete, its tasks, and the course on which it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from applications.nas.data import Task
from applications.nas.formulations import gradients_per_step
from applications.nas.launch import Ranks
from applications.nas.methods import Stage
from applications.nas.search.stage import Course, make_streams
from applications.nas.settings import Interleaving, SearchSettings, SingleTask
from applications.nas.tasks import choose_device, choose_task, load_tasks, located
from applications.nas.watch import Watch, first_batch
from mlo import Alone, ConfigError, Parallel


def complete(settings: SearchSettings) -> SearchSettings:
    """Return the settings as a run folder keeps them: absolute paths, and nothing left to the method."""
    return replace(settings, data=located(settings.data)).resolved()


def chosen_tasks(settings: SearchSettings, loaded: tuple[Task, ...] | None = None) -> tuple[Task, ...]:
    """Return the tasks that take part in a search, in their order.

    Args:
        settings: Of the search.
        loaded: All tasks of the data; None to load them.

    Raises:
        ConfigError: If a task is named that does not exist, or twice.
        DataError: If data are missing or broken.
    """
    tasks, form = loaded or load_tasks(settings.data, settings.seed), settings.formulation
    if isinstance(form, SingleTask):
        tasks = (choose_task(tasks, form.task),)
    if isinstance(form, Interleaving) and form.order:
        if len(set(form.order)) != len(form.order):
            raise ConfigError(f"formulation: order {', '.join(form.order)} names a task twice: use more rounds instead")
        tasks = tuple(choose_task(tasks, name) for name in form.order)
    if settings.batches and len(settings.batches) != len(tasks):
        names = ", ".join(task.name for task in tasks)
        raise ConfigError(f"batches: {len(settings.batches)} sizes for the tasks {names}: give one for each, or none")
    return tasks


def begin(settings: SearchSettings, tasks: Sequence[Task], ranks: Ranks = Ranks()) -> Course:
    """Return a search that stands at its beginning."""
    device, parallel = choose_device(settings.device), _parallel(settings, ranks)
    share = Ranks(parallel.replica, parallel.replicas)
    streams = [make_streams(settings, task, index, device, share) for index, task in enumerate(tasks)]
    generator = torch.Generator().manual_seed(settings.seed)
    asked = settings.watch if ranks.first else replace(settings.watch, gap=False, eigenvalue=0)
    looks = asked.gap or asked.eigenvalue > 0
    watch = Watch(replace(settings, watch=asked), [first_batch(valid) for _, valid in streams] if looks else [])
    return Course(settings, tuple(tasks), tuple(streams), device, generator, watch, parallel)


def check_ranks(settings: SearchSettings, world: int) -> None:
    """Refuse ranks that cannot share the stages as asked.

    Raises:
        ConfigError: If there are too few, or some would be left over, or there are no stages to share.
    """
    stages = settings.parallel.stages
    if stages > 1 and isinstance(settings.formulation, SingleTask):
        raise ConfigError(
            f"parallel: stages={stages} ranks share stages, and formulation:single has one: leave it at 1"
        )
    form = settings.formulation
    if stages > 1 and isinstance(form, Interleaving) and form.start == "previous":
        what = f"stages={stages} ranks share stages, which formulation.start previous solves one after another"
        raise ConfigError(f"parallel: {what}: leave it at 1, so that ranks share the batches, or take persistent")
    if world % stages:
        there = "is one" if world == 1 else f"are {world}"
        cure = f"start {stages} ranks, or a multiple of that, by torchrun --nproc-per-node {stages}, or leave it at 1"
        raise ConfigError(f"parallel: stages={stages} ranks are to share the stages, but there {there}: {cure}")


def _parallel(settings: SearchSettings, ranks: Ranks) -> Alone | Parallel:
    check_ranks(settings, ranks.world)
    return Parallel(stages=settings.parallel.stages) if ranks.world > 1 else Alone()


def stage_gradients(settings: SearchSettings, stage: Stage, tasks: int, epoch_steps: int) -> int:
    """Return how many gradients of one task's loss a stage takes if nothing stops it."""
    form, rule = settings.formulation, settings.rule
    resting = stage.warm_up * gradients_per_step(form, rule, tasks, frozen=True)
    return epoch_steps * (resting + (stage.epochs - stage.warm_up) * gradients_per_step(form, rule, tasks))
