"""How long a step takes, by making two of them."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

import mlo
from applications.nas.dry_run.plan import Plan
from applications.nas.formulations import looks_ahead
from applications.nas.methods import Progress
from applications.nas.search import begin
from applications.nas.search.stage import prepare
from applications.nas.settings import WatchSettings


def time_step(plan: Plan, number: int) -> float:
    """Make two steps of a stage where the search would make them, and return the seconds of the second.

    Args:
        plan: Of the search; where its data are not there, the images are blank.
        number: Of the stage, from 0.

    Returns:
        Seconds of a step in which the architecture moves.

    Raises:
        MLOError: If the device is not there, or a step fails.
    """
    with mlo.deterministic(on=plan.settings.deterministic):
        return _seconds(plan, number)


def _seconds(plan: Plan, number: int) -> float:
    settings = replace(plan.settings, watch=WatchSettings(gap=False))
    course = begin(settings, plan.tasks)
    prepared = prepare(course, number, plan.stages[number].space)
    for learner in prepared.learners:
        settings.method.begin_epoch(learner.network, Progress(number, 0, prepared.stage.epochs))
    engine = mlo.Engine(prepared.graph, look_ahead=looks_ahead(settings), parallel=mlo.Alone())
    engine.step()  # the first one of all sets things up
    _wait(course.device)
    started = time.perf_counter()
    engine.step()
    _wait(course.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    """Wait for what a GPU has still to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
