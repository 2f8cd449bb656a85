"""What one combination of the varied values came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from applications.nas.report.spread import Spread
from applications.nas.sweep.plan import Point


@dataclass(frozen=True)
class Line:
    """One combination of the varied values, over all seeds.

    Attributes:
        words: The value of each varied field but the seed.
        point: One of its points.
        results: By the name of a column, its spread; empty if no point of it is finished.
    """

    words: Mapping[str, str]
    point: Point
    results: Mapping[str, Spread]
