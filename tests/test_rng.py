"""Random states as values."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlo.rng import RandomState, preserved, replayed


def numbers():
    """Draw, of normal numbers one each: they are made in pairs, and the second is kept for the next call."""
    normal = random.gauss(0, 1), np.random.randn()
    return torch.rand(3).tolist(), random.random(), np.random.rand(3).tolist(), normal


def test_a_state_replays_every_generator():
    state = RandomState.capture()
    first = numbers()
    assert numbers() != first
    state.restore()
    assert numbers() == first


def test_preserved_leaves_no_trace_however_the_body_ends():
    state = RandomState.capture()
    expected = numbers()
    state.restore()
    with preserved():
        numbers()
    with pytest.raises(ZeroDivisionError), preserved():
        assert numbers()[1] / 0
    assert numbers() == expected


def test_replayed_runs_from_the_state_and_then_goes_on():
    state = RandomState.capture()
    first, then = numbers(), RandomState.capture()
    following = numbers()
    then.restore()
    with replayed(state):
        assert numbers() == first
    assert numbers() == following


def test_a_state_does_not_move_with_the_generators():
    state = RandomState.capture()
    before = state.cpu.clone()
    numbers()
    assert torch.equal(state.cpu, before)


def test_gpus_that_are_not_here_are_left_out(monkeypatch):
    state, given = replace(RandomState.capture(), cuda=tuple(torch.zeros(1) + index for index in range(4))), []
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", given.append)
    for many in (0, 2):
        monkeypatch.setattr(torch.cuda, "device_count", lambda many=many: many)
        state.restore()
    assert given == [[torch.zeros(1), torch.ones(1)]]
