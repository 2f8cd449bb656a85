"""What is left of the start of SGD with momentum when its steps are undone in floating point.

    m' = beta m + g(x),  x' = x - lr m'        undone by        x = x' + lr m',  m = (m' - g(x)) / beta

Undoing divides the rounding error of m by beta in every step.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Gradient = Callable[[Tensor], Tensor]


def start_error(gradient: Gradient, start: Tensor, *, steps: int, lr: float, beta: float) -> float:
    """Return |x_0 found by undoing - x_0| / |x_0 - x_T|: 1 means that not even the direction back was found."""
    x, m = start.clone(), torch.zeros_like(start)
    for _ in range(steps):
        m = beta * m + gradient(x)
        x = x - lr * m
    moved = float((x - start).norm())
    for _ in range(steps):
        x = x + lr * m
        m = (m - gradient(x)) / beta
    return float((x - start).norm()) / moved
