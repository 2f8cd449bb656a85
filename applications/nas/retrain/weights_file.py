"""The weights of a trained network, in a file that loads without running code and tells whether it was changed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from applications.nas.sealed import read_sealed, write_sealed
from mlo import DataError


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's state dict, on the CPU: whole or not at all.

    Args:
        network: The network.
        path: The file, for `load_weights` or `torch.load(path, weights_only=True)`.

    Raises:
        DataError: If it cannot be written.
    """
    write_sealed(path, {name: value.cpu() for name, value in network.state_dict().items()})


def load_weights(network: nn.Module, path: Path) -> None:
    """Read what `save_weights` wrote into a network of the same architecture.

    Raises:
        DamagedError: The file is not what was written.
        DataError: It is missing, or holds the weights of another network.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: without it the network must be trained again")
    state = read_sealed(path, "train the network again")
    mine = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    fits = isinstance(state, dict) and all(isinstance(value, torch.Tensor) for value in state.values())
    theirs = {name: tuple(value.shape) for name, value in state.items()} if fits else {}
    if theirs != mine:
        names = [name for name in (*mine, *theirs) if mine.get(name) != theirs.get(name)]
        raise DataError(
            f"{path} holds the weights of another network: {names[0]!r} is {theirs.get(names[0], 'missing')}, "
            f"{mine.get(names[0], 'nothing')} is needed; settings, cell and weights must be of one retraining"
        )
    network.load_state_dict(state)
