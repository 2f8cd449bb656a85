"""The smallest tasks and settings that are still a search, in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from applications.nas.formulations import Learner
from applications.nas.methods import AbstractMethod, Darts, PCDarts
from applications.nas.methods.base import initial_alphas
from applications.nas.networks.supernet import Supernet
from applications.nas.settings import (
    ArchitectureSettings,
    Formulation,
    GradientSettings,
    SearchSettings,
    WeightSettings,
)
from applications.nas.space.cell import CellSpace

SPACE = CellSpace(nodes=1, primitives=("none", "skip_connect", "sep_conv_3x3"))
ALPHAS = {name: 100 * table.double() for name, table in initial_alphas(SPACE, torch.Generator().manual_seed(3)).items()}


DARTS, PARTIAL = Darts(), PCDarts(portion=2, warm_up=0.25)


def learner(
    name: str,
    classes: int,
    weight: float = 1.0,
    loss: Callable[..., Tensor] = cross_entropy,
    method: AbstractMethod = DARTS,
) -> Learner:
    """A task with one batch in each part, so that every step of a search is an epoch of its own."""
    torch.manual_seed(classes)
    network = Supernet(SPACE, 4, 3, classes, in_channels=1, mixed=method.mixed_operation).double()
    batches = [(torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.arange(4) % classes) for _ in range(2)]
    return Learner(name, network, batches[:1], batches[1:], loss, weight)


def setup(formulation: Formulation, gradient: str = "exact", **weights: float) -> SearchSettings:
    """Four epochs of a search, with an architecture that moves."""
    return SearchSettings(
        formulation=formulation,
        gradient=GradientSettings(gradient),  # type: ignore[arg-type]
        weights=WeightSettings(**weights),
        architecture=ArchitectureSettings(lr=0.05),
        epochs=4,
    )
