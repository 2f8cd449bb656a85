"""Supernets and architecture of a search after an epoch, in a file that loads without running code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

import mlo
from applications.nas.formulations import ARCHITECTURE
from applications.nas.methods import Progress
from applications.nas.networks.batched import BatchedSupernet, plain_state
from applications.nas.sealed import read_sealed, write_sealed
from mlo import DamagedError, DataError

CHECKPOINT = "checkpoint.pt"
"""File of the last epoch, for those who want its weights."""
CHECKPOINTS = "checkpoints"
"""Folder of the states that a search goes on from."""


@dataclass(frozen=True)
class Checkpoint:
    """What a search had come to.

    Attributes:
        stage: From 1.
        epoch: From 1, in its stage.
        architecture: The architecture variables.
        supernets: The state dict of each problem's supernet, by the name of the problem; always that of the plain form.
    """

    stage: int
    epoch: int
    architecture: dict[str, Tensor]
    supernets: dict[str, dict[str, Tensor]]


def write_checkpoint(folder: Path, engine: mlo.Engine, place: Progress) -> None:
    """Write the present state of a search, whole or not at all, in place of the one before."""
    supernets: dict[str, dict[str, Tensor]] = {}
    for name in engine.graph.names:
        exported = engine.export(name)
        if isinstance(exported, nn.Module):
            state = plain_state(exported) if isinstance(exported, BatchedSupernet) else exported.state_dict()
            supernets[name] = {key: value.cpu() for key, value in state.items()}
    tables = {name: table.cpu() for name, table in engine.export(ARCHITECTURE).items()}
    content = {"stage": place.stage + 1, "epoch": place.epoch + 1, "architecture": tables, "supernets": supernets}
    write_sealed(folder / CHECKPOINT, content)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote.

    Raises:
        DataError: If there is none, or it cannot be read; the message names the file.
    """
    file = folder / CHECKPOINT
    if not file.is_file():
        raise DataError(f"{file} is missing: a search writes it after its first epoch")
    state = read_sealed(file, "search again")
    try:
        return Checkpoint(state["stage"], state["epoch"], state["architecture"], state["supernets"])
    except (TypeError, LookupError) as error:
        raise DamagedError(f"{file} holds no state of a search: search again") from error
