"""`warm_start=False`: each solve begins where the problem was declared, in whatever step."""

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

import mlo

F64 = torch.float64


def graph(warm_start, *, steps=3, momentum=0.9, size=2, response=mlo.Unroll(), seed=0):
    draw = torch.Generator().manual_seed(seed)
    a, b = torch.randn(size, size, generator=draw, dtype=F64), torch.randn(size, generator=draw, dtype=F64)

    def upper(v, _):
        return ((v.w - b) ** 2).sum() + 0.1 * (v.x**2).sum()

    def lower(v, _):
        return 0.5 * ((a @ v.w) ** 2).sum() + 0.5 * ((v.w - v.x) ** 2).sum()

    start = torch.randn(size, generator=draw, dtype=F64)
    return mlo.ProblemGraph(
        [
            mlo.Problem("x", upper, torch.ones(size, dtype=F64), reads=["w"], update=torchopt.sgd(0.05)),
            mlo.Problem(
                "w",
                lower,
                start,
                reads=["x"],
                update=torchopt.sgd(0.05, momentum=momentum),
                steps=steps,
                warm_start=warm_start,
                response=response,
            ),
        ]
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 0.9]), st.integers(0, 1000))
def test_each_step_is_a_descent_along_the_gradient_from_the_start(steps, size, momentum, seed):
    # Without an engine every hypergradient begins at the declared values: the same operations, so the same bits.
    problems = graph(warm_start=False, steps=steps, size=size, momentum=momentum, seed=seed)
    engine, x = mlo.Engine(problems), torch.ones(size, dtype=F64)
    for _ in engine.run(4):
        x = x - 0.05 * mlo.hypergradient(problems, of="x", values={"x": x})
        assert torch.allclose(engine.values["x"], x, rtol=1e-13, atol=1e-15)
    assert torch.equal(engine.values["w"], problems["w"].variable)


def test_a_warm_start_goes_elsewhere():
    ends = [list(mlo.Engine(graph(warm)).run(3))[-1].losses["x"] for warm in (True, False)]
    assert abs(ends[0] - ends[1]) > 1e-3


def test_the_optimizer_and_the_buffers_begin_anew_too():
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).double()
    x = torch.randn(8, 2, dtype=F64)

    def fit(v, _):
        return (v.net(x) - v.x).square().mean()

    adam = torchopt.adam(0.01, eps_root=1e-8)
    problems = [
        mlo.Problem("x", lambda v, _: v.net(x).square().sum() + v.x.sum(), torch.ones(3, dtype=F64), reads=["net"],
                    update=torchopt.sgd(0.01)),
        mlo.Problem("net", fit, net, reads=["x"], update=adam, steps=2, warm_start=False),
    ]  # fmt: skip
    engine = mlo.Engine(mlo.ProblemGraph(problems))
    before = engine.snapshot()
    first, second = engine.run(2)
    exported = engine.export("net").state_dict()
    assert all(torch.equal(exported[key], value) for key, value in net.state_dict().items())
    engine.rewind(before)
    again = engine.step()
    assert again.losses == first.losses
    assert second.losses["net"] != first.losses["net"]  # x has moved in between


def test_what_needs_the_answer_of_the_step_before_is_refused():
    with pytest.raises(
        mlo.GraphError, match="problem 'w' has warm_start=False, but look_ahead=True trains it for real"
    ):
        mlo.Engine(graph(warm_start=False), look_ahead=True)
    with pytest.raises(mlo.GraphError, match="SingleLoop follows its answer from step to step: leave out one"):
        mlo.Engine(graph(warm_start=False, steps=1, response=mlo.SingleLoop(0.1)))
    top = mlo.Problem("x", lambda v, _: v.x**2, torch.ones((), dtype=F64), update=torchopt.sgd(0.1), warm_start=False)
    with pytest.raises(mlo.GraphError, match="problem 'x' has warm_start=False, but it is the outermost"):
        mlo.Engine(mlo.ProblemGraph([top]))
    with pytest.raises(mlo.GraphError, match="problem 'w': warm_start must be True or False, got 1"):
        graph(warm_start=1)


@pytest.mark.parametrize(("anchor", "refused"), [("cyclic", True), ("none", False)])
def test_the_stages_of_an_interleaving(anchor, refused):
    def loss(v, _):
        return ((v.a - v.x) ** 2).sum()

    learner = mlo.Problem("a", loss, torch.zeros(2, dtype=F64), reads=["x"], update=torchopt.sgd(0.1), warm_start=False)
    proximal = mlo.Proximal(1.0, step_size=0.1, anchor=anchor)
    stages = mlo.interleave([learner], rounds=2, proximal=proximal, shared="")
    top = mlo.Problem("x", lambda v, _: (v["a@2"] ** 2).sum(), torch.ones(2, dtype=F64), reads=["a@2"],
                      update=torchopt.sgd(0.1))  # fmt: skip
    problems = mlo.ProblemGraph([top, *stages])
    if refused:
        with pytest.raises(mlo.GraphError, match="'a@2' has warm_start=False, but the proximal term of another"):
            mlo.Engine(problems)
    else:
        engine = mlo.Engine(problems)
        list(engine.run(2))
        assert torch.equal(engine.values["a@1"], torch.zeros(2, dtype=F64))
