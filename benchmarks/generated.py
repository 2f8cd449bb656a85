"""The part of a page that a benchmark writes, between two marks."""

from __future__ import annotations


def split(page: str, begin: str, end: str) -> tuple[str, str, str]:
    """Return what stands before, between and after the marks."""
    before, rest = page.split(begin)
    between, after = rest.split(end)
    return before, between, after


def marks(name: str) -> tuple[str, str]:
    """Return the marks of the part called `name`."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def filled(page: str, name: str, text: str) -> str:
    """Return the page with `text` as its part called `name`."""
    begin, end = marks(name)
    before, _, after = split(page, begin, end)
    return f"{before}{begin}\n{text}\n{end}{after}"
