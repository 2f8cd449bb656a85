"""What is looked at while a search runs."""

from __future__ import annotations

from dataclasses import dataclass

from applications.nas.settings._check import check
from applications.nas.typed import check_types


@dataclass(frozen=True)
class WatchSettings:
    """Looks at a search after each epoch in which the architecture moved; the search itself does not change."""

    skips: int | None = None
    """Warn from so many skip connections in the normal cell on; left out: half of its edges, which is 4 of 8."""
    gap: bool = True
    """Measure how much the validation loss rises where the mixture gives way to the cell: two forward passes."""
    eigenvalue: int = 0
    """Every so many epochs, measure the largest eigenvalue of the validation loss's Hessian in the architecture
    variables (tens of gradients); 0 for never."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_types("watch", self)
        check("watch", self, self.skips is None or self.skips >= 1, "skips must be at least 1, or None")
        check("watch", self, self.eigenvalue >= 0, "eigenvalue must not be negative (0: never)")
