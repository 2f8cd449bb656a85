"""Settings as JSON: every preset comes back equal, and whatever does not belong is refused with its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from applications.nas.config_file import from_json, to_json
from applications.nas.demo import DemoSettings
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.settings import (
    ArchitectureSettings,
    CifarData,
    FolderData,
    GradientSettings,
    Interleaving,
    RetrainSettings,
    SearchSettings,
    SingleTask,
    WeightSettings,
)
from mlo import ConfigError

PRESETS: list[Any] = [*(settings for _, settings in SEARCH.values()), *(settings for _, settings in RETRAIN.values())]


@pytest.mark.parametrize("settings", [*PRESETS, DemoSettings(), DemoSettings(out=Path("there"))], ids=repr)
def test_presets_come_back(settings: Any) -> None:
    text = to_json(settings)
    assert from_json(type(settings), text, "here") == settings
    assert to_json(from_json(type(settings), text, "here")) == text


positive = st.floats(min_value=1e-300, max_value=1e300)
share = st.floats(min_value=0, max_value=1, exclude_max=True)
searches = st.builds(
    SearchSettings,
    data=st.builds(
        FolderData,
        roots=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).map(Path)).map(tuple),
        side=st.none() | st.integers(1, 8192),
        subset=st.none() | st.integers(1, 2**53),
    )
    | st.builds(
        CifarData, classes=st.lists(st.sampled_from([10, 100]), unique=True).map(tuple), download=st.booleans()
    ),
    formulation=st.builds(SingleTask, task=st.text())
    | st.builds(
        Interleaving, rounds=st.integers(1, 1000), weight=positive, form=st.sampled_from(["implicit", "explicit"])
    ),
    gradient=st.builds(GradientSettings, st.sampled_from(["exact", "difference", "first"]), positive),
    weights=st.builds(WeightSettings, lr=positive, min_lr=st.just(0.0), momentum=share, decay=positive, clip=positive),
    architecture=st.builds(ArchitectureSettings, lr=positive, betas=st.tuples(share, share), decay=positive),
    epochs=st.integers(1, 10**6),
    batch=st.integers(2, 2**53),
    seed=st.integers(0, 2**32 - 1),
)


@given(searches)
def test_any_settings_come_back(settings: SearchSettings) -> None:
    assert from_json(SearchSettings, to_json(settings), "here") == settings


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4))
def test_any_other_json_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^here: expected an object"):
        from_json(SearchSettings, json.dumps(value), "here")


def changed(place: str, value: Any, settings: Any = SEARCH["folders"][1]) -> str:
    """The JSON of a preset with one value, at a path such as "weights.lr", set to another."""
    content = json.loads(to_json(settings))
    *way, last = place.split(".")
    inner = content
    for key in way:
        inner = inner[key]
    inner[last] = value
    return json.dumps(content)


@pytest.mark.parametrize("place", ["nope", "data.nope", "formulation.nope", "supernet.nope", "weights.nope"])
def test_unknown_keys_are_named(place: str) -> None:
    where = ": ".join(["here", *place.split(".")[:-1]])
    with pytest.raises(ConfigError, match=rf"^{where}: unknown key 'nope'; known here: \w+"):
        from_json(SearchSettings, changed(place, 1), "here")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("epochs", 3.0, "epochs: expected of type int, got 3.0"),
        ("epochs", True, "epochs: expected of type int, got True"),
        ("epochs", "3", "epochs: expected of type int, got '3'"),
        ("epochs", None, "epochs: expected of type int, got None"),
        ("weights", [], r"weights: expected an object, got \[\]"),
        ("weights.lr", "fast", "weights: lr: expected a finite number, got 'fast'"),
        ("weights.lr", True, "weights: lr: expected a finite number, got True"),
        ("weights.lr", float("nan"), "weights: lr: expected a finite number, got nan"),
        ("weights.lr", float("inf"), "weights: lr: expected a finite number, got inf"),
        ("weights.lr", 10**400, "weights: lr: expected a finite number, got 10"),
        ("gradient.rule", "third", "gradient: rule: expected one of published, exact, difference, first, got 'third'"),
        ("gradient.rule", [], r"gradient: rule: expected one of .*, got \[\]"),
        ("architecture.betas", [0.5], r"architecture: betas: expected a list of 2, got \[0.5\]"),
        ("architecture.betas", [0.5, "x"], r"architecture: betas\[1\]: expected a finite number, got 'x'"),
        ("supernet.primitives", "none", "supernet: primitives: expected a list, got 'none'"),
        ("supernet.primitives", ["none", 3], r"supernet: primitives\[1\]: expected of type str, got 3"),
        ("data.roots", [3], r"data: roots\[0\]: expected a path, got 3"),
        ("data.side", "8", "data: side: expected of type int, got '8'"),
        ("data", None, "data: needs a key 'kind', one of DigitsData, FolderData, CifarData, .*; got None"),
        ("data", {"roots": []}, "data: needs a key 'kind'"),
        ("data", {"kind": []}, r"data: needs a key 'kind'.*; got \[\]"),
        ("data.kind", "Nope", "data: needs a key 'kind'.*; got 'Nope'"),
        ("data.kind", "DigitsData", "data: unknown key 'roots'; known here: tasks"),
        ("formulation.kind", "DigitsData", "formulation: needs a key 'kind', one of SingleTask, .*; got 'DigitsData'"),
        ("kind", "RetrainSettings", "kind 'RetrainSettings' does not belong here; 'SearchSettings' does"),
        ("weights.kind", "Darts", "weights: kind 'Darts' does not belong here; 'WeightSettings' does"),
    ],
)
def test_what_does_not_belong_is_refused_with_its_place(place: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^here: {message}"):
        from_json(SearchSettings, changed(place, value), "here")


@pytest.mark.parametrize("value", [10.0, True, 20])
def test_choices_among_numbers_are_exact(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"data: classes\[0\]: expected one of 10, 100"):
        from_json(SearchSettings, changed("data.classes", [value], SEARCH["darts-2nd-original"][1]), "here")


def test_the_settings_of_another_command_are_refused_by_their_kind() -> None:
    with pytest.raises(ConfigError, match="'RetrainSettings' does not belong here"):
        from_json(SearchSettings, to_json(RETRAIN["digits"][1]), "here")


@pytest.mark.parametrize("text", ["", "{", "epochs: 3", "[" * 100_000, '{"epochs": ' + "1" * 5000 + "}"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^here is not JSON"):
        from_json(SearchSettings, text, "here")


@pytest.mark.parametrize("text", ['{"seed": 1, "seed": 2}', '{"weights": {"lr": 0.1, "lr": 0.1}}'])
def test_a_key_that_is_given_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^here is not JSON \(it has the key '(seed|lr)' twice\): mend it"):
        from_json(SearchSettings, text, "here")


def test_a_mark_of_byte_order_is_passed_over() -> None:
    assert from_json(SearchSettings, "\ufeff{}", "here") == SearchSettings()


def test_whole_numbers_serve_as_floats() -> None:
    found = from_json(SearchSettings, changed("weights.lr", 1), "here")
    assert found.weights.lr == 1.0
    assert isinstance(found.weights.lr, float)


def test_keys_that_are_left_out_take_their_defaults() -> None:
    assert from_json(SearchSettings, "{}", "here") == SearchSettings()
    assert from_json(RetrainSettings, '{"epochs": 3}', "here") == RetrainSettings(epochs=3)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("epochs", 0, "epochs=0"),
        ("batch", 1, "batch must be at least 2.*batch=1"),
        ("seed", -1, "seed=-1"),
        ("seed", 2**70, "seed=1180591620717411303424"),
        ("weights.lr", 0.0, "weights: lr must be positive, got lr=0.0"),
        ("weights.min_lr", 1.0, "min_lr must be from 0 to lr, got lr=0.025, min_lr=1.0"),
        ("weights.momentum", 1.0, "momentum=1.0"),
        ("weights.decay", -1.0, "decay=-1.0"),
        ("weights.clip", 0.0, "clip=0.0"),
        ("architecture.lr", -1.0, "architecture: lr must be positive, got lr=-1.0"),
        ("architecture.betas", [0.5, 1.0], r"betas=\(0.5, 1.0\)"),
        ("architecture.decay", -1.0, "architecture: decay must not be negative"),
        ("gradient.epsilon", 0.0, "epsilon=0.0"),
    ],
)
def test_settings_out_of_range(place: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json(SearchSettings, changed(place, value), "here")


def test_a_settings_object_is_checked_where_it_is_made() -> None:
    with pytest.raises(ConfigError, match="lr must be finite, got lr=nan"):
        replace(WeightSettings(), lr=float("nan"))
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        DemoSettings(workers=0)
    with pytest.raises(ConfigError, match="compares interleaving"):
        DemoSettings(search=SearchSettings(formulation=SingleTask()))
