"""What a search method is: the one seam at which DARTS, P-DARTS, PC-DARTS and others differ.

A method is a frozen dataclass: its fields are its settings. Only `relax` must be written; every other member is a hook
whose default is what DARTS does. A method knows nothing of tasks, of formulations or of how gradients are taken.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from inspect import isabstract
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from applications.nas.methods.derivation import one_hot, strongest_cells
from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.genotype import Genotype
from applications.nas.space.mixed import AbstractMixedOperation, MixedOperation
from applications.nas.typed import check_types
from mlo import ConfigError

Rule = Literal["exact", "difference", "first"]
"""How the architecture's gradient is taken: by double backward, by finite differences, or first order."""

Variables = Mapping[str, Tensor]
"""Architecture variables by name; "normal" and "reduction" are tables (edges, operations)."""


@dataclass(frozen=True)
class Stage:
    """One stretch of a search, with a supernet, optimizers and architecture variables of its own.

    Attributes:
        layers: Cells of its supernet.
        channels: Channels of a node of the first cell.
        operations: Operations on each edge.
        epochs: Passes over the first task's training part.
        warm_up: The first so many epochs train weights only; the architecture rests.
    """

    layers: int
    channels: int
    operations: int
    epochs: int
    warm_up: int

    def __post_init__(self) -> None:
        """Check that there is something to search, and time to do it."""
        if self.layers < 3:
            raise ConfigError(f"supernet: layers={self.layers} leaves no normal cell to search: take at least 3")
        if self.operations < 1:
            raise ConfigError(f"method: a stage has {self.operations} operations on an edge: drop fewer")
        if not 0 <= self.warm_up < self.epochs:
            raise ConfigError(f"method: {self.warm_up} epochs of warm-up leave none of {self.epochs} to search in")


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        stage: Number of the stage, from 0.
        epoch: Number of the epoch in its stage, from 0.
        epochs: Epochs of the stage.
    """

    stage: int
    epoch: int
    epochs: int


@dataclass(frozen=True)
class AbstractMethod(ABC):
    """A search method.

    Attributes:
        title: Its name in tables.
        published: How its authors take the architecture's gradient.
    """

    title: ClassVar[str]
    published: ClassVar[Rule] = "first"

    def __post_init__(self) -> None:
        """Check the types of the settings; a method with rules of its own calls this first."""
        check_types("method", self)

    def titled(self, rule: Rule) -> str:
        """Return the name in tables of a search that takes the architecture's gradient so; by default the title."""
        if rule == self.published:
            return self.title
        return f"{self.title}, {'first' if rule == 'first' else 'second'} order"

    def stages(self, layers: int, channels: int, operations: int, epochs: int) -> tuple[Stage, ...]:
        """Return the stages of a search; by default one without warm-up.

        Args:
            layers: Cells of the supernet in the settings.
            channels: Channels in the settings.
            operations: Primitives of the space.
            epochs: Epochs in the settings.
        """
        return (Stage(layers, channels, operations, epochs, warm_up=0),)

    def narrow(self, variables: Variables, space: CellSpace, operations: int) -> CellSpace:
        """Return the space of the next stage; by default the same.

        Args:
            variables: What the stage before has found.
            space: The space of the stage before.
            operations: How many operations each edge keeps.
        """
        return space

    def initial(self, space: CellSpace, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw architecture variables; by default two tables with entries 0.001 * N(0, 1)."""
        return initial_alphas(space, generator)

    @abstractmethod
    def relax(self, variables: Variables, progress: Progress) -> dict[str, Tensor]:
        """Turn architecture variables into mixing weights, for the architecture's step.

        Args:
            variables: As `initial` makes them.
            progress: How far the search is, for what is annealed.

        Returns:
            "normal" and "reduction", both (edges, columns), with the columns that the mixed operation takes. It may
            draw random numbers; both sides of a finite difference see the same ones.
        """

    def relax_for_weights(self, variables: Variables, progress: Progress) -> dict[str, Tensor]:
        """Turn architecture variables into mixing weights, for the steps of the weights; by default as `relax`."""
        return self.relax(variables, progress)

    def mixed_operation(self, names: Sequence[str], channels: int, stride: int) -> AbstractMixedOperation:
        """Build an edge of the supernet; by default the weighted sum of all its operations."""
        return MixedOperation(names, channels, stride)

    def begin_epoch(self, network: nn.Module, progress: Progress) -> None:
        """Set what the mixed operations of a supernet need to know of the epoch, such as a dropout rate.

        Find modules by their type, as `PDarts` does: of edges a batched supernet has `DroppedSkip` and nothing else.
        """
        return None

    def strengths(self, variables: Variables, space: CellSpace, progress: Progress) -> dict[str, Tensor]:
        """Return the weights by which operations and edges are ranked; by default those of `relax`.

        Returns:
            "normal" and "reduction", both (edges, operations).
        """
        return self.relax(variables, progress)

    def derive(self, variables: Variables, space: CellSpace, progress: Progress) -> Genotype:
        """Choose the architecture; by default the two strongest edges of each node, by `strengths`.

        Raises:
            ConfigError: If the tables do not fit the space.
            DataError: If a table holds NaN or infinity, so that no order exists.
        """
        space.check({name: variables[name] for name in CELL_TYPES if name in variables})
        return strongest_cells(self.strengths(variables, space, progress), space)

    def discretize(self, genotype: Genotype, space: CellSpace) -> dict[str, Tensor]:
        """Return mixing weights with which the supernet computes a genotype's operations alone; by default 0 and 1."""
        return one_hot(genotype, space)

    def stop(self, history: Sequence[Genotype]) -> str | None:
        """Return why the search should end before its last epoch; by default it should not.

        Args:
            history: The genotype after each epoch of this stage in which the architecture moved.
        """
        return None


def warm_up_epochs(share: float, epochs: int) -> int:
    """Return how many epochs a warm-up takes that is given as a share of all: the nearest number, less than all.

    Raises:
        ConfigError: If it is no share.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"method: warm_up={share}: a share of the epochs, at least 0 and below 1")
    return min(round(share * epochs), epochs - 1)


def initial_alphas(space: CellSpace, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw architecture variables close to zero, where all operations weigh nearly the same.

    Args:
        space: The space of cells.
        generator: Where the random numbers come from.

    Returns:
        "normal" and "reduction", both (edges, operations), with entries 0.001 * N(0, 1).
    """
    shape = (space.edges, space.operations)
    return {name: 1e-3 * torch.randn(shape, generator=generator, device=generator.device) for name in CELL_TYPES}


def softmax_tables(variables: Variables) -> dict[str, Tensor]:
    """Return the softmax over the operations of each edge, for both types of cell."""
    return {name: variables[name].softmax(dim=-1) for name in CELL_TYPES}


def known_methods(base: type[AbstractMethod] = AbstractMethod) -> dict[str, type[AbstractMethod]]:
    """Return every method of a module that is imported, by the lower-case name of its class."""
    found: dict[str, type[AbstractMethod]] = {}
    for kind in base.__subclasses__():
        imported = kind.__module__ in sys.modules  # the source of others, and so their help, cannot be found
        if imported and is_dataclass(kind) and not isabstract(kind):
            found[kind.__name__.lower()] = kind
        found |= known_methods(kind)
    return found
