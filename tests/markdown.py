"""What the tests read in Markdown: the pages of the project, their headings, links, fences and spans of code."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<kind>[\w-]*)[^\n`]*\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL
)
_HEADING = re.compile(r"^#{1,6} +(?P<text>.*?) *(?:\{ *#(?P<id>[\w-]+)[^}]*\})?$", flags=re.MULTILINE)
_CODE = re.compile(r"(`+)(?P<text>.+?)\1", flags=re.DOTALL)
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\((?P<target>[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?: +\"[^\"]*\")?\)")
_PLACE = re.compile(r"\[\]\(\)\{ *#[\w.-]+ *\}")  # a place to link to, which leads nowhere itself
_REFERENCE = re.compile(r"\[(?P<text>[^\[\]]+)\]\[(?P<target>[^\[\]]*)\]")
_URL = re.compile(r"https?:[^\s<>\"'`|\])]*")


def pages() -> list[Path]:
    """Return every page that a reader may open, in order."""
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md") if (ROOT / name).exists()]
    return [*found, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / ".github").rglob("*.md"))]


def name_of(page: Path) -> str:
    """Return the path of a page in the repository, as the ids of tests show it."""
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Fence:
    """A block of code.

    Attributes:
        kind: The word behind the backticks; empty if there is none.
        body: What is between, without the indentation of the block.
    """

    kind: str
    body: str


def fences(text: str) -> list[Fence]:
    """Return the blocks of code of a page, in order."""
    found = []
    for match in _FENCE.finditer(text):
        lines = [line.removeprefix(match["indent"]) for line in match["body"].splitlines(keepends=True)]
        found.append(Fence(match["kind"], "".join(lines)))
    return found


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return _FENCE.sub("", text)


def code_spans(text: str) -> list[str]:
    """Return what stands in `backticks`, on one line each."""
    return [" ".join(match["text"].split()) for match in _CODE.finditer(prose(text))]


def links(text: str) -> list[str]:
    """Return the targets of [text](target)."""
    return [match["target"] for match in _LINK.finditer(_PLACE.sub("", _CODE.sub("code", prose(text))))]


def references(text: str) -> list[str]:
    """Return the targets of [text][target]; of [target][], the text."""
    return [match["target"] or match["text"] for match in _REFERENCE.finditer(_CODE.sub(_inner, prose(text)))]


def urls(text: str) -> list[str]:
    """Return everything that begins like an address of the web."""
    return [match.rstrip(".,;:") for match in _URL.findall(prose(text))]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page: of its headings, as mkdocs makes them, and those that are written out."""
    found, seen = set[str](), Counter[str]()
    for match in _HEADING.finditer(prose(text)):
        slug = match["id"] or _slug(match["text"])
        found.add(slug if not seen[slug] else f"{slug}_{seen[slug]}")
        seen[slug] += 1
    return found | set(re.findall(r"(?:id|name)=\"([\w-]+)\"", text)) | set(re.findall(r"\{ *#([\w-]+)", text))


def _inner(match: re.Match[str]) -> str:
    return match["text"]


def _slug(heading: str) -> str:
    words = re.sub(r"\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])", r"\1", heading)
    plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
