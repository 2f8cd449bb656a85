"""Every public name says what it is, and is in the reference; the check itself sees what is missing."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest

import mlo

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("documented", ROOT / "docs" / "hooks" / "documented.py")
documented = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(documented)


def test_every_public_name_is_documented():
    assert documented.undocumented() == []


def test_what_is_public():
    names = documented.exported()
    wanted = {"mlo.Problem", "mlo.advise", "mlo.testing", "mlo.testing.check_hypergradient"}
    assert wanted | {"mlo.testing.strategies.smooth_graphs"} <= set(names), "none is left out for a missing package"
    found = {name for name, _ in documented.members(mlo.Engine)}
    assert {"run", "step", "values", "export"} <= found
    assert "train" not in {name for name, _ in documented.members(mlo.SyncBatchNorm)}, "torch documents its own"


@dataclass(frozen=True)
class Silent:
    told: int
    """A field with a string behind it."""
    untold: int
    alsotold: int

    def method(self): ...

    @property
    def read(self):
        return 1


@dataclass(frozen=True)
class Half(Silent):
    """A class.

    Attributes:
        alsotold: A field of its base.
    """

    def method(self):
        """Say so."""


def test_what_is_missing_is_seen(monkeypatch):
    monkeypatch.setattr(documented, "OURS", (__name__.partition(".")[0],))  # only what is ours is looked at
    monkeypatch.setattr(documented, "_shown", lambda: {"mlo.half": "mlo.half"})
    monkeypatch.setattr(documented, "exported", lambda: {"mlo.silent": Silent, "mlo.half": Half})
    monkeypatch.setattr(documented, "_of_the_pages", lambda: [])
    assert [line.partition(": ")[0] for line in documented.undocumented()] == [
        *("mlo.silent", "mlo.silent.method", "mlo.silent.read", "mlo.silent.untold", "mlo.silent.alsotold"),
        *("mlo.silent", "mlo.half.read", "mlo.half.untold"),  # the first is not in the reference, either
    ]


def test_what_pages_import_is_looked_at(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    block = "```python\nfrom applications.nas.sweep.plan import Axis\n```\n"
    (tmp_path / "docs" / "page.md").write_text(block)
    monkeypatch.setattr(documented, "ROOT", tmp_path)
    monkeypatch.setattr(documented, "_told_of_fields", lambda kind: {"field"})
    (line,) = documented._of_the_pages()
    assert line.startswith("applications.nas.sweep.plan.Axis.values: nothing describes this field: name it ")


@pytest.mark.parametrize(("missing", "left_out"), [("hypothesis", True), ("mlo.nothing", False)])
def test_a_package_that_is_not_installed(missing, left_out, monkeypatch):
    def fail(_):
        raise ModuleNotFoundError(name=missing)

    monkeypatch.setattr(documented.importlib, "import_module", fail)
    if left_out:
        assert documented.exported() == {}
    else:
        with pytest.raises(ModuleNotFoundError):
            documented.exported()


def test_a_function_with_the_name_of_a_module_is_shown_as_a_function(monkeypatch):
    name = "mlo.interleave"
    monkeypatch.setattr(documented, "exported", lambda: {name: importlib.import_module("mlo").interleave})
    monkeypatch.setattr(documented, "_of_the_pages", lambda: [])
    monkeypatch.setattr(documented, "_shown", lambda: {name: name})
    (line,) = documented.undocumented()
    assert line.endswith("write `::: mlo.interleave.interleave` and `heading: mlo.interleave`")
