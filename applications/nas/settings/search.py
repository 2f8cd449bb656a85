"""A search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from applications.nas.settings._check import LARGEST, LARGEST_SEED, check
from applications.nas.settings.data import Data, DigitsData
from applications.nas.settings.device import Device
from applications.nas.settings.formulation import Formulation, Interleaving
from applications.nas.settings.optimizers import ArchitectureSettings, WeightSettings
from applications.nas.space.cell import CellSpace
from applications.nas.space.operations import PRIMITIVES
from mlo import ConfigError


@dataclass(frozen=True)
class SupernetSettings:
    """The network that holds all architectures of the space."""

    nodes: int = 4
    """Nodes of a cell."""
    primitives: tuple[str, ...] = PRIMITIVES
    """Operations that an edge may hold."""
    channels: int = 16
    """Channels of the first cell."""
    layers: int = 8
    """Cells, at least 3; those at one and two thirds are reduction cells."""

    def __post_init__(self) -> None:
        """Check that cells of both types occur."""
        if self.layers < 3:
            raise ConfigError(f"supernet: layers={self.layers} leaves no normal cell to search: take at least 3")

    @property
    def space(self) -> CellSpace:
        """The space of cells."""
        return CellSpace(self.nodes, self.primitives)


@dataclass(frozen=True)
class DartsSettings:
    """How the architecture's gradient is taken."""

    gradient: Literal["exact", "difference", "first"] = "difference"
    """Second order by double backward, second order by finite differences as in DARTS, or first order."""
    epsilon: float = 0.01
    """Length of the finite difference's perturbation."""

    def __post_init__(self) -> None:
        """Check the range."""
        check("darts", self, 0 < self.epsilon <= LARGEST, "epsilon must be positive")


@dataclass(frozen=True)
class SearchSettings:
    """An architecture search."""

    data: Data = field(default_factory=DigitsData)
    formulation: Formulation = field(default_factory=Interleaving)
    supernet: SupernetSettings = field(default_factory=SupernetSettings)
    darts: DartsSettings = field(default_factory=DartsSettings)
    weights: WeightSettings = field(default_factory=WeightSettings)
    architecture: ArchitectureSettings = field(default_factory=ArchitectureSettings)
    epochs: int = 50
    """Passes over the first task's training part."""
    batch: int = 64
    """Images in a batch, of training and of validation."""
    seed: int = 0
    """Of splits, initial values and batch order."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def __post_init__(self) -> None:
        """Check what no part can check alone."""
        check("search", self, self.epochs >= 1, "epochs must be at least 1")
        check("search", self, self.batch >= 2, "batch must be at least 2, for BatchNorm")
        check("search", self, 0 <= self.seed <= LARGEST_SEED, f"seed must be from 0 to {LARGEST_SEED}")
