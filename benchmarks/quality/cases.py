"""What is measured: searches, and the steps after which one is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

import mlo
from applications.nas.data import Part, Task
from applications.nas.formulations import ARCHITECTURE, looks_ahead
from applications.nas.methods import AbstractMethod, Darts, PCDarts, PDarts, Progress
from applications.nas.networks.batched import BatchedSupernet, plain_state
from applications.nas.networks.supernet import Supernet
from applications.nas.search.request import begin, chosen_tasks
from applications.nas.search.stage import Course, Prepared, prepare
from applications.nas.settings import (
    ArchitectureSettings,
    DigitsData,
    FolderData,
    GradientSettings,
    SearchSettings,
    SingleTask,
    SupernetSettings,
    WeightSettings,
)
from benchmarks.quality.kinks import Shape, Shaped
from benchmarks.quality.point import Batch, Point, flattened

STEPS = (0, 30, 100, 300)
"""Weight steps, each with a first-order step of the architecture, after which hypergradients are compared."""
SIDE, RATE, ARCHITECTURE_RATE = 16, 0.025, 0.01
METHODS: dict[str, AbstractMethod] = {
    "DARTS": Darts(),
    "PC-DARTS": PCDarts(warm_up=0.0),
    "P-DARTS": PDarts(deeper=(0, 0, 0), warm_up=0.0),
}


@dataclass(frozen=True)
class Case:
    """One search.

    Attributes:
        method: Whose supernet.
        channels: C.
        layers: L.
        seed: Of splits, first weights and batches.
        shape: Of the kinks.
        steps: After which it is looked at.
        implicit: Whether the implicit hypergradient is what is measured, and not the one-step one.
    """

    method: str
    channels: int
    layers: int
    seed: int
    shape: Shape = Shape()
    steps: tuple[int, ...] = STEPS
    implicit: bool = False

    def title(self, data: str, step: int) -> str:
        """Return the name of a row."""
        net = f"{self.method}, C = {self.channels}, L = {self.layers}, {self.shape.title}"
        return f"{data}, {net}, seed {self.seed}, after {step} steps" + ", implicit" * self.implicit


def planned(seeds: int) -> Iterator[Case]:
    """Yield all cases, small and informative ones first."""
    some = (0, 100)
    shapes = [Shape(20.0, True), Shape(None, True), Shape(20.0, False), Shape(5.0, True)]
    for seed in range(seeds):
        yield Case("DARTS", 4, 3, seed, steps=some)
        yield Case("DARTS", 4, 3, seed, shapes[0], some)
        yield Case("PC-DARTS", 4, 3, seed, steps=some)
    for seed in range(seeds):
        yield Case("DARTS", 4, 3, seed, steps=some, implicit=True)
        yield Case("P-DARTS", 4, 3, seed, steps=some)
        yield Case("DARTS", 8, 3, seed, steps=some)
        yield Case("DARTS", 4, 5, seed, steps=some)
        for shape in shapes[1:]:
            yield Case("DARTS", 4, 3, seed, shape, some)
    for seed in range(seeds):
        for name in METHODS:
            yield Case(name, 4, 3, seed)
        yield Case("DARTS", 8, 3, seed)
        yield Case("DARTS", 4, 5, seed)


def points(case: Case, root: Path | None, batch: int, wanted: set[int]) -> Iterator[tuple[int, Point, Point]]:
    """Yield where the search of a case stands after some of its steps: at one pair of batches, and at another.

    The search is one of first order, in float32, which trains weights by SGD and the architecture by Adam. The batches
    of a point are none that the search itself has drawn in that order.

    Args:
        case: Which.
        root: A folder ROOT/{train,test}/CLASS/IMAGE; None for digits.
        batch: Images in a batch.
        wanted: After which steps.
    """
    settings = settings_of(case, root, batch)
    task = chosen_tasks(settings)[0]
    course = begin(settings, (task,))
    prepared = _prepared(case, course)
    engine = mlo.Engine(prepared.graph, look_ahead=looks_ahead(settings))
    made = 0
    for step in sorted(wanted):
        with Shaped(case.shape):
            for _ in engine.run(step - made):
                pass
        made = step
        seed = 9000 + 1000 * case.seed + step
        here = _point(case, settings, task, prepared, engine, seed)
        yield step, here, replace(here, batches=_fresh(settings, task, seed + 500))


def _fresh(settings: SearchSettings, task: Task, seed: int) -> tuple[Batch, Batch]:
    """Return a batch of training and one of validation."""
    parts: tuple[Part, Part] = ("train", "valid")
    streams = [task.stream(part, size=settings.batch, seed=seed, device="cpu", training=True) for part in parts]
    first, second = (next(iter(stream)) for stream in streams)
    return first, second


def _point(
    case: Case, settings: SearchSettings, task: Task, prepared: Prepared, engine: mlo.Engine, seed: int
) -> Point:
    network, tables = _plain(settings, task, prepared, engine.export(task.name)), engine.export(ARCHITECTURE)
    return Point(
        network,
        tables,
        flattened(list(network.parameters())),
        flattened(list(tables.values())),
        _fresh(settings, task, seed),
        settings.method,
        prepared.clock.now,
        RATE,
        task.objective.loss,
        case.shape,
    )


def _plain(settings: SearchSettings, task: Task, prepared: Prepared, batched: nn.Module) -> nn.Module:
    """Return the same network in the plain form, which is five times faster in float64."""
    assert isinstance(batched, BatchedSupernet)
    stage, method = prepared.stage, settings.method
    network = Supernet(
        prepared.space,
        stage.channels,
        stage.layers,
        task.objective,
        mixed=method.mixed_operation,
        in_channels=task.train.shape[0],
    )
    network.load_state_dict(plain_state(batched))
    method.begin_epoch(network, prepared.clock.now)
    return network.train()


def _prepared(case: Case, course: Course) -> Prepared:
    """Return the first stage of a search; of P-DARTS the second, with 5 operations an edge, by the first alphas."""
    method, space = course.settings.method, course.settings.supernet.space
    if case.method != "P-DARTS":
        return prepare(course, 0, space)
    stages = course.settings.stages()
    drawn = method.initial(space, torch.Generator().manual_seed(case.seed))
    prepared = prepare(course, 1, method.narrow(drawn, space, stages[1].operations))
    prepared.clock.now = Progress(1, 0, stages[1].epochs)
    for learner in prepared.learners:
        method.begin_epoch(learner.network, prepared.clock.now)
    return prepared


def settings_of(case: Case, root: Path | None, batch: int) -> SearchSettings:
    return SearchSettings(
        data=DigitsData(("digits",)) if root is None else FolderData((root,), side=SIDE),
        method=METHODS[case.method],
        formulation=SingleTask(),
        supernet=SupernetSettings(channels=case.channels, layers=case.layers),
        gradient=GradientSettings("first"),
        weights=WeightSettings(lr=RATE, min_lr=RATE),
        architecture=ArchitectureSettings(lr=ARCHITECTURE_RATE),
        epochs=1000,
        batch=batch,
        seed=case.seed,
        device="cpu",
    )
