"""What is not restored, and what is not saved: one line that names the culprit, and nothing changed."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torchopt

import mlo
from tests.checkpoints import after, assert_same, refused, small


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The checkpoint of an engine after two steps; not to be changed."""
    folder = tmp_path_factory.mktemp("kept") / "kept"
    mlo.save(after(2), folder)
    return folder


ONE = torch.ones(1).double()
TWO = torch.ones(2).double()
OTHERS = {
    "another name": ({"name": "u"}, ["problem 'w' was there"]),
    "one more problem": (
        {"extra": [mlo.Problem("more", lambda v, b: (v.more**2).sum(), TWO, update=torchopt.sgd(0.1))]},
        ["problem 'more' is in the engine's graph"],
    ),
    "another shape": (
        {"weights": {"a": torch.ones(3).double(), "b": ONE}},
        ["'w'", "'a' was float64 of shape (2,)", "is float64 of shape (3,)"],
    ),
    "another type": ({"weights": {"a": torch.ones(2), "b": ONE.float()}}, ["'a' was float64", "is float32"]),
    "an entry less": ({"weights": {"a": TWO}}, ["entry 'b' was there"]),
    "an entry more": ({"weights": {"a": TWO, "b": ONE, "c": ONE}}, ["entry 'c' is in the engine"]),
    "another order": ({"weights": {"b": ONE, "a": TWO}}, ["entry 'a' was in the place where 'b' is now"]),
    "adam for sgd": ({"update": torchopt.adam(0.01)}, ["states/w", "TraceState", "ScaleByAdamState"]),
    "torch for torchopt": (
        {"update": partial(torch.optim.SGD, lr=0.1, momentum=0.9)},
        ["states/w/0 was TraceState, and is a constant now"],
    ),
    "no momentum": ({"update": torchopt.sgd(0.01)}, ["states/w", "TraceState", "EmptyState"]),
    "sgd for adam": ({"outer": torchopt.sgd(0.01)}, ["states/x", "ScaleByAdamState"]),
}


@pytest.mark.parametrize("case", list(OTHERS))
def test_another_engine(kept, case):
    options, words = OTHERS[case]
    refused(small(**options), kept, *words)


def test_a_momentum_that_torch_has_not_begun(tmp_path):
    """The state of torch's SGD has the form of that with momentum before its first step, but for the count."""
    plain = partial(torch.optim.SGD, lr=0.01)
    made = small(update=plain)
    made.step()
    mlo.save(made, tmp_path / "kept")
    refused(small(update=partial(torch.optim.SGD, lr=0.01, momentum=0.9)), tmp_path / "kept", "states/w", "momentum")
    mlo.restore(small(update=partial(torch.optim.SGD, lr=0.5)), tmp_path / "kept")  # a setting is no state


def frozen_module(seed):
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)).double()
    module[0].weight.requires_grad_(False)
    return module


def test_another_frozen_parameter(tmp_path):
    mlo.save(small(module=frozen_module(0)), tmp_path / "kept")
    mlo.restore(small(module=frozen_module(0)), tmp_path / "kept")
    refused(small(module=frozen_module(1)), tmp_path / "kept", "'w'", "frozen parameter '0.weight'")


def test_what_cannot_be_saved(tmp_path):
    class Odd(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            for value in self.param_groups[0]["params"]:
                self.state[value]["odd"] = {1, 2}

    made = small(update=partial(Odd, lr=0.1), response=mlo.FirstOrder())
    made.step()
    with pytest.raises(mlo.DataError, match=r"states/w/1/a/odd: .* a set .*: let the update"):
        mlo.save(made, tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_grows_is_refused_when_it_is_saved(tmp_path):
    class Growing(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            for value in self.param_groups[0]["params"]:
                self.state[value].setdefault("all", [])
                self.state[value]["all"] = [*self.state[value]["all"], 1.0]

    made = small(update=partial(Growing, lr=0.1), response=mlo.FirstOrder())
    for _ in range(4):
        made.step()
    with pytest.raises(
        mlo.DataError, match=r"'w': the state of its update has another form .*states/w/1/a/all/2 was there"
    ):
        mlo.save(made, tmp_path / "kept")


def test_what_is_no_engine(tmp_path):
    graph = small().graph
    for call in (mlo.save, mlo.restore):
        with pytest.raises(mlo.ConfigError, match=r"needs an mlo\.Engine, got ProblemGraph"):
            call(graph, tmp_path / "kept")
    with pytest.raises(mlo.GraphError, match="the snapshot is of problems 'x', 'u'"):
        small().rewind(small(name="u").snapshot())


def test_names_that_read_the_same_are_two(tmp_path):
    one, other = (small(weights={0: ONE, "0": ONE}) for _ in range(2))
    one.step()
    mlo.save(one, tmp_path / "kept")
    mlo.restore(other, tmp_path / "kept")
    assert_same(one, other)


def test_what_is_sparse_is_not_saved(tmp_path):
    module = torch.nn.Linear(2, 1).double()
    module.register_buffer("mask", torch.eye(2).to_sparse())
    with pytest.raises(mlo.DataError, match="buffers/w/mask: a sparse_coo tensor cannot be kept"):
        mlo.save(small(module=module), tmp_path / "kept")
