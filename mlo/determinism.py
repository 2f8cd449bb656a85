"""The same bits each time, on a GPU too."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mlo.errors import ConfigError, MLOError

_WORKSPACE, _FIXED = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
_FILLING: Any = torch.utils.deterministic
_LACKING = re.compile(r"(\w+) does not have a deterministic implementation")


@contextmanager
def deterministic(*, on: bool = True) -> Iterator[None]:
    """Let the body give the same bits each time on a GPU, from the same seeds, on the same hardware and versions.

    On a CPU results repeat without it, for one number of threads. Inside, torch takes deterministic algorithms alone,
    and cuDNN chooses none by timing; afterwards all is as before, but for the environment variable
    CUBLAS_WORKSPACE_CONFIG, which CUDA's matrix products read once in a process. That is set if it is missing. The
    settings are those of the whole process, other threads included. Memory that nothing has been written to is not
    filled, as torch would by default: it costs time, and only a loss that reads such memory would notice.

    Args:
        on: False changes nothing, so that a setting can be passed on.

    Raises:
        ConfigError: If something was computed on a GPU in this process before, without that variable, or if it has
            another value; or if the body needs an operation that has no deterministic form, which is named.

    Examples:
        >>> import mlo, torch
        >>> with mlo.deterministic():
        ...     torch.are_deterministic_algorithms_enabled()
        True
    """
    if not on:
        yield
        return
    _fix_workspace()
    cudnn = torch.backends.cudnn
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    chosen, fill = (cudnn.deterministic, cudnn.benchmark), _FILLING.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark, _FILLING.fill_uninitialized_memory = True, False, False
    try:
        with _named():
            yield
    finally:
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        cudnn.deterministic, cudnn.benchmark = chosen
        _FILLING.fill_uninitialized_memory = fill


def _fix_workspace() -> None:
    """Set how much memory cuBLAS takes, on which the order of its sums depends, while it still reads that."""
    given = os.environ.get(_WORKSPACE)
    if given in _FIXED or not torch.cuda.is_available():
        return
    if given:
        raise ConfigError(f"deterministic: {_WORKSPACE} is {given!r}: make it {_FIXED[0]}, or leave it unset")
    if torch.cuda.is_initialized() and any(map(_was_used, range(torch.cuda.device_count()))):
        raise ConfigError(
            f"deterministic: a GPU was used in this process without {_WORKSPACE}, which is read once: enter "
            f"mlo.deterministic() before anything is put on a GPU, or start the process with {_WORKSPACE}={_FIXED[0]}"
        )
    os.environ[_WORKSPACE] = _FIXED[0]


def _was_used(device: int) -> bool:
    """Return whether a tensor was ever on a GPU; to have chosen the GPU, as ranks do, changes nothing."""
    return bool(torch.cuda.memory_stats(device).get("allocation.all.allocated", 0))


@contextmanager
def _named() -> Iterator[None]:
    """Say what to do about an operation that torch refuses."""
    try:
        yield
    except RuntimeError as error:
        found = None if isinstance(error, MLOError) else _LACKING.search(str(error))
        if found is None:
            raise
        raise ConfigError(
            f"deterministic: torch's {found[1]} has no deterministic form on this device: use another operation in its "
            "place, or leave deterministic off"
        ) from error
