"""The weights of a trained network, in a file that loads without running code."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from applications.nas.files import write_tensors
from mlo import DataError


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's state dict, on the CPU: whole or not at all."""
    write_tensors(path, {name: value.cpu() for name, value in network.state_dict().items()})


def load_weights(network: nn.Module, path: Path) -> None:
    """Read what `save_weights` wrote into a network of the same architecture.

    Raises:
        DataError: The file is missing, is no such file, or holds the weights of another network.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: without it the network must be trained again")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file can fail in any way
        raise DataError(f"{path} holds no weights that can be read: train the network again") from error
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
