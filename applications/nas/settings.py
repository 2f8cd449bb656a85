"""All settings, as frozen dataclasses: they are the configuration file, the command line and the Python API at once."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from applications.nas.space.cell import CellSpace
from applications.nas.space.operations import PRIMITIVES
from mlo import ConfigError

_LARGEST, _LARGEST_SEED = sys.float_info.max, 2**32 - 1


@dataclass(frozen=True)
class DigitsData:
    """scikit-learn's 8x8 digits as two tasks on disjoint images: which digit, and how many loops. No download."""


@dataclass(frozen=True)
class FolderData:
    """One task for each folder ROOT/{train,test}/CLASS/IMAGE."""

    roots: tuple[Path, ...] = ()
    """The folders, in the order in which the tasks are interleaved."""
    side: int | None = None
    """Resize to side x side pixels; left out: keep the size."""
    subset: int | None = None
    """Images to keep in each of train, valid and test, class-balanced; left out: all."""


@dataclass(frozen=True)
class CifarData:
    """CIFAR-10 and CIFAR-100 in their original files."""

    root: Path = Path("data")
    """Folder that holds cifar-10-batches-py and cifar-100-python."""
    classes: tuple[Literal[10, 100], ...] = (100, 10)
    """Which of the two, in the order in which the tasks are interleaved."""
    download: bool = False
    """Fetch the files if they are missing."""
    subset: int | None = None
    """Images to keep in each of train, valid and test, class-balanced; left out: all."""


Data = (
    Annotated[DigitsData, tyro.conf.subcommand("digits")]
    | Annotated[FolderData, tyro.conf.subcommand("folders")]
    | Annotated[CifarData, tyro.conf.subcommand("cifar")]
)


@dataclass(frozen=True)
class SingleTask:
    """Bilevel search on one task: the architecture minimizes its validation loss at trained weights."""

    task: str = ""
    """Name of the task; left out: the first one."""


@dataclass(frozen=True)
class MultiTask:
    """Bilevel search on all tasks: independent weights, one architecture, the sum of the validation losses."""


@dataclass(frozen=True)
class Interleaving:
    """Interleaving learning: K learners x M rounds, each encoder held near the one before by a proximal term.

    Source: Interleaving Learning, with Application to Neural Architecture Search (Ban, Xie, 2021), equation 5.
    """

    rounds: int = 2
    """M."""
    weight: float = 100.0
    """lambda, which multiplies the sum of squared differences; its strength is c = 2 * lr * lambda."""
    form: Literal["implicit", "explicit"] = "implicit"
    """The proximal step, or equation 7 as written (diverges for c >= 2 and is refused then)."""
    anchor: Literal["none", "cyclic"] = "none"
    """What the first stage is held near: nothing as in the source, or the last stage of the step before (ours)."""
    allow_unstable: bool = False
    """Take equation 7 as written in spite of c >= 2."""


Formulation = (
    Annotated[SingleTask, tyro.conf.subcommand("single")]
    | Annotated[MultiTask, tyro.conf.subcommand("multi")]
    | Annotated[Interleaving, tyro.conf.subcommand("interleaving")]
)

Device = Literal["auto", "cpu", "cuda"]


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
        _check("darts", self, 0 < self.epsilon <= _LARGEST, "epsilon must be positive")


@dataclass(frozen=True)
class WeightSettings:
    """SGD on the network weights, with cosine decay by epoch."""

    lr: float = 0.025
    """Learning rate of the first epoch."""
    min_lr: float = 0.001
    """Where the cosine ends, just after the last epoch."""
    momentum: float = 0.9
    """Share of the step before that is kept."""
    decay: float = 3e-4
    """Weight decay, added to the gradient."""
    clip: float = 5.0
    """Largest norm of a gradient."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check("weights", self, 0 < self.lr <= _LARGEST, "lr must be positive")
        _check("weights", self, 0 <= self.min_lr <= self.lr, "min_lr must be from 0 to lr")
        _check("weights", self, 0 <= self.momentum < 1, "momentum must be at least 0 and below 1")
        _check("weights", self, 0 <= self.decay <= _LARGEST, "decay must not be negative")
        _check("weights", self, 0 < self.clip <= _LARGEST, "clip must be positive (1e9 clips nothing)")


@dataclass(frozen=True)
class ArchitectureSettings:
    """Adam on the architecture variables."""

    lr: float = 3e-4
    """Learning rate, the same throughout."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Share of the past in the means of the gradient and of its square."""
    decay: float = 1e-3
    """Weight decay, added to the gradient."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check("architecture", self, 0 < self.lr <= _LARGEST, "lr must be positive")
        _check("architecture", self, all(0 <= beta < 1 for beta in self.betas), "betas must be at least 0 and below 1")
        _check("architecture", self, 0 <= self.decay <= _LARGEST, "decay must not be negative")


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
        _check("search", self, self.epochs >= 1, "epochs must be at least 1")
        _check("search", self, self.batch >= 2, "batch must be at least 2, for BatchNorm")
        _check("search", self, 0 <= self.seed <= _LARGEST_SEED, f"seed must be from 0 to {_LARGEST_SEED}")


@dataclass(frozen=True)
class RetrainSettings:
    """Training of a found architecture from scratch, on train and valid together; tested once at the end."""

    channels: int = 36
    layers: int = 20
    epochs: int = 600
    batch: int = 96
    weights: WeightSettings = field(default_factory=lambda: WeightSettings(min_lr=0.0))
    auxiliary: bool = False
    """Train with the auxiliary head (needs 32x32 images)."""
    auxiliary_weight: float = 0.4
    drop_path: float = 0.0
    """Rate of drop path at the end; rises linearly from 0."""
    cutout: int = 0
    """Side of the square that is cut out of each training image; 0 for none."""
    seeds: tuple[int, ...] = (0,)
    """One training each: the error is reported as mean and standard deviation over them."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check("retrain", self, self.epochs >= 1, "epochs must be at least 1")
        _check("retrain", self, self.batch >= 2, "batch must be at least 2, for BatchNorm")
        _check("retrain", self, 0 <= self.drop_path < 1, "drop_path must be at least 0 and below 1")
        _check("retrain", self, 0 <= self.auxiliary_weight <= _LARGEST, "auxiliary_weight must not be negative")
        _check("retrain", self, 0 < len(self.seeds) == len(set(self.seeds)), "seeds must be distinct, at least one")
        fits = all(0 <= seed <= _LARGEST_SEED for seed in self.seeds)
        _check("retrain", self, fits, f"seeds must be from 0 to {_LARGEST_SEED}")


def _check(where: str, settings: object, fits: bool, rule: str) -> None:
    """Raise unless a rule that begins with the settings it is about is kept."""
    if not fits:
        about = rule.split(" must")[0]
        given = ", ".join(f"{name}={value!r}" for name, value in vars(settings).items() if name in about)
        raise ConfigError(f"{where}: {rule}, got {given}")
