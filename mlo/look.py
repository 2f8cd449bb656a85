"""One look at the device for everything that is to be known of a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from mlo.errors import MLOError


class Look:
    """Numbers and flags on a device, fetched together: a look makes the host wait until the device has caught up."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._numbers: list[Tensor] = []
        self._flags: list[tuple[Tensor, Callable[[float], None]]] = []

    def number(self, value: Tensor) -> None:
        """Add a number, a tensor of no dimensions."""
        self._numbers.append(value.detach())

    def flag(self, well: Tensor, blame: Callable[[], None]) -> None:
        """Add a flag, a boolean tensor of no dimensions; `blame` raises an error, or not, if it turns out false."""
        self.judge(well, lambda found: None if found else blame())

    def finite(self, size: Tensor, blame: Callable[[], None]) -> None:
        """Add a number, a tensor of no dimensions; `blame` raises an error, or not, if it is not finite.

        On the device that is one operation less than a flag, or more.
        """
        self.judge(size, lambda found: None if math.isfinite(found) else blame())

    def judge(self, value: Tensor, judge: Callable[[float], None]) -> None:
        """Add a number, a tensor of no dimensions; `judge` raises an error, or not, when it is known."""
        self._flags.append((value.detach(), judge))

    def take(self) -> list[float]:
        """Return the numbers in the order in which they came.

        Raises:
            MLOError: What the first flag that is false, or the first number that is judged to be wrong, raises.
        """
        flags = [flag for flag, _ in self._flags]
        if not flags and not self._numbers:
            return []
        found: list[float] = stacked([*flags, *self._numbers]).tolist()
        for (_, judge), value in zip(self._flags, found, strict=False):
            judge(value)
        return found[len(flags) :]

    @contextmanager
    def first(self) -> Iterator[None]:
        """Where the body fails, look at once: what it failed of may be a number that was not finite before.

        Raises:
            MLOError: What the first flag so far that is false raises, in place of the error of the body.
        """
        try:
            yield
        except Exception as error:
            try:
                self.take()
            except MLOError as culprit:
                raise culprit from error
            raise


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Stack numbers that may be of several types and on several devices."""
    kind = parts[0].dtype
    for part in parts[1:]:
        kind = torch.promote_types(kind, part.dtype)
    return torch.stack([part.to(dtype=kind, device=parts[0].device) for part in parts])
