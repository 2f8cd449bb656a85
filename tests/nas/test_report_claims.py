"""Claims as data, and what intervals say about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from applications.nas.report.claims import CLAIMS, Claim, Kind, read_claims
from applications.nas.report.inference import ALL_EQUAL, NO_TEST, Difference
from applications.nas.report.power import deviation_bound, seeds_needed
from applications.nas.report.quoted import PUBLISHED, plain, read_quoted
from applications.nas.report.verdicts import decide, needed
from mlo import DataError

CLAIM = Claim("a", "It is better.", "better", "CIFAR-10", "IL-P-DARTS", {}, "P-DARTS", {}, 1.0, None, "Here")
HEAD = "id,sentence,kind,task,method,rival,source"


def test_the_claims_that_ship() -> None:
    claims = {claim.id: claim for claim in read_claims(CLAIMS) if "-rule-" not in claim.id}
    bases = ("DARTS-1st", "DARTS-2nd", "P-DARTS", "PC-DARTS")
    for task in ("CIFAR-100", "CIFAR-10"):
        mine = [claim for claim in claims.values() if claim.task == task]
        compared = {(claim.method, claim.rival) for claim in mine if claim.kind == "better"}
        assert compared == {(f"IL-{base}", f"{form}{base}") for base in bases for form in ("", "MTL-")} | {
            ("IL-*", "IL-*")
        }
        assert {claim.rival for claim in mine if claim.kind == "no larger"} == set(bases)
        settings = {
            claim.id.split("-", 1)[1]: (claim.kind, *claim.settings.items(), *claim.rival_settings.items())
            for claim in mine
            if claim.method == "IL-*"
        }
        weight, rounds, start = "formulation.weight", "formulation.rounds", "formulation.start"
        assert settings == {
            "held": ("better", (weight, "20"), (weight, "0")),
            "held-too-much": ("better", (weight, "20"), (weight, "1000")),
            "lambda-helps": ("better", (weight, "100"), (weight, "10")),
            "lambda-hurts": ("better", (weight, "100"), (weight, "1000")),
            "rounds": ("better", (rounds, "2"), (rounds, "1")),
            "rounds-three": ("better", (rounds, "3"), (rounds, "2")),
            "order": ("same", ("order", "CIFAR-100,CIFAR-10"), ("order", "CIFAR-10,CIFAR-100")),
            "start": ("same", (start, "persistent"), (start, "previous")),
        }


def test_quoted_differences_are_those_of_the_quoted_rows() -> None:
    """Rival minus method, as the two published figures give it."""
    errors = {(row.table, plain(row.method)): row for row in read_quoted(PUBLISHED) if row.checked}
    told = [claim for claim in read_claims(CLAIMS) if claim.quoted is not None]
    assert len(told) == 4
    for claim in told:
        mine, theirs = (errors[claim.task, plain(name)] for name in (claim.method, claim.rival))
        if claim.kind == "better":
            assert mine.error is not None
            assert theirs.error is not None
            assert claim.quoted == pytest.approx(theirs.error - mine.error, abs=1e-9)
        else:
            assert mine.params_M is not None
            assert theirs.params_M is not None
            assert claim.quoted == pytest.approx(100 * (theirs.params_M - mine.params_M) / theirs.params_M, abs=0.05)


def test_a_file_of_claims(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(
        "id,sentence,kind,task,method,settings,rival,rival_settings,matters,quoted,source\n"
        'a,It is so.,same,digits,IL-*,"order=a,b; formulation.weight=1e2",IL-*,formulation.weight=10,0.5,-2,Here\n'
        "b,It is better.,better,digits,X,,Y,,,,There\n"
    )
    first, second = read_claims(file)
    assert (first.kind, first.matters, first.quoted) == ("same", 0.5, -2.0)
    assert (first.settings, first.rival_settings) == (
        {"order": "a,b", "formulation.weight": "1e2"},
        {"formulation.weight": "10"},
    )
    assert (second.settings, second.matters, second.quoted) == ({}, 1.0, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,sentence\na,b\n", "row 1: 'task' is empty: say which task it is"),
        (f"{HEAD}\na,b,best,t,m,r,s\n", "'kind' is 'best': give better, same, no larger"),
        (f"{HEAD},speed\na,b,same,t,m,r,s,1\n", "no column is called speed"),
        (f"{HEAD}\na,b,same,t,m,r,s,1\n", "no column is called None"),
        (f"{HEAD}\na,b,same,t,m,r,s\na,b,same,t,m,r,s\n", "row 2: 'id' 'a' stands above"),
        (f"{HEAD},matters\na,b,same,t,m,r,s,0\n", "'matters' is '0': give a positive number"),
        (f"{HEAD},matters\na,b,same,t,m,r,s,nan\n", "'matters' is 'nan': give a finite number"),
        (f"{HEAD},quoted\na,b,same,t,m,r,s,much\n", "'quoted' is 'much', no number"),
        (f"{HEAD},settings\na,b,same,t,m,r,s,rounds\n", "'settings' is 'rounds': write path=value"),
        (f"{HEAD},settings\na,b,same,t,m,r,s,x=1; x=2\n", "each path once"),
        (f"{HEAD}\na,b,same,t,m,*,s\n", r"'rival' is '\*', and 'method' has no"),
        (f'{HEAD}\na,"b\n', "cannot be read as CSV"),
    ],
)
def test_broken_claims(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        read_claims(tmp_path / "mine.csv")


def between(low: float, high: float) -> Difference:
    return Difference("paired t", (5, 5), (low + high) / 2, 1.0, low, high, freedom=4.0)


OPEN = "not decidable at this scale"


@pytest.mark.parametrize(
    ("kind", "low", "high", "outcome"),
    [
        ("better", 0.1, 3.0, "supported"),
        ("better", 0.1, 0.9, "supported"),
        ("better", -0.1, 0.9, "refuted"),
        ("better", -3.0, -1.0, "refuted"),
        ("better", -0.1, 1.1, OPEN),
        ("better", 0.0, 1.0, OPEN),
        ("same", -0.9, 0.9, "supported"),
        ("same", 0.1, 0.9, "supported"),
        ("same", 0.1, 1.1, "refuted"),
        ("same", -2.0, -0.1, "refuted"),
        ("same", -1.1, 0.9, OPEN),
        ("no larger", -0.9, 7.0, "supported"),
        ("no larger", -3.0, -0.1, "refuted"),
        ("no larger", -0.9, -0.1, "supported"),
        ("no larger", -1.1, 0.1, OPEN),
    ],
)
def test_what_an_interval_says(kind: Kind, low: float, high: float, outcome: str) -> None:
    assert decide(replace(CLAIM, kind=kind), between(low, high))[0] == outcome
    # The same in other units: nothing but the smallest difference that matters is a scale.
    assert decide(replace(CLAIM, kind=kind, matters=7.0), between(7 * low, 7 * high))[0] == outcome


def test_a_difference_that_is_shown_and_too_small_to_matter_says_so() -> None:
    assert decide(CLAIM, between(0.1, 0.9))[1] == "a difference is shown, smaller than 1"
    assert decide(replace(CLAIM, kind="same"), between(0.1, 0.9))[1] == "a difference is shown, smaller than 1"
    assert decide(replace(CLAIM, kind="same"), between(-0.9, 0.9))[1] == ""


def test_without_an_interval_nothing_is_decided() -> None:
    for why in (NO_TEST, ALL_EQUAL):
        found = Difference(why, (1, 1), 5.0, None if why == NO_TEST else 0.0)
        assert decide(CLAIM, found) == (OPEN, why)
        assert needed(CLAIM, found) is None


def test_how_many_seeds_would_decide() -> None:
    found = between(-1.0, 2.0)
    bound = deviation_bound(1.0, 4.0)
    assert needed(CLAIM, found) == seeds_needed(bound, 1.0, 0.8)
    assert needed(replace(CLAIM, kind="same"), found) == seeds_needed(bound, 1.0, 0.9)
    assert needed(replace(CLAIM, matters=0.5), found) == seeds_needed(bound, 0.5)
