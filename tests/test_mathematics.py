"""The pages on mathematics cover every formula: what implements one is linked there, and its source is listed."""

import re
from inspect import isabstract
from pathlib import Path
from typing import get_args

import pytest

import mlo
from applications.nas.methods import AbstractMethod, known_methods
from applications.nas.settings.formulation import Formulation
from applications.nas.space.mixed import AbstractMixedOperation
from mlo.hypergradient.base import AbstractResponse
from mlo.hypergradient.memory import AbstractMemory
from mlo.hypergradient.second_order import AbstractProduct
from mlo.linear import AbstractLinearSolver
from mlo.update import UpdateRule

ROOT = Path(__file__).resolve().parent.parent
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("mathematics*.md"))}
TEXT = "\n".join(PAGES.values())
BASES = (AbstractResponse, AbstractMemory, AbstractProduct, AbstractLinearSolver, UpdateRule)
OTHERS = ("Autocast", "ClipParts", "Parallel", "Proximal", "SyncBatchNorm")  # formulas that have no base of their own
FUNCTIONS = ("advise", "clip_norm", "hypergradient", "influence", "interleave")
FORMULATIONS = {"SingleTask": "single task", "MultiTask": "multi-task", "Interleaving": "interleaving"}


def plain(text):
    return " ".join(text.split())


def public_formulas():
    classes = [name for name in mlo.__all__ if isinstance(getattr(mlo, name), type)]
    return [*(name for name in classes if issubclass(getattr(mlo, name), BASES)), *OTHERS, *FUNCTIONS]


def modules():
    return sorted(path for folder in ("mlo", "applications") for path in (ROOT / folder).rglob("*.py"))


def sources(path):
    """Return each paragraph of a module's docstrings that names a source."""
    paragraphs = re.split(r'\n\s*\n|"""', path.read_text(encoding="utf-8"))
    return [plain(part) for part in paragraphs if re.match(r"\s*Source: ", part)]


def listed():
    """Return the titles of the list of sources, and the year of each."""
    entries = re.findall(r"^- (.*?)(?=\n- |\Z)", PAGES["mathematics-sources.md"], flags=re.MULTILINE | re.DOTALL)
    found = [re.fullmatch(r"(.+) \((.+), (\d{4})\)", plain(entry)) for entry in entries]
    assert all(found), "an entry is not: title (authors, year)"
    return {match[1]: match[3] for match in found}


CITING = {path: sources(path) for path in modules() if sources(path)}


@pytest.mark.parametrize("name", public_formulas())
def test_what_computes_a_formula_is_linked(name):
    assert f"[`{name}`][mlo.{name}]" in TEXT


def test_methods_relaxations_and_formulations_are_there():
    page = PAGES["mathematics-nas.md"]
    shipped = [kind for kind in known_methods(AbstractMethod).values() if kind.__module__.startswith("applications.")]
    assert len(shipped) >= 3
    for kind in shipped:
        assert f"`{kind.__name__}`" in page, kind
    for kind in AbstractMixedOperation.__subclasses__():
        if not isabstract(kind) and kind.__module__.startswith("applications.nas.space"):
            assert kind.__module__.rpartition(".")[2] + ".py" in page, kind
    kinds = {get_args(kind)[0].__name__ for kind in get_args(Formulation)}
    assert kinds == set(FORMULATIONS)
    for words in FORMULATIONS.values():
        assert f"| {words} |" in PAGES["mathematics-interleaving.md"]


@pytest.mark.parametrize("path", CITING, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_with_a_source_is_named(path):
    # On these pages a path may leave out its beginning: `mlo/linear/cg.py`, `space/cell.py`.
    assert f"{path.parent.name}/{path.name}" in TEXT or f"`{path.name}`" in TEXT


@pytest.mark.parametrize("path", CITING, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_source_is_listed(path):
    titles = listed()
    for source in CITING[path]:
        named = [title for title in titles if title in source]
        years = re.findall(r"\b(?:19|20)\d\d\b", source)
        assert sorted(titles[title] for title in named) == sorted(years), source


def test_paths_on_the_pages_exist():
    known = [str(path.relative_to(ROOT)) for path in modules()]
    for place in set(re.findall(r"`([\w/]+\.py)`", TEXT)):
        assert any(path == place or path.endswith(f"/{place}") for path in known), place


def test_every_listed_work_is_cited_by_a_module():
    code = " ".join(source for found in CITING.values() for source in found)
    assert [title for title in listed() if title not in code] == []
