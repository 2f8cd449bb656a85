"""`Problem(start=HandOver(...))`: a solve that begins at the value of another problem."""

from dataclasses import replace

import pytest
import torch
import torchopt

import mlo
from mlo.hypergradient.step import Sweep
from tests.checkpoints import check

F64 = torch.float64


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


A, B, C = randn(3, 3, seed=1), randn(3, 3, seed=2), randn(3, 3, seed=3)
GOAL, BEGIN = randn(3, seed=4), randn(3, seed=5)


def bowl(matrix, w, target):
    return 0.5 * ((matrix.to(w) @ w / 2) ** 2).sum() + 0.5 * ((w - target) ** 2).sum()


def meta(rule=None, steps=3, momentum=0.9, **options):
    """A learned initialization: the inner problem begins at the outer variable, and sees it nowhere else."""
    top = mlo.Problem("x", lambda v, _: bowl(C, v.w, GOAL), BEGIN, reads=["w"], update=torchopt.sgd(0.1))
    inner = mlo.Problem(
        "w",
        lambda v, _: bowl(A, v.w, 0.0).cosh().log(),
        torch.zeros(3, dtype=F64),
        update=torchopt.sgd(0.1, momentum=momentum),
        steps=steps,
        response=rule or mlo.Unroll(),
        start=mlo.HandOver("x"),
        **options,
    )
    return mlo.ProblemGraph([top, inner])


def by_hand(x, steps=3, momentum=0.9):
    x = x.clone().requires_grad_()
    w, moved = x, torch.zeros(3, dtype=F64)
    for _ in range(steps):
        (g,) = torch.autograd.grad(bowl(A, w, 0.0).cosh().log(), w, create_graph=True)
        moved = momentum * moved + g
        w = w - 0.1 * moved
    return torch.autograd.grad(bowl(C, w, GOAL), x)[0]


RULES = [
    (mlo.Unroll(), 1e-13),
    (mlo.Unroll(memory=mlo.Recompute()), 1e-13),
    (mlo.Unroll(memory=mlo.Forward()), 1e-13),
    (mlo.Unroll(product=mlo.FiniteDifference()), 1e-6),
]


@pytest.mark.parametrize(("rule", "allowed"), RULES, ids=str)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_learned_initialization(rule, allowed, steps):
    found = mlo.hypergradient(meta(rule, steps), of="x")
    assert (found - by_hand(BEGIN, steps)).norm() <= allowed * found.norm()


@pytest.mark.parametrize("warm_start", [True, False])
def test_an_engine_trains_the_initialization_with_an_optimizer_that_goes_on_or_not(warm_start):
    engine, x = mlo.Engine(meta(momentum=0.0, warm_start=warm_start)), BEGIN
    for _ in engine.run(3):
        x = x - 0.1 * by_hand(x, momentum=0.0)
        torch.testing.assert_close(engine.values["x"], x, rtol=1e-13, atol=1e-15)
    ends = [list(mlo.Engine(meta(warm_start=warm)).run(3))[-1].losses["x"] for warm in (True, False)]
    assert ends[0] != ends[1]  # a momentum that was kept


def test_the_check_agrees():
    mlo.testing.check_hypergradient(meta(), of="x", directions=2)


def nested(rule):
    """x over m over (p, q): q begins where p has ended, p reads m, and m is solved by steps of its own."""

    def problem(name, loss, seed, **more):
        return mlo.Problem(name, loss, randn(3, seed=seed), update=torchopt.sgd(0.1), steps=2, response=rule, **more)

    top = mlo.Problem("x", lambda v, _: bowl(B, v.m, GOAL) + (v.q * v.x).sum(), BEGIN, reads=["m", "q"])
    middle = problem("m", lambda v, _: bowl(A, v.m, v.x) + bowl(C, v.q, v.x).cosh().log(), 6, reads=["x", "q"])
    second = problem("q", lambda v, _: bowl(B, v.q, v.m).cosh().log(), 7, reads=["m"], start=mlo.HandOver("p"))
    first = problem("p", lambda v, _: bowl(A, v.p, v.m * v.x).cosh().log(), 8, reads=["m", "x"])
    return mlo.ProblemGraph([top, middle, second, first])


