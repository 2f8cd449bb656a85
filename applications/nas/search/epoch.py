"""What stands at the end of an epoch of a search."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from applications.nas.methods import Progress
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Genotype
from applications.nas.watch import Sight


@dataclass(frozen=True)
class Epoch:
    """What stands at the end of an epoch.

    Attributes:
        place: Which epoch of which stage.
        variables: The architecture variables, on the CPU.
        strengths: What edges and operations are ranked by, (edges, operations) by type of cell.
        space: What the edges hold.
        genotype: The cell that they give.
        frozen: Whether the architecture rested.
        sight: What was measured.
    """

    place: Progress
    variables: dict[str, Tensor]
    strengths: dict[str, Tensor]
    space: CellSpace
    genotype: Genotype
    frozen: bool
    sight: Sight
