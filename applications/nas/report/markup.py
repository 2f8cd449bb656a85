"""Text inside Markdown and LaTeX, and rows of their tables."""

from __future__ import annotations

from collections.abc import Sequence

from applications.nas.report.table import MARK

_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    MARK: r"\textsuperscript{\textdagger}",
}


def tex(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def tex_row(row: Sequence[str], bold: int = 0) -> str:
    """Return a row of a table in LaTeX, whose first cells may be bold; "-" stands for an empty one."""
    texts = [tex(cell or "-") for cell in row]
    return "    " + " & ".join([rf"\textbf{{{cell}}}" for cell in texts[:bold]] + texts[bold:]) + r" \\"


def md(text: str) -> str:
    """Escape text for Markdown."""
    for letter in "\\`*_[]<>|":
        text = text.replace(letter, f"\\{letter}")
    return " ".join(text.split())


def md_row(row: Sequence[str]) -> str:
    """Return a row of a table in Markdown, of cells that are Markdown."""
    return f"| {' | '.join(row)} |"


def md_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, of cells that are Markdown."""
    return "\n".join(map(md_row, [head, ["---"] * len(head), *rows]))
