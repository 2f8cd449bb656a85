"""Cells beside random cells of their size: the line, what stands in for it, and the interval."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from applications.nas.report import size_matched as module
from applications.nas.report.inference import ALL_EQUAL, NO_TEST, Difference
from applications.nas.report.read import find_runs
from applications.nas.report.size_matched import SizeMatched, compare_expected, expectation, size_matched
from applications.nas.report.table import make_tables
from tests.nas.made_runs import SETTINGS, made_retraining, made_search

SIZES = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10]) * 1e6
ERRORS = np.array([50.0, 49, 49, 47, 46, 46, 44, 43, 43, 41])


def compared(sizes: np.ndarray, errors: np.ndarray, wanted: np.ndarray, measured: np.ndarray) -> Difference:
    shares = expectation(sizes, wanted)[0]
    return compare_expected(sizes, errors, shares, shares @ errors - measured)


def test_the_line_is_that_of_least_squares() -> None:
    wanted = np.array([1.5e6, 5.5e6, 10e6])
    shares, on_line, gap = expectation(SIZES, wanted)
    line = stats.linregress(SIZES, ERRORS)
    assert shares @ ERRORS == pytest.approx(line.intercept + line.slope * wanted)
    assert (on_line, gap) == (3, 0.0)


def test_the_variance_is_that_of_cells_and_of_the_fitted_mean() -> None:
    wanted, measured = np.array([3e6, 4e6, 8e6]), np.array([45.0, 46, 41])
    found = compared(SIZES, ERRORS, wanted, measured)
    line = stats.linregress(SIZES, ERRORS)
    over = line.intercept + line.slope * wanted - measured
    residual = float(((ERRORS - line.intercept - line.slope * SIZES) ** 2).sum()) / 8
    fitted = residual * (1 / 10 + (wanted.mean() - SIZES.mean()) ** 2 / ((SIZES - SIZES.mean()) ** 2).sum())
    own = over.var(ddof=1) / 3
    freedom = (own + fitted) ** 2 / (own**2 / 2 + fitted**2 / 8)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(own + fitted)
    assert (found.mean, found.deviation) == (pytest.approx(over.mean()), pytest.approx(over.std(ddof=1)))
    assert (found.low, found.high) == (pytest.approx(over.mean() - half), pytest.approx(over.mean() + half))
    assert found.counts == (3, 10)


@pytest.mark.parametrize(
    ("sizes", "wanted", "expected", "gap"),
    [
        ([1.0, 2, 3, 4, 5, 6, 7], 4.2, (47 + 46 + 49) / 3, 1.2),  # seven are too few for a line
        ([1.0, 2, 3, 4, 5, 6, 7, 8], 9.0, (43 + 44 + 46) / 3, 3.0),  # outside of what was measured
        ([5.0] * 8, 5.0, np.mean(ERRORS[:8]), 0.0),  # all are of one size, and as near
        ([1.0, 2], 1.0, 49.5, 1.0),
        ([1.0, 2, 4, 5], 3.0, np.mean(ERRORS[:4]), 2.0),  # two are as near as the third
    ],
)
def test_where_there_is_no_line_the_nearest_stand_in(
    sizes: list[float], wanted: float, expected: float, gap: float
) -> None:
    shares, on_line, found = expectation(np.array(sizes), np.array([wanted]))
    assert (shares @ ERRORS[: len(sizes)])[0] == pytest.approx(expected)
    assert (on_line, found) == (0, pytest.approx(gap))


@given(st.floats(-9, 9), st.floats(-99, 99))
def test_what_size_explains_makes_no_difference(slope: float, shift: float) -> None:
    """A straight effect of size on all errors, and a shift of all, change neither the difference nor its interval."""
    wanted, measured = np.array([2.5e6, 7e6, 9e6]), np.array([45.0, 44, 43])
    found = compared(SIZES, ERRORS, wanted, measured)
    moved = compared(SIZES, ERRORS + slope * SIZES / 1e6 + shift, wanted, measured + slope * wanted / 1e6 + shift)
    assert moved.mean == pytest.approx(found.mean, abs=1e-9)
    assert moved.low == pytest.approx(found.low, abs=1e-6)


def coverage(draws: int = 1500) -> float:
    """Return how often the interval holds the true difference, 0.5, of 4 cells from the line of 12 random cells."""
    chance, held = np.random.default_rng(3), 0
    sizes, wanted = np.linspace(2e6, 4e6, 12), np.linspace(3.4e6, 3.8e6, 4)
    for _ in range(draws):
        errors = 60 - sizes / 1e6 + chance.normal(0, 1.0, 12)
        found = compared(sizes, errors, wanted, 59.5 - wanted / 1e6 + chance.normal(0, 0.7, 4))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.5 <= found.high
    return held / draws


# Four standard deviations of a share of 0.95 among 1500 draws; Welch's degrees of freedom are good to 0.01.
CLOSE = 4 * math.sqrt(0.95 * 0.05 / 1500) + 0.01


def test_the_interval_holds_the_truth_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert coverage() == pytest.approx(0.95, abs=CLOSE)
    monkeypatch.setattr(module, "_residual", lambda sizes, errors: (0.0, 10.0))
    assert coverage() < 0.95 - CLOSE, "a line that were certain would be noticed"


def test_too_few_for_an_interval() -> None:
    one = compared(SIZES, ERRORS, np.array([5e6]), np.array([40.0]))
    assert (one.test, one.low) == (NO_TEST, None)
    assert compared(SIZES[:1], ERRORS[:1], SIZES[:2], ERRORS[:2]).test == NO_TEST
    straight = 50 - SIZES / 1e6
    assert compared(SIZES, straight, SIZES[2:4], straight[2:4]).test == ALL_EQUAL


def matched(root: Path) -> list[SizeMatched]:
    (table,) = make_tables(find_runs([root]).retrained, [])
    return size_matched(table)


def test_rows_of_a_report(tmp_path: Path) -> None:
    for number, (size, error) in enumerate(zip(SIZES, ERRORS, strict=True)):
        cell = json.dumps(number)
        made_retraining(tmp_path / cell, {"digits": [error]}, cell="random", genotype=cell, parameters=int(size))
    for seed, size in enumerate((3e6, 4e6, 20e6)):
        folder = made_search(tmp_path / f"s{seed}", replace(SETTINGS, seed=seed))
        made_retraining(folder / "r", {"digits": [40.0, 44.0]}, search=folder, parameters=int(size))
    (found,) = matched(tmp_path)
    line = stats.linregress(SIZES, ERRORS)
    expected = [line.intercept + line.slope * size for size in (3e6, 4e6)] + [float(ERRORS[-3:].mean())]
    assert (found.method.method, found.rival.method, found.by_line, found.gap) == ("IL-DARTS-2nd", "random", 2, 12e6)
    assert found.expected == pytest.approx(np.mean(expected))
    assert found.difference.mean == pytest.approx(np.mean(expected) - 42)
    assert found.difference.counts == (3, 10)


def test_without_random_cells_there_is_nothing_to_match(tmp_path: Path) -> None:
    folder = made_search(tmp_path / "s")
    made_retraining(folder / "r", {"digits": [40.0]}, search=folder)
    assert matched(tmp_path) == []
