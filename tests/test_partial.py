"""Derivatives that hold the answers below fixed: what they are, and what they leave out.

The oracle writes the definition down: along each problem q that responds, the Jacobian of its answer is
-H^-1 M with H and M the second derivatives of q's own loss, everything that is solved inside q held constant.
Forms are positive definite with condition below 1e2, linear solves are dense: 1e-9.
"""

from pathlib import Path

import pytest
import torch
import torchopt
from hypothesis import given, settings

import mlo
from benchmarks import partial
from mlo.rng import preserved
from mlo.testing.strategies import quadratic_graphs
from mlo.view import View

F64 = torch.float64
DENSE = mlo.Implicit(mlo.Dense())
DENSE_FD = mlo.Implicit(mlo.Dense(), product=mlo.FiniteDifference())


def partial_by_definition(graph, of, values):
    """Sweep with dense partial Jacobians; `values` are the answers."""
    values = {name: value.clone().requires_grad_() for name, value in values.items()}

    def derivatives(name, *, create=False):
        problem = graph[name]
        seen = (name, *problem.reads)
        loss = problem.loss(View(name, {other: values[other] for other in seen}), None)
        parts = torch.autograd.grad(loss, [values[o] for o in seen], create_graph=create, allow_unused=True)
        return dict(zip(seen, parts, strict=True))

    table = derivatives(of)
    for name in reversed(graph.inside(of)):
        cotangent = table.pop(name, None)
        if cotangent is None:
            continue
        slope = derivatives(name, create=True)[name]
        hessian = torch.stack([torch.autograd.grad(e, values[name], retain_graph=True)[0] for e in slope])
        adjoint = torch.linalg.solve(hessian, cotangent)
        for read in graph[name].reads:
            if read in graph.inputs(name):
                (part,) = torch.autograd.grad(slope, values[read], -adjoint, retain_graph=True, allow_unused=True)
                if part is not None:
                    table[read] = part if table.get(read) is None else table[read] + part
    return table[of]


@settings(max_examples=60)
@given(quadratic_graphs(levels=(2, 5), rules=[DENSE], largest=2))
def test_partial_is_what_its_definition_says(drawn):
    graph = drawn.graph
    engine = mlo.Engine(graph, partial=True)  # with three levels below it, a gradient in a solve is partial itself
    engine.step()
    answers = engine.values | {drawn.of: graph[drawn.of].variable}
    expected = partial_by_definition(graph, drawn.of, answers)
    found = mlo.hypergradient(graph, of=drawn.of, partial=True)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


@settings(max_examples=20)
@given(quadratic_graphs(levels=(3, 4), rules=[DENSE], largest=2))
def test_partial_by_finite_differences(drawn):
    # One level of central differences of quadratics leaves rounding alone: eps^(2/3) = 4e-11, times conditioning.
    problems = [mlo.Problem(p.name, p.loss, p.variable, reads=p.reads, update=p.update, response=DENSE_FD)
                for p in drawn.graph.problems]  # fmt: skip
    found = mlo.hypergradient(mlo.ProblemGraph(problems), of=drawn.of, partial=True)
    expected = mlo.hypergradient(drawn.graph, of=drawn.of, partial=True)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@settings(max_examples=20)
@given(quadratic_graphs(levels=(2, 2), rules=[mlo.Unroll(), DENSE]))
def test_with_two_levels_partial_changes_nothing(drawn):
    exact = mlo.hypergradient(drawn.graph, of=drawn.of)
    assert torch.equal(mlo.hypergradient(drawn.graph, of=drawn.of, partial=True), exact)


def scalar(value):
    return torch.tensor(float(value), dtype=F64)


def nested(rule, steps=40, direct=0.0):
    """min_u (m - 3)^2 / 2, m = argmin m^2 / 2 + (l - 1)^2 / 2, l = argmin (l - m - u)^2 / 2.

    l = m + u, m = (1 - u) / 2, so that dF/du = - (m - 3) / 2: 1.5 at u = 1.
    """

    def problem(name, loss, reads, **more):
        return mlo.Problem(name, loss, scalar(1), reads=reads, update=torchopt.sgd(0.5), **more)

    low = {"steps": steps, "response": rule}
    return mlo.ProblemGraph(
        [
            problem("u", lambda v, _: (v.m - 3) ** 2 / 2 + (direct * v.u if direct else 0), ["m"]),
            problem("m", lambda v, _: v.m**2 / 2 + (v.l - 1) ** 2 / 2, ["l"], **low),
            problem("l", lambda v, _: (v.l - v.m - v.u) ** 2 / 2, ["m", "u"], **low),
        ]
    )


RESTING = {"dense": DENSE, "differences": DENSE_FD, "cg": mlo.Implicit(), "fixed": mlo.FixedPoint(mlo.Dense())}


