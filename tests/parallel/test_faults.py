"""A rank that fails: no hang, and the others raise its error with its number within 30 s (it takes one to three)."""

import numpy as np
import pytest

import mlo
from tests.parallel import faults
from tests.parallel.ranks import launch, outcomes

WITHIN, AT_EXIT = 30.0, 10.0


def assert_told(found, *, raised, told):
    """The culprit raised its own error, or is gone; every other one was told, soon, and ended by itself."""
    for one in found:
        assert one.code is not None, f"rank {one.rank} did not end"
        assert one.left < AT_EXIT
        if one.rank == faults.CULPRIT:
            assert type(one.error).__name__ == raised, one
            assert raised == "NoneType" or f"on rank {one.rank} of {len(found)}" in one.notes
        else:
            assert isinstance(one.error, mlo.RankError), one
            assert told in str(one.error)
            assert one.seconds < WITHIN


RAISED = {"raised": "BrokenError", "told": "rank 1 failed with BrokenError: no such picture"}
GONE = {"raised": "NoneType", "told": "rank 1 is gone, without a word"}
CG = mlo.Implicit(mlo.CG())


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("raises", RAISED),
        ("interrupted", {"raised": "KeyboardInterrupt", "told": "rank 1 failed with KeyboardInterrupt: mend"}),
        ("exits", GONE),
        ("killed", GONE),
    ],
)
def test_in_a_loss(how, expected):
    assert_told(outcomes(faults.in_loss, 3, how, 5, mlo.Unroll()), **expected)


@pytest.mark.parametrize("place", ["in_backward", "in_loader", "in_gradient", "in_stage"])
def test_elsewhere(place):
    assert_told(outcomes(getattr(faults, place), 2, "raises"), **RAISED)


@pytest.mark.parametrize("at", [1, 3, 4, 9])
def test_at_any_place_in_a_solve(at):
    assert_told(outcomes(faults.in_loss, 2, "raises", at, CG), **RAISED)


def test_while_another_one_waits_to_be_lent_a_batch():
    assert_told(
        outcomes(faults.in_lending, 2, ""), raised="TypeError", told="rank 1 failed with TypeError: cannot pickle"
    )


@pytest.mark.parametrize(("how", "raised"), [("raises", "BrokenError"), ("diverges", "DivergenceError")])
def test_what_all_ranks_meet_at_one_place_they_survive(how, raised):
    found = launch(faults.alike, 2, how)
    for told, kept, steps, values in found:
        assert told.startswith(raised)
        assert kept
        assert steps == 4
        assert np.array_equal(values, found[0][3])


def test_after_a_rank_has_failed_nothing_is_computed_in_its_process_group(tmp_path):
    (told, *refused), (raised, *refused_as_well) = launch(faults.again, 2, str(tmp_path))
    assert told.startswith("RankError: rank 1 failed with BrokenError: no such picture")
    assert raised == "BrokenError: no such picture"
    assert len(refused) == 2
    assert all(text.startswith("RankError: Parallel: a rank failed before") for text in refused + refused_as_well)


def test_no_data_anywhere():
    for one in outcomes(faults.nothing_anywhere, 2):
        assert str(one.error) == "problem 'w': its batches are empty"


DIFFERENT = {
    "steps": "steps=4",
    "step size": "step_size=-0.2",
    "batches": "'w: batches none'",
    "rule": "'w: response FirstOrder'",
    "look-ahead": "look_ahead=True",
    "a call": "'hypergradient'",
    "frozen": "frozen=True",
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_ranks_that_do_not_do_the_same(what):
    for one in outcomes(faults.different, 2, what):
        assert isinstance(one.error, mlo.ConfigError), one
        assert str(one.error).startswith("ranks 0 and 1 differ: the first has ")
        assert DIFFERENT[what] in str(one.error)
        assert one.seconds < WITHIN
