"""How a trained network is tested: the metric, the five best, and running statistics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from applications.nas.data import Images, Task, digits_tasks
from applications.nas.networks.network import Network, Prediction
from applications.nas.objective import Regression
from applications.nas.retrain.evaluation import Score, score
from applications.nas.space.zoo import ZOO
from mlo import DivergenceError


class Reader(nn.Module):
    """Reads a number off the first pixel, and answers with the row of a table that it names."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = nn.Parameter(answers)

    def forward(self, x: Tensor) -> Prediction:
        return Prediction(self.answers[x[:, 0, 0, 0].round().long()], None)


def readable(count: int = 300, classes: int = 4) -> Task:
    labels = torch.arange(count) % classes
    images = Images(labels.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone(), labels)
    return Task("toy", tuple(map(str, range(classes))), images, images, images, (0.0,), (1.0,))


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (torch.eye(4), 0.0),
        (one_hot(torch.zeros(4, dtype=torch.int64), 4).float(), 75.0),
        (torch.eye(4).roll(1, 0), 100.0),
        (one_hot(torch.tensor([0, 1, 2, 2]), 4).float(), 25.0),
    ],
    ids=["perfect", "constant", "always wrong", "one class wrong"],
)
def test_errors_of_known_predictors(answers: Tensor, error: float) -> None:
    assert score(Reader(answers), readable()) == Score(error, None)  # 300 images: one batch of 256 and a smaller one


def test_the_error_of_outputs_that_are_not_finite_is_no_error() -> None:
    with pytest.raises(DivergenceError, match=r"'toy'.*lower weights\.lr"):
        score(Reader(torch.full((4, 4), torch.nan)), readable())


def test_the_error_is_taken_with_running_statistics() -> None:
    network = Network(ZOO["DARTS_V2"], 2, 3, 10, in_channels=1).train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    first = score(network, digits_tasks(0)[0])
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    assert score(network, digits_tasks(0)[0]) == first


def test_the_five_best() -> None:
    """Of seven classes: row k puts class k behind k others, so classes 5 and 6 are not among the five best."""
    answers = torch.stack([torch.tensor([float(n < k) - float(n > k) for n in range(7)]) for k in range(7)])
    found = score(Reader(answers), readable(count=280, classes=7))
    assert found == Score(pytest.approx(100 * 6 / 7), pytest.approx(100 * 2 / 7))  # type: ignore[arg-type]


def test_with_five_classes_the_five_best_mean_nothing() -> None:
    assert score(Reader(torch.eye(5)), readable(classes=5)).top5 is None
    assert score(Reader(torch.eye(6)), readable(classes=6)).top5 == 0.0


def test_the_metric_is_the_task_s() -> None:
    """Predictions 0, 1, 2, 3 for the target 1: the mean square of -1, 0, 1, 2 is 1.5."""
    classes = readable()
    images = Images(classes.test.pixels, torch.ones(300, 1))  # type: ignore[attr-defined]
    task = Task("toy", (), images, images, images, (0.0,), (1.0,), objective=Regression())
    assert score(Reader(torch.arange(4.0).view(4, 1)), task) == Score(pytest.approx(math.sqrt(1.5)), None)  # type: ignore[arg-type]
