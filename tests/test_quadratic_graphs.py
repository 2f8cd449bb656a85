"""Random quadratic problem graphs against their closed form, and the closed form against brute force.

Tolerances. All forms have eigenvalues in about 0.5 .. 8, so that rounding and the solvers' tolerances (1e-12) are
amplified by less than 1e3 for each level: 1e-8 holds with room for exact products. A central difference of a quadratic
loss has no truncation, only rounding: (machine epsilon)^(2/3) = 4e-11 for one level, and nested differences lose a
further third of the digits each time (4e-11^(2/3) = 1e-7 for two). 1e-5 is asked for.
"""

from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings

import mlo
from mlo.testing import quadratic_graph
from mlo.testing.strategies import quadratic_graphs

EXACT, DIFFERENCES = 1e-8, 1e-5

UNROLL = mlo.Unroll()
CG = mlo.Implicit(mlo.CG(tol=1e-12))
DENSE = mlo.Implicit(mlo.Dense())
NEUMANN = mlo.Implicit(mlo.Neumann(max_steps=3000, step_size=0.1, tol=1e-11))
UNROLL_FD = mlo.Unroll(product=mlo.FiniteDifference())
DENSE_FD = mlo.Implicit(mlo.Dense(), product=mlo.FiniteDifference())
CG_FD = mlo.Implicit(mlo.CG(max_steps=20, tol=1e-8), product=mlo.FiniteDifference())

# For each problem, outermost first, what it reads.
GRAPHS = {
    "bilevel": [[1], [0]],
    "bilevel, read both ways by three": [[1, 2], [0], [0]],
    "cascade": [[2], [0], [1]],
    "cascade of four": [[3], [0], [1], [2]],
    "min-min-min": [[1], [2], [0, 1]],
    "min-min-min, all reads": [[1, 2], [0, 2], [0, 1]],
    "min-min-min-min": [[1], [2], [3], [0, 1, 2]],
    "diamond": [[1, 2], [3], [3], [0]],
    "siblings": [[1, 2, 3], [0], [0], [0]],
    "a read that skips a level": [[2], [2], [0, 1]],
    "a deeper problem that does not respond": [[1, 2], [0, 2], []],
    "one that does not respond, over one that responds to it": [[1, 2], [0, 2], [3], [2]],
    "two nests": [[1, 3], [0, 2], [1], [0, 4], [3]],
}


def relative(found, truth):
    return float((found - truth).norm() / truth.norm())


def error(drawn):
    return relative(mlo.hypergradient(drawn.graph, of=drawn.of), drawn.hypergradient)


def answer_errors(drawn):
    """Train one step: the answers that the engine keeps are those of before the outer update."""
    engine = mlo.Engine(drawn.graph)
    engine.step()
    return [relative(engine.values[name], value) for name, value in drawn.answers.items()]


@given(quadratic_graphs(levels=(2, 3), rules=[UNROLL, CG, DENSE]))
def test_any_mixture_of_exact_rules_equals_the_closed_form(drawn):
    assert error(drawn) <= EXACT


@given(quadratic_graphs(levels=(2, 5), rules=[UNROLL, DENSE], largest=2))
def test_two_to_five_levels_equal_the_closed_form(drawn):
    assert error(drawn) <= EXACT


def test_two_learners_that_only_a_third_reads():
    # p1 and p2 do not depend on p3, nor on each other.
    drawn = quadratic_graph([[3], [0], [0], [1, 2]], dims=[2, 1, 2, 1], rules=[UNROLL, DENSE, CG], seed=0)
    assert error(drawn) <= EXACT


@settings(max_examples=8)
@given(quadratic_graphs(levels=(2, 2), rules=[NEUMANN], largest=2))
def test_a_neumann_series_equals_the_closed_form(drawn):
    assert error(drawn) <= EXACT


