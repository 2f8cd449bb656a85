"""Numeric traps in which other libraries were caught: structure, scale, solvers and step rules.

Each test is one defect that was reproduced in the library named above it, as a closed form in float64. Unless a comment
says otherwise, the only error is rounding, and 1e-10 leaves it four digits of room.
"""

from __future__ import annotations

import pytest
import torch
import torchopt

import mlo
from mlo.gradient import make_context
from mlo.solve import objective, total_gradient

EXACT = pytest.approx


def scalar(value):
    return torch.tensor(float(value), dtype=torch.float64)


def pull_to(target, of="w"):
    """The loss (of - target)^2 / 2, where target is a number or the name of a problem."""

    def loss(v, batch):
        return 0.5 * ((v[of] - (v[target] if isinstance(target, str) else target)) ** 2).sum()

    return loss


def bilevel(upper, lower, *, x=1.0, w=0.0, sgd=0.1, **how):
    how = {"update": torchopt.sgd(sgd), **how}
    top = mlo.Problem("x", upper, torch.as_tensor(x, dtype=torch.float64), reads=["w"], update=torchopt.sgd(0.1))
    start = w if isinstance(w, dict) else torch.as_tensor(w, dtype=torch.float64)
    return mlo.ProblemGraph([top, mlo.Problem("w", lower, start, reads=["x"], **how)])


def gradient(graph, of="x"):
    found = mlo.hypergradient(graph, of=of)
    return found if isinstance(found, dict) or found.dim() else float(found)


RULES = [mlo.Unroll(), mlo.Implicit(), mlo.Implicit(mlo.Dense())]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_path_counts(rule):
    # Betty B1: -2, as it leaves out the path u -> m -> l of U's second read.
    def upper(v, batch):
        return 0.5 * (v.m - 3) ** 2 + 0.5 * (v.low - 3) ** 2

    newton = {"update": torchopt.sgd(1.0), "response": rule}
    u = mlo.Problem("u", upper, scalar(1), reads=["m", "low"], update=torchopt.sgd(0.1))
    m = mlo.Problem("m", pull_to("u", "m"), scalar(0), reads=["u"], **newton)
    low = mlo.Problem("low", pull_to("m", "low"), scalar(0), reads=["m"], **newton)
    assert gradient(mlo.ProblemGraph([u, m, low]), "u") == EXACT(-4, rel=1e-10)


def nested_trilevel(mid, low, bottom_steps=1):
    def middle(v, batch):
        return 0.5 * v.m**2 + 0.5 * (v.low - 1) ** 2

    def bottom(v, batch):
        return 0.5 * (v.low - v.m - v.u) ** 2

    u = mlo.Problem("u", pull_to(3, "m"), scalar(1), reads=["m"], update=torchopt.sgd(0.1))
    # The reduced middle objective m^2/2 + (m + u - 1)^2/2 has curvature 2: one step of size 1/2 is a Newton step.
    m = mlo.Problem("m", middle, scalar(0), reads=["low"], update=torchopt.sgd(0.5), response=mid)
    low = mlo.Problem(
        "low", bottom, scalar(0), reads=["m", "u"], update=torchopt.sgd(1.0), steps=bottom_steps, response=low
    )
    return mlo.ProblemGraph([u, m, low])


@pytest.mark.parametrize("low", RULES, ids=str)
@pytest.mark.parametrize("mid", RULES, ids=str)
def test_a_middle_problem_sees_its_reduced_objective(mid, low):
    # Betty B2: 0, from the partial mixed derivative of the middle loss.
    assert gradient(nested_trilevel(mid, low), "u") == EXACT(1.5, rel=1e-10)


