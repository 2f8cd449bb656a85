"""What one training came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlo import DivergenceError


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


class PartlyTrained(DivergenceError):
    """Some trainings of a retraining have diverged; the others are finished, and kept in its folder.

    Attributes:
        trainings: Those that are finished.
    """

    def __init__(self, diverged: Sequence[DivergenceError], trainings: tuple[Training, ...], folder: Path) -> None:
        """Name the trainings that diverged."""
        count = len(diverged) + len(trainings)
        kept = f"{len(trainings)} of {count} trainings have finished and are kept in {folder}"
        cure = "retrain in a new folder with a lower --weights.lr, or with the other --seeds alone"
        super().__init__(f"{'; '.join(map(str, diverged))}; {kept}: {cure}")
        self.trainings = trainings