@pytest.mark.parametrize("rule", [mlo.Unroll(), mlo.Unroll(product=mlo.FiniteDifference())], ids=str)
def test_inside_a_problem_that_is_itself_differentiated(rule):
    mlo.testing.check_hypergradient(nested(rule), of="x", directions=2, rtol=1e-5)
    mlo.testing.check_hypergradient(nested(rule), of="m", directions=2, rtol=1e-5)


def test_nested_products_agree():
    exact, differences = (
        mlo.hypergradient(nested(rule), of="x") for rule in (mlo.Unroll(), mlo.Unroll(product=mlo.FiniteDifference()))
    )
    assert (exact - differences).norm() <= 1e-5 * exact.norm()


def pair(response, *, stored=False, steps=120, momentum=0.0, **options):
    """x over (b, a): b begins where a has ended."""

    def problem(name, matrix, seed, **more):
        def loss(v, _):
            return bowl(matrix, v[name], v.x)

        update = torchopt.sgd(0.2, momentum=momentum)
        return mlo.Problem(
            name, loss, randn(3, seed=seed), reads=["x"], update=update, steps=steps, response=response, **more
        )

    top = mlo.Problem("x", lambda v, _: bowl(C, v.a + v.b, GOAL), BEGIN, reads=["a", "b"], update=torchopt.sgd(0.1))
    second = problem("b", B, 7, start=mlo.HandOver("a", ["value"], stored), **options)
    return mlo.ProblemGraph([top, second, problem("a", A, 8)])


REST = [mlo.Implicit(mlo.Dense()), mlo.FixedPoint(mlo.GMRES()), mlo.Penalty(100.0)]


@pytest.mark.parametrize("rule", REST, ids=lambda rule: type(rule).__name__)
def test_an_answer_at_rest_does_not_depend_on_where_its_solve_began(rule):
    graph = pair(rule)
    plain = mlo.ProblemGraph([replace(problem, start=None) for problem in graph.problems])
    found, kept = (mlo.hypergradient(one, of="x") for one in (graph, plain))
    assert (found - kept).norm() <= 1e-7 * kept.norm()


def test_the_check_of_an_answer_at_rest_does_not_begin_again_at_the_start():
    mlo.testing.check_hypergradient(pair(mlo.Implicit(mlo.Dense()), steps=60), of="x", directions=1)


def test_a_stored_value_is_a_constant():
    graph = pair(mlo.Unroll(), stored=True, steps=2)
    values = {"a": randn(3, seed=9), "b": randn(3, seed=10)}
    plain = mlo.ProblemGraph([replace(problem, start=None) for problem in graph.problems])
    found = mlo.hypergradient(graph, of="x", values=values)
    assert torch.equal(found, mlo.hypergradient(plain, of="x", values=values | {"b": values["a"]}))
    assert not torch.equal(found, mlo.hypergradient(plain, of="x", values=values))


@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_a_restored_engine_goes_on_with_the_same_bits(tmp_path, look_ahead, stored):
    check(lambda: mlo.Engine(pair(mlo.Unroll(), stored=stored, steps=2, momentum=0.9), look_ahead=look_ahead), tmp_path)


@pytest.mark.parametrize("look_ahead", [False, True])
def test_frozen_and_virtual_steps_begin_there_too(look_ahead):
    # Where x rests, a real solve and one that is dropped are the same, and `b` never begins at its own value.
    engine = mlo.Engine(pair(mlo.Unroll(), steps=2), look_ahead=look_ahead)
    a = randn(3, seed=8)
    for _ in range(2):
        engine.step(frozen=True)
        for _ in range(2):
            a = a - 0.2 * (A.T @ A @ a / 4 + a - BEGIN)
        b = a
        for _ in range(2):
            b = b - 0.2 * (B.T @ B @ b / 4 + b - BEGIN)
        torch.testing.assert_close(engine.values["b"], b, rtol=1e-13, atol=1e-15)


def test_the_graph_tells_of_it():
    graph = pair(mlo.Unroll())
    assert graph["b"].dependencies == ("x", "a")
    assert "b: reads x, a" in graph.describe()
    assert graph.responders("x") == ("a", "b")


W = torch.zeros(3, dtype=F64)


def lower(name="w", start=None, variable=W, reads=("x",)):
    return mlo.Problem(
        name, lambda v, _: (v[name] ** 2).sum(), variable, reads=reads, update=torchopt.sgd(0.1), start=start
    )


