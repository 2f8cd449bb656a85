"""Studies: which points they have, in which order, at which scale, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from applications.nas.config_file import to_json
from applications.nas.methods import Darts, PCDarts, PDarts
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.presets.scales import SCALES, Scale
from applications.nas.search import complete
from applications.nas.settings import (
    CifarData,
    DigitsData,
    FashionData,
    FolderData,
    ImageNetData,
    Interleaving,
    MultiTask,
    SearchSettings,
    SingleTask,
)
from applications.nas.space.operations import PRIMITIVES
from applications.nas.sweep.folder import find_folder, read_sweep, sweep_folder
from applications.nas.sweep.plan import Axis, Point
from applications.nas.sweep.studies import LAMBDAS, STUDIES, make_study
from applications.nas.sweep.study import Part, StudySettings, swept_points
from applications.nas.tasks import task_names
from mlo import ConfigError

CPU = replace(SCALES["cpu"][1], seeds=(0, 1))
DIGITS = replace(SEARCH["digits"][1], formulation=Interleaving(weight=20.0))
SMALL = StudySettings(
    "mine",
    "small",
    "Does it work?",
    (Part("One, two", DIGITS, (Axis("formulation.weight", ("1", "10")),)), Part("multi", replace(DIGITS, epochs=3))),
    (3, 1),
    RETRAIN["digits"][1],
    2,
)


def study(name: str, scale: Scale = CPU) -> tuple[Point, ...]:
    return swept_points(make_study(name, scale, "mine"))


def test_a_seed_is_finished_in_all_parts_before_the_next_begins() -> None:
    names = [point.name for point in swept_points(SMALL)]
    assert names == [
        "one-two,weight=1,seed=3",
        "one-two,weight=10,seed=3",
        "multi,seed=3",
        "random-6",
        "random-7",
        "one-two,weight=1,seed=1",
        "one-two,weight=10,seed=1",
        "multi,seed=1",
        "random-2",
        "random-3",
    ]


def test_no_two_cells_of_a_line_are_trained_with_the_same_seed() -> None:
    plan = swept_points(SMALL)
    seeds = {point.name: point.retrain.seeds for point in plan if point.retrain is not None}
    assert seeds["multi,seed=3"] == (3000, 3001, 3002)
    assert seeds["multi,seed=1"] == (1000, 1001, 1002)
    assert seeds["random-7"] == (7000, 7001, 7002)
    assert all(replace(point.retrain, seeds=(0, 1, 2)) == SMALL.retrain for point in plan if point.retrain is not None)


def test_random_cells_have_numbers_of_their_own() -> None:
    cells = [point for point in swept_points(replace(SMALL, seeds=tuple(range(5)))) if point.cell is not None]
    assert [point.cell for point in cells] == list(range(10))
    assert [point.settings.seed for point in cells] == list(range(10)), "which is that of the split, too"
    assert {point.settings.data for point in cells} == {DIGITS.data}


@pytest.mark.parametrize("scale", SCALES)
def test_every_study_has_points_at_every_scale(scale: str) -> None:
    for name in STUDIES:
        settings = make_study(name, replace(SCALES[scale][1], seeds=(0, 7)), scale)
        plan = swept_points(settings)
        assert len({point.name for point in plan}) == len(plan) >= 2 * len(settings.seeds)
        searches = [point.settings for point in plan if point.cell is None]
        assert {one.seed for one in searches} == set(settings.seeds)
        for one in searches:
            assert (one.supernet.nodes, one.supernet.primitives) == (4, PRIMITIVES), "always the space of DARTS"
            form = one.formulation
            if isinstance(form, Interleaving) and form.form == "explicit":
                assert 0 < 2 * one.weights.lr * form.weight < 2
            for stage in one.stages():
                assert stage.warm_up < stage.epochs


def test_the_table_holds_each_method_in_each_formulation() -> None:
    plan = [point for point in study("evidence-table") if point.words.get("seed") == "0"]
    found = {(type(p.settings.method), p.settings.rule, p.settings.formulation) for p in plan if p.cell is None}
    methods = {(Darts, "first"), (Darts, "difference"), (PDarts, "first"), (PCDarts, "first")}
    tasks = [SingleTask("cifar100-mini"), SingleTask("cifar10-mini")]
    forms = [*tasks, MultiTask(), Interleaving(rounds=2, weight=20.0)]
    assert found == {(*method, form) for method in methods for form in forms}
    assert [point.cell for point in plan][-1] == 0
    assert sum(point.cell is not None for point in study("evidence-table")) == 6


def test_the_paper_is_as_the_published_presets() -> None:
    paper = SCALES["paper"][1]
    plan = {point.name: point for point in study("evidence-table", replace(paper, seeds=(0,)))}
    for name in ("darts-1st", "darts-2nd", "pdarts", "pcdarts"):
        point = plan[f"{name.replace('pdarts', 'p-darts').replace('pcdarts', 'pc-darts')}-interleaving,seed=0"]
        assert point.settings == complete(SEARCH[f"{name}-paper"][1])
        assert point.retrain == RETRAIN["cifar"][1]
    assert make_study("evidence-table", paper, "").seeds == (0, 1, 2, 3, 4)


def test_what_the_other_studies_vary() -> None:
    def first(name: str) -> list[SearchSettings]:
        return [point.settings for point in study(name) if point.settings.seed == 0]

    curve = [one.formulation for one in first("evidence-lambda") if isinstance(one.formulation, Interleaving)]
    assert [form.weight for form in curve if form.form == "implicit"] == list(LAMBDAS)
    assert [form.weight for form in curve if form.form == "explicit"] == [1.0, 10.0], "c = 0.1 * lambda below 2"
    rounds = [one.formulation for one in first("evidence-rounds")]
    assert rounds == [Interleaving(rounds=number, weight=20.0) for number in (1, 2, 3)]
    orders = [one.formulation.order for one in first("evidence-order") if isinstance(one.formulation, Interleaving)]
    assert orders == [("cifar100-mini", "cifar10-mini"), ("cifar10-mini", "cifar100-mini")]
    starts = [one.formulation for one in first("evidence-start")]
    assert starts == [Interleaving(weight=20.0, updates=3, start=start) for start in ("persistent", "previous")]
    rules = [(type(one.formulation).__name__, one.rule, one.gradient.epsilon) for one in first("evidence-rule")]
    each = [("exact", 0.01), ("first", 0.01), ("difference", 0.01), ("difference", 0.1), ("difference", 1.0)]
    assert rules == [(form, *one) for form in ("SingleTask", "Interleaving") for one in each]


def test_one_field_makes_everything_larger() -> None:
    larger = replace(CPU, search=replace(CPU.search, supernet=replace(CPU.search.supernet, channels=12)))
    assert {point.settings.supernet.channels for point in study("evidence-table", larger)} == {12}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seeds": ()}, "seeds must be distinct, at least one"),
        ({"seeds": (1, 1)}, "seeds must be distinct, at least one"),
        ({"random": -1}, "random must be from 0 to 1000"),
        ({"retrain": replace(SMALL.retrain, seeds=(1000,))}, "seeds must be below 1000 in a study"),
    ],
)
def test_settings_that_are_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        replace(SMALL, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ((), "give each a name of its own"),
        ((SMALL.parts[1], SMALL.parts[1]), "give each a name of its own"),
        ((Part("random", DIGITS),), "not random"),
        ((Part("one", DIGITS), Part("two", DIGITS)), "seed 3 is the same search as one,seed=3"),
        ((Part("one", DIGITS, (Axis("seed", ("1",)),)),), "one varies the seed: give it by --seeds"),
        ((Part("one", DIGITS, (Axis("epochs", ()),)),), "--vary epochs has no value"),
        ((Part("one", DIGITS, (), "nope"),), "one refers to nope, which is no part"),
    ],
)
def test_parts_that_are_refused(parts: tuple[Part, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        swept_points(replace(SMALL, parts=parts))


def test_scales_that_are_refused() -> None:
    with pytest.raises(ConfigError, match="formulation must be an interleaving"):
        replace(CPU, search=replace(CPU.search, formulation=MultiTask()))
    for data in (FolderData(roots=(Path("a"),)), FolderData(), ImageNetData()):
        with pytest.raises(ConfigError, match="interleaving needs two tasks or more"):
            study("evidence-table", replace(CPU, search=replace(CPU.search, data=data)))


def test_a_folder_keeps_its_study(tmp_path: Path) -> None:
    folder = tmp_path / "mine-1"
    with sweep_folder(folder, SMALL):
        assert read_sweep(folder) == SMALL
    assert find_folder(SMALL, None, tmp_path, "mine") == folder
    other = replace(SMALL, seeds=(3,))
    assert find_folder(other, None, tmp_path, "mine") == tmp_path / "mine-2"
    with (
        pytest.raises(ConfigError, match=r"holds another sweep \(seeds is \[3, 1\] there"),
        sweep_folder(folder, other),
    ):
        pass
    assert '"kind": "StudySettings"' in to_json(SMALL)


def test_names_of_tasks_are_those_that_loading_gives(tmp_path: Path) -> None:
    same = FolderData(roots=(tmp_path / "a" / "x", tmp_path / "b" / "x", tmp_path / "y"))
    assert task_names(same) == ("x-1", "x-2", "y")
    assert task_names(CifarData(classes=(10, 100))) == ("cifar10", "cifar100")
    assert task_names(FashionData(sets=("mnist", "fashion"))) == ("mnist", "fashion")
    assert task_names(ImageNetData()) == ("imagenet",)
    assert task_names(DigitsData(tasks=("loops", "digits"))) == ("loops", "digits")