@pytest.mark.parametrize("other", [UNROLL, CG, DENSE])
@pytest.mark.parametrize("lowest", [True, False])
def test_a_neumann_series_mixes_with_every_rule(other, lowest):
    rules = [other, NEUMANN] if lowest else [NEUMANN, other]
    short = mlo.Implicit(mlo.Neumann(max_steps=150, step_size=0.3, tol=1e-11))
    rules = [short if rule is NEUMANN else rule for rule in rules]
    assert error(quadratic_graph([[1], [2], [0, 1]], dims=[2, 1, 2], rules=rules, seed=3)) <= EXACT


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("rule", [UNROLL, CG, DENSE], ids=["unroll", "cg", "dense"])
def test_named_graphs_equal_the_closed_form(name, rule):
    reads = GRAPHS[name]
    for seed in range(2):
        drawn = quadratic_graph(reads, dims=[2, 1, 2, 1, 2][: len(reads)], rules=[rule] * (len(reads) - 1), seed=seed)
        assert error(drawn) <= EXACT


@pytest.mark.parametrize("rules", [[DENSE, UNROLL, CG], [UNROLL, DENSE, UNROLL], [CG, UNROLL, DENSE]])
def test_rules_alternate_over_four_nested_levels(rules):
    drawn = quadratic_graph([[1, 2, 3], [0, 2], [1, 3], [0, 1, 2]], dims=[2] * 4, rules=rules, seed=5)
    assert error(drawn) <= EXACT


@given(quadratic_graphs(levels=(2, 3), rules=[UNROLL_FD, DENSE_FD, CG_FD]))
def test_differences_equal_the_closed_form(drawn):
    assert error(drawn) <= DIFFERENCES


@given(quadratic_graphs(levels=(2, 3), rules=[UNROLL, DENSE, UNROLL_FD, DENSE_FD]))
def test_differences_mix_with_exact_products(drawn):
    assert error(drawn) <= DIFFERENCES


@pytest.mark.parametrize("rule", [UNROLL_FD, DENSE_FD], ids=["unroll", "implicit"])
def test_differences_nested_in_differences_keep_their_digits(rule):
    # Each further level takes the 2/3 power of the error: 4e-11, 1e-7, 2e-5; ten times that is allowed.
    for reads, allowed in [([[1], [2], [0, 1]], 1e-6), ([[1], [2], [3], [0, 1, 2]], 2e-4)]:
        drawn = quadratic_graph(reads, dims=[2] * len(reads), rules=[rule] * (len(reads) - 1), seed=1)
        assert error(drawn) <= allowed


@given(quadratic_graphs(levels=(2, 3), rules=[UNROLL, DENSE, UNROLL_FD]))
def test_answers_equal_the_closed_form(drawn):
    assert max(answer_errors(drawn)) <= DIFFERENCES


@pytest.mark.parametrize("steps", [1, 4])
def test_what_is_not_read_back_is_not_solved_again(steps):
    # Each of four problems is solved once: a problem that the loss above does not see has no place inside that solve.
    drawn = quadratic_graph(GRAPHS["cascade of four"], dims=[1] * 4, rules=[UNROLL] * 3, seed=0, steps=steps)
    assert mlo.Engine(drawn.graph).step().gradients == 1 + 3 * steps


# The oracle ----------------------------------------------------------------------------------------------------------


