"""Checkpoints take no more than their share of the time."""

from __future__ import annotations

import math

import pytest
import torch

from applications.nas import pace as pace_module
from applications.nas.launch import Ranks
from applications.nas.pace import Pace
from applications.nas.settings import CheckpointSettings
from mlo import ConfigError


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(pace_module.time, "monotonic", lambda: self.now)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_the_share(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 1 s and writing of 3 s: the share is reached from below, to within a step each time."""
    clock = Clock(monkeypatch)
    pace, writing, count = Pace(share), 0.0, 0
    for _ in range(2000):
        clock.now += 1.0
        if pace.due():
            clock.now += 3.0
            pace.took(3.0)
            writing, count = writing + 3.0, count + 1
    spent = clock.now - 100.0
    assert writing - 3.0 <= share * spent  # but for the first one, which measures the cost
    assert count >= math.floor(2000 / (math.ceil(3.0 * (1 / share - 1)) + 1))


def test_one_means_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    pace = Pace(1.0)
    for _ in range(5):
        assert pace.due()
        pace.took(1e6)


def test_the_first_is_due_at_once_and_the_next_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pace = Pace(0.5)
    assert pace.due()
    pace.took(2.0)
    clock.now += 1.9
    assert not pace.due()
    clock.now += 0.2
    assert pace.due()


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_rank_decides(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `add` is given by the first rank is what all get; the others add nothing of their own."""
    seen: list[int] = []

    class Told(Ranks):
        def add(self, values: torch.Tensor) -> None:
            seen.append(int(values))
            values.fill_(1)

    Clock(monkeypatch)
    pace = Pace(0.05, Told(rank, 2))
    assert pace.due() is True
    assert seen == [int(rank == 0)]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"share": 0.0}, "checkpoint: share must be above 0 and at most 1, got share=0.0"),
        ({"share": 1.5}, "checkpoint: share must be above 0 and at most 1, got share=1.5"),
        ({"share": math.nan}, "checkpoint: share must be finite, got share=nan"),
        ({"share": -1.0}, "checkpoint: share must be above 0"),
        ({"keep": 0}, "checkpoint: keep must be at least 1, got keep=0"),
    ],
)
def test_refusals(given: dict[str, float], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        CheckpointSettings(**given)  # type: ignore[arg-type]
    assert str(error.value).startswith(told)