@pytest.mark.parametrize("curvature", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("update", [torchopt.sgd(0.1), torchopt.sgd(0.01), torchopt.adam(0.1)])
def test_an_implicit_response_has_no_step_size(curvature, update):
    # Betty B3: -0.2, -2 and -20, without H^-1.
    def lower(v, batch):
        return 0.5 * curvature * (v.w - v.x) ** 2

    graph = bilevel(pull_to(3), lower, w=1, update=update, response=mlo.Implicit())
    assert gradient(graph) == EXACT(-2, rel=1e-10)


@pytest.mark.parametrize("product", [mlo.Exact(), mlo.FiniteDifference(epsilon=0.01)], ids=str)
@pytest.mark.parametrize(("curvature", "eta"), [(0.1, 0.025), (1.0, 0.1), (10.0, 0.025)])
def test_a_look_ahead_step_has_the_step_size(curvature, eta, product):
    # Betty B3: the DARTS product without its factor eta. A quadratic has no truncation error, only rounding / epsilon.
    def lower(v, batch):
        return 0.5 * curvature * (v.w - v.x) ** 2

    graph = bilevel(pull_to(3), lower, w=1, sgd=eta, response=mlo.Unroll(product=product))
    assert gradient(graph) == EXACT(-2 * eta * curvature, rel=1e-10)


def test_a_look_ahead_product_is_taken_where_the_step_started():
    # Betty B3: perturbed around the looked-ahead w'. With f = x w^2 / 2, w = 2: dw'/dx = -eta w = -0.2, not -eta w'.
    graph = bilevel(pull_to(0), lambda v, batch: 0.5 * v.x * v.w**2, w=2, sgd=0.1)
    assert gradient(graph) == EXACT(1.8 * -0.2, rel=1e-10)


H = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize("solver", [mlo.CG(max_steps=2), mlo.CG(max_steps=3), mlo.CG(max_steps=50)], ids=str)
@pytest.mark.parametrize("h", [H, 2 * torch.eye(2, dtype=torch.float64), H[:1, :1]], ids=["spd", "isotropic", "1d"])
def test_conjugate_gradients(h, solver):
    # Betty B5: alpha scales half of it, and one iteration too many is NaN. hypertorch H1, BOAT O1: the iterate returned
    # is the one before the last, which is 0 in one dimension and for H = c I.
    def lower(v, batch):
        return 0.5 * v.w @ h @ v.w - v.w @ v.x

    x = torch.tensor([1.0, -2.0], dtype=torch.float64)[: len(h)]
    w = torch.linalg.solve(h, x)
    graph = bilevel(pull_to(3), lower, x=x, w=w, response=mlo.Implicit(solver))
    torch.testing.assert_close(gradient(graph), torch.linalg.solve(h, w - 3), rtol=1e-10, atol=1e-12)


def test_all_look_ahead_steps_count():
    # Betty B6: 0.1, one of five steps.
    graph = bilevel(lambda v, batch: v.w, pull_to("x"), sgd=0.1, steps=5)
    assert gradient(graph) == EXACT(1 - 0.9**5, rel=1e-10)


def test_a_schedule_reaches_the_unrolled_steps():
    # higher: schedulers have no effect inside its context.
    rates = [0.5, 0.25, 0.125]
    update = torchopt.sgd(lr=lambda count: rates[int(count)])
    graph = bilevel(lambda v, batch: v.w, pull_to("x"), update=update, steps=3)
    assert gradient(graph) == EXACT(1 - 0.5 * 0.75 * 0.875, rel=1e-10)


def test_the_sign_and_no_leak():
    # BOAT O2: +2.512 for -0.492: d(lower loss)/d(upper variable) leaks into .grad.
    x = torch.nn.Parameter(scalar(1))
    top = mlo.Problem("x", pull_to(2), x, reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem("w", pull_to("x"), scalar(0), reads=["x"], update=torchopt.sgd(0.1), steps=5)
    found = [gradient(mlo.ProblemGraph([top, low])) for _ in range(2)]
    answer = 1 - 0.9**5
    assert found == [EXACT((answer - 2) * answer, rel=1e-10)] * 2
    assert x.grad is None


@pytest.mark.filterwarnings("ignore::mlo.UnconvergedWarning")  # ten terms are few on purpose
@pytest.mark.parametrize("terms", [10, 50])
def test_a_solver_uses_its_own_settings(terms):
    # BOAT O4: Neumann takes its number of terms from the settings of CG: -1.372 for -1.991.
    rule = mlo.Implicit(mlo.Neumann(max_steps=terms, step_size=0.1))
    graph = bilevel(pull_to(3), pull_to("x"), w=1, response=rule)
    assert gradient(graph) == EXACT(-2 * (1 - 0.9 ** (terms + 1)), rel=1e-10)


SOLVERS = [mlo.CG(), mlo.Neumann(step_size=1.0), mlo.Dense()]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
def test_an_entry_that_the_coupling_leaves_out(solver):
    # hypertorch H2: neumann and exact raise where an input is unused.
    def lower(v, batch):
        return 0.5 * (v.w["a"] - v.x["used"]) ** 2 + 0.5 * v.w["b"] ** 2

    x = {"used": scalar(1), "unused": scalar(1)}
    top = mlo.Problem("x", lambda v, batch: 2 * v.w["a"], x, reads=["w"], update=torchopt.sgd(0.1))
    low = {"reads": ["x"], "update": torchopt.sgd(1.0), "response": mlo.Implicit(solver)}
    graph = mlo.ProblemGraph([top, mlo.Problem("w", lower, {"a": scalar(0), "b": scalar(0)}, **low)])
    found = gradient(graph)
    assert (float(found["used"]), float(found["unused"])) == (EXACT(2, rel=1e-10), 0.0)


def over_an_implicit_bottom():
    """m has the reduced objective w*(m)^2 - u m with w*(m) = m^2: at m = 2 its curvature is 48."""

    def middle(v, batch):
        return v.w**2 - v.u * v.m

    def bottom(v, batch):
        return 0.5 * (v.w - v.m**2) ** 2

    u = mlo.Problem("u", lambda v, batch: v.m, scalar(32), reads=["m"], update=torchopt.sgd(0.1))
    m = mlo.Problem("m", middle, scalar(2), reads=["w", "u"], update=torchopt.sgd(0.01), steps=2)
    low = {"reads": ["m"], "update": torchopt.sgd(1.0), "response": mlo.Implicit()}
    return mlo.ProblemGraph([u, m, mlo.Problem("w", bottom, scalar(0), **low)])


def test_a_second_derivative_through_an_implicit_answer():
    # TorchOpt T1: 32 for d2(w*^2)/dm2 = 12 m^2 = 48.
    context = make_context(over_an_implicit_bottom(), {}, {})
    m = scalar(2).requires_grad_()
    loss = objective(context.with_values({"m": {"value": m}}), "m")
    (first,) = torch.autograd.grad(loss, m, create_graph=True)
    (second,) = torch.autograd.grad(first, m)
    assert float(second) == EXACT(48, rel=1e-10)


def test_unrolled_steps_over_an_implicit_bottom():
    # TorchOpt T1: the curvature of the bottom is lost. At u = 32 m stands still, so dm/du = eta + (1 - 48 eta) eta.
    assert gradient(over_an_implicit_bottom(), "u") == EXACT(0.01 * (2 - 48 * 0.01), rel=1e-10)


@pytest.mark.parametrize("rule", [*RULES, mlo.Implicit(mlo.Neumann(step_size=0.9))], ids=str)
def test_variables_without_dimensions(rule):
    # TorchOpt T2 (issue 222): 0 for 4, as a scalar counts as no entries. Newton steps make both rules exact.
    graph = bilevel(lambda v, batch: v.w**2, lambda v, batch: 0.5 * (v.w - v.x**2) ** 2, x=1, sgd=1.0, response=rule)
    assert mlo.hypergradient(graph, of="x").shape == ()
    assert gradient(graph) == EXACT(4, rel=1e-9)  # the Neumann series is cut at a relative residual of 1e-10


def layered(depth, width):
    """A cascade: each problem of a layer reads the whole layer below it, the deepest layer reads the top."""

    def loss(name, reads):
        return lambda v, batch: 0.5 * (v[name] - sum(v[read] for read in reads) / width) ** 2

    layers = [[f"{d}.{i}" for i in range(width)] for d in range(depth)]
    top = mlo.Problem(
        "x", lambda v, batch: sum(v[name] for name in layers[0]), scalar(1), reads=layers[0], update=torchopt.sgd(0.1)
    )
    problems = [top]
    for names, below in zip(layers, [*layers[1:], ["x"]], strict=True):
        how = {"reads": below, "update": torchopt.sgd(1.0)}
        problems += [mlo.Problem(name, loss(name, below), scalar(0), **how) for name in names]
    return mlo.ProblemGraph(problems)


@pytest.mark.parametrize("depth", [2, 5, 12])
def test_one_pullback_for_each_problem_not_for_each_path(depth):
    # Betty B10: one for each path, 4^12 = 16,777,216 here.
    width, graph = 4, layered(depth, 4)
    context = make_context(graph, {}, {})
    solved = total_gradient(context, "x", ("x",))
    assert context.tally.pullbacks == depth * width
    # The deepest layer answers x / width, each layer above the mean below: the loss is x.
    assert float(solved.seen.parts["x"]["value"]) == EXACT(1, rel=1e-10)
