"""A policy for steps that met a number which is not finite: stop, or go on with the next batches."""

import logging
import math

import pytest
import torch
import torchopt

import mlo

F64 = torch.float64
BAD = torch.tensor([1.0, math.nan], dtype=F64)


def good(index):
    return torch.tensor([1.0, float(index)], dtype=F64)


def graph(low, top=None):
    def fit(v, b):
        noise = torch.rand((), dtype=F64)  # drawn in every attempt
        return ((v.w - b) ** 2).sum() + (v.a * v.w).sum() * noise

    def judge(v, b):
        return (v.w**2).sum() + (0.0 if b is None else (b * v.w).sum())

    start = torch.zeros(2, dtype=F64)
    adam = torchopt.adam(0.1)
    a = mlo.Problem("a", judge, start, reads=["w"], update=adam, batches=top)
    return mlo.ProblemGraph([a, mlo.Problem("w", fit, start, reads=["a"], update=adam, batches=low, steps=2)])


@pytest.mark.parametrize(("look_ahead", "frozen"), [(False, False), (True, False), (False, True)])
def test_the_state_is_that_of_the_good_batches(look_ahead, frozen):
    engine = mlo.Engine(
        graph([good(1), BAD, BAD, good(2), BAD, good(3)]), on_divergence=mlo.Skip(), look_ahead=look_ahead
    )
    torch.manual_seed(0)
    reports = list(engine.run(3, frozen=frozen))
    assert [report.step for report in reports] == [1, 2, 3]
    assert [len(report.skipped) for report in reports] == [0, 2, 1]
    told = "the loss of problem 'w' is nan at step 0 of its solve: its batch holds NaN (in 1 of 2 examples, the first"
    for text, place in zip(reports[1].skipped, (2, 3), strict=True):
        assert text.startswith(told + " is number 2): mend or leave out these examples")
        assert text.endswith(f"(in outer step 2 of the engine; batch {place} of pass 1 of problem 'w')")
    plain = mlo.Engine(graph([good(1), good(2), good(3)]), look_ahead=look_ahead)
    torch.manual_seed(0)
    draws = 4 if look_ahead else 2  # of its two solves, or of the one
    for skipped in (0, 2, 1):
        for _ in range(draws * skipped):  # an attempt that failed has used up what its solve drew
            torch.rand((), dtype=F64)
        plain.step(frozen=frozen)
    found, wanted = engine.snapshot(), plain.snapshot()
    assert found.step_count == wanted.step_count == 3
    for name in ("a", "w"):
        assert torch.equal(engine.values[name], plain.values[name])
        assert str(found.states[name]) == str(wanted.states[name])


def test_after_so_many_in_a_row_the_last_error_is_raised():
    engine = mlo.Engine(graph([good(1), BAD, BAD, BAD, good(2)]), on_divergence=mlo.Skip(in_a_row=3))
    engine.step()
    before = engine.snapshot()
    with pytest.raises(mlo.DivergenceError) as caught:
        engine.step()
    assert caught.value.__notes__ == [
        "in outer step 2 of the engine; batch 4 of pass 1 of problem 'w'",
        "given up after 3 attempts at this step",
    ]
    assert all(engine.snapshot().params[name] is before.params[name] for name in ("a", "w"))
    assert engine.step().skipped == ()  # the count begins anew, and so does the step
    assert engine.step_count == 2


def test_what_other_attempts_said_is_told_if_it_differs():
    low, top = [BAD, good(1)], [good(1), torch.tensor([math.inf, 1.0], dtype=F64)]
    engine = mlo.Engine(graph(low, top), on_divergence=mlo.Skip(in_a_row=2))
    with pytest.raises(mlo.DivergenceError, match="loss of problem 'a'") as caught:
        engine.step()
    note = caught.value.__notes__[-1]
    assert note.startswith("given up after 2 attempts at this step; before: the loss of problem 'w' is nan at step 0")


def test_the_default_and_one_in_a_row_stop_at_once():
    for policy in ({}, {"on_divergence": mlo.Stop()}, {"on_divergence": mlo.Skip(in_a_row=1)}):
        engine = mlo.Engine(graph([BAD, good(1)]), **policy)
        with pytest.raises(mlo.DivergenceError) as caught:
            engine.step()
        assert len(caught.value.__notes__) == 1
        assert engine.step().skipped == ()


def test_an_attempt_is_logged(caplog):
    with caplog.at_level(logging.WARNING, logger="mlo"):
        mlo.Engine(graph([BAD, good(1)]), on_divergence=mlo.Skip()).step()
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "skipped: the loss of problem 'w' is nan at step 0 of its solve: its batch holds"
    )


def test_other_errors_are_not_skipped():
    calls = []

    def loss(v, b):
        calls.append(b)
        raise ValueError("a mistake")

    a = mlo.Problem("a", loss, torch.ones(2), update=torchopt.sgd(0.1))
    with pytest.raises(ValueError, match="a mistake"):
        mlo.Engine(mlo.ProblemGraph([a]), on_divergence=mlo.Skip()).step()
    assert len(calls) == 1


def test_strictness_asks_to_stop():
    def fit(v, b):
        return (v.w * torch.tensor([1.0, 100.0], dtype=F64) * v.w).sum() + (v.a * v.w).sum()

    rule = mlo.Implicit(mlo.CG(max_steps=1, tol=1e-12), strict=True)
    start = torch.ones(2, dtype=F64)
    w = mlo.Problem("w", fit, start, reads=["a"], update=torchopt.sgd(1e-3), response=rule)
    a = mlo.Problem("a", lambda v, b: (v.w - 1).sum() ** 2, start, reads=["w"], update=torchopt.sgd(0.1))
    engine = mlo.Engine(mlo.ProblemGraph([a, w]), on_divergence=mlo.Skip())
    with pytest.raises(mlo.UnconvergedError) as caught:
        engine.step()
    assert caught.value.__notes__ == ["in outer step 1 of the engine"]


def test_batches_that_end_for_good_are_told_of():
    engine = mlo.Engine(graph(iter([good(1), BAD])), on_divergence=mlo.Skip())
    engine.step()
    with pytest.raises(mlo.DataError, match="problem 'w': its batches are used up") as caught:
        engine.step()
    note = "given up after 2 attempts at this step; before: the loss of problem 'w' is nan"
    assert caught.value.__notes__[-1].startswith(note)


@pytest.mark.parametrize("wrong", [None, "skip", 3, mlo.Skip])
def test_a_policy_of_no_kind_is_refused(wrong):
    told = r"Engine: on_divergence must be mlo\.Stop\(\) or mlo\.Skip\(in_a_row=3\)"
    with pytest.raises(mlo.ConfigError, match=told):
        mlo.Engine(graph([good(1)]), on_divergence=wrong)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "3"])
def test_a_count_of_no_kind_is_refused(wrong):
    with pytest.raises(mlo.ConfigError, match="Skip: in_a_row must be a whole number >= 1"):
        mlo.Skip(in_a_row=wrong)
