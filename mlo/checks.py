"""Checks of settings that several classes have."""

from __future__ import annotations

import math
from typing import TypeGuard

from mlo.errors import ConfigError


def check_count(owner: str, setting: str, value: object, *, least: int = 1) -> None:
    """Check a setting that counts something.

    Raises:
        ConfigError: If `value` is not a whole number >= `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{owner}: {setting} must be a whole number >= {least}, got {value!r}")


def check_positive(owner: str, setting: str, value: object) -> None:
    """Check a setting that scales something.

    Raises:
        ConfigError: If `value` is not a positive, finite number.
    """
    if not (_is_number(value) and 0 < value < math.inf):
        raise ConfigError(f"{owner}: {setting} must be positive and finite, got {value!r}")


def check_not_negative(owner: str, setting: str, value: object) -> None:
    """Check a setting that may be 0.

    Raises:
        ConfigError: If `value` is not a finite number >= 0.
    """
    if not (_is_number(value) and 0 <= value < math.inf):
        raise ConfigError(f"{owner}: {setting} must be a finite number >= 0, got {value!r}")


def check_tol(owner: str, tol: object) -> None:
    """Check a relative tolerance.

    Raises:
        ConfigError: If `tol` is not a number in [0, 1); with 1, x = 0 would count as a solution.
    """
    if not (_is_number(tol) and 0 <= tol < 1):
        raise ConfigError(f"{owner}: tol must be a number >= 0 and below 1, got {tol!r}")


def checked_flag(owner: str, setting: str, value: object) -> bool:
    """Return a setting that is on or off.

    Raises:
        ConfigError: If `value` is neither True nor False.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{owner}: {setting} must be True or False, got {value!r}")
    return value


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
