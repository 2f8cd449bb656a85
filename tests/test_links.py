"""Links, anchors, addresses, and names of files and of the library in the pages lead somewhere; nothing is fetched."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.markdown import ROOT, anchors, code_spans, links, name_of, pages, references, urls

PAGES = pages()
FOLDERS = ("mlo", "tests", "benchmarks", "docs", "applications", "examples", ".github", ".ci")
PATH = re.compile(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*-]*[\w*/](?:::\w+)?")
DOTTED = re.compile(r"(?:mlo|applications)(?:\.[A-Za-z]\w*)+")
TAKEN_IN = {ROOT / "docs" / name.lower(): ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md")}
"""Pages of the site that lie at the top of the repository."""
FILES = (".json", ".md", ".py", ".toml")  # mlo.json is a file


def broken_links(page: Path, text: str) -> list[str]:
    """Return what is wrong with the links of a page, by target."""
    found = []
    for target in links(text):
        path, _, anchor = unquote(target).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        named = (page.parent / path).resolve() if path else page
        file = TAKEN_IN.get(named, named)
        if not target or not file.exists():
            found.append(f"{target}: no such file")
        elif page.is_relative_to(ROOT / "docs") and not named.is_relative_to(ROOT / "docs"):
            found.append(f"{target}: is not part of the site")
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8")):
            found.append(f"{target}: no such heading")
    return found


def bad_urls(text: str) -> list[str]:
    """Return the addresses that are no https, or no addresses."""
    parts = [(url, urlsplit(url)) for url in urls(text)]
    sound = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}")
    return [url for url, one in parts if one.scheme != "https" or not sound.fullmatch(one.netloc) or "\\" in url]


def missing_paths(text: str) -> list[str]:
    """Return paths of the repository that are named in code, alone or in a command, and are not there."""
    words = [word.strip("'\",;:()") for span in code_spans(text) for word in span.split()]
    named = sorted({word for word in words if PATH.fullmatch(word)})
    return [word for word in named if not _is_there(*word.split("::"))]


def _is_there(path: str, test: str = "") -> bool:
    files = list(ROOT.glob(path.rstrip("/")))
    return bool(files) and (not test or any(f"def {test}(" in file.read_text() for file in files))


def unknown_names(names: list[str]) -> list[str]:
    """Return the dotted names that lead nowhere, or through what is private."""
    return [name for name in dict.fromkeys(names) if "._" in name or not _resolves(name)]


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            fields = getattr(found, "__dataclass_fields__", {})
            if not hasattr(found, part):
                return part in fields and part == parts[-1]
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    assert broken_links(page, text) == []
    assert bad_urls(text) == []
    assert missing_paths(text) == []
    assert unknown_names(references(text)) == []
    named = [match[0] for span in code_spans(text) if (match := DOTTED.match(span))]
    assert unknown_names([name for name in named if not name.endswith(FILES)]) == []


def test_there_are_links():
    every = [page.read_text(encoding="utf-8") for page in PAGES]
    assert sum(len(links(text)) for text in every) > 30
    assert sum(len(references(text)) for text in every) > 10
    assert sum("#" in link for text in every for link in links(text)) > 3
    assert sum(bool(PATH.fullmatch(span)) for text in every for span in code_spans(text)) > 40


def test_a_link_that_leads_nowhere_is_seen(tmp_path):
    page, text = (
        tmp_path / "page.md",
        "# Here `there`\n## Twice\n## Twice\n[a](#here-there) [b](#twice_1) [c](#twice_2)",
    )
    page.write_text(text)
    assert broken_links(page, text) == ["#twice_2: no such heading"]
    inside = "[a](nowhere.md) [b](choosing.md#nope) [c](../README.md) [d](choosing.md) [e]() [f](https://a.org)"
    inside += " [g](contributing.md) [h](changelog.md#unreleased) [i](../CHANGELOG.md)"
    told = ["nowhere.md: no such file", "choosing.md#nope: no such heading", "../README.md: is not part of the site"]
    assert broken_links(ROOT / "docs" / "made.md", inside) == [
        *told,
        ": no such file",
        "../CHANGELOG.md: is not part of the site",
    ]
    assert broken_links(page, "```py\nx[a](b)\n```\nand `[a](b)`") == [], "code is no link"


def test_an_address_that_is_none_is_seen():
    text = "http://a.org, <https://a.org/b_(c)>, https://nodots/x and (https://ok.org/x)."
    assert bad_urls(text) == ["http://a.org", "https://nodots/x"]


def test_a_name_that_is_none_is_seen():
    text = "`mlo/nope.py` `python benchmarks/nope.py --x` `mlo/engine.py` `tests/test_links.py::test_no` `docs/*.md`"
    assert missing_paths(text) == ["benchmarks/nope.py", "mlo/nope.py", "tests/test_links.py::test_no"]
    assert unknown_names(references("[`X`][mlo.X] [`CG`][mlo.CG] [mlo.Report.losses][] [x][mlo._x]")) == [
        "mlo.X",
        "mlo._x",
    ]
