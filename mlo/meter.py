"""How much memory a computation's graphs hold at their largest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class GraphMemory:
    """Counts the bytes of tensors that autograd keeps for backward passes, while it is entered.

    A storage that several operations keep counts once. Tensors that are alive for other reasons alone (variables,
    optimizer states, what lies between two operations) do not count: it is the part that grows with the steps.

    Attributes:
        peak: The most bytes that were kept at once.
    """

    def __init__(self) -> None:
        """Begin with nothing kept."""
        self.peak = 0
        self._now = 0
        self._holders: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda kept: kept.tensor)

    def __enter__(self) -> GraphMemory:
        """Begin to count."""
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Count nothing that is kept from now on."""
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> _Kept:
        return _Kept(self, tensor)

    def hold(self, key: int, size: int) -> None:
        """Count one more holder of a storage."""
        self._holders[key] = self._holders.get(key, 0) + 1
        if self._holders[key] == 1:
            self._now += size
            self.peak = max(self.peak, self._now)

    def release(self, key: int, size: int) -> None:
        """Count one holder less."""
        self._holders[key] -= 1
        if self._holders[key] == 0:
            del self._holders[key]
            self._now -= size


class _Kept:
    """A tensor that autograd keeps, counted for as long as autograd does."""

    def __init__(self, meter: GraphMemory, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self.tensor, self._meter = tensor, meter
        self._key, self._size = storage.data_ptr(), storage.nbytes()
        meter.hold(self._key, self._size)

    def __del__(self) -> None:
        self._meter.release(self._key, self._size)