def top(start=None):
    return mlo.Problem("x", lambda v, _: (v.w**2).sum(), W, reads=["w"], update=torchopt.sgd(0.1), start=start)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: mlo.HandOver(3), "source must be the name of a problem, got 3"),
        (lambda: mlo.HandOver("x", "value"), "names must be a list of names of tensors, or None for all, got 'value'"),
        (lambda: mlo.HandOver("x", []), "names must be a list of names"),
        (lambda: mlo.HandOver("x", stored=1), "stored must be True or False, got 1"),
        (lambda: lower(start="x"), "problem 'w': start must be an mlo.HandOver, or None, got 'x'"),
        (lambda: [top(), lower(start=mlo.HandOver("y"))], "problem 'w' reads 'y', not in the graph"),
        (lambda: [top(), lower(start=mlo.HandOver("y", stored=True))], "problem 'w' reads 'y', not in the graph"),
        (
            lambda: [top(), lower(start=mlo.HandOver("w", stored=True))],
            "'w' cannot begin at the value of 'w': it does so by itself",
        ),
        (lambda: [top(mlo.HandOver("w")), lower()], "problem 'x' cannot begin at the value of 'w': the outermost"),
        (
            lambda: [top(), lower(start=mlo.HandOver("q")), lower("q", reads=["w"])],
            "'w' cannot begin at the value of 'q': 'q' responds to it, .*: take stored=True, or let 'q' not read 'w'",
        ),
        (
            lambda: [top(), lower(start=mlo.HandOver("x", ["body"]))],
            "'w' begins at 'body' of 'x', which has no such tensor there and no such tensor in 'w' itself",
        ),
        (
            lambda: [top(), lower(start=mlo.HandOver("x"), variable=W[:2])],
            r"'w' begins at 'value' of 'x', which has shape \(3,\) there and shape \(2,\) in 'w' itself",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, told):
    with pytest.raises(mlo.GraphError, match=told):
        mlo.ProblemGraph(make())


def test_what_follows_its_own_answer_is_refused():
    inner = replace(lower(start=mlo.HandOver("x")), response=mlo.SingleLoop(0.1))
    with pytest.raises(mlo.GraphError, match=r"'w' cannot respond by SingleLoop: .* and 'x' hands it another start"):
        mlo.Engine(mlo.ProblemGraph([top(), inner])).step()
    cold = pair(mlo.Unroll(), stored=True)
    cold = mlo.ProblemGraph([*cold.problems[:2], replace(cold["a"], warm_start=False)])
    with pytest.raises(mlo.GraphError, match="'a' has warm_start=False, but the start of another problem remembers"):
        mlo.Engine(cold)


def test_a_start_that_is_dropped_is_found_and_named(monkeypatch):
    monkeypatch.setattr(Sweep, "ended", lambda self: self._parts)
    with pytest.raises(mlo.HypergradientMismatch, match="'b' reads 'a'"):
        mlo.testing.check_hypergradient(pair(mlo.Unroll(), steps=2), of="x")


def test_names_may_come_from_anywhere_and_types_may_differ():
    assert mlo.HandOver("x", (name for name in "ab")) == mlo.HandOver("x", ["b", "a"])
    graph = meta(momentum=0.0)
    single = replace(graph["w"], variable=torch.zeros(3))
    found = mlo.hypergradient(mlo.ProblemGraph([graph["x"], single]), of="x")
    assert found.dtype == F64
    torch.testing.assert_close(found, by_hand(BEGIN, momentum=0.0), rtol=1e-5, atol=1e-6)


def test_a_learned_hold_of_stages_that_are_handed_on():
    def learner(name, seed):
        return mlo.Problem(name, lambda v, _: bowl(A, v[name], v.x[:3]).cosh().log(), randn(3, seed=seed), reads=["x"],
                           update=torchopt.sgd(0.1), steps=2)  # fmt: skip

    proximal = mlo.Proximal(mlo.Learned(lambda v: v.x[3].exp(), reads=["x"]), step_size=0.1)
    stages = mlo.interleave(
        [learner("a", 7), learner("b", 8)], rounds=2, proximal=proximal, shared="", start="previous"
    )
    top = mlo.Problem("x", lambda v, _: bowl(C, v["a@2"] + v["b@2"], GOAL), randn(4, seed=9), reads=["a@2", "b@2"])
    mlo.testing.check_hypergradient(mlo.ProblemGraph([top, *stages]), of="x", directions=3)
