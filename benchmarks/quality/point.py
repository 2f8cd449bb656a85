"""A place of a search at which hypergradients are compared: a network, two batches, and flat variables."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from applications.nas.methods import AbstractMethod, Progress
from benchmarks.quality.kinks import Shape, Shaped

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
"""Flat weights and flat architecture variables -> a scalar."""


@dataclass(frozen=True, eq=False)
class Point:
    """Where a search stands.

    Every evaluation of a loss begins at the same place of the random numbers, so that dropout masks stay.

    Attributes:
        network: A supernet, in training mode; its weights are not read.
        tables: Architecture variables: names and shapes.
        weights: Flat, (n,).
        alphas: Flat, (m,).
        batches: One of training and one of validation.
        method: Turns alphas into mixing weights.
        place: How far the search is.
        rate: Of the one plain step of gradient descent that looks ahead.
        loss: Of predictions and targets.
        shape: Of the kinks.
    """

    network: nn.Module
    tables: Mapping[str, Tensor]
    weights: Tensor
    alphas: Tensor
    batches: tuple[Batch, Batch]
    method: AbstractMethod
    place: Progress
    rate: float
    loss: Callable[[Tensor, Tensor], Tensor]
    shape: Shape = Shape()

    def train(self, weights: Tensor, alphas: Tensor) -> Tensor:
        """Return the training loss."""
        return self._loss(weights, self.method.relax_for_weights(self._named(alphas), self.place), self.batches[0], 1)

    def valid(self, weights: Tensor, alphas: Tensor) -> Tensor:
        """Return the validation loss."""
        return self._loss(weights, self.method.relax(self._named(alphas), self.place), self.batches[1], 2)

    def looked_ahead(self, alphas: Tensor) -> float:
        """Return L_valid(w - rate * grad_w L_train(w, alphas), alphas): what a search of second order minimizes."""
        (slope,) = gradient(self.train, self.weights, alphas, wanted="w")
        with torch.no_grad():
            return float(self.valid(self.weights - self.rate * slope, alphas))

    def to(self, dtype: torch.dtype) -> Point:
        """Return the same place in another precision."""
        (x, y), (u, v) = self.batches
        return replace(
            self,
            network=copy.deepcopy(self.network).to(dtype),
            weights=self.weights.to(dtype),
            alphas=self.alphas.to(dtype),
            batches=((x.to(dtype), y), (u.to(dtype), v)),
        )

    def _named(self, alphas: Tensor) -> dict[str, Tensor]:
        return unflattened(alphas, self.tables)

    def _loss(self, weights: Tensor, mixing: Mapping[str, Tensor], batch: Batch, seed: int) -> Tensor:
        x, y = batch
        named = unflattened(weights, dict(self.network.named_parameters()))
        smooth = nullcontext() if self.shape == Shape() else Shaped(self.shape)
        with torch.random.fork_rng(devices=[]), smooth:
            torch.manual_seed(seed)
            found: Tensor = self.loss(functional_call(self.network, named, (x, mixing)), y)
        return found


def flattened(values: Sequence[Tensor]) -> Tensor:
    return torch.cat([value.detach().flatten() for value in values])


def unflattened(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return views of a flat tensor, by name, in the shapes of `like`."""
    parts = flat.split([value.numel() for value in like.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(like.items(), parts, strict=True)}


def gradient(loss: Loss, weights: Tensor, alphas: Tensor, wanted: str = "wa", *, graph: bool = False) -> list[Tensor]:
    """Return the gradient in the weights ("w"), in the architecture ("a"), or in both ("wa").

    Args:
        loss: Of both.
        weights: Where; a tensor that requires a gradient is differentiated as it is.
        alphas: The same.
        wanted: Which.
        graph: Whether the gradients can be differentiated again.
    """
    leaves = {
        name: value if value.requires_grad else value.detach().requires_grad_(name in wanted)
        for name, value in (("w", weights), ("a", alphas))
    }
    value = loss(leaves["w"], leaves["a"])
    return list(torch.autograd.grad(value, [leaves[name] for name in wanted], create_graph=graph))
