"""Random smooth problem graphs against two recursions written here, independent of the library's sweep.

`Nested` is the definition for unrolled answers: every solve is a loop whose gradients keep their graph, and one call of
autograd differentiates the whole. `Stationary` is the definition for implicit answers: each is the root of its reduced
gradient, made differentiable by two Newton steps with a dense Hessian (each step doubles the order to which the
derivatives of the root are right, so that two give the first three).

Tolerances. Both sides are the same function of the same numbers: they differ by rounding, which a few tens of
operations per level amplify to about 1e-13; 1e-8 is asked for. Differences: 1e-5, as (machine epsilon)^(4/9) = 1e-7
times third derivatives (of order 1) and the conditioning.
"""

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

import mlo
from mlo.testing.strategies import smooth_graphs

EXACT, DIFFERENCES = 1e-8, 1e-5
FD = mlo.FiniteDifference()


def relative(found, truth):
    return float((found - truth).norm() / truth.norm().clamp(min=1e-3))


class Nested:
    """A hypergradient by one call of autograd through nested loops."""

    def __init__(self, graph, steppers=None):
        self.problems = {problem.name: problem for problem in graph.problems}
        self.names = list(self.problems)
        self.steppers = {} if steppers is None else steppers

    def deeper(self, name):
        return self.names[self.names.index(name) + 1 :]

    def moving(self, name):
        """Return the problems that are solved inside `name`, found by growing the set of what reads it."""
        found = set()
        for _ in self.names:
            found |= {q for q in self.deeper(name) if ({name} | found) & set(self.problems[q].reads)}
        return found

    def needs(self, name):
        inside = {name} | self.moving(name)
        return {read for q in inside for read in self.problems[q].reads} - inside

    def settle(self, names, values):
        """Answer `names`, each after those that it needs."""
        values, left = dict(values), set(names)
        while left:
            name = next(q for q in self.names if q in left and not self.needs(q) & left)
            values[name] = self.answer(name, values)
            left.remove(name)
        return values

    def objective(self, name, values):
        return self.problems[name].loss(self.settle(self.moving(name), values), None)

    def answer(self, name, values):
        problem = self.problems[name]
        step = self.steppers.get(name) or torchopt_stepper(problem.update)
        x = problem.variable.clone().requires_grad_()
        for _ in range(problem.steps):
            (g,) = torch.autograd.grad(self.objective(name, {**values, name: x}), x, create_graph=True)
            x = step(x, g)
        return x

    def hypergradient(self):
        top = self.names[0]
        values = {name: problem.variable for name, problem in self.problems.items()}
        values = {k: v.detach() for k, v in self.settle(set(self.deeper(top)) - self.moving(top), values).items()}
        a = values[top].clone().requires_grad_()
        return torch.autograd.grad(self.objective(top, {**values, top: a}), a)[0]


def torchopt_stepper(transformation):
    state = None

    def step(x, g):
        nonlocal state
        state = transformation.init({"x": x}) if state is None else state
        updates, state = transformation.update({"x": g}, state, params={"x": x}, inplace=False)
        return x + updates["x"]

    return step


def hand_stepper(kind, lr):
    """Write the update out: plain descent, heavy ball, or Adam."""
    memory = {"t": 0, "m": 0.0, "v": 0.0}

    def step(x, g):
        t = memory["t"] = memory["t"] + 1
        if kind == "sgd":
            return x - lr * g
        if kind == "momentum":
            memory["m"] = 0.9 * memory["m"] + g
            return x - lr * memory["m"]
        memory["m"] = 0.9 * memory["m"] + 0.1 * g
        memory["v"] = 0.999 * memory["v"] + 0.001 * g * g
        first, second = (1 - decay ** torch.tensor(t) for decay in (0.9, 0.999))  # torchopt takes them in float32
        return x - lr * (memory["m"] / first) / ((memory["v"] / second).sqrt() + 1e-8)

    return step


class Fresh(dict):
    """A new stepper for every solve: an optimizer's state starts afresh."""

    def __init__(self, kinds):
        self.kinds = kinds

    def get(self, name):
        return hand_stepper(*self.kinds[name])


UPDATES = {
    "sgd": torchopt.sgd(0.1),
    "momentum": torchopt.sgd(0.1, momentum=0.9),
    "adam": torchopt.adam(0.1),
}


def sine_graph(reads, kinds, steps, seed, rules=(), dims=(2, 3, 2, 1)):
    """Return a graph of losses sum sin(M x) + |x - m|^2, which are smooth and have all mixed derivatives."""
    generator = torch.Generator().manual_seed(seed)
    problems = []
    for index, others in enumerate(reads):
        seen = [index, *others]
        size = sum(dims[p] for p in seen)
        matrix = torch.randn(4, size, generator=generator, dtype=torch.float64) / size**0.5
        shift = torch.randn(size, generator=generator, dtype=torch.float64)

        def loss(v, batch, seen=seen, matrix=matrix, shift=shift):
            x = torch.cat([v[f"p{p}"] for p in seen])
            return torch.sin(matrix @ x).sum() + ((x - shift) ** 2).sum()

        start = torch.randn(dims[index], generator=generator, dtype=torch.float64)
        problems.append(
            mlo.Problem(
                f"p{index}",
                loss,
                start,
                reads=[f"p{p}" for p in others],
                update=UPDATES[kinds[index % len(kinds)]],
                steps=(steps if isinstance(steps, int) else steps[index]) if index else 1,
                response=rules[index - 1] if index and rules else mlo.Unroll(),
            )
        )
    return mlo.ProblemGraph(problems)


