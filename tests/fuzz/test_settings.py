"""Settings made in Python: a value that does not belong is refused where it is given, with its name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from applications.nas import settings as module
from applications.nas.data import Augment, FileAugment
from applications.nas.demo import DemoSettings
from applications.nas.methods import Darts, PCDarts, PDarts
from applications.nas.settings import FolderData, ImageNetForm, SearchSettings, SupernetSettings
from applications.nas.space.cell import CellSpace
from applications.nas.sweep.launch.settings import Local, Slurm, SubmititLocal
from mlo import ConfigError
from tests.fuzz.harness import attempt, cases
from tests.fuzz.junk import python_values

DECLARED = [kind for kind in vars(module).values() if dataclasses.is_dataclass(kind) and isinstance(kind, type)]
KINDS: list[Any] = [*DECLARED, Darts, PDarts, PCDarts, DemoSettings, Augment, FileAugment, CellSpace]
LAUNCHERS = [Local, SubmititLocal, Slurm]
STARTS = [kind() for kind in KINDS] + [FolderData(side=8, lazy=True), ImageNetForm(auxiliary=True)]


def test_all_settings_are_here() -> None:
    assert len(DECLARED) >= 20
    assert {SearchSettings, SupernetSettings, FolderData} <= set(DECLARED)


@cases("settings", 0.9)
@given(st.data())
def test_a_value_that_does_not_belong(data: st.DataObject) -> None:
    start = data.draw(st.sampled_from(STARTS))
    fields = [field.name for field in dataclasses.fields(start) if field.init]
    given_values = data.draw(
        st.dictionaries(st.sampled_from(fields or ["none"]), python_values, min_size=1, max_size=2)
    )
    if not fields:
        return
    made, refused = attempt("settings", lambda: dataclasses.replace(start, **given_values))
    assert refused is None or isinstance(refused, ConfigError)
    if isinstance(made, SearchSettings):
        assert made.stages()
    if isinstance(made, SupernetSettings):
        attempt("settings", lambda: made.space)


@cases("settings", 0.1)
@given(st.data())
def test_a_launcher_that_is_asked_for_nonsense(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(LAUNCHERS))
    fields = [field.name for field in dataclasses.fields(kind)]
    values = data.draw(st.dictionaries(st.sampled_from(fields), python_values, max_size=2)) if fields else {}
    workers = data.draw(st.sampled_from([1, 2, 0, -1, 10**9]))
    attempt("settings", lambda: kind(**values).words(workers))


@pytest.mark.parametrize("kind", DECLARED, ids=lambda kind: kind.__name__)
def test_each_field_refuses_what_is_no_value_at_all(kind: Any) -> None:
    for field in dataclasses.fields(kind):
        with pytest.raises(ConfigError, match=field.name):
            kind(**{field.name: object()})
