"""Intervals and effect sizes: against scipy, by hand, and on numbers drawn from known distributions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from applications.nas.report import inference
from applications.nas.report.inference import ALL_EQUAL, NO_TEST, PAIRED, WELCH, hedges_factor, paired, welch
from mlo import DataError

OURS, THEIRS = [30.0, 32.0, 31.0, 35.0], [33.0, 34.0, 36.0, 36.0]
NUMBERS = st.lists(st.integers(-400, 400).map(lambda number: number / 4), min_size=2, max_size=9)  # exact in binary
Compare = Callable[[Sequence[float], Sequence[float]], inference.Difference]


def test_paired_by_hand() -> None:
    """Differences 3, 2, 5, 1: mean 2.75, variance 35/12; t of 3 degrees of freedom at 97.5 % is 3.182446 in tables."""
    found = paired(OURS, THEIRS)
    deviation = math.sqrt(35 / 12)
    half = 3.182446 * deviation / 2
    assert (found.test, found.counts, found.mean) == (PAIRED, (4, 4), 2.75)
    assert found.deviation == pytest.approx(deviation)
    assert (found.low, found.high) == (pytest.approx(2.75 - half, abs=1e-6), pytest.approx(2.75 + half, abs=1e-6))
    assert found.effect == pytest.approx(2.75 / deviation)
    assert found.hedges == pytest.approx(2.75 / deviation * 0.7236, abs=1e-4)  # the factor of 3 is 0.7236 in tables


def test_welch_effect_by_hand() -> None:
    """Variances 14/3 and 9/4: pooled, (14 + 6.75) / 6; the factor of 6 degrees of freedom is 0.8686 in tables."""
    found = welch(OURS, THEIRS)
    effect = 2.75 / math.sqrt(20.75 / 6)
    assert (found.test, found.counts, found.mean) == (WELCH, (4, 4), 2.75)
    assert found.deviation == pytest.approx(math.sqrt(14 / 3 + 9 / 4))
    assert found.effect == pytest.approx(effect)
    assert found.hedges == pytest.approx(effect * 0.8686, abs=1e-4)


def test_the_factor_of_hedges() -> None:
    """By hand from the gamma function; his approximation 1 - 3 / (4 m - 1) is within 0.001 of it for m of 10."""
    assert hedges_factor(2) == pytest.approx(1 / math.sqrt(math.pi), rel=1e-12)
    assert hedges_factor(3) == pytest.approx(math.sqrt(math.pi / 6), rel=1e-12)
    assert hedges_factor(10) == pytest.approx(1 - 3 / 39, abs=1e-3)
    assert hedges_factor(1) is None, "no mean exists that could be corrected"


@pytest.mark.parametrize(("ours", "theirs"), [(2, 2), (3, 3), (9, 9), (40, 40), (2, 5), (30, 4)])
def test_as_scipy_has_them(ours: int, theirs: int) -> None:
    chance = np.random.default_rng(ours)
    first, second = chance.normal(30, 1, ours).tolist(), chance.normal(31, 4, theirs).tolist()
    tests = [(welch(first, second), stats.ttest_ind(second, first, equal_var=False))]
    tests += [(paired(first, second), stats.ttest_rel(second, first))] if ours == theirs else []
    for found, test in tests:
        interval = test.confidence_interval(0.95)
        assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
        assert found.freedom == pytest.approx(test.df)


@given(NUMBERS, NUMBERS, st.integers(-100, 100))
def test_symmetries(first: list[float], second: list[float], shift: int) -> None:
    """The other way round all signs turn; a shift of both changes nothing."""
    count = min(len(first), len(second))
    for compare, ours, theirs in ((paired, first[:count], second[:count]), (welch, first, second)):
        found, turned = compare(ours, theirs), compare(theirs, ours)
        moved = compare([number + shift for number in ours], [number + shift for number in theirs])
        assert turned.mean == pytest.approx(-found.mean, abs=1e-9)
        assert moved.mean == pytest.approx(found.mean, abs=1e-9)
        if found.low is None or found.high is None:
            assert (turned.low, moved.low) == (None, None)
            continue
        assert (turned.low, turned.high) == (pytest.approx(-found.high, abs=1e-9), pytest.approx(-found.low, abs=1e-9))
        assert (moved.low, moved.effect) == (pytest.approx(found.low, abs=1e-9), pytest.approx(found.effect, abs=1e-9))


def test_pairing_takes_out_what_pairs_share() -> None:
    shared = [0.0, 10.0, 20.0, 30.0]
    ours = [30 + share for share in shared]
    theirs = [31 + share + noise for share, noise in zip(shared, (0.1, -0.1, 0.2, 0.0), strict=True)]
    by_pair, apart = paired(ours, theirs), welch(ours, theirs)
    assert by_pair.mean == pytest.approx(apart.mean)
    assert by_pair.low is not None
    assert by_pair.low > 0.8
    assert apart.low is not None
    assert apart.low < -15


def coverage(compare: Compare, draws: int = 2500) -> float:
    """Return how often the interval of 4 pairs holds the true difference, 1; one variance is 9 times the other."""
    chance = np.random.default_rng(0)
    held = 0
    for _ in range(draws):
        found = compare(chance.normal(0, 1, 4).tolist(), chance.normal(1, 3, 4).tolist())
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1 <= found.high
    return held / draws


# Four standard deviations of a share of 0.95 among 2500 draws.
CLOSE = 4 * math.sqrt(0.95 * 0.05 / 2500)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    assert coverage(paired) == pytest.approx(0.95, abs=CLOSE)
    # Welch's degrees of freedom are an approximation: at 4 and 4 its coverage is known to be within 0.01.
    assert coverage(welch) == pytest.approx(0.95, abs=CLOSE + 0.01)


def test_a_wrong_formula_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:  # the normal quantile in place of Student's
        patch.setattr(inference, "quantile", lambda freedom: 1.96)
        assert coverage(paired) < 0.95 - 2 * CLOSE
    with monkeypatch.context() as patch:  # deviations divided by n
        patch.setattr(inference.statistics, "stdev", statistics.pstdev)
        assert coverage(paired) < 0.95 - CLOSE


@pytest.mark.parametrize("compare", [paired, welch])
def test_what_has_no_interval(compare: Compare) -> None:
    one = compare([3.0], [4.0])
    assert (one.test, one.mean, one.deviation, one.low, one.effect) == (NO_TEST, 1.0, None, None, None)
    flat = compare([0.1 + 0.2, 0.3], [1.3, 1.3])
    assert (flat.test, flat.deviation, flat.low, flat.effect) == (ALL_EQUAL, 0.0, None, None), "up to rounding"


def test_the_same_numbers() -> None:
    same = [3.1, 4.1, 7.3]
    assert (paired(same, same).test, paired(same, same).mean) == (ALL_EQUAL, 0.0)
    found = welch(same, same)
    assert (found.test, found.mean, found.effect) == (WELCH, 0.0, 0.0)


def test_unequal_numbers() -> None:
    assert welch([1.0], [2.0, 3.0]).test == NO_TEST
    assert welch([1.0, 1.0], [2.0, 3.0]).test == WELCH, "one side without a spread leaves the other's"
    with pytest.raises(DataError, match=r"pairs: 1 numbers against 2"):
        paired([1.0], [2.0, 3.0])


@pytest.mark.parametrize("compare", [paired, welch])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_numbers_that_are_none(compare: Compare, wrong: float) -> None:
    with pytest.raises(DataError, match=r"rival: .* is not a finite number"):
        compare([1.0, 2.0], [1.0, wrong])
    with pytest.raises(DataError, match="method: no number"):
        compare([], [])
