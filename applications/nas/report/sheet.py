"""Plain tables of texts with notes: what is worked out from the rows of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from applications.nas.console_table import console_table
from applications.nas.report.markup import md, md_row, tex, tex_row


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
        lines += [md_row(sheet.header), md_row(["---"] * len(sheet.header))]
        lines += [md_row([md(cell or "-") for cell in row]) for row in sheet.rows] + [""]
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
    """Print a sheet whole: lines grow longer than a narrow console, and no column is left out."""
    console.print(sheet.title, style="italic", highlight=False, markup=False, soft_wrap=True)
    if sheet.rows:
        table = console_table(sheet.header, _dashed(sheet.rows), left=sheet.left)
        least = table.__rich_measure__(console, console.options.update(max_width=10_000)).minimum
        table.width = least if least > console.width else None
        console.print(table, crop=False)
    for note in sheet.notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)
    console.print()


def _column(sheet: Sheet, index: int) -> str:
    longest = max(len(row[index]) for row in sheet.rows)
    return "p{3cm}" if longest > 30 else "l" if index < sheet.left else "r"


def _dashed(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[cell or "-" for cell in row] for row in rows]
