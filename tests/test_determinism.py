"""`mlo.deterministic`: what it sets, that all is put back, and what it refuses."""

from __future__ import annotations

import os

import pytest
import torch

import mlo

VARIABLE = "CUBLAS_WORKSPACE_CONFIG"


def state():
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.fixture
def gpu(monkeypatch):
    """Let torch say that there are two GPUs, of which nothing is used, and the environment nothing."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: {})
    return monkeypatch


@pytest.mark.parametrize("error", [None, ValueError])
def test_what_is_set_and_put_back(error):
    before = state()
    try:
        with mlo.deterministic():
            assert state() == (True, False, True, False, False)
            with mlo.deterministic(), mlo.deterministic(on=False):
                assert state() == (True, False, True, False, False)
            assert state() == (True, False, True, False, False)
            if error is not None:
                raise error
    except ValueError:
        assert error is ValueError
    assert state() == before


def test_a_setting_of_the_user_comes_back():
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    try:
        before = state()
        with mlo.deterministic():
            assert state() == (True, False, True, False, False)
        assert state() == before
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False


def test_off_changes_nothing():
    before = state()
    with mlo.deterministic(on=False):
        assert state() == before


def test_an_operation_without_a_deterministic_form_is_named():
    reached = torch.zeros(3, requires_grad=True)
    with (
        pytest.raises(mlo.ConfigError, match=r"^deterministic: torch's put_ has no deterministic form.*leave"),
        mlo.deterministic(),
    ):
        reached.detach().put_(torch.tensor([0, 0]), torch.ones(2), accumulate=False)
    with pytest.raises(RuntimeError, match=r"^another error$"), mlo.deterministic():
        raise RuntimeError("another error")


def test_that_matrix_products_are_told_in_time(gpu):
    with mlo.deterministic():
        assert os.environ[VARIABLE] == ":4096:8"
    with mlo.deterministic():  # the variable stays, for it is read once
        assert os.environ[VARIABLE] == ":4096:8"


def test_a_value_that_is_deterministic_stays(gpu):
    gpu.setenv(VARIABLE, ":16:8")
    gpu.setattr(torch.cuda, "memory_stats", lambda device: {"allocation.all.allocated": 1})
    with mlo.deterministic():
        assert os.environ[VARIABLE] == ":16:8"


def test_another_value_is_refused(gpu):
    gpu.setenv(VARIABLE, ":0:0")
    before = state()
    with pytest.raises(mlo.ConfigError, match=f"^deterministic: {VARIABLE} is ':0:0': make it"), mlo.deterministic():
        pass
    assert state() == before


def test_a_gpu_that_was_used_is_refused(gpu):
    gpu.setattr(torch.cuda, "memory_stats", lambda device: {"allocation.all.allocated": device})
    with pytest.raises(mlo.ConfigError, match=r"^deterministic: a GPU was used in this process"), mlo.deterministic():
        pass
    assert VARIABLE not in os.environ


def test_a_step_gives_what_it_gives_without():
    def value():
        torch.manual_seed(0)
        data = [torch.randn(4, 3, dtype=torch.float64)]
        net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()).double()
        low = mlo.Problem(
            "w",
            lambda v, x: (v.w(x)[:, [0, 1, 1]] * v.a).pow(2).mean(),
            net,
            reads=["a"],
            update=torch.optim.SGD,
            batches=data,
        )
        start = torch.ones(3, dtype=torch.float64)
        top = mlo.Problem("a", lambda v, x: (v.w(x) - 1).pow(2).mean(), start, reads=["w"], batches=data)
        return mlo.hypergradient(mlo.ProblemGraph([top, low]), of="a")

    expected = value()
    with mlo.deterministic():
        assert torch.equal(value(), expected)
