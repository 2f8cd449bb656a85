"""An interleaving step written straightforwardly with torch alone: a rival and an oracle of the engine.

The architecture's gradient goes through the chain of stages by hand: K validation passes, then two passes of a finite
difference for each stage, last stage first. Each stage keeps a copy of its network from before its step, whose weights
are perturbed in place. With the M * K training passes these are 3 M K + K passes for one iteration, as in the engine.
The clipping and the finite difference are those of `benchmarks/original_order.py`.

Source: "Interleaving Learning, with Application to Neural Architecture Search", Ban, Xie, 2021, equations 5 to 8.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from applications.nas.settings import Interleaving, SearchSettings
from benchmarks.original_order import (
    Batch,
    Tables,
    adam,
    difference,
    flat,
    leaves,
    loss_of,
    sgd,
    train_network,
    unclipped,
)


class OriginalInterleaving:
    """Interleaving by the implicit proximal step, K learners and M rounds; second order by finite differences.

    Attributes:
        networks: The live networks of the stages, first stage first.
        alphas: The architecture variables.
    """

    def __init__(self, starts: Sequence[nn.Module], alphas: Mapping[str, Tensor], settings: SearchSettings) -> None:
        """Copy one network of each learner, for each round, and tables to start from."""
        form = settings.formulation
        if not isinstance(form, Interleaving) or (form.form, form.anchor) != ("implicit", "none"):
            raise ValueError(f"{form}: only the implicit form without an anchor is written out here")
        self.settings, self.alphas, self._learners, self._weight = settings, leaves(alphas), len(starts), form.weight
        self.networks = [copy.deepcopy(one) for _ in range(form.rounds) for one in starts]
        self._adam = adam(self.alphas, settings)
        self._sgd = [sgd(network, settings) for network in self.networks]
        self._before: list[nn.Module] = []

    def step(self, trains: Sequence[Batch], valids: Sequence[Batch], rate: float) -> None:
        """Make one iteration, with a training batch for each stage, at a learning rate of the weights."""
        self.train(trains, rate)
        self.architecture_step(trains, valids, rate)

    def train(self, trains: Sequence[Batch], rate: float) -> None:
        """Make the step of each stage, first stage first: one pass each, then the proximal step on its encoder."""
        strength, previous = 2 * rate * self._weight, None
        self._before = [copy.deepcopy(network) for network in self.networks]
        for network, before, optimizer, batch in zip(self.networks, self._before, self._sgd, trains, strict=True):
            optimizer.zero_grad()
            loss_of(network, self.alphas, batch).backward()
            for old, new in zip(before.parameters(), network.parameters(), strict=True):
                old.grad = None if new.grad is None else new.grad.clone()
            train_network(network, optimizer, rate, self.settings.weights.clip)
            if previous is not None:
                _hold(network, previous, strength)
            previous = network

    def architecture_step(self, trains: Sequence[Batch], valids: Sequence[Batch], rate: float) -> None:
        """Validate the last round, then go back over the stages."""
        self._adam.zero_grad()
        for network, batch in zip(self.networks[-self._learners :], valids, strict=True):
            network.zero_grad()
            loss_of(network, self.alphas, batch).backward()
        total = {name: table.grad for name, table in self.alphas.items()}
        arriving: Tables = {}  # on the answer of a stage, from the stage behind it, which was held near it
        for place in reversed(range(len(self.networks))):
            on_step, arriving = self._back(place, arriving, rate)
            before = self._before[place]
            vector = unclipped(on_step, flat(p.grad for p in before.parameters()), self.settings.weights.clip)
            products = difference(before, self.alphas, vector, trains[place], self.settings.gradient.epsilon)
            total = {name: value - rate * products[name] for name, value in total.items()}
        for name, table in self.alphas.items():
            table.grad = total[name]
        self._adam.step()

    def _back(self, place: int, arriving: Tables, rate: float) -> tuple[Tensor, Tables]:
        """Return the cotangents on the step of a stage before it was held, and on the stage before."""
        strength = 2 * rate * self._weight
        validated = place >= len(self.networks) - self._learners
        on_step, passed = [], {}
        for name, weight in self.networks[place].named_parameters():
            cotangent = weight.grad if validated else torch.zeros_like(weight)
            cotangent = cotangent + arriving.get(name, 0)
            if place > 0 and _shared(name):
                passed[name] = cotangent * strength / (1 + strength)
                cotangent = cotangent / (1 + strength)
            on_step.append(cotangent)
        return flat(on_step), passed


def _shared(name: str) -> bool:
    return name.startswith("encoder.")


def _hold(network: nn.Module, previous: nn.Module, strength: float) -> None:
    """Make the proximal step W <- (W + c W_previous) / (1 + c) on the encoder."""
    with torch.no_grad():
        pairs = zip(network.named_parameters(), previous.parameters(), strict=True)
        for (name, weight), other in pairs:
            if _shared(name):
                weight.copy_((weight + strength * other) / (1 + strength))
