"""Differences in words and digits, and what must be said of every one."""

from __future__ import annotations

from applications.nas.report.inference import PAIRED, Difference

SIGN = "Difference: the rival minus the method, so above 0 the method is better."
INTERVAL = "Intervals are of 95 %, each by itself: of 20, one misses on average."
SEEDS = "They speak of other seeds on the same test images."


def amount(value: float | None) -> str:
    """Write a number to two places, or to two digits if it is small; nothing if it is not known."""
    if value is None:
        return ""
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.2g}"


def signed(value: float) -> str:
    """Write a number with its sign."""
    return f"{'+' if value >= 0 else ''}{amount(value)}"


def interval(difference: Difference) -> str:
    """Write an interval; nothing if there is none."""
    if difference.low is None or difference.high is None:
        return ""
    return f"[{amount(difference.low)}, {amount(difference.high)}]"


def counts(difference: Difference) -> str:
    """Write on how many numbers a difference rests."""
    first, second = difference.counts
    return f"{first} pairs" if difference.test == PAIRED else f"{first} / {second}"