@pytest.mark.parametrize("rule", RESTING.values(), ids=RESTING.keys())
def test_what_partial_leaves_out_when_problems_nest(rule):
    # What other libraries give here: the middle problem reads u through the answer of the deepest one alone.
    graph = nested(rule)
    assert float(mlo.hypergradient(graph, of="u")) == pytest.approx(1.5, rel=1e-7)
    with pytest.raises(mlo.LossError, match=r"'u' does not depend on 'u', .* partial=True leaves out the only way"):
        mlo.hypergradient(graph, of="u", partial=True)
    # With a direct part the same omission makes no error but a wrong number.
    graph = nested(rule, direct=1.0)
    assert float(mlo.hypergradient(graph, of="u")) == pytest.approx(2.5, rel=1e-7)
    assert float(mlo.hypergradient(graph, of="u", partial=True)) == 1.0


@pytest.mark.parametrize("product", [mlo.Exact(), mlo.FiniteDifference()], ids=["exact", "differences"])
def test_partial_unrolling_moves_by_the_total_gradient_and_differentiates_the_partial_one(product):
    # T steps m <- m - s (m + l(m) - 1), l(m) = m + u at once: dm/du by the partial gradient m alone is zero.
    graph = nested(mlo.Unroll(product=product), steps=3, direct=1.0)
    m = engine_answer(nested(mlo.Unroll(), steps=3, direct=1.0))
    assert float(mlo.hypergradient(graph, of="u", partial=True)) == 1.0
    assert m == pytest.approx(engine_answer(graph, partial=True), rel=1e-15)


def engine_answer(graph, **more):
    engine = mlo.Engine(graph, **more)
    engine.step()
    return float(engine.values["m"])


def test_an_engine_trains_by_partial_derivatives_when_asked_to():
    exact, partial = (mlo.Engine(nested(DENSE, direct=1.0), partial=flag) for flag in (False, True))
    assert exact.step().norms["u"] == pytest.approx(2.5, rel=1e-7)
    assert partial.step().norms["u"] == 1.0


@pytest.mark.parametrize("memory", [mlo.Recompute(), mlo.Forward()], ids=["recompute", "forward"])
def test_partial_derivatives_do_not_depend_on_what_unrolling_keeps(memory):
    found = mlo.hypergradient(nested(mlo.Unroll(memory=memory), steps=4, direct=1.0), of="u", partial=True)
    assert float(found) == 1.0
    exact = mlo.hypergradient(nested(mlo.Unroll(memory=memory), steps=4, direct=1.0), of="u")
    recorded = mlo.hypergradient(nested(mlo.Unroll(), steps=4, direct=1.0), of="u")
    assert float(exact) == pytest.approx(float(recorded), rel=1e-13)
    assert float(exact) != 1.0


def table():
    """Return the rows of the page that `benchmarks/partial.py` writes."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "choosing.md").read_text()
    return page.split("<!-- partial: begin -->")[1].split("<!-- partial: end -->")[0].strip().splitlines()


@pytest.mark.parametrize("name", ["bilevel", "cascade of four", "min-min-min"])
def test_the_page_shows_what_the_benchmark_computes(name):
    # The other rows take minutes; the script makes all of them.
    (shown,) = [line for line in table() if line.startswith(f"| {name} |")]
    assert partial.row(name, partial.SHAPES[name]) == shown


def test_the_page_has_a_row_for_each_shape():
    assert [line.split("|")[1].strip() for line in table()[2:]] == list(partial.SHAPES)


MEMORIES = [mlo.Record(), mlo.Recompute(2), mlo.Forward()]


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: type(memory).__name__)
def test_the_derivative_of_a_step_has_the_dropout_mask_of_the_step(memory):
    # The middle's loss is linear in its variable: m = 1 - 0.1 sum of masks * x, so that dm/dx tells the same masks.
    def middle(v, batch):
        return (torch.nn.functional.dropout(v.x * v.m, 0.5)).sum() + 0 * v.l.sum()

    ones, low = torch.ones(8, dtype=F64), {"update": torchopt.sgd(0.1)}
    graph = mlo.ProblemGraph(
        [
            mlo.Problem("x", lambda v, _: v.m.sum(), ones, reads=["m"], update=torchopt.sgd(1.0)),
            mlo.Problem("m", middle, ones, reads=["x", "l"], steps=3, response=mlo.Unroll(memory=memory), **low),
            mlo.Problem("l", lambda v, _: ((v.l - v.m) ** 2).sum(), ones, reads=["m"], **low),
        ]
    )
    with preserved():
        torch.manual_seed(0)
        engine = mlo.Engine(graph, partial=True)
        engine.step()
    assert len(set(engine.values["m"].tolist())) > 2
    torch.testing.assert_close(1 - engine.values["x"], engine.values["m"] - 1, rtol=1e-12, atol=1e-14)
