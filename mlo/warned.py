"""Warnings of solves that did not converge: some of them, for a run has thousands of steps."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from mlo.context import Tally
from mlo.errors import UnconvergedWarning

_OURS = str(Path(__file__).parent)


def warn_unconverged(tally: Tally, counts: dict[tuple[str, str], int], steps: int) -> None:
    """Warn at the 1st, the 10th, the 100th time, ... that a solve of a kind and problem did not converge.

    Args:
        tally: What a step met.
        counts: How often it was met before, by kind and problem; counted up here.
        steps: How many steps were made, with this one.
    """
    for key, message in tally.complaints().items():
        times = counts[key] = counts.get(key, 0) + 1
        if times == 10 ** (len(str(times)) - 1):
            seen = f" (in {times} of {steps} outer steps)"
            warnings.warn(message + seen, UnconvergedWarning, stacklevel=_levels_to_the_caller())


def _levels_to_the_caller() -> int:
    """Return how far above the function that calls this one the nearest line outside of this package is."""
    frame, levels = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame, levels = frame.f_back, levels + 1
    return levels
