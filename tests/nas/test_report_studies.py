"""The claims that ship are judged on the studies as they are run, each reported by itself."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from applications.nas.presets.scales import SCALES, Scale
from applications.nas.report.claims import CLAIMS, read_claims
from applications.nas.report.verdicts import Outcome
from applications.nas.settings import Interleaving, SearchSettings, SingleTask
from applications.nas.sweep.plan import Point
from applications.nas.sweep.studies import make_study
from applications.nas.sweep.study import swept_points
from tests.nas.made_runs import made_retraining, made_search
from tests.nas.made_studies import NAMES, TASKS, weighed

SCALE = SCALES["cpu"][1]
METHODS = ("darts1st", "darts2nd", "pdarts", "pcdarts")
JUDGED = {
    "evidence-table": {f"{name}-{about}" for name in METHODS for about in ("single", "multi", "size")},
    "evidence-lambda": {"lambda-helps", "lambda-hurts", "held", "held-too-much"},
    "evidence-rounds": {"rounds", "rounds-three"},
    "evidence-order": {"order"},
    "evidence-start": {"start"},
}
"""What each study decides, on both tasks; `evidence-rule` has rows for claims of the table, too."""


def write(name: str, folder: Path, turned: float = 1.0, scale: Scale = SCALE) -> None:
    """Write a study as it is when it has ended, in which its claims hold, or the opposite of each."""
    for point in swept_points(make_study(name, scale, "mine")):
        search = None if point.cell is not None else searched(folder, point)
        noise = zlib.crc32(point.name.encode()) % 100 / 1000  # in points: far less than what matters
        errors = {task: [30 + noise + turned * shift(point.settings)] for task in TASKS}
        cell, genotype = ("random", point.name) if search is None else ("mine", "")
        assert point.retrain is not None
        made_retraining(
            folder / point.name / "retrain", errors, search=search, cell=cell, settings=point.retrain, genotype=genotype
        )


def searched(folder: Path, point: Point) -> Path:
    form, method = point.settings.formulation, point.settings.method.titled(point.settings.rule)
    tasks = {SingleTask: [getattr(form, "task", "")], Interleaving: list(getattr(form, "order", ()))}.get(type(form))
    return made_search(
        folder / point.name, point.settings, method=method, formulation=NAMES[type(form)], tasks=tasks or TASKS
    )


def shift(search: SearchSettings) -> float:
    """Lambda is best between 10 and 1000, a round is worth 2 points, and neither order nor start matters."""
    form = search.formulation
    held = isinstance(form, Interleaving) and 10 < form.weight < 1000
    return -3.0 * held - 2.0 * (form.rounds if isinstance(form, Interleaving) else 0)


@pytest.mark.parametrize("name", JUDGED)
@pytest.mark.parametrize("turned", [1.0, -1.0])
def test_a_study_by_itself_decides_its_claims(name: str, turned: float, tmp_path: Path) -> None:
    """Each by one pair of rows; claims about other studies are not run."""
    write(name, tmp_path, turned)
    found: dict[str, list[Outcome]] = {}
    for verdict in weighed(tmp_path, read_claims(CLAIMS)).verdicts:
        if verdict.outcome != "not run":
            assert verdict.comparison is not None
            assert verdict.comparison.difference.counts == (5, 5)
            found.setdefault(verdict.claim.id, []).append(verdict.outcome)
    equal = {f"{task}-{about}" for task in ("cifar100", "cifar10") for about in ("order", "start")}
    told: Outcome = "supported" if turned > 0 else "refuted"
    assert {claim: outcomes for claim, outcomes in found.items() if not claim.endswith("-size")} == {
        claim: ["supported" if claim in equal else told]
        for task in ("cifar100", "cifar10")
        for claim in (f"{task}-{about}" for about in JUDGED[name])
        if not claim.endswith("-size")
    }
    assert {claim.split("-", 1)[1] for claim in found} == JUDGED[name]


def test_equation_7_as_written_is_no_second_answer(tmp_path: Path) -> None:
    """At this learning rate it is stable with a lambda of 20, too, but not without lambda or with a large one."""
    write("evidence-lambda", tmp_path, scale=SCALES["gpu"][1])
    verdicts = weighed(tmp_path, read_claims(CLAIMS)).verdicts
    judged = [verdict.claim.id for verdict in verdicts if verdict.outcome == "supported"]
    assert sorted(judged) == sorted(
        f"{task}-{one}" for task in ("cifar100", "cifar10") for one in JUDGED["evidence-lambda"]
    )


def test_all_studies_together_decide_the_same(tmp_path: Path) -> None:
    """Rows of other studies differ in more than a claim is about, but for what each method is compared with."""
    for name in JUDGED:
        write(name, tmp_path / name)
    verdicts = weighed(tmp_path, read_claims(CLAIMS)).verdicts
    about = {about for one in JUDGED.values() for about in one if about not in JUDGED["evidence-table"]}
    for claim in (f"{task}-{one}" for task in ("cifar100", "cifar10") for one in about):
        assert {verdict.outcome for verdict in verdicts if verdict.claim.id == claim} == {"supported"}, claim


@pytest.mark.parametrize("worse", [0, 1])
@pytest.mark.parametrize("kind", ["order", "start"])
def test_what_is_said_not_to_matter_is_refuted_from_both_sides(kind: str, worse: int, tmp_path: Path) -> None:
    for point in swept_points(make_study(f"evidence-{kind}", SCALE, "cpu")):
        search, form = searched(tmp_path, point), point.settings.formulation
        assert isinstance(form, Interleaving)
        second = form.order[0] == TASKS[1] if kind == "order" else form.start == "previous"
        error = 30 + 2 * (second == worse) + zlib.crc32(point.name.encode()) % 100 / 1000
        made_retraining(tmp_path / point.name / "r", {task: [error] for task in TASKS}, search=search)
    verdicts = weighed(tmp_path, read_claims(CLAIMS)).verdicts
    assert [one.outcome for one in verdicts if one.claim.id.endswith(f"-{kind}")] == ["refuted", "refuted"]


@pytest.mark.parametrize("turned", [1.0, -1.0])
def test_rules_of_the_gradient(turned: float, tmp_path: Path) -> None:
    worth = {"exact": 0.0, "first": 3.0, "0.01": 6.0, "0.1": 3.0, "1": 1.0}
    for point in swept_points(make_study("evidence-rule", SCALE, "cpu")):
        rule = point.settings.gradient
        name = f"{rule.epsilon:g}" if rule.rule == "difference" else str(rule.rule)
        error = 30 + turned * worth[name] + zlib.crc32(point.name.encode()) % 100 / 1000
        made_retraining(
            tmp_path / point.name / "r", {task: [error] for task in TASKS}, search=searched(tmp_path, point)
        )
    verdicts = weighed(tmp_path, read_claims(CLAIMS)).verdicts
    found = {one.claim.id: one for one in verdicts if "-rule-" in one.claim.id}
    kinds = ("first", "published", "longer")
    names = [f"{task}-rule-{kind}" for task in ("cifar100", "cifar10") for kind in kinds]
    assert sorted(found) == sorted([*names, *(f"cifar100-rule-{kind}-single" for kind in kinds)])
    assert len(found) == len([one for one in verdicts if "-rule-" in one.claim.id]), "one pair of rows each"
    assert {one.outcome for one in found.values()} == {"supported" if turned > 0 else "refuted"}
    gains = {"first": 3, "published": 6, "longer": 3}
    for name, one in found.items():
        assert one.comparison is not None
        assert one.comparison.difference.mean == pytest.approx(turned * gains[name.split("-")[2]], abs=0.2)
