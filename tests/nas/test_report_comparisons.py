"""Who is compared with whom in a report, and how: by seed, or as independent samples."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from applications.nas.report.comparisons import Comparison
from applications.nas.report.evidence import Evidence
from applications.nas.report.evidence_sheets import sheets
from applications.nas.report.inference import NO_TEST, PAIRED, WELCH
from applications.nas.settings import Interleaving, MultiTask, SingleTask
from applications.nas.space.zoo import ZOO
from tests.nas.made_runs import RETRAINED, made_retraining
from tests.nas.made_studies import BETTER, TASKS, made, weighed


def pairs(evidence: Evidence) -> dict[tuple[str, str], Comparison]:
    return {(one.method.method, one.rival.method): one for one in evidence.comparisons}


def test_searches_of_a_seed_are_a_pair(tmp_path: Path) -> None:
    """A search counts with the mean of its retrainings; seeds that one side lacks do not count."""
    made(tmp_path, Interleaving(), {0: [30.0, 32.0], 1: [40.0], 2: [50.0], 7: [0.0]})
    made(tmp_path, SingleTask("cifar10-mini"), {1: [43.0], 0: [33.0], 2: [51.0], 8: [99.0]}, tasks=TASKS[1:])
    made(tmp_path, SingleTask("cifar100-mini"), {0: [60.0], 1: [60.0]}, tasks=TASKS[:1])
    found = pairs(weighed(tmp_path))
    assert list(found) == [("IL-DARTS-2nd", "DARTS-2nd")], "what was searched on another task is no rival"
    (one,) = found.values()
    assert (one.difference.test, one.difference.counts) == (PAIRED, (3, 3))
    assert one.difference.mean == pytest.approx((2 + 3 + 1) / 3)
    assert one.difference.deviation == pytest.approx(statistics.stdev([2, 3, 1]))


def test_rivals(tmp_path: Path) -> None:
    for method in ("DARTS-1st", "P-DARTS"):
        made(tmp_path, Interleaving(), {0: [30.0]}, method=method)
        made(tmp_path, MultiTask(), {0: [31.0]}, method=method)
        made(tmp_path, SingleTask("cifar10-mini"), {0: [32.0]}, tasks=TASKS[1:], method=method)
    for seed in (0, 1):
        made_retraining(tmp_path / f"r{seed}", {"cifar10-mini": [40.0 + seed]}, cell="random", genotype=f"{seed}")
    made_retraining(tmp_path / "zoo", {"cifar10-mini": [4.0]}, cell="DARTS_V2", genotype=ZOO["DARTS_V2"].to_json())
    evidence = weighed(tmp_path)
    own = {(f"IL-{base}", f"{form}{base}") for base in ("DARTS-1st", "P-DARTS") for form in ("", "MTL-")}
    rows = [f"{form}{base}" for base in ("DARTS-1st", "P-DARTS") for form in ("", "MTL-", "IL-")]
    assert pairs(evidence).keys() == own | {(row, "random") for row in [*rows, "DARTS_V2"]}
    assert {one.method.method for one in evidence.matched} == {*rows, "DARTS_V2"}
    assert {one.difference.test for one in evidence.comparisons} == {NO_TEST}
    assert {row.method.base: row.method.skips for row in evidence.matched}["DARTS_V2"] == 2.0


@pytest.mark.parametrize(
    ("ours", "theirs", "test", "counts"),
    [
        ([0, 1, 2], [3, 4], WELCH, (3, 2)),
        ([0, 1, 2], [2, 3], WELCH, (3, 2)),
        ([0, 1], [1, 0], PAIRED, (2, 2)),
        ([0], [0], NO_TEST, (1, 1)),
        ([0], [1, 2], NO_TEST, (1, 2)),
    ],
)
def test_without_two_common_seeds(
    ours: list[int], theirs: list[int], test: str, counts: tuple[int, int], tmp_path: Path
) -> None:
    made(tmp_path, Interleaving(), {seed: [30.0 + seed**2] for seed in ours})
    made(tmp_path, MultiTask(), {seed: [31.0 + 3 * seed] for seed in theirs})
    (one,) = weighed(tmp_path).comparisons
    assert (one.difference.test, one.difference.counts) == (test, counts)


def test_the_rival_is_the_row_with_the_nearest_settings(tmp_path: Path) -> None:
    for epochs in (5, 6):
        made(tmp_path, Interleaving(), {0: [30.0]}, retrain=replace(RETRAINED, epochs=epochs))
    for epochs, batch in ((5, RETRAINED.batch), (7, 2 * RETRAINED.batch)):
        made(tmp_path, MultiTask(), {0: [31.0]}, retrain=replace(RETRAINED, epochs=epochs, batch=batch))
    evidence = weighed(tmp_path)
    told = {one.method.settings["retrain.epochs"]: one for one in evidence.comparisons}
    assert [one.rival.settings["retrain.epochs"] for one in told.values()] == ["5", "5"]
    assert [told[epochs].unequal for epochs in ("5", "6")] == [(), ("retrain.epochs",)]
    (sheet,) = sheets(evidence)
    (note,) = [note for note in sheet.notes if "too." in note]
    assert note.endswith("they differ in retrain.epochs, too.")


def test_cells_that_were_searched_elsewhere_are_rivals_of_each_other(tmp_path: Path) -> None:
    made(tmp_path, Interleaving(), {0: [30.0]}, tasks=["a", "b"])
    made(tmp_path, SingleTask("a"), {0: [31.0]}, tasks=["a"])
    made(tmp_path, SingleTask("cifar10-mini"), {0: [31.0]}, tasks=TASKS[1:])
    (name,) = pairs(weighed(tmp_path))
    assert name == ("IL-DARTS-2nd (searched on a, b)", "DARTS-2nd (searched on a)")


def test_numbers_near_the_ends_of_the_range(tmp_path: Path) -> None:
    """Of another metric than an error in percent: squares of them are no numbers any more."""
    for large in (1e200, 1e-200):
        made(tmp_path / f"{large}", Interleaving(), {0: [3 * large], 1: [5 * large]})
        made(tmp_path / f"{large}", MultiTask(), {2: [6 * large], 3: [9 * large]})
        for seed in range(9):
            error = (5 + seed % 3) * large
            place = tmp_path / f"{large}" / f"r{seed}"
            made_retraining(
                place, {"cifar10-mini": [error]}, cell="random", genotype=f"{seed}", parameters=3_300_000 + seed - 4
            )
        evidence = weighed(tmp_path / f"{large}")
        for one in (*evidence.comparisons, *evidence.matched):
            low, high = one.difference.low, one.difference.high
            assert low is not None
            assert high is not None
            assert low < one.difference.mean < high


def test_a_network_without_parameters_is_not_compared_in_size(tmp_path: Path) -> None:
    made(tmp_path, Interleaving(), {0: [30.0], 1: [31.0]})
    made(tmp_path, SingleTask("cifar10-mini"), {0: [30.5], 1: [31.7]}, tasks=TASKS[1:], sizes={0: 0, 1: 0})
    (one,) = weighed(tmp_path, [replace(BETTER, kind="no larger")]).verdicts
    assert one.outcome == "not run"


def test_sizes_are_compared_seed_by_seed(tmp_path: Path) -> None:
    """Of rivals of 1 and 2 million weights, one is matched and one is halved: 25 % less on average, and not a third."""
    made(tmp_path, Interleaving(), {0: [30.0], 1: [31.0]}, sizes={0: 1_000_000, 1: 1_000_000})
    made(tmp_path, SingleTask("cifar10-mini"), {0: [30.5], 1: [31.7]}, tasks=TASKS[1:], sizes={0: 10**6, 1: 2 * 10**6})
    (one,) = weighed(tmp_path, [replace(BETTER, kind="no larger")]).verdicts
    assert one.comparison is not None
    assert one.comparison.difference.mean == 25.0