SHAPES = {
    "bilevel": [[1], [0]],
    "cascade": [[2], [0], [1]],
    "nested": [[1, 2], [0, 2], [0, 1]],
    "min-min-min": [[1], [2], [0, 1]],
    "siblings": [[1, 2], [0], [0]],
    "diamond": [[1, 2], [3], [3], [0]],
    "skip": [[2], [2], [0, 1]],
    "four nested": [[1], [2], [3], [0, 1, 2]],
}


@pytest.mark.parametrize("kind", UPDATES)
@pytest.mark.parametrize("shape", SHAPES)
def test_unrolling_equals_autograd_through_hand_written_loops(shape, kind):
    graph = sine_graph(SHAPES[shape], [kind], steps=2 if "four" in shape else 3, seed=1)
    reference = Nested(graph, Fresh({p.name: (kind, 0.1) for p in graph.problems}))
    assert relative(mlo.hypergradient(graph, of="p0"), reference.hypergradient()) <= EXACT


@settings(max_examples=12)
@given(st.sampled_from(["cascade", "nested", "min-min-min"]), st.integers(0, 2**16), st.integers(1, 3))
def test_optimizers_mix(shape, seed, steps):
    kinds = ["adam", "momentum", "sgd"]
    graph = sine_graph(SHAPES[shape], kinds, steps, seed)
    reference = Nested(graph, Fresh({f"p{i}": (kinds[i % 3], 0.1) for i in range(3)}))
    assert relative(mlo.hypergradient(graph, of="p0"), reference.hypergradient()) <= EXACT


@given(smooth_graphs(levels=(2, 3)))
def test_drawn_graphs_equal_autograd_through_loops(graph):
    assert relative(mlo.hypergradient(graph, of="p0"), Nested(graph).hypergradient()) <= EXACT


@settings(max_examples=15)
@given(smooth_graphs(levels=(2, 3), rules=[mlo.Unroll(), mlo.Unroll(product=FD)]))
def test_drawn_graphs_by_differences(graph):
    assert relative(mlo.hypergradient(graph, of="p0"), Nested(graph).hypergradient()) <= DIFFERENCES


# Implicit ------------------------------------------------------------------------------------------------------------


class Stationary(Nested):
    """The same recursion in which an answer is a stationary point."""

    def answer(self, name, values):
        x = self.problems[name].variable
        for _ in range(8):  # from quadratic convergence on, these go to rounding
            x = self.newton(name, values, x.detach().requires_grad_()).detach()
        for _ in range(2):
            x = self.newton(name, values, x if x.requires_grad else x.requires_grad_())
        return x

    def newton(self, name, values, x):
        (g,) = torch.autograd.grad(self.objective(name, {**values, name: x}), x, create_graph=True)
        rows = [torch.autograd.grad(entry, x, create_graph=True)[0] for entry in g]
        return x - torch.linalg.solve(torch.stack(rows), g)

    def answers(self):
        values = {name: problem.variable for name, problem in self.problems.items()}
        return {k: v.detach() for k, v in self.settle(self.deeper(self.names[0]), values).items()}


RULES = {
    "dense": mlo.Implicit(mlo.Dense()),
    "cg": mlo.Implicit(mlo.CG(tol=1e-12)),
    "neumann": mlo.Implicit(mlo.Neumann(max_steps=120, step_size=0.35, tol=1e-11)),
    "dense, differences": mlo.Implicit(mlo.Dense(), product=FD),
    "cg, differences": mlo.Implicit(mlo.CG(max_steps=20, tol=1e-8), product=FD),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", ["bilevel", "cascade", "min-min-min"])
def test_implicit_answers_equal_the_implicit_function_theorem(shape, rule):
    # With this seed the direct derivative alone is off by 16 % and more. Started at the stationary points, one step is
    # enough, but for differences of a gradient through an answer: that one has to be stationary at the shifted points
    # too, and 80 steps leave 0.8^80 = 2e-8 of the way.
    steps = (1, 1, 80) if "differences" in rule and shape == "min-min-min" else 1
    graph = sine_graph(SHAPES[shape], ["sgd"], steps, 7, [RULES[rule]] * 3, dims=(2, 2, 2))
    reference = Stationary(graph)
    found = mlo.hypergradient(graph, of="p0", values=reference.answers())
    assert relative(found, reference.hypergradient()) <= (DIFFERENCES if "differences" in rule else EXACT)
