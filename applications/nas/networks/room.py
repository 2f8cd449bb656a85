"""Whether a network has room on this machine, found on shapes before any of its weights is made."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from mlo import ConfigError

_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, or of a job of a cluster
_COPIES = 3  # at the least: weights as made, as trained, and a gradient or a momentum
_GB = 1e9


def machine_memory() -> float:
    """Return the bytes of memory that this process can have at most; infinity where the system does not tell."""
    found = [float("inf")]
    try:
        found.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
        found.append(float(_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError, AttributeError):  # "max", or no such file, or another system
        pass
    return min(found)


def check_room(network: nn.Module) -> None:
    """Refuse a network whose weights alone cannot be trained in the memory of this machine.

    Args:
        network: On the meta device.

    Raises:
        ConfigError: The message tells what it would take.
    """
    taken = _COPIES * sum(value.nbytes for value in (*network.parameters(), *network.buffers()))
    there = machine_memory()
    if taken > there:
        raise ConfigError(
            f"network: its weights take {taken / _GB:,.0f} GB or more to be trained, and this machine has "
            f"{there / _GB:,.0f} GB: take fewer channels, layers or nodes"
        )
