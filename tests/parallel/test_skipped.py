"""What diverges on one rank is skipped by all of them, told of in the same words, or stops all; nothing hangs."""

import numpy as np
import pytest

import mlo
from tests.parallel import skipped
from tests.parallel.ranks import launch, outcomes

HOLDS = (
    "the loss of problem 'w' is nan at step 0 of its solve: its batch holds NaN "
    "(entry 0; in 1 of 4 examples, the first is number 3) (on rank 1): mend or leave out these examples"
)


@pytest.fixture(scope="module")
def found():
    return launch(skipped.all_cases, 2)


def test_all_ranks_skip_the_same_steps_and_are_where_the_good_batches_lead(found):
    for one in found:
        reports, steps, values = one["skip"]
        assert steps == 4
        assert [len(texts) for texts in reports] == [0, 2, 0, 0]
        assert all(text.startswith(HOLDS) for texts in reports for text in texts)
        assert "in outer step 2 of the engine; batch 3 of pass 1 of problem 'w'" in reports[1][1]
        assert np.array_equal(values, one["clean"])
        assert np.array_equal(values, found[0]["skip"][2])


def test_all_ranks_give_up_alike(found):
    for one in found:
        text, notes, kept, steps = one["given up"]
        assert text == HOLDS
        assert notes[-1] == "given up after 2 attempts at this step"
        assert (kept, steps) == (True, 0)


def test_a_step_is_not_skipped_where_another_rank_met_something_else(found):
    (broken, _, _), (diverged, _, notes) = (one["another"] for one in found)
    assert (broken, diverged) == ("BrokenError", "DivergenceError")
    assert any(note.startswith("not skipped, for rank 0 met another error: no such picture") for note in notes)


def test_members_that_share_stages_skip_alike(found):
    for one in found:
        reports, values = one["stages"]
        assert [len(texts) for texts in reports] == [0, 1, 0]
        assert "problem 'l0@1' is nan" in reports[1][0]
        assert "in 1 of 6 examples, the first is number 1" in reports[1][0]
        assert np.array_equal(values, found[0]["stages"][1])


@pytest.mark.parametrize("how", ["diverges", "breaks"])
def test_what_one_rank_meets_alone_stops_all(how):
    first, culprit = outcomes(skipped.alone, 2, how)
    assert isinstance(first.error, mlo.RankError), first
    assert "rank 1 failed with" in str(first.error)
    assert type(culprit.error).__name__ == {"diverges": "DivergenceError", "breaks": "BrokenError"}[how]
    assert max(first.seconds, culprit.seconds) < 30


def test_ranks_with_other_policies_are_told():
    for one in outcomes(skipped.policies_differ, 2):
        assert isinstance(one.error, mlo.ConfigError), one
        assert "Skip(in_a_row=2)" in str(one.error)
