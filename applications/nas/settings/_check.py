"""The check that all settings share."""

from __future__ import annotations

import sys

from mlo import ConfigError

LARGEST, LARGEST_SEED = sys.float_info.max, 2**32 - 1
MOST_EPOCHS, MOST_LAYERS, MOST_CHANNELS, MOST_NODES = 1_000_000, 200, 100_000, 64
MOST_OPERATIONS = 20_000  # in a supernet; DARTS has 896
MOST_ROUNDS, MOST_WORKERS, MOST_PIXELS = 1_000, 1_024, 8_192
"""Far beyond what anyone trains: a slip of the keyboard is to be refused, not to be counted to."""


def check(where: str, settings: object, fits: bool, rule: str) -> None:
    """Raise unless a rule that begins with the settings it is about is kept."""
    if not fits:
        about = rule.split(" must")[0]
        given = ", ".join(f"{name}={value!r}" for name, value in vars(settings).items() if name in about)
        raise ConfigError(f"{where}: {rule}, got {given}")
