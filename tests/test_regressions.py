"""Defects that were once there, one test each."""

import math

import pytest
import torch
import torchopt

import mlo

F64 = torch.float64


def scalar(value):
    return torch.tensor(value, dtype=F64)


def test_a_problem_solved_before_passes_on_its_buffers():
    # A BatchNorm that is read in eval mode has the statistics that its own training left, in the engine and without.
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1)).double()
    x = 3.0 + torch.randn(16, 1, dtype=F64)

    def train(v, batch):
        net.train()
        return (v.net(x) ** 2).mean()

    def judge(v, batch):
        net.eval()
        return ((v.scale * v.net(x)) ** 2).mean()

    low = mlo.Problem("net", train, net, update=torchopt.sgd(0.01), steps=3)
    top = mlo.Problem("scale", judge, scalar(1.0), reads=["net"], update=torchopt.sgd(0.1))
    graph = mlo.ProblemGraph([top, low])
    found = mlo.hypergradient(graph, of="scale")
    report = mlo.Engine(graph).step()
    assert abs(found) == report.norms["scale"]


def test_an_update_that_reads_its_own_responder_is_refused():
    def loss(v, batch):
        return (v.w**2).sum()

    def learner(name, reads):
        return mlo.Problem(name, lambda v, b: (v[name] ** 2).sum(), scalar(1.0), reads=reads, update=torchopt.sgd(0.1))

    stages = mlo.interleave(
        [learner("w0", ["q"]), learner("w1", [])], rounds=1, proximal=mlo.Proximal(1.0, step_size=0.1), shared=""
    )
    q = mlo.Problem("q", loss, scalar(1.0), reads=["w1@1"], update=torchopt.sgd(0.1))
    with pytest.raises(mlo.GraphError, match=r"update of problem 'w1@1' reads 'w0@1', which responds to 'w1@1'"):
        mlo.ProblemGraph([*stages, q])


def test_a_loss_that_changes_a_read_in_place_is_caught():
    def loss(v, batch):
        return (v.w - v.x.mul_(2)) ** 2

    top = mlo.Problem("x", lambda v, b: v.w**2 + v.x**2, scalar(1.0), reads=["w"], update=torchopt.sgd(0.0))
    low = mlo.Problem("w", loss, scalar(1.0), reads=["x"], update=torchopt.sgd(0.1), response=mlo.FirstOrder())
    with pytest.raises(mlo.LossError, match=r"loss of problem 'w' changed 'x' in place: make a copy"):
        mlo.Engine(mlo.ProblemGraph([top, low])).step()


@pytest.mark.parametrize(
    ("lower", "upper", "rate", "message"),
    [
        (lambda v, b: math.nan * v.w**2 * v.x, lambda v, b: v.w, 0.1, "loss of problem 'w' is nan at step 0"),
        (lambda v, b: (v.w - v.x) ** 4, lambda v, b: v.w, 1e3, "'w'"),
        (lambda v, b: (v.w - v.x) ** 2, lambda v, b: math.nan * (v.w + v.x), 0.1, "the loss of problem 'x' is nan"),
    ],
)
def test_an_implicit_response_to_something_not_finite_blames_it(lower, upper, rate, message):
    low = mlo.Problem("w", lower, scalar(1.0), reads=["x"], update=torchopt.sgd(rate), steps=9, response=mlo.Implicit())
    graph = mlo.ProblemGraph([mlo.Problem("x", upper, scalar(0.5), reads=["w"]), low])
    with pytest.raises(mlo.DivergenceError, match=message) as caught:
        mlo.hypergradient(graph, of="x")
    assert "linear solve" not in str(caught.value)


def test_a_nested_implicit_answer_keeps_its_dropout_masks():
    # Differentiating the answer of "l" inside "m" evaluates its gradient several times: always with the same masks.
    def lower(v, batch):
        mask = torch.nn.functional.dropout(torch.ones(4, dtype=F64), 0.5)
        return ((v.l - mask * v.m) ** 2).sum() + (v.l**2).sum() / 2

    def middle(v, batch):
        return ((v.l - 1) ** 2).sum() + ((v.m - v.u) ** 2).sum()

    zero = torch.zeros(4, dtype=F64)
    graph = mlo.ProblemGraph(
        [
            mlo.Problem("u", lambda v, b: ((v.m - 3) ** 2).sum(), torch.ones(4, dtype=F64), reads=["m"]),
            mlo.Problem("m", middle, zero, reads=["l", "u"], update=torchopt.sgd(0.1), steps=2),
            mlo.Problem("l", lower, zero, reads=["m"], update=torchopt.sgd(0.3), response=mlo.Implicit(mlo.Dense())),
        ]
    )
    first, second = mlo.hypergradient(graph, of="u"), mlo.hypergradient(graph, of="u")
    assert torch.equal(first, second)
    assert torch.isfinite(first).all()


def test_a_buffer_that_a_forward_replaces_is_kept():
    class Counted(torch.nn.Linear):
        def __init__(self):
            super().__init__(1, 1, bias=False, dtype=F64)
            self.register_buffer("calls", scalar(0.0))

        def forward(self, x):
            self.calls = self.calls + self.weight.detach().abs().sum() * 0 + 1
            return super().forward(x)

    net, x = Counted(), torch.ones(1, 1, dtype=F64)
    low = mlo.Problem("net", lambda v, b: (v.net(v.x * x) ** 2).sum(), net, reads=["x"], update=torchopt.sgd(0.1),
                      steps=4)  # fmt: skip
    top = mlo.Problem("x", lambda v, b: (v.net(v.x * x) - 1).sum() ** 2, scalar(1.0), reads=["net"],
                      update=torchopt.sgd(0.1))  # fmt: skip
    engine = mlo.Engine(mlo.ProblemGraph([top, low]))
    list(engine.run(3))
    assert float(engine.export("net").calls) == 3 * 4  # reading it counts in a copy
    assert float(net.calls) == 0


@pytest.mark.parametrize("rule", [mlo.Implicit(), mlo.Penalty(100.0)], ids=["implicit", "penalty"])
@pytest.mark.parametrize("inside", [False, True])
def test_clipping_under_a_proximal_term_is_no_stationary_point(rule, inside):
    # At rest the gradient balances the term, and is as long as that; clipped, it balances less.
    clipped = torchopt.chain(mlo.clip_norm(0.5), torchopt.sgd(0.05)) if inside else mlo.Clipped(torchopt.sgd(0.05), 0.5)

    def graph(response):
        def learner(name, update):
            loss = lambda v, _: 5 * ((v[name] - v.x) ** 2).sum()  # noqa: E731
            return mlo.Problem(name, loss, scalar([0.0, 0.0]), reads=["x"], update=update, steps=200, response=response)

        learners = [learner("a", torchopt.sgd(0.05)), learner("b", clipped)]
        stages = mlo.interleave(learners, rounds=1, proximal=mlo.Proximal(1.0, step_size=0.05), shared="")
        top = mlo.Problem("x", lambda v, _: (v["b@1"] ** 2).sum(), scalar([3.0, 1.0]), reads=["b@1"])
        return mlo.ProblemGraph([top, *stages])

    with pytest.raises(mlo.GraphError, match=r"'b@1' cannot respond by \w+: at rest .* use mlo.FixedPoint\(\)"):
        graph(rule)
    fixed, unrolled = (mlo.hypergradient(graph(r), of="x") for r in (mlo.FixedPoint(), mlo.Unroll()))
    torch.testing.assert_close(fixed, unrolled, rtol=1e-8, atol=1e-10)
