"""Train an architecture from scratch and test it: the only judgment of a search."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from applications.nas.data import Task
from applications.nas.progress import Tick, silent
from applications.nas.retrain.build import build_network, measure_on
from applications.nas.retrain.evaluation import score
from applications.nas.retrain.fit import fit
from applications.nas.retrain.weights_file import save_weights
from applications.nas.run_folder import MetricsFile
from applications.nas.seeded import seeded
from applications.nas.settings import Data, RetrainSettings
from applications.nas.space.genotype import Genotype
from applications.nas.tasks import choose_device, choose_task, load_tasks


@dataclass(frozen=True)
class Training:
    """One network, trained and tested.

    Attributes:
        task: Name of the task.
        seed: Of initial values, batch order and drop path.
        error: The task's metric on the test part after the last epoch: for a classification the error in percent.
        parameters: Weights of the network, without the auxiliary head, as papers count them.
        seconds: Wall time.
        tested: Number of test images.
        metric: Name of the metric.
        top5: Top-5 error in percent; None unless there are more than five classes.
        multiply_adds: Of one image, in convolutions and linear layers; None if they were not counted.
    """

    task: str
    seed: int
    error: float
    parameters: int
    seconds: float
    tested: int
    metric: str = "error %"
    top5: float | None = None
    multiply_adds: int | None = None


def retrain(
    genotype: Genotype | None, task: Task, settings: RetrainSettings, seed: int, folder: Path, tick: Tick = silent
) -> Training:
    """Train one network from scratch on a task's train and valid parts, and test it once.

    Writes `TASK-SEED.csv` (learning rate, loss and training error by epoch) and `TASK-SEED.pt` (the weights that were
    tested, a state dict that loads with `torch.load(..., weights_only=True)`).

    Args:
        genotype: The architecture; None for a network of torchvision, which the settings name.
        task: What to learn.
        settings: How.
        seed: Of initial values, batch order and drop path.
        folder: Where the files go.
        tick: Told how far it is.

    Raises:
        ConfigError: If the network does not fit the images or the task.
        DivergenceError: If the loss is not finite.

    Source: DARTS: Differentiable Architecture Search (Liu, Simonyan, Yang, 2019), section 3.2.
    """
    started = time.monotonic()
    cost = measure_on(genotype, task, settings)
    device = choose_device(settings.device)
    with seeded(seed, device):  # initial values and drop path; the batches have a generator of their own
        network = build_network(genotype, task, settings).to(device)
        with MetricsFile(folder / f"{task.name}-{seed}.csv") as metrics:
            trained = fit(network, task, settings, seed, metrics, tick)
    save_weights(trained, folder / f"{task.name}-{seed}.pt")
    found = score(trained, task)
    return Training(
        task=task.name,
        seed=seed,
        error=found.error,
        parameters=cost.parameters,
        seconds=time.monotonic() - started,
        tested=len(task.test),
        metric=task.objective.metric,
        top5=found.top5,
        multiply_adds=cost.multiply_adds,
    )


def retrain_task(
    genotype: Genotype | None, task: Task, settings: RetrainSettings, folder: Path, tick: Tick = silent
) -> tuple[Training, ...]:
    """Train one network for each seed of the settings on one task.

    Args:
        genotype: The architecture; None for a network of torchvision, which the settings name.
        task: What to learn.
        settings: How.
        folder: Where the files go.
        tick: Told how far it is, over all seeds.
    """
    found = []
    for index, seed in enumerate(settings.seeds):

        def onward(done: int, total: int, text: str, before: int = index) -> None:
            tick(before * total + done, len(settings.seeds) * total, text)

        found.append(retrain(genotype, task, settings, seed, folder, onward))
    return tuple(found)


def retrain_seeds(
    genotype: Genotype | None,
    data: Data,
    split_seed: int,
    task_name: str,
    settings: RetrainSettings,
    folder: Path,
    tick: Tick = silent,
) -> tuple[Training, ...]:
    """Load one task, and train one network for each seed of the settings on it.

    Args:
        genotype: The architecture; None for a network of torchvision, which the settings name.
        data: Where the task comes from.
        split_seed: The seed that the search split the data by, so that its test part stays unseen.
        task_name: Which task.
        settings: How to train.
        folder: Where the files go.
        tick: Told how far it is, over all seeds.
    """
    task = choose_task(load_tasks(data, split_seed, cutout=settings.cutout, retraining=True), task_name)
    return retrain_task(genotype, task, settings, folder, tick)
