"""The least that an interleaving with K = M = 2 takes, by hand: see `floor_by_hand.py`.

Four stages of one SGD step each. A stage ends at W' = (W_half + c W_prev) / (1 + c), c = 2 * LR * STRENGTH, in the
encoder, which it shares with the stage before, and at W_half in the head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import grad

from benchmarks.floor_by_hand import gap
from benchmarks.floor_problems import LR, STRENGTH, UPPER_LR, Chain
from benchmarks.floor_spaces import Space

SHARE = 2 * LR * STRENGTH / (1 + 2 * LR * STRENGTH)


def starts(problem: Chain, space: Space) -> list[Any]:
    """Return where the stages start, first stage first."""
    return [space.gather(problem.tasks[index % 2].start) for index in range(4)]


def forward(
    problem: Chain, space: Space, weights: list[Any], upper: Tensor, *, exact: bool
) -> tuple[list[Any], list[Any]]:
    """Return the answers of the stages, and of each its gradient with what that depends on."""
    answers: list[Any] = []
    recorded = []
    for index, at in enumerate(weights):
        leaves, x = space.leaves(at), upper[index % 2].detach().requires_grad_()
        parts = grad(problem.tasks[index % 2].fit(leaves, x), leaves, create_graph=exact)
        recorded.append((parts, x))
        answer = space.axpy(-LR, space.gather([part.detach() for part in parts]), at)
        if index:
            encoder, _ = space.split(answer, problem.shared)
            space.lerp_(encoder, space.split(answers[-1], problem.shared)[0], SHARE)
        answers.append(answer)
    return answers, recorded


def look(problem: Chain, space: Space, answers: list[Any], upper: Tensor) -> list[Any]:
    """Return the cotangents that the upper loss puts on the answers of the last round; none on those of the first."""
    first, second = (space.leaves(answer) for answer in answers[2:])
    loss = problem.tasks[0].validate(first, upper) + problem.tasks[1].validate(second, upper)
    parts = grad(loss, [*first, *second])
    return [None, None, space.gather(parts[: len(first)]), space.gather(parts[len(first) :])]


def interleaved(
    problem: Chain, space: Space, weights: list[Any], upper: Tensor, *, exact: bool
) -> tuple[Tensor, list[Any]]:
    """Return the hypergradient and the answers."""
    answers, recorded = forward(problem, space, weights, upper, exact=exact)
    cotangents = look(problem, space, answers, upper)
    rows: list[Any] = [None, None]
    for index in reversed(range(4)):
        c = cotangents[index]
        if index:
            encoder, _ = space.split(c, problem.shared)
            if cotangents[index - 1] is None:
                cotangents[index - 1] = space.scaled(SHARE, c)
                space.mul_(space.split(cotangents[index - 1], problem.shared)[1], 0.0)
            else:
                space.add_(space.split(cotangents[index - 1], problem.shared)[0], encoder, SHARE)
            space.mul_(encoder, 1 - SHARE)
        if exact:
            (mixed,) = grad(*recorded[index], space.views(c))
        else:
            mixed = gap(problem.tasks[index % 2].fit, space, weights[index], upper[index % 2], c)
        rows[index % 2] = mixed if rows[index % 2] is None else rows[index % 2] + mixed
    return -LR * torch.stack(rows), answers


def step(problem: Chain, space: Space, weights: list[Any], upper: Tensor, *, exact: bool) -> tuple[list[Any], Tensor]:
    """One outer step: the answers are kept, and the upper variable moves."""
    found, answers = interleaved(problem, space, weights, upper, exact=exact)
    return answers, torch.add(upper, found, alpha=-UPPER_LR)
