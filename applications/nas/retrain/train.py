"""Train an architecture from scratch and test it: the only judgment of a search."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

from applications.nas.data import Task
from applications.nas.launch import Ranks
from applications.nas.progress import Tick, silent
from applications.nas.retrain.build import build_network, measure_on
from applications.nas.retrain.chance import reseed
from applications.nas.retrain.checkpoint import Keeper
from applications.nas.retrain.evaluation import score
from applications.nas.retrain.fit import fit
from applications.nas.retrain.ledger import Ledger
from applications.nas.retrain.parallel import check_ranks
from applications.nas.retrain.training import Training
from applications.nas.retrain.weights_file import save_weights
from applications.nas.run_folder import MetricsFile
from applications.nas.seeded import seeded
from applications.nas.settings import Data, RetrainSettings
from applications.nas.space.genotype import Genotype
from applications.nas.tasks import choose_device, choose_task, load_tasks
from mlo import DivergenceError, deterministic


def retrain(
    genotype: Genotype | None,
    task: Task,
    settings: RetrainSettings,
    seed: int,
    folder: Path,
    tick: Tick = silent,
    *,
    ranks: Ranks = Ranks(),
    keeper: Keeper | None = None,
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
        ranks: The processes that train it together, each with the same arguments; the first one writes the files.
        keeper: Where a training that was stopped goes on, and where each epoch is kept; None to keep nothing.

    Raises:
        ConfigError: If the network does not fit the images or the task, or the settings do not fit the ranks.
        DataError: If what was kept cannot be read.
        DivergenceError: If the loss is not finite.

    Source: DARTS: Differentiable Architecture Search (Liu, Simonyan, Yang, 2019), section 3.2.
    """
    started = time.monotonic()
    check_ranks(settings, ranks)
    cost = measure_on(genotype, task, settings)
    device = choose_device(settings.device, ranks)
    csv, weights = (folder / f"{task.name}-{seed}.{end}" for end in ("csv", "pt"))
    with deterministic(on=settings.deterministic):
        with seeded(seed, device):  # initial values and drop path; the batches have a generator of their own
            network = build_network(genotype, task, settings).to(device)
            if ranks.rank > 0:  # the same initial values, but paths of its own to drop
                reseed(device, seed, 0, ranks.rank)
            with MetricsFile(csv) if ranks.first else nullcontext() as metrics:
                trained = fit(network, task, settings, seed, metrics, tick, ranks=ranks, keeper=keeper)
        if ranks.first:
            save_weights(trained, weights)
        found = score(trained, task, ranks)
    return Training(
        task=task.name,
        seed=seed,
        error=found.error,
        parameters=cost.parameters,
        seconds=time.monotonic() - started if keeper is None else keeper.seconds,
        tested=len(task.test),
        metric=task.objective.metric,
        top5=found.top5,
        multiply_adds=cost.multiply_adds,
    )


def retrain_task(
    genotype: Genotype | None,
    task: Task,
    settings: RetrainSettings,
    folder: Path,
    tick: Tick = silent,
    ledger: Ledger | None = None,
) -> tuple[Training, ...]:
    """Train one network for each seed of the settings on one task.

    With a ledger, a training that diverges is noted there, and the other seeds go on.

    Args:
        genotype: The architecture; None for a network of torchvision, which the settings name.
        task: What to learn.
        settings: How.
        folder: Where the files go.
        tick: Told how far it is, over all seeds.
        ledger: What is done already, and where each training and each epoch is written down, by which ranks; None for
            one process that keeps nothing.
    """
    found = []
    for index, seed in enumerate(settings.seeds):

        def onward(done: int, total: int, text: str, before: int = index) -> None:
            tick(before * total + done, len(settings.seeds) * total, text)

        if ledger is None:
            found.append(retrain(genotype, task, settings, seed, folder, onward))
            continue
        done = ledger.find(task.name, seed)
        if done is None:
            keeper, ranks = Keeper(folder, task.name, seed, ledger.ranks), ledger.ranks
            try:
                done = retrain(genotype, task, settings, seed, folder, onward, ranks=ranks, keeper=keeper)
            except DivergenceError as error:  # all ranks find it: the loss is that of the whole batch
                ledger.fail(error)
                continue
            ledger.add(done)
        found.append(done)
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
