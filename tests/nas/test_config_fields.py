"""Single fields of settings from words: every kind of value, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from applications.nas.config_fields import get_field, with_fields
from applications.nas.methods import PCDarts
from applications.nas.presets import SEARCH
from applications.nas.settings import CifarData, FolderData, Interleaving, MultiTask, SearchSettings, SingleTask
from mlo import ConfigError

DIGITS = SEARCH["digits"][1]
CIFAR = SearchSettings(data=CifarData())
FOLDERS = SearchSettings(data=FolderData(roots=(Path("a"),)))


@pytest.mark.parametrize(
    ("settings", "path", "word", "value"),
    [
        (DIGITS, "seed", "7", 7),
        (DIGITS, "formulation.weight", "0.5", 0.5),
        (DIGITS, "formulation.weight", "1e2", 100.0),
        (DIGITS, "formulation.form", "explicit", "explicit"),
        (DIGITS, "formulation.allow_unstable", "true", True),
        (DIGITS, "formulation", "multi", MultiTask()),
        (DIGITS, "formulation.order", "loops,digits", ("loops", "digits")),
        (DIGITS, "method", "pcdarts", PCDarts()),
        (replace(DIGITS, method=PCDarts()), "method.portion", "2", 2),
        (DIGITS, "formulation", "interleaving", DIGITS.formulation),  # taken already: its fields stay
        (CIFAR, "data.classes", "10,100", (10, 100)),
        (CIFAR, "data.classes", "10", (10,)),
        (CIFAR, "data.subset", "500", 500),
        (CIFAR, "data.subset", "None", None),
        (CIFAR, "data.root", "/some/where", Path("/some/where")),
        (FOLDERS, "data.roots", "b,a", (Path("b"), Path("a"))),
        (FOLDERS, "data.roots", "", ()),
        (DIGITS, "architecture.betas", "0.9,0.99", (0.9, 0.99)),
        (DIGITS, "supernet.primitives", "none,skip_connect", ("none", "skip_connect")),
    ],
)
def test_a_field(settings: SearchSettings, path: str, word: str, value: Any) -> None:
    found = get_field(with_fields(settings, {path: word}), path)
    assert found == value
    assert type(found) is type(value)


def test_everything_else_stays() -> None:
    assert with_fields(DIGITS, {}) == DIGITS
    back = with_fields(with_fields(DIGITS, {"seed": "3"}), {"seed": "0"})
    assert back == DIGITS


def test_a_choice_comes_before_what_depends_on_it() -> None:
    found = with_fields(DIGITS, {"formulation.task": "loops", "formulation": "single"})
    assert found.formulation == SingleTask("loops")


def test_a_choice_that_is_new_has_its_own_defaults() -> None:
    single = with_fields(DIGITS, {"formulation": "single"})
    assert with_fields(single, {"formulation": "interleaving"}).formulation == Interleaving()


def test_values_that_fit_only_together() -> None:
    """A rule between two fields is checked when both have their values."""
    found = with_fields(DIGITS, {"weights.min_lr": "0.5", "weights.lr": "1"})
    assert (found.weights.lr, found.weights.min_lr) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("path", "word", "told"),
    [
        ("nope", "1", r"^nope: SearchSettings has no field 'nope'; it has data, method, formulation"),
        ("formulation.nope", "1", r"^formulation\.nope: Interleaving has no field 'nope'; it has rounds, weight"),
        ("data.classes", "10", r"^data\.classes: DigitsData has no field 'classes'; it has tasks"),
        ("seed", "x", r"^seed: 'x' is no whole number"),
        ("seed", "1.5", r"^seed: '1.5' is no whole number"),
        ("formulation.weight", "", r"^formulation\.weight: '' is no number"),
        ("formulation.weight", "nan", r"weight: expected a finite number, got nan"),
        ("formulation.form", "nope", r"form: expected one of implicit, explicit, got 'nope'"),
        ("formulation.allow_unstable", "yes", r"neither true nor false"),
        ("method", "nope", r"^method: 'nope' is no choice; the choices are darts, "),
        ("formulation", "nope", r"^formulation: 'nope' is no choice; the choices are single, multi, interleaving"),
        ("weights", "1", r"^weights: it has no value of its own: name one of weights\.lr, "),
        ("seed.more", "1", r"^seed\.more: seed has no fields of its own"),
        ("", "1", r"has no field ''"),
        ("weights..lr", "1", r"has no field ''"),
        ("architecture.betas", "0.9", r"betas: expected a list of 2"),
        ("architecture.betas", "0.9,0.9,0.9", r"has 3 members: give 2"),
        ("weights.lr", "-1", r"lr must be positive, got lr=-1\.0"),
        ("epochs", "0", r"epochs must be at least 1"),
    ],
)
def test_refusals(path: str, word: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        with_fields(DIGITS, {path: word})


def test_a_literal_of_numbers() -> None:
    with pytest.raises(ConfigError, match="expected one of 10, 100, got '20'"):
        with_fields(CIFAR, {"data.classes": "10,20"})
