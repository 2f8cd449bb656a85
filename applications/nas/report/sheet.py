"""Plain tables of texts with notes: what is worked out from the rows of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from applications.nas.report.markup import md, md_table, tex, tex_row

_NARROW = 16
"""Letters of a text's column on a console that is too narrow for it."""


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Attributes:
        title: What it is.
        header: Names of the columns.
        left: How many columns, from the first, hold texts; the others hold numbers.
        rows: Cells; an empty one is not known.
        notes: What must be known to read it.
    """

    title: str
    header: tuple[str, ...]
    left: int
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def sheet_markdown(sheet: Sheet) -> list[str]:
    """Return the lines of a sheet in Markdown."""
    lines = [f"## {md(sheet.title)}", ""]
    if sheet.rows:
        lines += [md_table(sheet.header, [[md(cell or "-") for cell in row] for row in sheet.rows]), ""]
    return [*lines, *(f"- {md(note)}" for note in sheet.notes), ""]


def sheet_latex(sheet: Sheet) -> list[str]:
    """Return the lines of a sheet in LaTeX; texts that are longer than a name are set as paragraphs."""
    if not sheet.rows:
        return [*(f"% {note}" for note in sheet.notes), ""]
    columns = "".join(_column(sheet, index) for index in range(len(sheet.header)))
    lines = [r"\begin{table}", r"  \centering", r"  \small", rf"  \begin{{tabular}}{{{columns}}}", r"    \toprule"]
    lines += [tex_row(sheet.header), r"    \midrule", *map(tex_row, sheet.rows), r"    \bottomrule", r"  \end{tabular}"]
    return [*lines, rf"  \caption{{{tex(sheet.title)}. {tex(' '.join(sheet.notes))}}}", r"\end{table}", ""]


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Print a sheet whole: a console that is too narrow gets lines longer than itself, never fewer columns."""
    if sheet.rows:
        found, wide = _as_console(sheet, None), console.options.update(max_width=10_000)
        if found.__rich_measure__(console, wide).minimum > console.width:
            found = _as_console(sheet, _NARROW)
            found.width = found.__rich_measure__(console, wide).maximum
        console.print(found, crop=False)
    for note in sheet.notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)
    console.print()


def _as_console(sheet: Sheet, most: int | None) -> Table:
    """Return a sheet as a table in which texts are broken into lines, at so many letters if at all; numbers are not."""
    found = Table(title=escape(sheet.title), box=box.SIMPLE_HEAD, title_justify="left", show_edge=False, padding=0)
    for index, name in enumerate(sheet.header):
        wraps = index < sheet.left
        side: Literal["left", "right"] = "left" if wraps else "right"
        head = escape(name if wraps else name.replace(" ", "\n").replace("\n%", " %").replace("\n/", " /"))
        found.add_column(head, justify=side, no_wrap=not wraps, max_width=most if wraps else None, overflow="fold")
    for row in sheet.rows:
        found.add_row(*(escape(cell or "-") for cell in row))
    return found


def _column(sheet: Sheet, index: int) -> str:
    longest = max(len(row[index]) for row in sheet.rows)
    return "p{3cm}" if longest > 30 else "l" if index < sheet.left else "r"
