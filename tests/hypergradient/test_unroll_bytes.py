"""How much memory each choice takes: bytes of all live tensors at the peak, the same number in every run.

benchmarks/unroll_memory.py measures the same on a larger network, with times.
"""

import pytest
import torch
import torchopt
from torch.nn.functional import mse_loss

import mlo
from mlo.meter import LiveBytes


def peak(steps, **settings):
    torch.manual_seed(0)
    x, y = torch.randn(16, 24), torch.randn(16, 4)
    net = torch.nn.Sequential(torch.nn.Linear(24, 40), torch.nn.Tanh(), torch.nn.Linear(40, 4))

    def fit(v, _):
        return mse_loss(v.w(x), y) + v.z.exp() * sum((value**2).sum() for value in v.w.params.values())

    start = torch.tensor(-5.0)
    top = mlo.Problem("z", lambda v, _: mse_loss(v.w(x), -y), start, reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem(
        "w",
        fit,
        net,
        reads=["z"],
        update=torchopt.sgd(0.01, momentum=0.9),
        steps=steps,
        response=mlo.Unroll(**settings),
    )
    problems = mlo.ProblemGraph([top, low])
    with LiveBytes() as meter:
        mlo.hypergradient(problems, of="z")
    return meter.peak


@pytest.fixture(scope="module")
def recorded():
    return peak(30)


def test_record_grows_with_the_steps(recorded):
    assert peak(90) >= 2.7 * recorded


def test_recompute_grows_with_the_root_of_the_steps(recorded):
    # Three times what thirty steps take is allowed for a thousand; so for 160, which is quicker, sqrt(0.16) of that.
    assert peak(160, memory=mlo.Recompute()) <= 3 * 0.4 * recorded


def test_recompute_holds_one_segment_at_a_time():
    # Nine of them, which would take nine times as much if they were held.
    one = peak(9, memory=mlo.Recompute(every=9))
    assert peak(81, memory=mlo.Recompute(every=9)) <= 2 * one


def test_forward_and_truncation_do_not_grow(recorded):
    # But for the losses and the states of generators: some bytes a step.
    assert peak(60, memory=mlo.Forward()) <= 1.02 * peak(6, memory=mlo.Forward())
    assert peak(90, truncate=30) <= 1.05 * recorded


def test_the_meter_counts_what_only_autograd_holds():
    x = torch.randn(1000, requires_grad=True)
    with LiveBytes() as meter:
        kept = (x * 2).exp().sin().sum()  # exp and sin hold the result of exp; the other two are gone
        assert meter.now == 4000 + 4
        del kept
        assert meter.now == 0
    assert meter.peak == 8000 + 4  # when the sine was summed


def test_the_meter_lets_go_of_a_graph_that_was_never_used():
    x = torch.ones(1000, requires_grad=True)
    with LiveBytes() as meter:
        for _ in range(3):
            torch.autograd.grad(x.exp().tanh().sum(), x, create_graph=True)
        assert meter.now == 0
        x.exp().tanh()
        assert meter.now == 0
