"""Verdicts: which rows a claim is about, what they say, and what would decide an open question."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from applications.nas.report.claims import CLAIMS, Claim, read_claims
from applications.nas.report.inference import WELCH
from applications.nas.report.power import deviation_bound, seeds_needed
from applications.nas.report.verdict_sheet import verdict_sheet
from applications.nas.report.verdicts import Verdict
from applications.nas.settings import Interleaving, MultiTask, SingleTask
from tests.nas.made_runs import RETRAINED, made_retraining
from tests.nas.made_studies import BETTER, TASKS, made, weighed


def verdicts(root: Path, *claims: Claim) -> list[Verdict]:
    return list(weighed(root, claims).verdicts)


def test_what_an_open_question_would_cost(tmp_path: Path) -> None:
    """A seed: two searches of a day, and three retrainings of half a day."""
    made(tmp_path, Interleaving(), {0: [30.0, 30.0], 1: [40.0, 40.0], 2: [50.0, 50.0]})
    made(tmp_path, SingleTask("cifar10-mini"), {0: [31.0], 1: [43.0], 2: [50.5]}, tasks=TASKS[1:])
    (one,) = verdicts(tmp_path, BETTER)
    seeds = seeds_needed(deviation_bound(statistics.stdev([1, 3, 0.5]), 2.0), 1.0)
    assert seeds is not None
    assert (one.outcome, one.seeds, one.device) == ("not decidable at this scale", seeds, "CPU")
    assert one.days == pytest.approx(seeds * (2 + 3 * 0.5))


def test_ranks_that_shared_a_retraining_cost_their_number(tmp_path: Path) -> None:
    made(tmp_path, Interleaving(), {0: [30.0], 1: [40.0]})
    made(tmp_path, SingleTask("cifar10-mini"), {0: [31.0], 1: [43.0]}, tasks=TASKS[1:])
    for file in tmp_path.glob("*/r/results.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"ranks": 4}))
    (one,) = verdicts(tmp_path, BETTER)
    assert one.seeds is not None
    assert one.days == pytest.approx(one.seeds * (2 + 2 * 0.5 * 4))


def test_several_rows_of_a_method_are_all_judged(tmp_path: Path) -> None:
    """And it is said, since one of several is easily chosen afterwards."""
    for weight in (10.0, 20.0):
        made(tmp_path, Interleaving(weight=weight), {0: [30.0], 1: [40.0], 2: [50.0 + weight]})
    made(tmp_path, SingleTask("cifar10-mini"), {0: [33.0], 1: [43.5], 2: [63.0]}, tasks=TASKS[1:])
    found = verdicts(tmp_path, BETTER)
    assert [one.outcome for one in found] == ["supported", "not decidable at this scale"]
    sheet = verdict_sheet(found)
    assert sheet is not None
    assert sum("Several pairs of rows fit one, and each is judged" in note for note in sheet.notes) == 1


def test_a_supported_claim_asks_for_nothing(tmp_path: Path) -> None:
    made(tmp_path, Interleaving(), {0: [30.0], 1: [40.0], 2: [50.0]})
    made(tmp_path, SingleTask("cifar10-mini"), {0: [33.0], 1: [43.5], 2: [53.0]}, tasks=TASKS[1:])
    (one,) = verdicts(tmp_path, BETTER)
    assert (one.outcome, one.why, one.seeds, one.days) == ("supported", "", None, None)


def test_enough_seeds_that_leave_it_open(tmp_path: Path) -> None:
    made(tmp_path, Interleaving(), {seed: [30.0] for seed in range(20)})
    rival = {seed: [30.45 + (1.2 if seed % 2 else -1.2)] for seed in range(20)}
    made(tmp_path, SingleTask("cifar10-mini"), rival, tasks=TASKS[1:])
    (one,) = verdicts(tmp_path, BETTER)
    assert one.outcome == "not decidable at this scale"
    assert one.seeds is not None
    assert one.seeds <= 20
    assert one.why == "there are seeds enough: the difference lies between none and one that matters"


def test_what_is_not_run(tmp_path: Path) -> None:
    made(tmp_path, Interleaving(), {0: [30.0], 1: [31.0]})
    made(tmp_path, Interleaving(weight=7.0), {0: [30.0], 1: [31.0]})
    made(tmp_path, MultiTask(), {0: [30.0], 1: [31.0]}, retrain=replace(RETRAINED, epochs=77))
    elsewhere, other = replace(BETTER, task="ImageNet"), replace(BETTER, rival="MTL-DARTS2nd")
    found = verdicts(tmp_path, BETTER, elsewhere, other)
    assert [one.outcome for one in found] == ["not run"] * 3, "also where two pairs of rows differ in other settings"
    assert [one.why for one in found] == [
        "no row of both",
        "no task is ImageNet",
        "the rows differ in retrain.epochs, too",
    ]


def test_rows_chosen_by_settings(tmp_path: Path) -> None:
    """Numbers are compared as such; of the rows that fit, those with equal other settings are judged."""
    for weight, error in ((10.0, 35.0), (100.0, 30.0), (1000.0, 33.0)):
        made(tmp_path, Interleaving(weight=weight), {0: [error], 1: [error + 1], 2: [error + 2.5 + weight / 1e4]})
    made(tmp_path, Interleaving(weight=10.0, rounds=3), {0: [70.0], 1: [71.0]})
    helps = replace(
        BETTER,
        method="IL-*",
        settings={"formulation.weight": "1e2"},
        rival="IL-*",
        rival_settings={"formulation.weight": "10.0"},
    )
    (one,) = verdicts(tmp_path, helps)
    assert one.comparison is not None
    assert one.outcome == "supported"
    assert one.comparison.difference.mean == pytest.approx(5.0, abs=0.01)
    assert one.comparison.difference.counts == (3, 3)
    hurts = replace(helps, rival_settings={"formulation.weight": "1000"})
    assert verdicts(tmp_path, hurts)[0].outcome == "supported"
    assert verdicts(tmp_path, replace(helps, rival_settings={"formulation.weight": "20"}))[0].outcome == "not run"


def test_the_order_of_the_tasks_however_it_came_about(tmp_path: Path) -> None:
    first = {0: [30.0], 1: [31.0], 2: [32.0], 3: [33.0]}
    made(tmp_path, Interleaving(), first)
    turned = {seed: [value + 0.2 * (-1) ** seed] for seed, (value,) in first.items()}
    made(tmp_path, Interleaving(order=("cifar10-mini", "cifar100-mini")), turned, tasks=TASKS[::-1])
    (order,) = [claim for claim in read_claims(CLAIMS) if claim.id == "cifar10-order"]
    (one,) = verdicts(tmp_path, order)
    assert one.comparison is not None
    assert one.comparison.method.search is not None
    assert one.comparison.method.search.tasks == tuple(TASKS)
    assert one.outcome == "supported", "the differences are 0.2 and -0.2"


def test_sizes(tmp_path: Path) -> None:
    """In percent of the rival: 25, 20 and 35 % more."""
    sizes = {0: 2_500_000, 1: 2_400_000, 2: 2_700_000}
    made(tmp_path, Interleaving(), {0: [30.0], 1: [31.0], 2: [32.0]}, sizes=sizes)
    made(
        tmp_path,
        SingleTask("cifar10-mini"),
        {0: [30.5], 1: [31.0], 2: [32.0]},
        tasks=TASKS[1:],
        sizes=dict.fromkeys(range(3), 2_000_000),
    )
    (one,) = verdicts(tmp_path, replace(BETTER, kind="no larger", matters=10.0))
    assert one.comparison is not None
    assert one.comparison.difference.mean == pytest.approx(-(25 + 20 + 35) / 3)
    assert one.outcome == "refuted"


def test_random_cells_as_a_rival(tmp_path: Path) -> None:
    """Seeds of random cells mean nothing: the samples are independent, and a day of theirs is their retraining."""
    made(tmp_path, Interleaving(), {0: [30.0], 1: [33.0]})
    for seed, error in enumerate((30.0, 32.0, 36.0)):
        made_retraining(
            tmp_path / f"r{seed}", {"cifar10-mini": [error]}, cell="random", genotype=f"{seed}", seconds=8640.0
        )
    (one,) = verdicts(tmp_path, replace(BETTER, rival="random", settings={"formulation.rounds": "2"}))
    assert one.comparison is not None
    assert one.seeds is not None
    assert (one.comparison.difference.test, one.comparison.difference.counts) == (WELCH, (2, 3))
    assert one.days == pytest.approx(one.seeds * (1 + 0.5 + 0.1))
