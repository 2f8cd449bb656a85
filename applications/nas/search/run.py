"""One architecture search, from settings to a genotype in a run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from applications.nas.data import Task, split_records
from applications.nas.draw import sketch_graph, write_sketch
from applications.nas.formulations import gradients_per_step
from applications.nas.launch import Ranks
from applications.nas.methods import Stage
from applications.nas.progress import Tick, silent
from applications.nas.run_folder import SPLITS, RunLog, write_config, write_json, write_text
from applications.nas.search.record import AbstractRecord, Bystander, Epoch, Record, write_outcome
from applications.nas.search.stage import Course, Prepared, make_streams, metric_columns, prepare, run_stage
from applications.nas.search.words import strength_label
from applications.nas.seeded import seeded
from applications.nas.settings import Interleaving, SearchSettings, SingleTask
from applications.nas.space.genotype import Genotype
from applications.nas.tasks import choose_device, choose_task, load_tasks, located
from applications.nas.watch import Alarms, Watch, first_batch
from mlo import Alone, ConfigError, Parallel, deterministic


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


def search(settings: SearchSettings, folder: Path, tick: Tick = silent, ranks: Ranks = Ranks()) -> SearchOutcome:
    """Search a cell and write everything about it into a folder.

    Args:
        settings: What to search, and how.
        folder: An empty folder; made, once the request has proved sound, if it does not exist.
        tick: Told how far it is.
        ranks: Who shares the search; all of them make this call, and the first writes.

    Returns:
        The outcome.

    Raises:
        MLOError: If the settings, the data or the numbers do not allow it; what was measured until then is in the
            folder.
    """
    settings = complete(settings)
    with deterministic(on=settings.deterministic):
        return _search(settings, folder, tick, ranks)


def _search(settings: SearchSettings, folder: Path, tick: Tick, ranks: Ranks) -> SearchOutcome:
    tasks = chosen_tasks(settings)
    course = begin(settings, tasks, ranks)
    first = prepare(course, 0, settings.supernet.space)  # whatever does not fit shows before anything is written
    # What methods draw, such as masks of dropout; batches, initial weights and variables have generators of their own.
    seed = 1000 * settings.seed + 9
    started = time.monotonic()
    with seeded(course.parallel.seed(seed), course.device):
        if not ranks.first:
            bystander = Bystander()
            found = _run(course, first, bystander)
            return SearchOutcome(found.genotype, bystander.steps, bystander.gradients, time.monotonic() - started)
        _write_request(course, first, folder)
        with RunLog(folder, metric_columns(first.graph)) as log:
            record = Record(folder, log, tick, course.total_steps, Alarms(settings.watch))
            found = _run(course, first, record)
    outcome = SearchOutcome(found.genotype, record.steps, record.gradients, time.monotonic() - started)
    write_outcome(folder, settings, [task.name for task in tasks], found, record, outcome.seconds, ranks.world)
    return outcome


def _write_request(course: Course, first: Prepared, folder: Path) -> None:
    """Write down what is asked for."""
    settings = course.settings
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, settings)
    write_json(folder / SPLITS, split_records(course.tasks))
    write_text(folder / "graph.mmd", first.graph.to_mermaid() + "\n")
    strength = strength_label(settings.formulation, settings.weights.lr)
    write_sketch(folder, sketch_graph(first.graph, strength=strength))


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


def _run(course: Course, prepared: Prepared, record: AbstractRecord) -> Epoch:
    """Run all stages; each begins anew, in the space that the one before has left."""
    method, stages = course.settings.method, course.settings.stages()
    last = run_stage(course, prepared, record)
    for number, stage in enumerate(stages[1:], start=1):
        prepared = prepare(course, number, method.narrow(last.variables, prepared.space, stage.operations))
        last = run_stage(course, prepared, record)
    return last
