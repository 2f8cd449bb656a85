"""The advisor: its figures against what they claim to measure, its recommendation, and what it leaves alone."""

from dataclasses import replace

import pytest
import torch
import torchopt

import mlo
from mlo.label import label

F64 = torch.float64
H = torch.linspace(1.0, 4.0, 6, dtype=F64)


def graph(response=None, steps=12, update=None, curve=0.1):
    def lower(v, batch):
        return 0.5 * (H * v.w**2).sum() - (v.w * v.x).sum() + curve * (v.w**4).sum()

    def upper(v, batch):
        return ((v.w - 1) ** 2).sum() + 0.1 * (v.x**2).sum()

    top = mlo.Problem("x", upper, torch.ones(6, dtype=F64), reads=["w"], update=torchopt.sgd(0.1))
    update = update or torchopt.sgd(0.1)
    low = mlo.Problem("w", lower, torch.zeros(6, dtype=F64), reads=["x"], update=update, steps=steps,
                      response=response or mlo.Unroll())  # fmt: skip
    return mlo.ProblemGraph([top, low])


def rows(advice):
    return {row.rule: row for row in advice.rows}


def test_errors_and_cosines_are_those_of_the_hypergradients(capsys):
    truth = mlo.hypergradient(graph(), of="x")
    rules = [mlo.FirstOrder(), mlo.Unroll(truncate=3)]
    advice = mlo.advise(graph(), of="x", candidates=rules, rounds=1)
    for rule, row in zip([mlo.Unroll(), *rules], advice.rows, strict=True):
        found = mlo.hypergradient(graph(rule), of="x")
        assert row.error == pytest.approx(float((found - truth).norm() / truth.norm()), rel=1e-9, abs=1e-14)
        assert row.cosine == pytest.approx(float(found @ truth / (found.norm() * truth.norm())), rel=1e-12)
        assert row.seconds > 0
    assert rows(advice)["FirstOrder()"].gradients == 12 + 1
    assert capsys.readouterr().out.strip() == str(advice)


def test_a_declared_implicit_rule_is_measured_against_the_derivative_at_rest():
    # Twelve steps end short of rest; the reference goes on for 120 and is solved densely.
    advice = mlo.advise(graph(mlo.Implicit()), of="x", candidates=[mlo.Unroll()], rounds=1)
    rest = mlo.hypergradient(graph(mlo.Implicit(mlo.Dense()), steps=600), of="x")
    found = mlo.hypergradient(graph(), of="x")
    assert rows(advice)["Unroll()"].error == pytest.approx(float((found - rest).norm() / rest.norm()), rel=1e-3)
    assert "w at rest" in advice.reference
    steps = mlo.advise(graph(mlo.Implicit()), of="x", candidates=[mlo.Unroll()], rounds=1, at_rest=False)
    assert rows(steps)["Unroll()"].error < 1e-12
    assert "declared steps of w, unrolled" in steps.reference


RESTING = [mlo.Implicit(), mlo.FixedPoint(), mlo.Penalty(1e3), mlo.SingleLoop(0.1)]


@pytest.mark.parametrize("rule", RESTING, ids=lambda rule: type(rule).__name__)
def test_every_rule_that_takes_its_answer_to_be_at_rest_is_measured_there(rule):
    assert mlo.advise(graph(rule, steps=1), of="x", candidates=[], rounds=1).reference.startswith("w at rest")


