"""Parts of a page that explains a run, as HTML and as Markdown; what they are given is shown as it stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import final
from urllib.parse import quote


class AbstractBlock(ABC):
    """A part of a page."""

    @abstractmethod
    def html(self, folder: Path) -> str:
        """Return it as HTML, for a page in that folder."""

    @abstractmethod
    def markdown(self) -> str:
        """Return it as Markdown."""


@final
@dataclass(frozen=True)
class Text(AbstractBlock):
    """A paragraph."""

    text: str

    def html(self, folder: Path) -> str:
        """Return a paragraph."""
        return f"<p>{escape(self.text)}</p>"

    def markdown(self) -> str:
        """Return a line."""
        return self.text


@final
@dataclass(frozen=True)
class Code(AbstractBlock):
    """Lines that keep their breaks: a command, or a cell as text."""

    text: str

    def html(self, folder: Path) -> str:
        """Return preformatted text."""
        return f"<pre>{escape(self.text)}</pre>"

    def markdown(self) -> str:
        """Return a fenced block."""
        return f"```\n{self.text}\n```"


@final
@dataclass(frozen=True)
class Table(AbstractBlock):
    """Rows under a head; a row may be shorter than it.

    Attributes:
        head: Titles of the columns; empty for a table without any.
        rows: The cells.
        numbers: Whether all columns but the first are set flush right.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: bool = False

    def html(self, folder: Path) -> str:
        """Return a table that can be scrolled sideways where the page is narrow."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.head)
        lines = [f"<tr>{head}</tr>"] if self.head else []
        lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows]
        kind = ' class="numbers"' if self.numbers else ""
        return f'<div class="wide"><table{kind}>' + "\n".join(lines) + "</table></div>"

    def markdown(self) -> str:
        """Return a table; where it has no head, with an empty one."""
        width = max([len(self.head), *(len(row) for row in self.rows)])
        head = self.head or [""] * width
        mark = "---:" if self.numbers else "---"
        lines = [head, ["---", *[mark] * (width - 1)], *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def fact_table(values: Mapping[str, str]) -> Table:
    """Return a table of two columns: what, and how much."""
    return Table((), [(name, value) for name, value in values.items()])


@final
@dataclass(frozen=True)
class Picture(AbstractBlock):
    """A picture of the folder.

    Attributes:
        file: Its path, relative to the folder.
        caption: What it shows, and how it is read.
    """

    file: str
    caption: str

    def html(self, folder: Path) -> str:
        """Return a figure; where the file is missing, that."""
        if not (folder / self.file).is_file():
            return f"<p>{escape(self.caption)} ({escape(self.file)} is not there.)</p>"
        place, caption = link(self.file), escape(self.caption)
        image = f'<a href="{place}"><img src="{place}" alt="{caption}"></a>'
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"

    def markdown(self) -> str:
        """Return an image."""
        return f"![{self.caption}]({link(self.file)})"


@final
@dataclass(frozen=True)
class Section:
    """Blocks under a title.

    Attributes:
        title: The heading.
        blocks: What stands below it, in this order.
    """

    title: str
    blocks: Sequence[AbstractBlock]


def link(path: str) -> str:
    """Return a relative path as a link, whatever signs its names hold."""
    return quote(path)
