"""Rarer places to go on from: samplers that draw as they go, resumes of resumes, generators of any kind."""

from __future__ import annotations

import random
from itertools import count

import numpy
import pytest
import torch
import torchopt
from torch.utils.data import DataLoader, DistributedSampler, Sampler, TensorDataset

import mlo
from tests.checkpoints import DATA, run


def square(v, batch):
    return 1e-3 * ((v.w - batch[0].sum()) ** 2).sum() + 1e-3 * (v.x**2).sum() * v.w.sum()


def engine(upper, lower):
    start = torch.ones(2).double()
    x = mlo.Problem("x", square, start, reads=["w"], update=torchopt.adam(0.05), batches=upper)
    w = mlo.Problem("w", square, start, reads=["x"], update=torchopt.sgd(0.01), batches=lower)
    return mlo.Engine(mlo.ProblemGraph([x, w]))


def items():
    return TensorDataset(torch.arange(30.0).double())


def losses(one, steps):
    return [report.losses for report in run(one, steps)]


class OneByOne(Sampler):
    """Draws each index only when it is asked for."""

    def __init__(self, generator):
        self.generator = generator

    def __len__(self):
        return 30

    def __iter__(self):
        return (int(torch.randint(30, (), generator=self.generator)) for _ in range(30))


def test_a_sampler_that_draws_as_it_goes(tmp_path):
    """Two problems share it: what is dropped on the way is drawn anew, what follows is not."""

    def made():
        shared = DataLoader(items(), batch_size=4, sampler=OneByOne(torch.Generator().manual_seed(2)))
        return engine(shared, shared)

    whole, resumed = made(), made()
    run(whole, 2)
    mlo.save(whole, tmp_path / "kept")
    mlo.restore(resumed, tmp_path / "kept")
    assert losses(whole, 12) == losses(resumed, 12)


class Shuffled:
    """Batches that keep what decides their order."""

    def __init__(self):
        self.state = torch.Generator().manual_seed(3)

    def state_dict(self):
        return {"state": self.state.get_state()}

    def load_state_dict(self, state):
        self.state.set_state(state["state"])

    def __iter__(self):
        return iter([(DATA * index,) for index in torch.randperm(5, generator=self.state).tolist()])


def sharing_a_generator():
    generator = torch.Generator().manual_seed(4)
    return [DataLoader(items(), batch_size=size, shuffle=True, generator=generator) for size in (4, 7)]


@pytest.mark.parametrize("batches", [sharing_a_generator, lambda: [Shuffled()] * 2], ids=["generator", "state"])
def test_it_is_resumed_again_and_again(tmp_path, monkeypatch, batches):
    """Problems whose passes begin at different times share what decides them; each process counts from 0."""

    def made():
        return engine(*batches())

    def some(one):
        return [one.step(frozen=number == 0).losses for number in range(3)]

    whole, resumed, found = made(), made(), []
    for _ in range(8):
        found += some(resumed)
        mlo.save(resumed, tmp_path / "kept")
        monkeypatch.setattr("mlo.position._STARTS", count())
        resumed = made()
        mlo.restore(resumed, tmp_path / "kept")
    assert found == [report for _ in range(8) for report in some(whole)]


def test_a_first_pass_is_numbered_as_all_are(tmp_path):
    def made():
        sampler = DistributedSampler(items(), num_replicas=2, rank=1)
        sampler.set_epoch(7)  # by the user
        return engine(DataLoader(items(), batch_size=2, sampler=sampler), [(DATA,)])

    whole, resumed = made(), made()
    run(whole, 2)
    mlo.save(whole, tmp_path / "kept")
    mlo.restore(resumed, tmp_path / "kept")
    assert losses(whole, 9) == losses(resumed, 9)


@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "Philox", "SFC64"])
def test_generators_of_any_kind_that_hold_a_normal_number(tmp_path, kind):
    """Normal numbers are drawn in pairs, and the second is kept."""
    before = numpy.random.get_state()
    one = engine([(DATA,)], [(DATA,)])

    def draws():
        return [random.gauss(0, 1), numpy.random.randn(), torch.randn(()).item(), random.gauss(0, 1)]

    try:
        numpy.random.set_bit_generator(getattr(numpy.random, kind)(3))
        random.gauss(0, 1), numpy.random.randn(), torch.randn(())
        mlo.save(one, tmp_path / "kept")
        following = draws()
        mlo.restore(one, tmp_path / "kept")
        assert draws() == following
        numpy.random.set_bit_generator(numpy.random.PCG64DXSM(3))
        with pytest.raises(mlo.DataError, match=rf"is of the kind PCG64DXSM, and was {kind}: set it first"):
            mlo.restore(one, tmp_path / "kept")
    finally:
        numpy.random.set_bit_generator(numpy.random.MT19937())
        numpy.random.set_state(before)
