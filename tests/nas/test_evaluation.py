"""How a trained network is tested: the metric, the five best, and running statistics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from applications.nas.data import Images, Task, digits_tasks
from applications.nas.evaluation import Score, score
from applications.nas.network import Network, Prediction
from applications.nas.objective import AbstractObjective, Regression
from applications.nas.space.zoo import ZOO
from mlo import DivergenceError


class Reader(nn.Module):
    """Reads the label off the first pixel, and answers with what a table gives for it."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = nn.Parameter(answers)

    def forward(self, x: Tensor) -> Prediction:
        return Prediction(self.answers[x[:, 0, 0, 0].round().long()], None)


def readable(count: int = 300, classes: int = 4) -> Task:
    labels = torch.arange(count) % classes
    return task(labels.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone(), labels, classes)


# ---------------------------------------------------------------- the error


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
    assert score(Reader(answers), readable()) == error  # 300 images: one batch of 256 and a smaller one


def test_the_error_of_outputs_that_are_not_finite_is_no_error() -> None:
    with pytest.raises(DivergenceError, match=r"'toy'.*lower weights\.lr"):
        score(Reader(torch.full((4, 4), torch.nan)), readable())


def test_the_error_is_taken_with_running_statistics() -> None:
    network = Network(GENOTYPE, 2, 3, 10, in_channels=1).train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    first = score(network, digits())
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    assert score(network, digits()) == first


