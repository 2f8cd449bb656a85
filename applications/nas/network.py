"""Final networks, built from a genotype alone; here the form for small images, and what all forms share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from applications.nas.auxiliary import AuxiliaryHead
from applications.nas.objective import AbstractObjective, Classification, as_objective
from applications.nas.space.genotype import Genotype
from applications.nas.space.operations import Identity, operation
from applications.nas.space.skeleton import CellPlan, check_channels, plan_cells
from applications.nas.space.stem import AbstractStem, SmallStem
from mlo import ConfigError


class Prediction(NamedTuple):
    """What a network returns.

    Attributes:
        logits: What the objective's head gives: (B, classes) for a classification.
        auxiliary_logits: (B, classes) of the auxiliary head, for the loss only; None without that head and whenever
            the network is not training.
    """

    logits: Tensor
    auxiliary_logits: Tensor | None


def drop_path(x: Tensor, rate: float) -> Tensor:
    """Zero whole samples at random, and scale the others so that the expectation stays.

    Args:
        x: Outputs of one operation, (B, C, H, W).
        rate: Probability with which a sample is zeroed, in [0, 1).

    Returns:
        A new tensor, (B, C, H, W).

    Source: "FractalNet: Ultra-Deep Neural Networks without Residuals", Larsson, Maire, Shakhnarovich, 2017.
    """
    keep = 1.0 - rate
    mask = torch.empty((x.shape[0], 1, 1, 1), dtype=x.dtype, device=x.device).bernoulli_(keep)
    return x / keep * mask


class EvaluationCell(nn.Module):
    """A cell of a final network: each node is the sum of its two edges.

    Args:
        genotype: The architecture; the plan decides which of its cells this is.
        plan: The cell's place in the network. In a reduction cell the edges that leave an input have stride 2.
    """

    def __init__(self, genotype: Genotype, plan: CellPlan) -> None:
        """Build the two preprocessors and one operation for each edge."""
        super().__init__()
        cell = genotype.reduction if plan.reduction else genotype.normal
        self.sources = tuple(edge.predecessor for edge in cell.edges)
        self.concat = cell.concat
        self.older, self.newer = plan.preprocessors(affine=True)
        self.operations = nn.ModuleList(
            operation(edge.operation, plan.channels, 2 if plan.reduction and edge.predecessor < 2 else 1, affine=True)
            for edge in cell.edges
        )

    def forward(self, older: Tensor, newer: Tensor, rate: float) -> Tensor:
        """Compute the cell from its two inputs.

        Args:
            older: Output of the cell before the previous one, (B, plan.inputs[0], H, W), or (..., 2H, 2W) after a
                reduction.
            newer: Output of the previous cell, (B, plan.inputs[1], H, W).
            rate: Rate of drop path on all edges but identities; without effect unless training.

        Returns:
            The chosen nodes, concatenated: (B, plan.outputs, H, W), or half of H and W in a reduction.
        """
        states: list[Tensor] = [self.older(older), self.newer(newer)]
        for edge in range(0, len(self.sources), 2):
            states.append(self._edge(edge, states, rate) + self._edge(edge + 1, states, rate))
        return torch.cat([states[index] for index in self.concat], dim=1)

    def _edge(self, index: int, states: list[Tensor], rate: float) -> Tensor:
        module = self.operations[index]
        out: Tensor = module(states[self.sources[index]])
        if self.training and rate > 0.0 and not isinstance(module, Identity):
            out = drop_path(out, rate)
        return out


class EvaluationNetwork(nn.Module):
    """Stem, cells, head and auxiliary head: what the networks for small and for large images share.

    Args:
        genotype: The architecture; its cells may have any number of nodes, and outputs of different widths.
        stem: Makes the inputs of the first cell.
        channels: Channels of a node of the first cell.
        layers: Number of cells.
        objective: What the task asks for; a number of classes stands for a classification.
        reductions: Indices of the reduction cells; None for those at one and two thirds of the depth.
        auxiliary: Makes the auxiliary head from (channels, classes); None for a network without one.
        drop_path: Initial rate of drop path.

    Raises:
        ConfigError: A setting is out of range, or an auxiliary head is wanted where nothing is classified.
    """

    def __init__(
        self,
        genotype: Genotype,
        stem: AbstractStem,
        channels: int,
        layers: int,
        objective: AbstractObjective | int,
        *,
        reductions: tuple[int, ...] | None,
        auxiliary: Callable[[int, int], AuxiliaryHead] | None,
        drop_path: float,
    ) -> None:
        """Plan the cells and build everything."""
        super().__init__()
        asked = as_objective(objective)
        self.drop_path = drop_path
        self.stem = stem
        inputs, multipliers = (
            (stem.channels, stem.channels),
            (len(genotype.normal.concat), len(genotype.reduction.concat)),
        )
        plans = plan_cells(
            inputs, channels, layers, multipliers=multipliers, reductions=reductions, after_reduction=stem.halved
        )
        self.cells = nn.ModuleList(EvaluationCell(genotype, plan) for plan in plans)
        self.head = asked.head(plans[-1].outputs)
        self.auxiliary_cell = 2 * len(plans) // 3
        self.auxiliary: AuxiliaryHead | None = None
        if auxiliary is not None:
            if not isinstance(asked, Classification):
                raise ConfigError(
                    f"auxiliary=True: its head classifies, and {type(asked).__name__} is no classification; "
                    "use auxiliary=False (--no-auxiliary)"
                )
            self.auxiliary = auxiliary(plans[self.auxiliary_cell].outputs, asked.classes)

    @property
    def drop_path(self) -> float:
        """Rate of drop path, in [0, 1); set it before each epoch. Only a network in training mode drops anything."""
        return self._drop_path

    @drop_path.setter
    def drop_path(self, rate: float) -> None:
        if not 0.0 <= rate < 1.0:
            raise ConfigError(f"drop_path={rate}: must be at least 0 and below 1")
        self._drop_path = rate

    def forward(self, x: Tensor) -> Prediction:
        """Predict from images (B, in_channels, H, W).

        Raises:
            ConfigError: The images do not have a size that the reductions, or the auxiliary head, can work with.
        """
        older, newer = self.stem(x)
        auxiliary_logits: Tensor | None = None
        for index, cell in enumerate(self.cells):
            older, newer = newer, cell(older, newer, self.drop_path)
            if index == self.auxiliary_cell and self.auxiliary is not None and self.training:
                auxiliary_logits = self.auxiliary(newer)
        logits: Tensor = self.head(newer)
        return Prediction(logits, auxiliary_logits)


class Network(EvaluationNetwork):
    """The final network for small images such as those of CIFAR.

    Args:
        genotype: The architecture.
        channels: Channels of a node of the first cell.
        layers: Number of cells.
        objective: What the task asks for; a number of classes stands for a classification.
        stem_multiplier: Channels of the stem, as a multiple of `channels`.
        auxiliary: Whether to have an auxiliary head, on cell `2 * layers // 3`; with the usual two reductions up to
            there it needs images of 32x32.
        drop_path: Rate of drop path, in [0, 1); an attribute of the same name can be set anew before each epoch.
        in_channels: Channels of the images.
        reductions: Indices of the reduction cells; None for those at one and two thirds of the depth.

    Raises:
        ConfigError: A setting is out of range.

    Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019.
    """

    def __init__(
        self,
        genotype: Genotype,
        channels: int,
        layers: int,
        objective: AbstractObjective | int,
        *,
        stem_multiplier: int = 3,
        auxiliary: bool = False,
        drop_path: float = 0.0,
        in_channels: int = 3,
        reductions: tuple[int, ...] | None = None,
    ) -> None:
        """Put the small stem before the cells."""
        check_channels(channels)
        head = partial(AuxiliaryHead, stride=3, norm=True) if auxiliary else None
        stem = SmallStem(in_channels, stem_multiplier * channels)
        super().__init__(
            genotype, stem, channels, layers, objective, reductions=reductions, auxiliary=head, drop_path=drop_path
        )
