"""DARTS: one softmax over the operations of each edge, and the strongest edges and operations at the end.

Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from applications.nas.methods.base import (
    AbstractMethod,
    Progress,
    Rule,
    Stage,
    Variables,
    softmax_tables,
    warm_up_epochs,
)


@dataclass(frozen=True)
class Darts(AbstractMethod):
    """DARTS; first or second order is `--gradient.rule`."""

    title: ClassVar[str] = "DARTS"
    published: ClassVar[Rule] = "difference"

    warm_up: float = 0.0
    """Share of the epochs, at the beginning, that train weights only; none in the original."""

    def titled(self, rule: Rule) -> str:
        """DARTS-1st or DARTS-2nd, as papers call them."""
        return f"{self.title}-1st" if rule == "first" else f"{self.title}-2nd"

    def stages(self, layers: int, channels: int, operations: int, epochs: int) -> tuple[Stage, ...]:
        """One stage."""
        return (Stage(layers, channels, operations, epochs, warm_up_epochs(self.warm_up, epochs)),)

    def relax(self, variables: Variables, progress: Progress) -> dict[str, Tensor]:
        """Return a softmax over the operations of each edge (equation 2)."""
        return softmax_tables(variables)