def test_every_candidate_sees_the_same_dropout_masks():
    def lower(v, batch):
        return ((v.w - torch.nn.functional.dropout(v.x, 0.5)) ** 2).sum()

    top = mlo.Problem("x", lambda v, _: ((v.w - 1) ** 2).sum(), H, reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem("w", lower, H, reads=["x"], update=torchopt.sgd(0.1), steps=5)
    advice = mlo.advise(mlo.ProblemGraph([top, low]), of="x", candidates=[mlo.Unroll()], rounds=1)
    assert [row.error < 1e-12 for row in advice.rows] == [True, True]


def test_candidates_that_cannot_stop_early_make_the_declared_steps():
    made = graph(mlo.Implicit(), steps=200)
    early = mlo.ProblemGraph([made["x"], replace(made["w"], tolerance=1e-8)])
    advice = mlo.advise(early, of="x", candidates=[mlo.Unroll()], rounds=1)
    assert advice.rows[1].error < 1e-6
    assert advice.rows[1].gradients == 200 + 1


def test_the_fastest_that_is_accurate_enough_is_recommended():
    def row(rule, seconds, error, **more):
        return mlo.Measurement(rule, seconds=seconds, error=error, **more)

    table = (row("wrong", 1.0, 0.5), row("good", 3.0, 0.01), row("slow", 9.0, 0.0), mlo.Measurement("no", refusal="it"))
    assert mlo.Advice("x", table, "", tolerance=0.05).recommended == table[1]
    assert mlo.Advice("x", table, "", tolerance=0.01).recommended == table[1]
    assert mlo.Advice("x", table, "", tolerance=0.001).recommended == table[2]
    none = mlo.Advice("x", (table[0], table[3]), "", tolerance=0.05)
    assert none.recommended is None
    assert "recommended: none" in str(none)
    assert "wrong is nearest (5.0e-01)" in str(none)
    assert "for no rule has a hypergradient here" in str(mlo.Advice("x", table[3:], "", tolerance=0.05))


def test_every_kind_of_rule_is_tried_and_a_refusal_is_a_row():
    advice = mlo.advise(graph(update=torchopt.sgd(0.1, weight_decay=0.1)), of="x", rounds=1)
    kinds = {name.split("(")[0] for name in rows(advice)}
    assert kinds == {"as declared", "FirstOrder", "Unroll", "Implicit", "FixedPoint"}
    refused = rows(advice)["Implicit(CG())"]
    assert "its update decays weights on its own" in refused.refusal
    assert "refused: " in str(advice)
    assert rows(advice)["Unroll(memory=Recompute())"].error < 1e-12


def test_partial_derivatives_are_tried_where_problems_nest():
    one = torch.ones(1, dtype=F64)
    low = {"update": torchopt.sgd(0.5), "steps": 5}
    nested = mlo.ProblemGraph(
        [
            mlo.Problem("u", lambda v, _: ((v.m - 3) ** 2).sum() + v.u.sum(), one, reads=["m"], **{**low, "steps": 1}),
            mlo.Problem("m", lambda v, _: (v.m**2 + (v.l - 1) ** 2).sum() / 2, one, reads=["l"], **low),
            mlo.Problem("l", lambda v, _: ((v.l - v.m - v.u) ** 2).sum() / 2, one, reads=["m", "u"], **low),
        ]
    )
    advice = mlo.advise(nested, of="u", candidates=[], rounds=1)
    assert [row.rule for row in advice.rows] == ["as declared", "as declared, partial=True"]
    assert advice.rows[1].error > 0.1
    assert advice.recommended == advice.rows[0]


def test_nothing_is_changed_and_an_unconverged_candidate_does_not_warn():
    made = graph(mlo.Implicit())
    random = torch.get_rng_state()
    advice = mlo.advise(made, of="x", candidates=[mlo.Implicit(mlo.CG(max_steps=1))], rounds=1)
    assert torch.equal(torch.get_rng_state(), random)
    assert rows(advice)["Implicit(CG(max_steps=1))"].unconverged > 0.01
    assert ["residual" in line for line in str(advice).splitlines()[3:5]] == [False, True]  # the declared one converges


@pytest.mark.parametrize("bad", [{"rounds": 0}, {"rounds": True}, {"tolerance": 0.0}, {"tolerance": float("nan")}])
def test_settings_are_checked(bad):
    with pytest.raises(mlo.ConfigError, match=f"advise: {next(iter(bad))} must be"):
        mlo.advise(graph(), of="x", **bad)


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        (mlo.Unroll(), "Unroll()"),
        (mlo.Unroll(truncate=3, memory=mlo.Recompute()), "Unroll(truncate=3, memory=Recompute())"),
        (mlo.Implicit(), "Implicit(CG())"),
        (mlo.Implicit(mlo.Damped(mlo.GMRES(), 0.1), strict=True), "Implicit(Damped(GMRES(), mu=0.1), strict=True)"),
        (mlo.Penalty(100.0, steps=3), "Penalty(weight=100.0, steps=3)"),
        (None, "None"),
    ],
    ids=str,
)
def test_rules_are_shown_as_one_would_write_them(rule, shown):
    assert label(rule) == shown


def test_an_unknown_problem_is_named():
    with pytest.raises(mlo.GraphError, match="no problem is called 'y'"):
        mlo.advise(graph(), of="y")


def test_a_loss_may_use_the_transformations_of_torch_func():
    def lower(v, batch):
        slope = torch.func.grad(lambda w: (w**4).sum() / 4)(v.w)
        return 0.5 * ((v.w - v.x) ** 2).sum() + 0.01 * (slope**2).sum()

    top = mlo.Problem("x", lambda v, _: (v.w**2).sum(), torch.ones(2, dtype=F64), reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem("w", lower, torch.ones(2, dtype=F64), reads=["x"], update=torchopt.sgd(0.1), steps=2)
    advice = mlo.advise(mlo.ProblemGraph([top, low]), of="x", candidates=[mlo.Unroll()], rounds=1)
    assert all(row.refusal is None for row in advice.rows)


def test_memory_grows_with_recorded_steps_and_not_with_recomputed_ones():
    def peak(steps, memory):
        rule = mlo.Unroll(memory=memory)
        advice = mlo.advise(graph(steps=steps), of="x", candidates=[rule], rounds=1)
        return advice.rows[1].memory

    assert peak(64, mlo.Record()) > 3 * peak(16, mlo.Record())
    assert peak(64, mlo.Recompute()) < 3 * peak(16, mlo.Recompute())
    assert peak(64, mlo.Recompute()) < peak(64, mlo.Record()) / 3


def test_a_value_that_is_taken_as_it_stands_is_measured_at_rest():
    # Without an update there are no steps to unroll, and its derivative is not zero for that.
    low = mlo.Problem("w", lambda v, _: ((v.w - v.x) ** 2).sum(), H, reads=["x"], steps=0, response=mlo.Implicit())
    top = mlo.Problem("x", lambda v, _: (v.w**2).sum() + v.x.sum(), H, reads=["w"], update=torchopt.sgd(0.1))
    advice = mlo.advise(mlo.ProblemGraph([top, low]), of="x", candidates=[mlo.FirstOrder()], rounds=1)
    assert advice.rows[0].error < 1e-12
    assert advice.rows[1].error > 0.1
    assert "w at rest" in advice.reference
