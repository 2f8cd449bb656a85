"""Train a found architecture from scratch and test it: the only judgement of a search."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from applications.nas.data import Task
from applications.nas.network import Network, Prediction
from applications.nas.progress import Tick, silent
from applications.nas.run_folder import MetricsFile
from applications.nas.settings import Data, RetrainSettings
from applications.nas.space.genotype import Genotype
from applications.nas.tasks import choose_device, choose_task, load_tasks
from mlo import DivergenceError


@dataclass(frozen=True)
class Training:
    """One network, trained and tested.

    Attributes:
        task: Name of the task.
        seed: Of initial values, batch order and drop path.
        error: Test error in percent, after the last epoch.
        parameters: Weights of the network, without the auxiliary head, as papers count them.
        seconds: Wall time.
        tested: Number of test images.
    """

    task: str
    seed: int
    error: float
    parameters: int
    seconds: float
    tested: int


def retrain(
    genotype: Genotype,
    task: Task,
    settings: RetrainSettings,
    seed: int,
    folder: Path,
    tick: Tick = silent,
) -> Training:
    """Train one network from scratch on a task's train and valid parts, and test it once.

    Writes `TASK-SEED.csv` (loss and learning rate by epoch) and `TASK-SEED.pt` (the weights, a state dict that loads
    with `torch.load(..., weights_only=True)`).

    Args:
        genotype: The architecture.
        task: What to learn.
        settings: How.
        seed: Of initial values, batch order and drop path.
        folder: Where the files go.
        tick: Told how far it is.

    Raises:
        ConfigError: If the network does not fit the images.
        DivergenceError: If the loss is not finite.

    Source: DARTS: Differentiable Architecture Search (Liu, Simonyan, Yang, 2019), section 3.2.
    """
    started = time.monotonic()
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # initial values and drop path; the batches have a generator of their own
        network = _network(genotype, task, settings).to(choose_device(settings.device))
        with MetricsFile(folder / f"{task.name}-{seed}.csv") as metrics:
            _fit(network, task, settings, seed, metrics, tick)
    on_cpu = {name: value.cpu() for name, value in network.state_dict().items()}
    torch.save(on_cpu, folder / f"{task.name}-{seed}.pt")
    named = network.named_parameters()
    parameters = sum(value.numel() for name, value in named if not name.startswith("auxiliary"))
    error = test_error(network, task)
    return Training(task.name, seed, error, parameters, time.monotonic() - started, len(task.test))


def retrain_seeds(
    genotype: Genotype,
    data: Data,
    split_seed: int,
    task_name: str,
    settings: RetrainSettings,
    folder: Path,
    tick: Tick = silent,
) -> tuple[Training, ...]:
    """Train one network for each seed of the settings on one task.

    Args:
        genotype: The architecture.
        data: Where the task comes from.
        split_seed: The seed that the search split the data by, so that its test part stays unseen.
        task_name: Which task.
        settings: How to train.
        folder: Where the files go.
        tick: Told how far it is, over all seeds.
    """
    task = choose_task(load_tasks(data, split_seed, cutout=settings.cutout, retraining=True), task_name)
    found = []
    for index, seed in enumerate(settings.seeds):

        def onward(done: int, total: int, text: str, before: int = index) -> None:
            tick(before * total + done, len(settings.seeds) * total, text)

        found.append(retrain(genotype, task, settings, seed, folder, onward))
    return tuple(found)


def test_error(network: nn.Module, task: Task) -> float:
    """Return the error on the test part in percent, with running statistics in BatchNorm.

    Raises:
        DivergenceError: If an output is not finite.
    """
    network.eval()
    wrong = 0
    batches = task.stream("test", size=256, seed=0, device=_device(network), training=False)
    with torch.no_grad():
        for x, y in batches:
            logits = network(x).logits
            if not bool(torch.isfinite(logits).all()):
                raise DivergenceError(f"task {task.name!r}: outputs are not finite in the test: lower weights.lr")
            wrong += int((logits.argmax(dim=1) != y).sum())
    return 100.0 * wrong / len(task.test)


def check_fit(genotype: Genotype, task: Task, settings: RetrainSettings) -> None:
    """Refuse, before anything is trained, images that the network cannot take.

    Raises:
        ConfigError: The message says which setting does not go with which size.
    """
    with torch.device("meta"), torch.no_grad():  # shapes alone, no numbers
        _network(genotype, task, settings)(torch.zeros(2, *task.train.shape))


def _network(genotype: Genotype, task: Task, settings: RetrainSettings) -> Network:
    return Network(
        genotype,
        settings.channels,
        settings.layers,
        len(task.classes),
        auxiliary=settings.auxiliary,
        drop_path=0.0,
        in_channels=task.train.shape[0],
    )


def _fit(network: Network, task: Task, settings: RetrainSettings, seed: int, metrics: MetricsFile, tick: Tick) -> None:
    """SGD with momentum and a cosine schedule by epoch."""
    count = len(task.part("all"))
    size = min(settings.batch, count)
    single = count % size == 1  # one image alone has no batch statistics
    batches = task.stream("all", size=size, seed=seed, device=_device(network), training=True, drop_last=single)
    how, images = settings.weights, count - single
    optimizer = torch.optim.SGD(network.parameters(), how.lr, momentum=how.momentum, weight_decay=how.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs, eta_min=how.min_lr)
    network.train()
    tick(0, settings.epochs, "")
    for epoch in range(settings.epochs):
        network.drop_path = settings.drop_path * epoch / settings.epochs
        total = 0.0
        for x, y in batches:
            loss = _loss(network(x), y, settings.auxiliary_weight)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), how.clip)
            optimizer.step()
            total += float(loss.detach()) * len(y)
        if not total < float("inf"):
            where = f"task {task.name!r}, seed {seed}, epoch {epoch + 1}"
            raise DivergenceError(f"retraining diverged ({where}): lower weights.lr or weights.clip")
        metrics.write({"epoch": epoch + 1, "lr": float(schedule.get_last_lr()[0]), "loss": total / images})
        schedule.step()
        tick(epoch + 1, settings.epochs, f"loss {total / images:.3f}")


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _loss(prediction: Prediction, y: Tensor, auxiliary_weight: float) -> Tensor:
    loss = cross_entropy(prediction.logits, y)
    if prediction.auxiliary_logits is not None:
        loss = loss + auxiliary_weight * cross_entropy(prediction.auxiliary_logits, y)
    return loss
