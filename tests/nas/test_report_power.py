"""How many seeds decide: against tables, scipy and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from applications.nas.report.power import deviation_bound, power, seeds_needed
from mlo import DataError


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_as_tables_have_them(effect: float, pairs: int) -> None:
    """Pairs for 80 % at 5 %, two-sided, by the common tables of paired t-tests."""
    assert seeds_needed(1.0, effect) == pairs


@given(st.integers(2, 60), st.floats(0.05, 3))
def test_the_noncentral_distribution(pairs: int, effect: float) -> None:
    wanted = stats.nct.sf(stats.t.ppf(0.975, pairs - 1), pairs - 1, effect * math.sqrt(pairs))
    assert power(pairs, 2.0, 2 * effect) == pytest.approx(wanted, abs=2e-6), "older versions of scipy are so exact"


@given(st.floats(0.01, 50), st.floats(0.05, 5), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_smallest_that_suffices(deviation: float, difference: float, wanted: float) -> None:
    found = seeds_needed(deviation, difference, wanted)
    if found is None:
        assert power(1_000_000, deviation, difference) < wanted
        return
    assert power(found, deviation, difference) >= wanted
    assert found == 2 or power(found - 1, deviation, difference) < wanted


def seen(pairs: int, difference: float, least: float, draws: int = 20_000) -> float:
    """Return how often the interval of 95 % of differences with deviation 1 lies above a number."""
    drawn = np.random.default_rng(1).normal(difference, 1, (draws, pairs))
    half = stats.t.ppf(0.975, pairs - 1) * drawn.std(axis=1, ddof=1) / math.sqrt(pairs)
    return float((drawn.mean(axis=1) - half > least).mean())


def test_so_many_seeds_decide_in_a_simulation() -> None:
    """Of 20,000 draws, a share of 0.8 has a standard deviation of 0.0028; power falls by 0.04 for one seed less."""
    pairs = seeds_needed(1.0, 1.0)
    assert pairs is not None
    assert seen(pairs, 1.0, 0.0) == pytest.approx(power(pairs, 1.0, 1.0), abs=0.012)
    assert seen(pairs, 1.0, 0.0) >= 0.8 - 0.012 > seen(pairs - 1, 1.0, 0.0)
    assert seen(pairs, 0.0, -1.0) == pytest.approx(seen(pairs, 1.0, 0.0), abs=1e-12), "the mirror image"


def test_the_bound_on_a_deviation_holds_as_often_as_it_says() -> None:
    """Deviations of 4 numbers, true one 1: 20,000 draws, so four standard deviations of the share are 0.0113."""
    drawn = np.random.default_rng(2).normal(0, 1, (20_000, 4)).std(axis=1, ddof=1)
    held = float(np.mean([deviation_bound(float(one), 3.0) >= 1 for one in drawn]))
    assert held == pytest.approx(0.8, abs=0.0113)


def test_the_bound_by_hand() -> None:
    """Of two numbers: chi-square of one degree of freedom at 20 % is the square of the normal quantile of 60 %."""
    assert deviation_bound(2.0, 1.0) == pytest.approx(2.0 / stats.norm.ppf(0.6), rel=1e-9)
    assert deviation_bound(2.0, 1e6) == pytest.approx(2.0, rel=1e-2)


def test_the_ends() -> None:
    assert seeds_needed(0.0, 1.0) == 2
    assert seeds_needed(1e6, 1.0) is None, "more than a million are not counted"
    for deviation, difference in ((1.0, 0.0), (1.0, -1.0), (math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)):
        with pytest.raises(DataError, match="the difference must be positive"):
            seeds_needed(deviation, difference)
