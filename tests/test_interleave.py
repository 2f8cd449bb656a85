"""Chains of learners against the adjoint formula and against autograd, both written out here.

With W'_l = a W_l - b eta g_l + rho W'_{l-1} and (a, b, rho) = (1 - c, 1, c) or (1, 1, c) / (1 + c), c = 2 eta lambda:

    p_l = [l in the last round] grad_W V(W'_l) + rho p_{l+1}
    dF/dA = sum_k d_A V_k - sum_l grad_A < grad L(A, W_l, H_l), (eta b p_l, eta grad_H V) >

Tolerance: the same few hundred operations in another order, so 1e-12 relative. Differences: 1e-5.
"""

import pytest
import torch
import torchopt

import mlo

EXACT, DIFFERENCES = 1e-12, 1e-5
ETA, FD = 0.1, mlo.FiniteDifference()
GRID = [(k, m, form, c) for k in (1, 2, 3) for m in (1, 2, 3) for form in ("implicit", "explicit") for c in (0.4, 1.5)]


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def objective(a, w, k, split):
    """A smooth loss of the mixture `a`, the shared `w` and a head, on data of learner k."""
    x, y = randn(5, 3, seed=10 * k + split), randn(5, seed=100 * k + split)
    hidden = torch.tanh(x @ w["body.w"]) * torch.softmax(a, 0)[:2] + torch.sigmoid(x @ w["body.w"]) * a[2]
    return ((hidden @ w["head"] - y) ** 2).mean() + 0.5 * sum((v * v).sum() for v in w.values())


def starts(count):
    """Return different weights for each stage: a stage has its own."""
    return [{"body.w": randn(3, 2, seed=7 * i + 1), "head": randn(2, seed=7 * i + 2)} for i in range(count)]


def learner(k, steps=1, response=None, lr=ETA):
    def train(v, batch):
        return objective(v.a, v[f"t{k}"], k, 0)

    rule = response or mlo.Unroll()
    start = {"body.w": torch.zeros(3, 2, dtype=torch.float64), "head": torch.zeros(2, dtype=torch.float64)}
    return mlo.Problem(f"t{k}", train, start, reads=["a"], update=torchopt.sgd(lr), steps=steps, response=rule)


def chain(K, M, proximal, **options):
    """Return the graph of K learners and M rounds under an architecture, and where its stages start."""
    stages = mlo.interleave([learner(k, **options) for k in range(K)], rounds=M, proximal=proximal, shared="body")
    last = [f"t{k}@{M}" for k in range(K)]

    def validate(v, batch):
        return sum(objective(v.a, v[name], k, 1) for k, name in enumerate(last))

    top = mlo.Problem("a", validate, randn(3, seed=0), reads=last, update=torchopt.adam(0.1))
    names = [f"t{k}@{m}" for m in range(1, M + 1) for k in range(K)]
    return mlo.ProblemGraph([top, *stages]), dict(zip(names, starts(K * M), strict=True))


def gradients(loss, w, **options):
    return dict(zip(w, torch.autograd.grad(loss, list(w.values()), **options), strict=True))


def by_autograd(K, M, form, c, steps=1, first=None):
    """Differentiate the whole chain as one function."""
    a = randn(3, seed=0).requires_grad_()
    ended, previous = [], first
    for index, start in enumerate(starts(K * M)):
        w = {key: value.requires_grad_() for key, value in start.items()}
        for _ in range(steps):
            g = gradients(objective(a, w, index % K, 0), w, create_graph=True)
            new = {key: w[key] - ETA * g[key] for key in w}
            if previous is not None:
                body = w["body.w"] - ETA * g["body.w"]
                near = previous["body.w"]
                new["body.w"] = (body + c * near) / (1 + c) if form == "implicit" else body - c * (w["body.w"] - near)
            w = new
        ended.append(w)
        previous = w
    total = sum(objective(a, w, k, 1) for k, w in enumerate(ended[-K:]))
    return torch.autograd.grad(total, a)[0], ended


