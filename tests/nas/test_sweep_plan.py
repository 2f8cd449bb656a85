"""What a sweep runs, and the folder that holds it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from applications.nas.config_file import to_json
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.settings import CifarData, FolderData, SearchSettings, SingleTask
from applications.nas.sweep.folder import SWEEP, find_folder, read_sweep, sweep_folder
from applications.nas.sweep.plan import Axis, SweepSettings, points
from applications.nas.sweep.point import check_unchanged
from mlo import ConfigError

DIGITS = SEARCH["digits"][1]


def sweep_of(*axes: tuple[str, ...], search: SearchSettings = DIGITS) -> SweepSettings:
    return SweepSettings(search, tuple(Axis(field, values) for field, *rest in axes for values in [tuple(rest)]))


TWO = sweep_of(("formulation.weight", "1", "10"), ("seed", "0", "1"))


def test_all_combinations_the_first_field_changing_slowest() -> None:
    plan = points(TWO)
    assert [point.name for point in plan] == [
        "weight=1,seed=0",
        "weight=1,seed=1",
        "weight=10,seed=0",
        "weight=10,seed=1",
    ]
    assert [(point.value("formulation.weight"), point.value("seed")) for point in plan] == [
        (1.0, 0.0),
        (1.0, 1.0),
        (10.0, 0.0),
        (10.0, 1.0),
    ]
    for point in plan:
        changed = replace(point.settings, seed=0, formulation=DIGITS.formulation)
        assert changed == DIGITS, "nothing else is touched"


def test_choices_and_orders_can_be_varied() -> None:
    kinds = points(sweep_of(("formulation", "single", "interleaving")))
    assert [point.settings.formulation for point in kinds] == [SingleTask(), DIGITS.formulation]
    assert [point.value("formulation") for point in kinds] == ["single", "interleaving"]
    orders = points(sweep_of(("data.classes", "100,10", "10,100"), search=SearchSettings(data=CifarData())))
    assert [point.settings.data.classes for point in orders] == [(100, 10), (10, 100)]  # type: ignore[union-attr]
    assert [point.name for point in orders] == ["classes=100,10", "classes=10,100"]
    assert orders[0].value("data.classes") == "100,10"


def test_names_of_folders_are_plain_and_distinct() -> None:
    data = FolderData(roots=(Path("a"),))
    found = points(sweep_of(("data.roots", "x/a b", "x a:b", "X-a-b", "../.."), search=replace(DIGITS, data=data)))
    names = [point.name for point in found]
    assert names == ["roots=x-a-b", "roots=x-a-b-2", "roots=X-a-b-3", "roots=..-"]
    assert all("/" not in name and not name.startswith(".") for name in names)
    both = points(sweep_of(("weights.lr", "0.1"), ("architecture.lr", "0.2")))
    assert [point.name for point in both] == ["weights.lr=0.1,architecture.lr=0.2"]


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ([], "nothing is varied"),
        ([("seed",)], "--vary seed has no value"),
        ([("seed", "1"), ("seed", "2")], "seed is varied twice"),
        ([("seed", "1", "01")], "seed 01 is the same search as seed=1"),
        ([("parallel.stages", "1", "2")], "a point is one process, and 2 ranks share its stages"),
        ([("nope", "1")], "nope: SearchSettings has no field 'nope'"),
        ([("formulation", "single", "interleaving"), ("formulation.weight", "1")], "SingleTask has no field 'weight'"),
    ],
)
def test_refusals(axes: list[tuple[str, ...]], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        points(sweep_of(*axes))


def test_a_folder_keeps_its_sweep(tmp_path: Path) -> None:
    folder, whole = tmp_path / "new" / "one", replace(TWO, retrain=RETRAIN["digits"][1])
    with sweep_folder(folder, whole):
        assert read_sweep(folder) == whole
    with sweep_folder(folder, whole):
        pass  # the same again is welcome
    changed = replace(whole, search=replace(whole.search, epochs=99))
    told = r"holds another sweep \(search\.epochs is 10 there, 99 here\): name another folder with --out"
    with pytest.raises(ConfigError, match=told), sweep_folder(folder, changed):
        pass
    longer = replace(TWO, axes=(*TWO.axes, Axis("epochs", ("1", "2"))))
    with pytest.raises(ConfigError, match="holds another sweep"), sweep_folder(folder, longer):
        pass
    assert read_sweep(folder) == whole


def test_a_sweep_of_before_goes_on(tmp_path: Path) -> None:
    """Settings that are new since then have their defaults in the folder and in its points."""
    found, new = points(TWO)[0], ("parallel", "accumulate", "precision")
    folder = tmp_path / found.name
    folder.mkdir()
    old = json.loads(to_json(TWO))
    (tmp_path / "sweep.json").write_text(json.dumps(old | {"search": _without(old["search"], *new)}))
    (folder / "config.json").write_text(json.dumps(_without(json.loads(to_json(found.settings)), *new)))
    with sweep_folder(tmp_path, TWO):
        check_unchanged(folder, found)
    with pytest.raises(ConfigError, match="holds other settings"):
        check_unchanged(folder, replace(found, settings=replace(found.settings, accumulate=2)))
    other = replace(TWO, search=replace(TWO.search, accumulate=2))
    with pytest.raises(ConfigError, match=r"search\.accumulate is 1 there, 2 here"), sweep_folder(tmp_path, other):
        pass


def _without(content: dict[str, object], *keys: str) -> dict[str, object]:
    return {key: value for key, value in content.items() if key not in keys}


def test_two_programs_do_not_share_a_folder(tmp_path: Path) -> None:
    inner = sweep_folder(tmp_path, TWO)
    with (
        sweep_folder(tmp_path, TWO),
        pytest.raises(ConfigError, match="another program runs this sweep now"),
        inner,
    ):
        pass
    with sweep_folder(tmp_path, TWO):
        pass  # the lock is given back


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ConfigError, match="is not empty, and holds no sweep"), sweep_folder(tmp_path, TWO):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ConfigError, match="holds no sweep"), sweep_folder(tmp_path / "thesis.tex", TWO):
        pass
    with pytest.raises(ConfigError, match="cannot be made"), sweep_folder(tmp_path / "thesis.tex" / "x", TWO):
        pass


@pytest.mark.parametrize("text", ["", "{", '{"kind": "RetrainSettings"}', '{"nope": 1}'])
def test_a_broken_file_of_a_sweep(text: str, tmp_path: Path) -> None:
    (tmp_path / SWEEP).write_text(text)
    with pytest.raises(ConfigError, match=r"sweep\.json"):
        read_sweep(tmp_path)
    with pytest.raises(ConfigError, match=r"sweep"), sweep_folder(tmp_path, TWO):
        pass
    assert (tmp_path / SWEEP).read_text() == text


def test_the_same_sweep_is_found_again(tmp_path: Path) -> None:
    assert find_folder(TWO, None, tmp_path, "sweep-digits") == tmp_path / "sweep-digits-1"
    other = sweep_of(("seed", "5", "6"))
    for number, settings in enumerate((other, TWO), start=1):
        (tmp_path / f"sweep-digits-{number}").mkdir()
        (tmp_path / f"sweep-digits-{number}" / SWEEP).write_text(to_json(settings))
    assert find_folder(TWO, None, tmp_path, "sweep-digits") == tmp_path / "sweep-digits-2"
    assert find_folder(sweep_of(("seed", "7")), None, tmp_path, "sweep-digits") == tmp_path / "sweep-digits-3"
    assert find_folder(TWO, tmp_path / "mine", tmp_path, "sweep-digits") == tmp_path / "mine"
    assert json.loads((tmp_path / "sweep-digits-1" / SWEEP).read_text())["axes"][0]["values"] == ["5", "6"]