class BruteForce:
    """The definition, word for word: a nested argmin, each found by fitting its objective from its values.

    A quadratic is fitted exactly by its values at 0, e_i, -e_i and e_i + e_j; nothing is differentiated.
    """

    def __init__(self, graph, reads):
        self.reads, self.losses = reads, [problem.loss for problem in graph.problems]
        self.start = [problem.variable for problem in graph.problems]

    def sees(self, q, other, inside):
        """Tell whether the loss of q sees `other`, itself or through problems deeper than `inside`."""
        seen, todo = set(), [q]
        while todo:
            for read in self.reads[todo.pop()]:
                if read == other:
                    return True
                if read > inside and read not in seen:
                    seen.add(read)
                    todo.append(read)
        return False

    def settled(self, p, x, names):
        """Answer `names`, again and again until each has seen the answers of the others."""
        for _ in names:
            for q in reversed(names):
                x = [*x[:q], self.answer(q, x), *x[q + 1 :]]
        return x

    def objective(self, p, x):
        names = [q for q in range(p + 1, len(x)) if self.sees(q, p, p) and self.sees(p, q, p)]
        x = self.settled(p, x, names)
        return self.losses[p]({f"p{i}": value for i, value in enumerate(x)}, None)

    def fit(self, p, x):
        """Return gradient at 0 and Hessian of the objective of p in its own variable."""
        eye = torch.eye(len(x[p]), dtype=torch.float64)

        def f(at):
            return self.objective(p, [*x[:p], at, *x[p + 1 :]])

        zero = f(torch.zeros_like(x[p]))
        up, down = torch.stack([f(e) for e in eye]), torch.stack([f(-e) for e in eye])
        gradient, diagonal = (up - down) / 2, up + down - 2 * zero
        hessian = torch.diag(diagonal)
        for i in range(len(eye)):
            for j in range(i):
                hessian[i, j] = hessian[j, i] = f(eye[i] + eye[j]) - up[i] - up[j] + zero
        return gradient, hessian

    def answer(self, p, x):
        gradient, hessian = self.fit(p, x)
        return torch.linalg.solve(hessian, -gradient)

    def hypergradient(self):
        x = list(self.start)
        names = list(range(1, len(x)))
        x = self.settled(0, x, [q for q in names if not self.sees(q, 0, 0)])
        gradient, hessian = self.fit(0, x)
        return gradient + hessian @ x[0]


# Brute force costs (values for one fit)^depth.
@pytest.mark.parametrize("name", [name for name, reads in GRAPHS.items() if len(reads) < 4 or name == "diamond"])
def test_the_closed_form_equals_brute_force(name):
    # Fits are exact up to rounding, 1e-15 times the conditioning of each level: 1e-10.
    reads = GRAPHS[name]
    dims = [2, 1, 2, 1][: len(reads)]
    drawn = quadratic_graph(reads, dims=dims, rules=[UNROLL] * (len(reads) - 1), seed=7)
    assert relative(BruteForce(drawn.graph, reads).hypergradient(), drawn.hypergradient) <= 1e-10


# What is drawn -------------------------------------------------------------------------------------------------------


def kinds(graph):
    """Name the patterns that a graph holds."""
    position = {name: i for i, name in enumerate(graph.names)}
    inner = {name: set(graph.responders(name)) for name in graph.names}
    reads = {p.name: set(p.reads) for p in graph.problems}
    if any(inner[q] & reads[q] for q in inner["p0"]):
        yield "nested"
    if any(reads[q] & inner["p0"] and not reads[q] & inner[q] for q in inner["p0"]):
        yield "cascade"
    if any(len([r for r in inner["p0"] if q in reads[r]]) >= 2 for q in inner["p0"]):
        yield "diamond"
    if len([q for q in inner["p0"] if "p0" in reads[q]]) >= 2:
        yield "siblings"
    if graph.solved_before("p0"):
        yield "not responding"
    for outer, deeper in pairwise(graph.names):
        if any(position[r] > position[deeper] for r in reads[outer]):
            yield "skip"


def test_drawn_graphs_hold_every_pattern():
    found, total = Counter(), []

    @settings(max_examples=200, database=None)
    @given(quadratic_graphs(levels=(2, 4)))
    def draw(drawn):
        total.append(float(drawn.hypergradient.norm()))
        found.update(set(kinds(drawn.graph)))

    draw()
    for kind in ["nested", "cascade", "diamond", "siblings", "not responding", "skip"]:
        assert found[kind] >= 10, f"{kind} was drawn {found[kind]} times among {len(total)} graphs"
    assert sum(size > 1e-3 for size in total) >= 0.95 * len(total)