def by_adjoint(K, M, form, c):
    """Evaluate the formula: every stage's gradient at its own start, and one backward recursion of axpys."""
    a, rows = randn(3, seed=0).requires_grad_(), starts(K * M)
    scale = [(1.0, 1.0, 0.0)] + [(1 - c, 1.0, c) if form == "explicit" else (1 / (1 + c), 1 / (1 + c), c / (1 + c))] * 8
    inner, ended, previous = [], [], torch.zeros(3, 2, dtype=torch.float64)
    for index, w in enumerate(rows):
        w = {key: value.requires_grad_() for key, value in w.items()}
        g = gradients(objective(a, w, index % K, 0), w, create_graph=True)
        A, B, rho = scale[index]
        previous = A * w["body.w"].detach() - B * ETA * g["body.w"].detach() + rho * previous
        head = (w["head"] - ETA * g["head"]).detach()
        inner.append(g)
        ended.append({"body.w": previous.clone().requires_grad_(), "head": head.requires_grad_()})
    result, p, q = torch.zeros(3, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.float64), None
    for index in reversed(range(K * M)):
        q = torch.zeros(2, dtype=torch.float64)
        p = p * (scale[index + 1][2] if index + 1 < K * M else 0.0)
        if index >= K * (M - 1):
            value = objective(a, ended[index], index % K, 1)
            direct, found, q = torch.autograd.grad(value, [a, *ended[index].values()])
            result, p = result + direct, p + found
        B = scale[index][1]
        product = (inner[index]["body.w"] * ETA * B * p).sum() + (inner[index]["head"] * ETA * q).sum()
        result = result - torch.autograd.grad(product, a)[0]
    return result


def relative(found, truth):
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize(("K", "M", "form", "c"), GRID)
def test_a_chain_equals_the_adjoint_formula_and_autograd(K, M, form, c):
    proximal = mlo.Proximal(c / (2 * ETA), step_size=ETA, form=form)
    graph, values = chain(K, M, proximal)
    found = mlo.hypergradient(graph, of="a", values=values)
    assert relative(found, by_adjoint(K, M, form, c)) <= EXACT
    assert relative(found, by_autograd(K, M, form, c)[0]) <= EXACT
    differences, _ = chain(K, M, proximal, response=mlo.Unroll(product=FD))
    assert relative(mlo.hypergradient(differences, of="a", values=values), found) <= DIFFERENCES


@pytest.mark.parametrize("form", ["implicit", "explicit"])
@pytest.mark.parametrize(("K", "M"), [(1, 2), (2, 2), (3, 1)])
def test_several_steps_in_a_stage(K, M, form):
    proximal = mlo.Proximal(4.0, step_size=ETA, form=form)
    for rule, allowed in [(mlo.Unroll(), EXACT), (mlo.Unroll(product=FD), DIFFERENCES)]:
        graph, values = chain(K, M, proximal, steps=3, response=rule)
        found = mlo.hypergradient(graph, of="a", values=values)
        assert relative(found, by_autograd(K, M, form, 0.8, steps=3)[0]) <= allowed


def test_implicit_stages_equal_the_converged_chain():
    # The slowest stage contracts by 0.964 a step, so that 700 leave 1e-11 of the way. Both forms end at one point.
    truth, ended = by_autograd(2, 2, "implicit", 0.8, steps=700)
    for form in ("implicit", "explicit"):
        for product, allowed in [(mlo.Exact(), 1e-8), (FD, DIFFERENCES)]:
            response = mlo.Implicit(mlo.CG(tol=1e-12), product=product)
            graph, values = chain(2, 2, mlo.Proximal(4.0, step_size=ETA, form=form), steps=2, response=response)
            found = mlo.hypergradient(graph, of="a", values=dict(zip(values, ended, strict=True)))
            assert relative(found, truth) <= allowed


def test_first_order_is_the_direct_derivative_at_the_answers():
    graph, values = chain(2, 2, mlo.Proximal(4.0, step_size=ETA), response=mlo.FirstOrder())
    unrolled, _ = chain(2, 2, mlo.Proximal(4.0, step_size=ETA))
    engine = mlo.Engine(graph)
    engine.step()
    a = randn(3, seed=0).requires_grad_()
    total = sum(objective(a, engine.values[f"t{k}@2"], k, 1) for k in range(2))
    truth = torch.autograd.grad(total, a)[0]
    assert relative(mlo.hypergradient(graph, of="a"), truth) <= EXACT
    assert relative(mlo.hypergradient(unrolled, of="a", values=values), truth) > 1e-3


