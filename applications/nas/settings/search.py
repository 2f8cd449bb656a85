"""A search."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Union

import torch
import tyro

from applications.nas.methods import AbstractMethod, Darts, Rule, Stage, known_methods
from applications.nas.settings._check import (
    LARGEST,
    LARGEST_SEED,
    MOST_CHANNELS,
    MOST_EPOCHS,
    MOST_LAYERS,
    MOST_NODES,
    MOST_OPERATIONS,
    check,
)
from applications.nas.settings.checkpoint import CheckpointSettings
from applications.nas.settings.data import Data, DigitsData
from applications.nas.settings.device import Device
from applications.nas.settings.formulation import Formulation, Interleaving
from applications.nas.settings.optimizers import ArchitectureSettings, WeightSettings
from applications.nas.settings.parallel import ParallelSettings
from applications.nas.settings.watch import WatchSettings
from applications.nas.space.cell import CellSpace
from applications.nas.space.operations import PRIMITIVES
from applications.nas.typed import check_types
from mlo import Autocast, Skip, Stop


def method_choice() -> Any:
    """Return the union of all methods that have been imported, each under its name, for the command line."""
    named = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in known_methods().items()]
    return Union[tuple(named)]  # noqa: UP007 - of as many members as there are methods


Method = Annotated[AbstractMethod, tyro.conf.arg(constructor_factory=method_choice)]
"""Any method; the command line asks which when it is read, so that methods of users are among them."""


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
    """Cells, at least 3; those at one and two thirds are reduction cells. P-DARTS: of the first stage."""
    stem: Literal["small", "large"] = "small"
    """One convolution that keeps the size (images of some 32 pixels), or three that reduce it eightfold (224)."""
    form: Literal["auto", "plain", "batched"] = "auto"
    """How it is computed: operation by operation (plain), or equal operations of several edges as one (batched). Both
    are the same up to rounding; batched is faster and takes less memory. auto: batched wherever it can be."""
    compile: bool = False
    """Run it by torch.compile, where gradient.rule is not exact: compiling takes minutes, and did not pay on a CPU."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_types("supernet", self)
        check("supernet", self, bool(self.primitives), "primitives must name an operation or more")
        check("supernet", self, self.nodes <= MOST_NODES, f"nodes must be at most {MOST_NODES}")
        check("supernet", self, self.channels <= MOST_CHANNELS, f"channels must be at most {MOST_CHANNELS}")
        check("supernet", self, self.layers <= MOST_LAYERS, f"layers must be at most {MOST_LAYERS}")

    @property
    def space(self) -> CellSpace:
        """The space of cells."""
        return CellSpace(self.nodes, self.primitives)


@dataclass(frozen=True)
class GradientSettings:
    """How the architecture's gradient is taken."""

    rule: Literal["published", "exact", "difference", "first"] = "published"
    """Second order by double backward (exact) or by finite differences (difference), or first order; published: what
    the method's authors do, which is difference for DARTS and first for P-DARTS and PC-DARTS."""
    epsilon: float = 0.01
    """Length of the finite difference's perturbation. 0.01 is the published one; on small supernets 0.1 to 0.3 was
    closer to the exact gradient (docs/evidence/hypergradients.md)."""

    def __post_init__(self) -> None:
        """Check the range."""
        check_types("gradient", self)
        check("gradient", self, 0 < self.epsilon <= LARGEST, "epsilon must be positive")


@dataclass(frozen=True)
class SearchSettings:
    """An architecture search."""

    data: Data = field(default_factory=DigitsData)
    method: Method = field(default_factory=Darts)
    formulation: Formulation = field(default_factory=Interleaving)
    supernet: SupernetSettings = field(default_factory=SupernetSettings)
    gradient: GradientSettings = field(default_factory=GradientSettings)
    weights: WeightSettings = field(default_factory=WeightSettings)
    architecture: ArchitectureSettings = field(default_factory=ArchitectureSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    parallel: ParallelSettings = field(default_factory=ParallelSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    epochs: int = 50
    """Passes over the first task's training part; P-DARTS makes as many in each stage."""
    batch: int = 64
    """Images in a batch, of training and of validation; of all ranks together."""
    batches: tuple[int, ...] = ()
    """The same for each task, in their order; left out: `batch` for all."""
    accumulate: int = 1
    """Into how many parts each batch is cut: the gradient of the whole, up to BatchNorm, which normalizes each part by
    itself, in the memory of a part (not with gradient.rule exact)."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of training losses and their gradients; weights, updates, finite differences and validation stay in float32."""
    seed: int = 0
    """Of splits, initial values and batch order."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    bad_batches: int = 0
    """How many batches in a row may be left out whose losses or gradients are not finite; 0 stops at the first."""
    deterministic: bool = False
    """Give the same bits each time on a GPU, too, which is slower; a CPU does so in any case."""

    def __post_init__(self) -> None:
        """Check what no part can check alone."""
        check_types("search", self)
        net = self.supernet
        check("search", self, self.epochs >= 1, "epochs must be at least 1")
        check("search", self, self.epochs <= MOST_EPOCHS, f"epochs must be at most {MOST_EPOCHS}")
        check("search", self, self.batch >= 2, "batch must be at least 2, for BatchNorm")
        check("search", self, min(self.batches, default=2) >= 2, "batches must be at least 2, for BatchNorm")
        whole = not (self.parallel.sync_batch_norm and self.supernet.form == "batched")
        check("supernet", self.supernet, whole, "form must be auto or plain with parallel.sync_batch_norm")
        smallest = min((self.batch, *self.batches)) // 2
        fits = 1 <= self.accumulate <= max(1, smallest)
        check("search", self, fits, "accumulate must be at least 1, and leave 2 images for BatchNorm")
        cure = "compile must be off where gradient.rule is exact (torch has no second derivatives of compiled code)"
        check("supernet", self.supernet, not (self.supernet.compile and self.rule == "exact"), cure)
        check("search", self, 0 <= self.bad_batches < 1000, "bad_batches must be from 0 to 999")
        check("search", self, 0 <= self.seed <= LARGEST_SEED, f"seed must be from 0 to {LARGEST_SEED}")
        edges = net.nodes * (net.nodes + 3) // 2
        count = edges * len(net.primitives) * max(stage.layers for stage in self.stages())  # or the method cannot so
        fits = count <= MOST_OPERATIONS
        check("supernet", net, fits, f"layers, nodes and primitives must make {MOST_OPERATIONS} operations at most")

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages of the search."""
        net = self.supernet
        return self.method.stages(net.layers, net.channels, len(net.primitives), self.epochs)

    @property
    def rule(self) -> Rule:
        """How the architecture's gradient is taken, with "published" resolved."""
        return self.method.published if self.gradient.rule == "published" else self.gradient.rule

    @property
    def on_divergence(self) -> Skip | Stop:
        """What becomes of a step that met a number which is not finite."""
        return Skip(self.bad_batches + 1) if self.bad_batches else Stop()

    @property
    def autocast(self) -> Autocast | None:
        """The precision of training losses, as a problem is given it."""
        kinds = {"bfloat16": torch.bfloat16, "float16": torch.float16}
        return Autocast(kinds[self.precision]) if self.precision in kinds else None

    def resolved(self) -> SearchSettings:
        """Return the same settings with nothing left to the method."""
        return replace(self, gradient=replace(self.gradient, rule=self.rule))
