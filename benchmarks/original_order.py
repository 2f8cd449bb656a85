"""A second-order DARTS step in the order of computation of the original program: a rival and an oracle of the engine.

Written with torch alone, as that program is:

- the virtual step makes a whole new network and loads one flattened vector, cut into pieces, into it;
- the two sides of a finite difference perturb the live weights in place and put them back;
- `backward()` fills the gradients of the architecture along with those of the weights, wanted or not; where that
  program asks for one of the two only (the virtual step, the differences), so does this;
- weights are trained by `torch.optim.SGD`, the architecture by `torch.optim.Adam`.

In all 5 forward and 5 backward passes for one iteration.

Two things are as in the engine and not as in that program, so that both compute the same numbers: the virtual step
clips its gradient, as the real one does, and is differentiated with the clipping; and a norm is clipped to the limit
itself (`torch.nn.utils.clip_grad_norm_` divides by the norm + 1e-6).

Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019, algorithm 1 and equation 8.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from applications.nas.settings import SearchSettings

Batch = tuple[Tensor, Tensor]
Tables = dict[str, Tensor]


class OriginalDarts:
    """Second-order DARTS on one task.

    Attributes:
        network: The live network.
        alphas: The architecture variables.
    """

    def __init__(
        self, build: Callable[[], nn.Module], start: nn.Module, alphas: Mapping[str, Tensor], settings: SearchSettings
    ) -> None:
        """Copy a network and tables to start from; `build` makes a new network of the same form."""
        self.network, self.alphas, self.settings, self._build = copy.deepcopy(start), leaves(alphas), settings, build
        self._adam, self._sgd = adam(self.alphas, settings), sgd(self.network, settings)

    def step(self, train: Batch, valid: Batch, rate: float) -> None:
        """Make one iteration: architecture, then weights, at a learning rate of the weights."""
        self.architecture_step(train, valid, rate)
        self.weight_step(train, rate)

    def architecture_step(self, train: Batch, valid: Batch, rate: float) -> None:
        """Four forward and four backward passes."""
        self._adam.zero_grad()
        gradient = torch.autograd.grad(loss_of(self.network, self.alphas, train), list(self.network.parameters()))
        virtual = self._moved(flat(gradient), rate)
        tables = leaves(self.alphas)
        loss_of(virtual, tables, valid).backward()
        vector = unclipped(flat(p.grad for p in virtual.parameters()), flat(gradient), self.settings.weights.clip)
        products = difference(self.network, self.alphas, vector, train, self.settings.gradient.epsilon)
        for name, table in self.alphas.items():
            table.grad = tables[name].grad - rate * products[name]
        self._adam.step()

    def weight_step(self, train: Batch, rate: float) -> None:
        """One forward and one backward pass, whose gradient of the architecture is thrown away."""
        self._sgd.zero_grad()
        loss_of(self.network, self.alphas, train).backward()
        train_network(self.network, self._sgd, rate, self.settings.weights.clip)

    def _moved(self, gradient: Tensor, rate: float) -> nn.Module:
        """Return a new network at w - rate * (momentum * buffer + gradient + decay * w)."""
        how, parameters = self.settings.weights, list(self.network.parameters())
        weights = flat(p.detach() for p in parameters)
        buffers = [self._sgd.state[p].get("momentum_buffer") for p in parameters]
        moment = torch.zeros_like(weights) if buffers[0] is None else how.momentum * flat(buffers)  # type: ignore[arg-type]
        end = weights - rate * (moment + clipped(gradient, how.clip) + how.decay * weights)
        state, place = self.network.state_dict(), 0
        for name, value in self.network.named_parameters():
            state[name] = end[place : place + value.numel()].view(value.shape)
            place += value.numel()
        virtual = self._build()
        virtual.load_state_dict(state)
        return virtual


def leaves(tables: Mapping[str, Tensor]) -> Tables:
    """Return copies to differentiate with respect to."""
    return {name: table.detach().clone().requires_grad_() for name, table in tables.items()}


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """Return all entries as one vector."""
    return torch.cat([value.reshape(-1) for value in tensors])


def loss_of(network: nn.Module, alphas: Tables, batch: Batch) -> Tensor:
    """Return the cross-entropy of a batch at the softmax of the tables."""
    x, y = batch
    return cross_entropy(network(x, {name: table.softmax(dim=-1) for name, table in alphas.items()}), y)


def adam(alphas: Tables, settings: SearchSettings) -> torch.optim.Adam:
    """Return the optimizer of the architecture."""
    how = settings.architecture
    return torch.optim.Adam(alphas.values(), how.lr, betas=how.betas, weight_decay=how.decay)


def sgd(network: nn.Module, settings: SearchSettings) -> torch.optim.SGD:
    """Return the optimizer of the weights; its learning rate is set before each step."""
    how = settings.weights
    return torch.optim.SGD(network.parameters(), how.lr, momentum=how.momentum, weight_decay=how.decay)


def train_network(network: nn.Module, optimizer: torch.optim.SGD, rate: float, limit: float) -> None:
    """Clip the gradient that the network holds, and make one step at a learning rate."""
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([grad.norm() for grad in grads]))
    if norm > limit:
        for grad in grads:
            grad.mul_(limit / norm)
    optimizer.param_groups[0]["lr"] = rate
    optimizer.step()


def clipped(gradient: Tensor, limit: float) -> Tensor:
    """Return g * min(1, limit / |g|)."""
    return gradient * (limit / gradient.norm()).clamp(max=1.0)


def unclipped(vector: Tensor, gradient: Tensor, limit: float) -> Tensor:
    """Return `vector`, a cotangent on a clipped gradient, as one on the gradient itself."""
    norm = gradient.norm()
    if norm <= limit:
        return vector
    return (vector - gradient * (gradient @ vector) / norm**2) * (limit / norm)


def difference(network: nn.Module, alphas: Tables, vector: Tensor, batch: Batch, length: float) -> Tables:
    """Return d/d alpha of <gradient in the weights, vector>, from the gradients at both ends of a step of a length."""
    radius = length / vector.norm()
    ends = []
    for shift in (radius, -2 * radius):
        shift_weights(network, vector, shift)
        ends.append(torch.autograd.grad(loss_of(network, alphas, batch), list(alphas.values())))
    shift_weights(network, vector, radius)
    pairs = zip(alphas, ends[0], ends[1], strict=True)
    return {name: (plus - minus) / (2 * radius) for name, plus, minus in pairs}


def shift_weights(network: nn.Module, vector: Tensor, scale: Tensor) -> None:
    """Add scale * vector to the live weights."""
    place = 0
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(scale * vector[place : place + weight.numel()].view(weight.shape))
            place += weight.numel()
