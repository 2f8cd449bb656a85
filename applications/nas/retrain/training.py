"""What one training came to."""

from __future__ import annotations

from dataclasses import dataclass

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

    def __init__(self, message: str, trainings: tuple[Training, ...] = ()) -> None:
        """Say which diverged, and what has become of the others."""
        super().__init__(message)
        self.trainings = trainings