def test_names_order_and_predecessors():
    graph, _ = chain(2, 3, mlo.Proximal(1.0, step_size=ETA))
    assert graph.names == ("a", "t1@3", "t0@3", "t1@2", "t0@2", "t1@1", "t0@1")
    assert [graph[name].dependencies for name in graph.names[1:]] == [
        ("a", "t0@3"), ("a", "t1@2"), ("a", "t0@2"), ("a", "t1@1"), ("a", "t0@1"), ("a",)
    ]  # fmt: skip
    assert graph.responders("a") == tuple(reversed(graph.names[1:]))


@pytest.mark.parametrize("form", ["implicit", "explicit"])
def test_lambda_zero_is_independent_learners_bit_for_bit(form):
    graph, values = chain(2, 2, mlo.Proximal(0.0, step_size=ETA, form=form))
    last = [graph["t0@2"], graph["t1@2"]]  # listed so that the sweep adds in the same order
    stages = [mlo.Problem(p.name, p.loss, p.variable, reads=["a"], update=torchopt.sgd(ETA)) for p in last]
    apart = mlo.ProblemGraph([graph["a"], *stages])
    truth = mlo.hypergradient(apart, of="a", values={p.name: values[p.name] for p in last})
    assert torch.equal(mlo.hypergradient(graph, of="a", values=values), truth)


def test_one_learner_and_one_round_is_second_order_darts():
    graph, values = chain(1, 1, mlo.Proximal(100.0, step_size=ETA))
    a, w = randn(3, seed=0).requires_grad_(), {key: v.requires_grad_() for key, v in starts(1)[0].items()}
    g = gradients(objective(a, w, 0, 0), w, create_graph=True)
    ahead = {key: (w[key] - ETA * g[key]).detach().requires_grad_() for key in w}
    direct, *v = torch.autograd.grad(objective(a, ahead, 0, 1), [a, *ahead.values()])
    truth = direct - ETA * torch.autograd.grad(list(g.values()), a, v)[0]
    assert relative(mlo.hypergradient(graph, of="a", values=values), truth) <= EXACT


def test_only_shared_parameters_are_held_and_the_first_stage_is_free():
    # At a huge lambda the implicit step copies the stage before; heads and the first stage move as if alone.
    graph, _ = chain(2, 1, mlo.Proximal(1e12, step_size=ETA))
    free, _ = chain(2, 1, mlo.Proximal(0.0, step_size=ETA))
    held, alone = mlo.Engine(graph), mlo.Engine(free)
    held.step(), alone.step()
    torch.testing.assert_close(held.values["t1@1"]["body.w"], held.values["t0@1"]["body.w"], rtol=0, atol=1e-10)
    assert torch.equal(held.values["t1@1"]["head"], alone.values["t1@1"]["head"])
    assert not torch.equal(held.values["t1@1"]["head"], held.values["t0@1"]["head"])
    assert torch.equal(held.values["t0@1"]["body.w"], alone.values["t0@1"]["body.w"])


def test_every_stage_has_weights_and_an_optimizer_of_its_own():
    graph, values = chain(2, 2, mlo.Proximal(4.0, step_size=ETA))
    engine = mlo.Engine(graph)
    list(engine.run(3))
    ended = [engine.values[name]["body.w"] for name in values]
    assert all(not torch.equal(x, y) for i, x in enumerate(ended) for y in ended[:i])


@pytest.mark.parametrize(("rule", "count"), [(mlo.FirstOrder(), "L+1"), (mlo.Unroll(product=FD), "3L+1")])
@pytest.mark.parametrize(("K", "M"), [(1, 1), (2, 2), (3, 2)])
def test_gradients_per_step(rule, count, K, M):
    graph, _ = chain(K, M, mlo.Proximal(1.0, step_size=ETA), response=rule)
    assert mlo.Engine(graph).step().gradients == {"L+1": K * M + 1, "3L+1": 3 * K * M + 1}[count]


@pytest.mark.parametrize("weight", [100.0, 1000.0])
def test_the_implicit_step_is_right_at_any_lambda(weight):
    graph, values = chain(2, 2, mlo.Proximal(weight, step_size=ETA))
    found = mlo.hypergradient(graph, of="a", values=values)
    assert relative(found, by_autograd(2, 2, "implicit", 2 * ETA * weight)[0]) <= EXACT


def test_the_cyclic_anchor_is_a_constant():
    graph, values = chain(2, 2, mlo.Proximal(4.0, step_size=ETA, anchor="cyclic"))
    truth, _ = by_autograd(2, 2, "implicit", 0.8, first=starts(4)[-1])
    assert relative(mlo.hypergradient(graph, of="a", values=values), truth) <= EXACT
