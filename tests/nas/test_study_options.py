"""Options of studies: those that a study varies or sets are refused, all others reach its searches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from applications.nas.cli import main
from applications.nas.commands.study import read_study
from applications.nas.commands.study_options import check_options
from applications.nas.config_fields import get_field
from applications.nas.presets.scales import SCALES, Scale
from applications.nas.settings import Interleaving
from applications.nas.sweep.plan import Axis
from applications.nas.sweep.studies import STUDIES, Study
from applications.nas.sweep.study import Part, swept_points
from mlo import ConfigError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


VARIES = {
    "evidence-lambda": ["formulation.weight 5", "formulation.weight=20"],
    "evidence-rounds": ["formulation.rounds 4", "formulation.rounds 2"],
    "evidence-order": ["formulation.order cifar10-mini cifar100-mini"],
    "evidence-start": ["formulation.start previous", "formulation.start persistent"],
    "evidence-rule": [
        "gradient.rule first",
        "gradient.rule published",
        "gradient.epsilon 0.1",
        "gradient.epsilon=0.01",
    ],
}
"""Also the value that the scale has: asked for, it is not what is run."""
SETS = {
    "evidence-table": ["gradient.rule exact", "gradient.rule first"],
    "evidence-lambda": ["formulation.form explicit", "formulation.form=implicit", "gradient.rule exact"],
    "evidence-rounds": ["gradient.rule first"],
    "evidence-order": ["gradient.rule first"],
    "evidence-start": ["formulation.updates 2", "formulation.updates 3", "formulation.updates 1"],
}
REACH = {
    "evidence-table": ["formulation.weight 5", "formulation.rounds 3", "gradient.epsilon 0.1", "supernet.layers 4"],
    "evidence-lambda": ["formulation.rounds 3", "formulation.start previous", "formulation.updates 4", "epochs 2"],
    "evidence-rounds": ["formulation.weight 5", "formulation.order cifar10-mini cifar100-mini"],
    "evidence-order": ["formulation.weight 5", "formulation.form explicit"],
    "evidence-start": ["formulation.weight 5", "weights.lr 0.02", "epochs 2"],
    "evidence-rule": ["formulation.weight 5", "formulation.order cifar10-mini cifar100-mini", "architecture.lr 0.01"],
}


def cases(options: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(name, words) for name, several in options.items() for words in several]


@pytest.mark.parametrize(("name", "words"), cases(VARIES))
def test_what_a_study_varies_is_no_option(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", name, *f"--{words}".split()]) == 2
    option = words.replace("=", " ").split()[0]
    assert f"error: sweep: --{option} is varied by the study {name}: leave it out" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "words"), cases(SETS))
def test_what_a_study_sets_is_no_option(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", name, *f"--{words}".split()]) == 2
    option = words.replace("=", " ").split()[0]
    assert f"error: sweep: --{option} is set by the study {name} for its parts: leave it out" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "words"), cases(REACH))
def test_what_reaches_the_searches_is_an_option(name: str, words: str) -> None:
    study, *_ = read_study([name, *f"--{words}".split()])
    field, *values = words.split()
    swept_points(study)
    reached = [
        get_field(part.search, field)
        for part in study.parts
        if "formulation" not in field or isinstance(part.search.formulation, Interleaving)
    ]
    texts = [" ".join(one) if isinstance(one, tuple) else f"{one}" for one in reached]
    of_pdarts = sum(part.name.startswith("P-DARTS") for part in study.parts) if field == "supernet.layers" else 0
    assert sum(text in (" ".join(values), f"{' '.join(values)}.0") for text in texts) == len(texts) - of_pdarts > 0


def test_every_study_refuses_all_that_it_varies(capsys: pytest.CaptureFixture[str]) -> None:
    """Also one that is added later; the task of a single search cannot be asked for anyway."""
    for name in STUDIES:
        study, *_ = read_study([name])
        fields = {axis.field: axis.values[0] for part in study.parts for axis in part.axes}
        assert fields, "else it would vary nothing"
        for field, value in fields.items():
            assert main(["sweep", name, f"--{field}", *value.split(",")]) == 2
            told = capsys.readouterr().err
            assert f"--{field} is varied by the study {name}" in told or field == "formulation.task"


def test_a_value_that_a_study_sets_is_its_own_where_the_scale_has_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is asked for the scale has another; nothing else is held against it."""

    def parts(scale: Scale) -> tuple[Part, ...]:
        form = replace(interleaving(scale), start="persistent")
        return (Part("one", replace(scale.search, formulation=form), (Axis("epochs", ("1", "2")),)),)

    monkeypatch.setitem(STUDIES, "mine", Study("Does it?", parts))
    scale = SCALES["cpu"][1]
    form = replace(interleaving(scale), start="previous", rounds=3)
    given = replace(scale, search=replace(scale.search, formulation=form))
    with pytest.raises(ConfigError, match=r"--formulation\.start is set by the study mine for its parts"):
        check_options("mine", [], given, scale)
    fits = replace(form, start="persistent")
    check_options("mine", [], replace(scale, search=replace(scale.search, formulation=fits)), scale)


def interleaving(scale: Scale) -> Interleaving:
    assert isinstance(scale.search.formulation, Interleaving)
    return scale.search.formulation


@pytest.mark.parametrize("rate", ["0.1", "1.5"])
def test_equation_7_has_a_part_where_it_is_stable(rate: str) -> None:
    """At c = 2 lr lambda below 2 for a lambda above 0, which at 1.5 there is none of."""
    study, *_ = read_study(["evidence-lambda", "--weights.lr", rate])
    assert [part.name for part in study.parts] == ["implicit", "explicit"][: 1 + (rate == "0.1")]
    forms = {point.settings.formulation.form for point in swept_points(study)}  # type: ignore[union-attr]
    assert forms == {part.name for part in study.parts}
    assert main(["sweep", "evidence-lambda", "--weights.lr", rate, "--dry-run"]) == 0
