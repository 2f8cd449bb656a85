"""A restored engine goes on in the middle of its batches, with the random numbers of then, bit for bit."""

from __future__ import annotations

import random

import numpy
import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, DistributedSampler

import mlo
from tests.checkpoints import DATA, assert_same, run


class Noisy(Dataset):
    """Items that draw from every global generator."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return torch.ones(2).double() * index + torch.rand(2).double() + random.random() + numpy.random.rand()


class Shuffled:
    """Batches with a place of their own between two passes, such as those of the NAS application."""

    def __init__(self):
        self.generator = None
        self.state = torch.Generator().manual_seed(3)
        self.passed_over = 0

    def state_dict(self):
        return {"state": self.state.get_state(), "more": (1.5, float("inf"), b"raw", [None, True])}

    def load_state_dict(self, state):
        assert state["more"] == (1.5, float("inf"), b"raw", [None, True])
        self.state.set_state(state["state"])

    def __iter__(self):
        order = torch.randperm(4, generator=self.state)
        return iter([DATA * index for index in order.tolist()])


class Skipping(Shuffled):
    def start_at(self, count):
        self.passed_over += count
        order = torch.randperm(4, generator=self.state)
        return iter([DATA * index for index in order.tolist()[count:]])


def loader(**options):
    return DataLoader(Noisy(), batch_size=3, **options)


def sampled():
    return loader(sampler=DistributedSampler(Noisy(), num_replicas=1, rank=0, seed=5))


KINDS = {
    "a list": lambda: [DATA, 2 * DATA, 3 * DATA],
    "a loader": lambda: loader(shuffle=True),
    "a loader with a generator": lambda: loader(shuffle=True, generator=torch.Generator().manual_seed(1)),
    "a distributed sampler": sampled,
    "a place of its own": Shuffled,
    "one that skips": Skipping,
}


def made(kind, *, shared=False, seed=5):
    """An engine whose losses draw from generators, too."""
    for begin in (torch.manual_seed, random.seed, numpy.random.seed):
        begin(seed)
    upper = KINDS[kind]()
    lower = upper if shared else KINDS[kind]()

    def fit(v, batch):
        return 1e-3 * ((v.w - batch.sum() - torch.rand(())) ** 2).sum() + 1e-3 * (v.x**2).sum() * v.w.sum()

    def validate(v, batch):
        return ((v.w - 1) ** 2).sum() + (v.x * batch.mean()).sum() * random.random()

    start = torch.ones(2).double()
    x = mlo.Problem("x", validate, start, reads=["w"], update=torchopt.adam(0.05), batches=upper)
    w = mlo.Problem("w", fit, start, reads=["x"], update=torchopt.sgd(0.01, momentum=0.9), batches=lower)
    return mlo.Engine(mlo.ProblemGraph([x, w]))


@given(kind=st.sampled_from(sorted(KINDS)), shared=st.booleans(), before=st.integers(0, 9), used=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_it_goes_on_as_if_it_had_not_stopped(tmp_path_factory, kind, shared, before, used):
    folder = tmp_path_factory.mktemp("kept")
    whole, resumed = made(kind, shared=shared), None
    run(whole, before)
    mlo.save(whole, folder / "kept")
    frozen = [whole.step(frozen=True), *run(whole, 6)]
    resumed = made(kind, shared=shared, seed=8)
    run(resumed, used)  # an engine that has moved elsewhere comes to the same place
    mlo.restore(resumed, folder / "kept")
    assert [one.losses for one in frozen] == [one.losses for one in (resumed.step(frozen=True), *run(resumed, 6))]
    assert_same(whole, resumed)
    draws = [torch.rand(()).item(), random.random(), numpy.random.rand()]
    mlo.restore(resumed, folder / "kept")  # and so it does twice
    resumed.step(frozen=True)
    run(resumed, 6)
    assert_same(whole, resumed)
    assert draws == [torch.rand(()).item(), random.random(), numpy.random.rand()]


def test_workers_draw_the_same(tmp_path):
    KINDS["workers"] = lambda: loader(shuffle=True, num_workers=2)
    try:
        whole, resumed = made("workers"), made("workers", seed=8)
    finally:
        del KINDS["workers"]
    run(whole, 2)
    mlo.save(whole, tmp_path / "kept")
    mlo.restore(resumed, tmp_path / "kept")
    run(whole, 4)
    mlo.restore(resumed, tmp_path / "kept")
    run(resumed, 4)
    assert_same(whole, resumed)


def test_batches_that_skip_are_not_read(tmp_path):
    whole = made("one that skips")
    run(whole, 7)
    mlo.save(whole, tmp_path / "kept")
    resumed = made("one that skips")
    mlo.restore(resumed, tmp_path / "kept")
    assert [resumed.graph[name].batches.passed_over for name in ("x", "w")] == [3, 3]


def once(many):
    """An engine whose batches can be read only once."""
    batches = iter([DATA * index for index in range(many)])
    x = mlo.Problem("x", lambda v, b: ((v.x - b) ** 2).sum(), torch.ones(2), update=torchopt.sgd(0.01), batches=batches)
    return mlo.Engine(mlo.ProblemGraph([x]))


def test_batches_that_are_read_once(tmp_path):
    whole = once(9)
    run(whole, 3)
    mlo.save(whole, tmp_path / "kept")
    run(whole, 3)
    for used in (0, 2):
        resumed = once(9)
        run(resumed, used)
        mlo.restore(resumed, tmp_path / "kept")
        run(resumed, 3)
        assert_same(whole, resumed)
    before = whole.snapshot()
    with pytest.raises(mlo.DataError, match="problem 'x': its batches cannot be read again: restore into a new"):
        mlo.restore(whole, tmp_path / "kept")
    assert whole.snapshot().params["x"] is before.params["x"]
    mlo.restore(whole, tmp_path / "kept", place=False)
    assert whole.step_count == 3


def test_other_batches_are_refused(tmp_path):
    whole = made("a list")
    run(whole, 3)
    mlo.save(whole, tmp_path / "kept")
    state = torch.get_rng_state()
    KINDS["a list"], before = lambda: [DATA], KINDS["a list"]
    try:
        shorter = made("a list")
    finally:
        KINDS["a list"] = before
    torch.set_rng_state(state)
    with pytest.raises(mlo.DataError, match=r"'[xw]': 3 of its batches were drawn, and there are 1: .*place=False"):
        mlo.restore(shorter, tmp_path / "kept")
    assert torch.equal(torch.get_rng_state(), state)
    assert shorter.step_count == 0
    mlo.restore(shorter, tmp_path / "kept", place=False)
    shorter.step()


def test_what_batches_save_must_be_plain(tmp_path):
    class Odd(Shuffled):
        def state_dict(self):
            return {"lock": object()}

    KINDS["odd"] = Odd
    try:
        whole = made("odd")
    finally:
        del KINDS["odd"]
    run(whole, 1)
    with pytest.raises(mlo.DataError, match=r"problem 'x': the state_dict of its batches holds a object"):
        mlo.save(whole, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
