"""Learning rates by epoch, against numbers worked out by hand and against torch's own schedulers."""

from __future__ import annotations

import pytest
import torch

from applications.nas.presets import RETRAIN
from applications.nas.settings import CosineSchedule, ExponentialSchedule, LinearSchedule


def rates(schedule: CosineSchedule | LinearSchedule | ExponentialSchedule, epochs: int, base: float) -> list[float]:
    return [schedule.lr(epoch, epochs, base) for epoch in range(epochs)]


def test_the_cosine() -> None:
    found = rates(CosineSchedule(), 600, 0.025)
    assert (found[0], found[300]) == (0.025, pytest.approx(0.0125))
    assert 0 < found[-1] < 1e-6, "the end is just after the last epoch"
    assert CosineSchedule(0.001).lr(25, 50, 0.025) == pytest.approx(0.013)


def by_torch(make: object, epochs: int, base: float) -> list[float]:
    """What a scheduler of torch sets, stepped at the end of each epoch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], base)
    scheduler = make(optimizer)  # type: ignore[operator]
    found = []
    for _ in range(epochs):
        found.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return found


def test_two_schedules_are_those_of_torch() -> None:
    """Torch multiplies from epoch to epoch, so its rounding adds up: 1e-12 is thousands of roundings of 0.025."""
    cosine = by_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 60, eta_min=0.001), 60, 0.025)
    assert rates(CosineSchedule(0.001), 60, 0.025) == pytest.approx(cosine, abs=1e-12)
    falling = by_torch(lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.97), 250, 0.1)
    assert rates(ExponentialSchedule(), 250, 0.1) == pytest.approx(falling, abs=1e-12)


def test_the_line_of_the_imagenet_evaluation() -> None:
    """250 epochs from 0.5: 245 steps down, then five fifths of the last step's height."""
    found = rates(LinearSchedule(), 250, 0.5)
    assert found[0] == 0.5
    assert found[1] == pytest.approx(0.5 * 244 / 245)
    assert found[244] == pytest.approx(0.5 / 245)
    assert found[245:] == pytest.approx([0.5 * left / (245 * 5) for left in (5, 4, 3, 2, 1)])


@pytest.mark.parametrize(
    ("warm_up", "first"),
    [
        ("pcdarts", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("pdarts", [0.1, 0.2 * 244 / 245, 0.3 * 243 / 245, 0.4 * 242 / 245, 0.5 * 241 / 245]),
    ],
)
def test_the_two_warm_ups(warm_up: str, first: list[float]) -> None:
    found = rates(LinearSchedule(warm_up=warm_up), 250, 0.5)  # type: ignore[arg-type]
    assert found[:5] == pytest.approx(first)
    assert found[5:] == rates(LinearSchedule(), 250, 0.5)[5:]


def test_a_line_without_its_last_piece() -> None:
    assert rates(LinearSchedule(tail=0), 4, 1.0) == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("name", RETRAIN)
def test_every_preset_has_a_rate_in_every_epoch(name: str) -> None:
    settings = RETRAIN[name][1]
    found = [settings.schedule.lr(epoch, settings.epochs, settings.weights.lr) for epoch in range(settings.epochs)]
    assert all(0 < rate <= settings.weights.lr for rate in found)
