"""Rows on Betty whose figures are hypergradients."""

import torch
import torchopt
from torch import Tensor
from torch.nn.functional import dropout

import mlo
from benchmarks.peers.problems import H2, H3, bilevel, linear_system, pull_to, scalar, solved_by, total
from benchmarks.peers.record import Defect, Value

NEWTON = {"update": torchopt.sgd(1.0), "response": mlo.Implicit()}


def chain(upper: object, reads: list[str], low_reads: str, m_reads: str) -> mlo.ProblemGraph:
    u = mlo.Problem("u", upper, scalar(1), reads=reads, update=torchopt.sgd(0.1))
    m = mlo.Problem("m", pull_to(m_reads, "m"), scalar(0), reads=[m_reads], **NEWTON)
    low = mlo.Problem("low", pull_to(low_reads, "low"), scalar(0), reads=[low_reads], **NEWTON)
    return mlo.ProblemGraph([u, m, low])


def cascade() -> Value:
    return total(chain(pull_to(3, "low"), ["low"], low_reads="m", m_reads="u"), "u")


def two_reads() -> Value:
    def upper(v: mlo.View, _: object) -> Tensor:
        return 0.5 * (v.m - 3) ** 2 + 0.5 * (v.low - 3) ** 2

    return total(chain(upper, ["m", "low"], low_reads="m", m_reads="u"), "u")


def nested() -> Value:
    def middle(v: mlo.View, _: object) -> Tensor:
        return 0.5 * v.m**2 + 0.5 * (v.low - 1) ** 2

    def bottom(v: mlo.View, _: object) -> Tensor:
        return 0.5 * (v.low - v.m - v.u) ** 2

    how = {"response": mlo.Implicit()}
    u = mlo.Problem("u", pull_to(3, "m"), scalar(1), reads=["m"], update=torchopt.sgd(0.1))
    # The reduced middle objective m^2/2 + (m + u - 1)^2/2 has curvature 2: one step of size 1/2 is a Newton step.
    m = mlo.Problem("m", middle, scalar(0), reads=["low"], update=torchopt.sgd(0.5), **how)
    low = mlo.Problem("low", bottom, scalar(0), reads=["m", "u"], update=torchopt.sgd(1.0), **how)
    return total(mlo.ProblemGraph([u, m, low]), "u")


def implicit(curvature: float) -> float:
    return total(bilevel(pull_to(3), pull_to("x", curvature=curvature), w=1, response=mlo.Implicit()))


def look_ahead(rate: float) -> float:
    return total(bilevel(pull_to(3), pull_to("x"), w=1, rate=rate))


def where() -> Value:
    return total(bilevel(pull_to(0), lambda v, _: 0.5 * v.x * v.w**2, w=2))


def masks() -> Value:
    def lower(v: mlo.View, _: object) -> Tensor:
        return 0.5 * (v.w - v.x) ** 2 + dropout(torch.ones(20, dtype=torch.float64), 0.5).mean() * v.x

    rule = mlo.Unroll(product=mlo.FiniteDifference(epsilon=0.01))
    found = []
    for seed in range(12):
        torch.manual_seed(seed)
        found.append(total(bilevel(pull_to(3), lower, w=1, rate=1.0, response=rule)))
    values = torch.tensor(found, dtype=torch.float64)
    return float(values.mean()), float(values.std())


def looked_ahead() -> Value:
    engine = mlo.Engine(bilevel(pull_to(3), pull_to("x"), still=True, steps=5), look_ahead=True)
    engine.step()
    return float(engine.values["w"])


def stopped() -> Value:
    scores, best, waited = iter([3.0, 2.0, 2.0, 2.0, 1.0]), float("inf"), 0
    engine = mlo.Engine(bilevel(pull_to(3), pull_to("x")))
    for _ in engine.run(5):
        score = next(scores)
        waited = 0 if score < best else waited + 1
        best = min(best, score)
        if waited == 2:
            break
    return float(engine.step_count)


DEFECTS = (
    Defect("B0", "cascade: U reads L, L reads M, M reads U", -2.0, cascade, note="Betty is right on cascades."),
    Defect(
        "B1",
        "U reads M and L, L reads M, M reads U; declared as U above M above L",
        -4.0,
        two_reads,
        note="A choice: its docs let one ignore indirect interactions. Declared as a cascade, M below L, it is right.",
    ),
    Defect(
        "B2",
        "min over U of min over M of min over L; M's loss is (M² + (L - 1)²)/2",
        1.5,
        nested,
        note="A choice, as for B1; `cg` and `neumann` refuse this graph.",
    ),
    Defect(
        "B3",
        "implicit gradient, curvature 0.1, 1, 10",
        (-2.0, -2.0, -2.0),
        lambda: tuple(implicit(h) for h in (0.1, 1.0, 10.0)),
        note="Its default `darts` stands the identity in for the inverse Hessian; `cg` and `neumann` do not.",
    ),
    Defect(
        "B3b",
        "DARTS gradient, one step of size 0.1, 0.01",
        (-0.2, -0.02),
        lambda: (look_ahead(0.1), look_ahead(0.01)),
        note="The step size of DARTS is left out, for Adam and RMSprop too.",
    ),
    Defect(
        "B3c",
        "DARTS gradient, f = x w²/2, w = 2, step 0.1: taken at w or at w'",
        -0.36,
        where,
        note="It is taken at w', and without the step size.",
    ),
    Defect(
        "B4",
        "DARTS gradient with dropout: mean and deviation over 12 seeds",
        (-2.0, 0.0),
        masks,
        note="The two sides of its difference draw different masks.",
    ),
    Defect(
        "B5",
        "CG, 2 x 2, two iterations (theirs: `cg_alpha=0.1`)",
        linear_system(H2)[2],
        lambda: solved_by(mlo.CG(max_steps=2), H2),
        note="0.2.1 also builds directions from the old residual (issue 15), which its repository has mended since.",
    ),
    Defect(
        "B5b",
        "CG, one unknown, three iterations",
        linear_system(H2[:1, :1])[2],
        lambda: solved_by(mlo.CG(max_steps=3), H2[:1, :1]),
        note="It has no stopping test: 0/0.",
    ),
    Defect(
        "B5c",
        "CG, 3 x 3, three iterations",
        linear_system(H3)[2],
        lambda: solved_by(mlo.CG(max_steps=3), H3),
        note="Directions from the old residual, as for B5.",
    ),
    Defect("B6", "w after five steps that are made again after a look ahead", 1 - 0.9**5, looked_ahead),
    Defect("B7", "steps made with a patience of 2; scores 3, 2, 2, 2, 1", 4.0, stopped),
)
