"""Mean and spread: over what they are taken, and when a difference is called one."""

from __future__ import annotations

import statistics

import pytest

from applications.nas.report.spread import Spread, apart, spread


def test_over_searches_each_counts_once() -> None:
    found = spread({"a": [1.0, 3.0], "b": [5.0, 5.0], "c": [8.0, 10.0]}, "searches")
    assert found.mean == pytest.approx(statistics.mean([2, 5, 9]))
    assert found.deviation == pytest.approx(statistics.stdev([2, 5, 9]))
    assert (found.count, found.over, found.each) == (3, "searches", 2)
    assert found.basis == "3 searches, 2 retrainings each"


def test_one_search_has_the_spread_of_its_retrainings() -> None:
    found = spread({"a": [1.0, 2.0, 6.0]}, "searches")
    assert (found.mean, found.count, found.over) == (3.0, 3, "retrainings")
    assert found.deviation == pytest.approx(statistics.stdev([1, 2, 6]))
    assert found.basis == "3 retrainings"


def test_one_number_has_no_spread() -> None:
    found = spread({"a": [2.5]}, "cells")
    assert found == Spread(2.5, None, 1, "retrainings")
    assert (str(found), found.basis) == ("2.50", "1 retraining")


def test_unequal_numbers_of_retrainings() -> None:
    found = spread({"a": [1.0, 3.0], "b": [4.0]}, "cells")
    assert (found.mean, found.each) == (3.0, None)
    assert found.basis == "2 cells, several retrainings each"


def of(mean: float, deviation: float | None) -> Spread:
    return Spread(mean, deviation, 3, "searches")


@pytest.mark.parametrize(
    ("first", "second", "metric", "tested", "differ"),
    [
        (of(2.0, 0.5), of(3.1, 0.1), "RMSE", 100, True),  # 1.1 > 2 * 0.5
        (of(2.0, 0.5), of(2.9, 0.1), "RMSE", 100, False),
        (of(2.0, 0.1), of(3.1, 0.5), "RMSE", 100, True),  # the larger of the two spreads counts
        (of(2.0, None), of(90.0, 0.1), "RMSE", 100, False),
        # 100 images at 5 % have a counting error of 2.18 points.
        (of(5.0, 0.0), of(9.3, 0.0), "error %", 100, False),
        (of(5.0, 0.0), of(9.4, 0.0), "error %", 100, True),
        (of(5.0, 0.0), of(9.3, 0.0), "error %", 10_000, True),
        (of(0.0, 0.0), of(1.9, 0.0), "error %", 100, False),  # no error in 100 images is not an error of 0
        (of(3.0, 0.0), of(3.0, 0.0), "RMSE", 100, False),
    ],
)
def test_what_is_told_apart(first: Spread, second: Spread, metric: str, tested: int, differ: bool) -> None:
    assert apart(first, second, metric, tested) is differ
    assert apart(second, first, metric, tested) is differ
