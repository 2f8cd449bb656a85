"""The training loop of a final network."""

from __future__ import annotations

from typing import final

from torch import nn

from applications.nas.data import AbstractBatches, Task
from applications.nas.launch import Ranks
from applications.nas.progress import Tick
from applications.nas.retrain.build import training_objective
from applications.nas.retrain.checkpoint import Keeper
from applications.nas.retrain.trainer import Trainer
from applications.nas.run_folder import MetricsFile
from applications.nas.settings import RetrainSettings
from applications.nas.stopping import Stopped, Stopper, signal_name
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
    stopper: Stopper | None = None,
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
        keeper: Where a training that was stopped goes on, and where its states are kept; None to keep nothing.
        stopper: Knows after each step whether the training is asked to stop; None if nobody asks.

    Returns:
        The network to test: the same one, or with `settings.ema` a copy with averaged weights. The running statistics
        of BatchNorm are averaged in the same way, since they go with the weights.

    Raises:
        DataError: If what was kept cannot be read, or nothing can be written.
        DivergenceError: If the loss is not finite.
        Stopped: If it was asked to stop; what it did until then is kept.
    """
    device = next(network.parameters()).device
    batches = task.stream("all", size=settings.batch, seed=seed, device=device, training=True, ranks=ranks)
    trainer = Trainer(network, task.train.shape, training_objective(task, settings), settings, ranks)
    course = _Course(trainer, batches, task, seed, keeper, stopper)
    if metrics is not None:
        for row in course.rows:
            metrics.write(row)
    network.train()
    tick(len(course.rows), settings.epochs, "")
    while len(course.rows) < settings.epochs:
        row = course.epoch()
        if metrics is not None:
            metrics.write(row)
        course.keep()
        tick(len(course.rows), settings.epochs, f"loss {row['loss']:.3f}")
    return network if trainer.average is None else trainer.average.module


@final
class _Course:
    """A training, epoch by epoch, which can begin within one; `rows` are the metrics of those that are over."""

    def __init__(
        self,
        trainer: Trainer,
        batches: AbstractBatches,
        task: Task,
        seed: int,
        keeper: Keeper | None,
        stopper: Stopper | None,
    ) -> None:
        """Go to where the training was stopped, if it was."""
        self._trainer, self._batches, self._task, self._seed = trainer, batches, task, seed
        self._keeper, self._stopper = keeper, stopper
        self.rows: list[dict[str, float]] = []
        self._done = 0
        state = None if keeper is None else keeper.load()
        if keeper is not None and state is not None:
            with keeper.reading():
                batches.load_state_dict(state.batches)
                trainer.load(state, seed)
                self.rows, self._done = [dict(row) for row in state.rows], int(state.done)
        self._start = batches.state_dict()

    def epoch(self) -> dict[str, float]:
        """Train to the end of an epoch, and return its metrics."""
        trainer, sizes = self._trainer, self._batches.sizes()
        rate = trainer.begin(len(self.rows))
        kind = next(trainer.network.parameters()).dtype
        source = self._batches.start_at(self._done)
        for size in sizes[self._done :]:
            x, y = next(source)
            trainer.step(x.to(kind), y, size)
            self._done += 1
            self._look()
        loss, penalty = trainer.end(sum(sizes))
        if not loss < float("inf"):
            raise self._diverged()
        metric = self._task.objective.score(penalty)
        row = {"epoch": len(self.rows) + 1, "lr": rate, "loss": loss, "train_error": metric}
        self.rows.append(row)
        self._start, self._done = self._batches.state_dict(), 0
        return row

    def keep(self) -> None:
        """Keep the present state.

        Raises:
            DivergenceError: In its place, if it is not finite: what was kept last is better.
        """
        if self._keeper is None:
            return
        trainer = self._trainer
        each = trainer.ranks.gather(trainer.own())
        if not trainer.sound() or not all(bool(one.sums[0].isfinite()) for one in each):
            raise self._diverged()
        number = len(self.rows) * len(self._batches) + self._done
        self._keeper.save(trainer.state(self.rows, self._done, self._start, each), number)

    def _look(self) -> None:
        """Look after a step whether to keep the state, or to stop."""
        number = None if self._stopper is None else self._stopper.asked(self._trainer.ranks)
        if number is not None:
            raise self._stopped(number)
        if self._keeper is not None and self._keeper.due():
            self.keep()

    def _stopped(self, number: int) -> Stopped:
        self.keep()
        told = f"stopped by {signal_name(number)} in epoch {self._where}"
        if self._keeper is not None:
            told += f"; {self._keeper.going_on} goes on"
        return Stopped(told, number)

    def _diverged(self) -> DivergenceError:
        where = f"task {self._task.name!r}, seed {self._seed}, epoch {len(self.rows) + (self._done > 0)}"
        return DivergenceError(f"retraining diverged ({where}): lower weights.lr or weights.clip")

    @property
    def _where(self) -> str:
        epochs = self._trainer.settings.epochs
        return f"{len(self.rows) + 1} of {epochs} of {self._task.name}, seed {self._seed}"
