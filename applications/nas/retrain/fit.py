"""The training loop of a final network."""

from __future__ import annotations

from torch import nn

from applications.nas.data import AbstractBatches, Task
from applications.nas.launch import Ranks
from applications.nas.progress import Tick
from applications.nas.retrain.build import training_objective
from applications.nas.retrain.chance import generator_states, restore_generators
from applications.nas.retrain.checkpoint import Keeper
from applications.nas.retrain.trainer import Trainer
from applications.nas.run_folder import MetricsFile
from applications.nas.settings import RetrainSettings
from mlo import DivergenceError


def fit(
    network: nn.Module,
    task: Task,
    settings: RetrainSettings,
    seed: int,
    metrics: MetricsFile | None,
    tick: Tick,
    *,
    ranks: Ranks = Ranks(),
    keeper: Keeper | None = None,
) -> nn.Module:
    """Train a network with SGD on a task's train and valid parts.

    Several ranks share each batch, and the gradient is that of the whole batch. BatchNorm sees a rank's share, unless
    the settings synchronize it; after each epoch the running statistics are averaged over the ranks.

    Args:
        network: From images to a `Prediction`; it is trained in place.
        task: What to learn.
        settings: How.
        seed: Of the batches.
        metrics: Gains a row after each epoch: epoch, learning rate, mean loss, and the task's metric on the training
            images, as they were augmented and with drop path. None in a rank that writes no files.
        tick: Told how far it is.
        ranks: The processes that train it, each with the same initial values.
        keeper: Where a training that was stopped goes on, and where each epoch is kept; None to keep nothing.

    Returns:
        The network to test: the same one, or with `settings.ema` a copy with averaged weights. The running statistics
        of BatchNorm are averaged in the same way, since they go with the weights.

    Raises:
        DataError: If what was kept cannot be read.
        DivergenceError: If the loss is not finite.
    """
    example = next(network.parameters())
    batches = task.stream("all", size=settings.batch, seed=seed, device=example.device, training=True, ranks=ranks)
    trainer = Trainer(network, task.train.shape, training_objective(task, settings), settings, ranks)
    rows = [] if keeper is None else _go_on(keeper, trainer, batches, seed)
    if metrics is not None:
        for row in rows:
            metrics.write(row)
    network.train()
    tick(len(rows), settings.epochs, "")
    for epoch in range(len(rows), settings.epochs):
        rate = trainer.begin(epoch)
        loss, penalty = trainer.run(((x.to(example.dtype), y) for x, y in batches), batches.sizes())
        if not loss < float("inf"):
            where = f"task {task.name!r}, seed {seed}, epoch {epoch + 1}"
            raise DivergenceError(f"retraining diverged ({where}): lower weights.lr or weights.clip")
        rows.append({"epoch": epoch + 1, "lr": rate, "loss": loss, "train_error": task.objective.score(penalty)})
        if metrics is not None:
            metrics.write(rows[-1])
        if keeper is not None:
            generators = ranks.gather(generator_states(example.device))
            keeper.save(trainer.state(rows, batches.state_dict(), generators))
        tick(epoch + 1, settings.epochs, f"loss {loss:.3f}")
    return network if trainer.average is None else trainer.average.module


def _go_on(keeper: Keeper, trainer: Trainer, batches: AbstractBatches, seed: int) -> list[dict[str, float]]:
    """Go to where the training was stopped, if it was; return the metrics of the epochs until there."""
    state = keeper.load()
    if state is None:
        return []
    device = next(trainer.network.parameters()).device
    with keeper.reading():
        trainer.load(state)
        batches.load_state_dict(state.batches)
        restore_generators(state.generators, trainer.ranks.rank, device, seed, len(state.rows))
        return [dict(row) for row in state.rows]
