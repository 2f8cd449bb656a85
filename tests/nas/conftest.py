"""Weights and data that are written as formulas, so that golden values do not depend on any random generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


def _fill(module: nn.Module) -> None:
    """Set every parameter by the formula for its number of dimensions; the order of parameters plays no part."""
    with torch.no_grad():
        for name, value in module.named_parameters():
            if value.ndim == 1:
                value.fill_(1.0 if name.endswith("weight") else 0.0)
                continue
            gain = 2.0 if value.ndim == 4 else 1.0
            index = torch.arange(value.numel(), dtype=torch.float64)
            scale = math.sqrt(gain / value[0].numel())
            value.copy_((torch.cos(0.7 * index + 0.3) * scale).view_as(value))


def _batch(offset: int) -> Batch:
    """Return four 32x32 images and labels of ten classes."""
    index = torch.arange(4 * 3 * 32 * 32, dtype=torch.float64)
    images = torch.sin(0.01 * index * index.sqrt() + offset).view(4, 3, 32, 32)
    return images, torch.tensor([(3 * row + offset) % 10 for row in range(4)])


def _multiply_adds(module: nn.Module, run: Callable[[], object]) -> int:
    """Count multiplications of one image in all convolutions and linear layers that `run` calls."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total += output.numel() * layer.weight[0].numel()

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    run()
    for handle in handles:
        handle.remove()
    return total


@pytest.fixture
def fill() -> Callable[[nn.Module], None]:
    """The formula for weights."""
    return _fill


@pytest.fixture
def batch() -> Callable[[int], Batch]:
    """The formula for data, by offset."""
    return _batch


@pytest.fixture
def multiply_adds() -> Callable[[nn.Module, Callable[[], object]], int]:
    """The counter of multiplications."""
    return _multiply_adds
