"""The state of everything random in a training, so that it can go on as if it had not stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator_states(device: torch.device) -> list[Tensor]:
    """Return the state of the CPU's generator, and that of the GPU's if it is on one; as bytes, on the CPU."""
    states = [torch.get_rng_state()]
    return states if device.type == "cpu" else [*states, torch.cuda.get_rng_state(device)]


def restore_generators(each: Sequence[list[Tensor]], rank: int, device: torch.device, seed: int, epoch: int) -> None:
    """Go on where a rank was; one that was not there, or computed elsewhere, begins anew.

    Args:
        each: What `generator_states` returned, by rank.
        rank: Whose state is wanted.
        device: Where it computes now.
        seed: Of the training.
        epoch: How many are done.
    """
    states = each[rank] if rank < len(each) else []
    if len(states) != len(generator_states(device)):
        reseed(device, seed, epoch, rank)
        return
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def reseed(device: torch.device, *numbers: int) -> None:
    """Begin anew with a seed that is made of several numbers."""
    seed = int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:7])
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    torch.default_generator.manual_seed(seed)
