"""The trainings of a retraining, one after the other: what is done is not repeated, and none ends the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from applications.nas.data import Task
from applications.nas.progress import Tick
from applications.nas.retrain.checkpoint import Keeper, how_to_go_on
from applications.nas.retrain.ledger import Ledger
from applications.nas.retrain.train import retrain, seeds_tick
from applications.nas.retrain.training import PartlyTrained, Training
from applications.nas.settings import RetrainSettings
from applications.nas.space.genotype import Genotype
from applications.nas.stopping import Stopped, Stopper, signal_name
from mlo import DivergenceError

log = logging.getLogger("mlo.nas")


@dataclass(frozen=True)
class Several:
    """What is trained.

    Attributes:
        architecture: The cell; None for a network of torchvision, which the settings name.
        settings: How.
        ledger: What is done already, and where each training is written down, by which ranks.
        stopper: Knows whether to stop.
    """

    architecture: Genotype | None
    settings: RetrainSettings
    ledger: Ledger
    stopper: Stopper | None

    def train(self, tasks: Sequence[Task], begin: Callable[[str], Tick]) -> tuple[Training, ...]:
        """Train a network on each task with each seed, but for those that are done.

        Args:
            tasks: What to learn.
            begin: Begins a piece of work by its label, and returns what to call as it goes on.

        Returns:
            All trainings, by task, then by seed.

        Raises:
            DivergenceError: If some diverged, after all others have finished: `PartlyTrained` if there are any.
            Stopped: If it was asked to stop; what was done until then is kept.
        """
        found: list[Training] = []
        failed: list[DivergenceError] = []
        seeds = self.settings.seeds
        for task in tasks:
            tick = begin(f"retrain on {task.name}")
            for index, seed in enumerate(seeds):
                try:
                    found.append(self._one(task, seed, seeds_tick(tick, index, len(seeds))))
                except DivergenceError as error:  # all ranks find it: the loss is that of the whole batch
                    failed.append(error)
                    if self.ledger.ranks.first:
                        log.warning("%s; the other trainings go on", error)
        if failed:
            raise self._some(failed, tuple(found))
        return tuple(found)

    def _one(self, task: Task, seed: int, tick: Tick) -> Training:
        settings, ledger = self.settings, self.ledger
        done = ledger.find(task.name, seed)
        if done is not None:
            return done
        number = None if self.stopper is None else self.stopper.asked(ledger.ranks)
        if number is not None:  # since the last step of the training before
            where = f"stopped by {signal_name(number)} before {task.name}, seed {seed}"
            raise Stopped(f"{where}; {how_to_go_on(ledger.folder)} goes on", number)
        keeper = Keeper(ledger.folder, task.name, seed, ledger.ranks, settings.checkpoint)
        done = retrain(
            self.architecture,
            task,
            settings,
            seed,
            ledger.folder,
            tick,
            ranks=ledger.ranks,
            keeper=keeper,
            stopper=self.stopper,
        )
        ledger.add(done)
        keeper.drop()
        return done

    def _some(self, failed: list[DivergenceError], found: tuple[Training, ...]) -> DivergenceError:
        again = f"{how_to_go_on(self.ledger.folder)} tries again what is missing"
        told = "; ".join(map(str, failed))
        if not found:
            return DivergenceError(f"{told} ({again})")
        kept = (
            f"{len(found)} of {len(found) + len(failed)} trainings have finished and are kept in {self.ledger.folder}"
        )
        cure = "retrain in a new folder with a lower --weights.lr, or with the other --seeds alone"
        return PartlyTrained(f"{told}; {kept} ({again}): {cure}", found)
