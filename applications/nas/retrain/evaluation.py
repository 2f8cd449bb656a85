"""The test of a trained network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from applications.nas.data import Task
from applications.nas.launch import Ranks
from applications.nas.objective import Classification
from mlo import DivergenceError

_BATCH, _TOP = 256, 5


@dataclass(frozen=True)
class Score:
    """What a test gives.

    Attributes:
        error: The task's metric: for a classification the share of wrong answers in percent.
        top5: Share of images whose class is not among the five largest outputs, in percent; None unless there are more
            than five classes.
    """

    error: float
    top5: float | None


def score(network: nn.Module, task: Task, ranks: Ranks = Ranks()) -> Score:
    """Test a network on a task's test part, with running statistics in BatchNorm.

    Several ranks share the images; none is tested twice, and each rank returns the score of all.

    Args:
        network: From images to a `Prediction`; it is left in evaluation mode.
        task: What it learned.
        ranks: The processes that test it; on each the network is the same.

    Raises:
        DivergenceError: If an output is not finite.
    """
    network.eval()
    example, objective = next(network.parameters()), task.objective
    many = isinstance(objective, Classification) and objective.classes > _TOP
    batches = task.stream("test", size=_BATCH, seed=0, device=example.device, training=False, ranks=ranks)
    totals = torch.zeros(3, dtype=torch.float64, device=example.device)  # penalty, missed, outputs that are not finite
    with torch.no_grad():
        for x, y in batches:
            if not len(y):  # all images of a small batch are those of other ranks
                continue
            logits = network(x.to(example.dtype)).logits
            totals[0] += objective.penalty(logits, y).sum()
            totals[1] += _missed(logits, y) if many else 0
            totals[2] += (~torch.isfinite(logits)).sum()
    ranks.add(totals)
    penalty, missed, strange = totals.tolist()
    if strange:
        raise DivergenceError(f"task {task.name!r}: outputs are not finite in the test: lower weights.lr")
    penalty, missed = penalty / len(task.test), missed / len(task.test)
    return Score(objective.score(penalty), 100.0 * missed if many else None)


def _missed(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many labels are not among the five largest logits."""
    return (logits.topk(_TOP, dim=1).indices != labels[:, None]).all(dim=1).sum()
