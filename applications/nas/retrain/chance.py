"""The state of everything random in a training, so that it can go on as if it had not stopped."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor

from applications.nas.seeded import seeded

Chance = dict[str, Any]
"""The states of a process's generators: tensors and plain data."""


def generator_states(device: torch.device) -> Chance:
    """Return the states of torch's generators, on the CPU and on the GPU it computes on, and of numpy and `random`."""
    version, words, normal = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": None if device.type == "cpu" else torch.cuda.get_rng_state(device),
        "python": [version, torch.tensor(words), normal],
        "numpy": _plain(numpy.random.get_state(legacy=False)),
    }


def restore_generators(state: Chance | None, device: torch.device, *numbers: int) -> None:
    """Go on where a rank was; one that was not there, or computed elsewhere, begins anew.

    Args:
        state: What `generator_states` returned; None if there is none.
        device: Where this rank computes now.
        numbers: What it begins anew from: the seed of the training, where that is, and the rank.
    """
    if state is None or (state["cuda"] is None) != (device.type == "cpu"):
        reseed(device, *numbers)
        return
    version, words, normal = state["python"]
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    random.setstate((version, tuple(words.tolist()), normal))
    _restore_numpy(_array(state["numpy"]))


def _restore_numpy(state: Any) -> None:
    """Put numpy's generator back.

    Raises:
        ValueError: If the state is none. numpy itself takes any place in its words, and reads there: outside of them
            that takes the process down.
    """
    inside = state["state"]
    place, words = inside.get("pos", state.get("buffer_pos", 0)), inside["key"] if "pos" in inside else range(4)
    if type(place) is not int or not 0 <= place <= len(words):
        raise ValueError(f"numpy's generator cannot be at {place!r}")
    numpy.random.set_state(state)


def reseed(device: torch.device, *numbers: int) -> None:
    """Begin anew with a seed that is made of several numbers."""
    seed = int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:7])
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    torch.default_generator.manual_seed(seed)
    _seed_others(seed)


@contextmanager
def all_seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let the body draw the same numbers each time, by whatever library, and leave all generators as they were."""
    python, other = random.getstate(), numpy.random.get_state(legacy=False)
    try:
        with seeded(seed, device):
            _seed_others(seed)
            yield
    finally:
        random.setstate(python)
        numpy.random.set_state(other)


def _seed_others(seed: int) -> None:
    random.seed(seed)
    numpy.random.seed(seed % 2**32)


def _plain(value: Any) -> Any:
    """Write numpy's arrays as bytes, for torch reads no array without running code."""
    if isinstance(value, numpy.ndarray):
        return {"kind": str(value.dtype), "bytes": torch.frombuffer(bytearray(value.tobytes()), dtype=torch.uint8)}
    return {name: _plain(part) for name, part in value.items()} if isinstance(value, Mapping) else value


def _array(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "kind" in value:
        content: Tensor = value["bytes"]
        return numpy.frombuffer(content.numpy().tobytes(), dtype=value["kind"])
    return {name: _array(part) for name, part in value.items()}
