"""Tables as text: for a console, as Markdown, as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as ConsoleTable

from applications.nas.report.markup import md, md_row, tex, tex_row
from applications.nas.report.sheet import Sheet, sheet_latex, sheet_markdown
from applications.nas.report.table import MARK, Table, references
from applications.nas.run_folder.page import Picture

QUOTED = "quoted, not measured here"


@dataclass(frozen=True)
class Cells:
    """A table as text, without any markup.

    Attributes:
        header: Names of the columns.
        measured: Rows of cells.
        quoted: Rows of cells.
    """

    header: list[str]
    measured: list[list[str]]
    quoted: list[list[str]]


def cells(table: Table) -> Cells:
    """Return the cells of a table; columns that no row fills are left out, "-" stands for what is not known."""
    header = ["method", f"test {table.metric}", "over", "top-5 error %", "params (M)", "multiply-adds (M)"]
    header += ["skips", "search cost (days)", "source"]
    measured = [
        [
            row.method,
            str(row.error),
            row.error.basis,
            str(row.top5 or ""),
            number(row.parameters / 1e6),
            "" if row.multiply_adds is None else number(row.multiply_adds / 1e6),
            "" if row.skips is None else f"{row.skips:.1f}",
            "" if row.days is None else f"{number(row.days)} {row.device}".strip(),
            "measured",
        ]
        for row in table.rows
    ]
    numbers = references(table.quoted)
    quoted = [
        [
            f"{row.method} {MARK}",
            _quoted_error(row.error, row.std),
            "",
            "" if row.top5 is None else f"{row.top5:.1f}",
            "" if row.params_M is None else f"{row.params_M:g}",
            "" if row.multiply_adds_M is None else f"{row.multiply_adds_M:g}",
            "",
            "" if row.cost_gpu_days is None else f"{row.cost_gpu_days:g} GPU",
            f"[{numbers[row.source]}]" + ("" if row.checked else " (unchecked)"),
        ]
        for row in table.quoted
    ]
    filled = [any(row[index] for row in [*measured, *quoted]) for index in range(len(header))]
    return Cells(
        _kept(header, filled), [_kept(row, filled) for row in measured], [_kept(row, filled) for row in quoted]
    )


def number(value: float) -> str:
    """Write a number to two places, or to two digits if it is small."""
    return f"{value:.2f}" if value == 0 or value >= 0.1 else f"{value:.2g}"


def as_console(table: Table) -> ConsoleTable:
    """Return a table for a console, narrow: the source of a published row stands behind its method."""
    found = ConsoleTable(
        title=escape(table.task), box=box.SIMPLE_HEAD, title_justify="left", show_edge=False, padding=0
    )
    text = cells(table)
    for name in text.header[:-1]:
        wraps = name in ("method", "over")  # numbers are not broken into lines
        head = escape(name.replace(" ", "\n").replace("multiply-adds", "mult-\nadds"))
        side: Literal["left", "right"] = "left" if wraps else "right"
        found.add_column(
            head,
            justify=side,
            no_wrap=not wraps,
            min_width=12 if name == "method" else 11 if wraps else None,
            overflow="fold",
        )
    for index, row in enumerate(text.measured):
        found.add_row(*(escape(cell or "-") for cell in row[:-1]), style="bold" if index in table.best else None)
    if text.quoted:
        found.add_section()
        found.add_row(f"[italic]{QUOTED}[/italic]")
        for method, *row, source in text.quoted:
            found.add_row(escape(f"{method} {source}"), *(escape(cell or "-") for cell in row), style="dim")
    return found


def print_table(table: Table, console: Console) -> None:
    """Print a table whole: a console that is too narrow gets lines longer than itself, never fewer columns."""
    found = as_console(table)
    least = found.__rich_measure__(console, console.options.update(max_width=10_000)).minimum
    found.width = least if least > console.width else None
    console.print(found, crop=False)
    console.print()


def as_markdown(
    tables: Sequence[Table], left_out: Sequence[str], sheets: Sequence[Sheet] = (), pictures: Sequence[Picture] = ()
) -> str:
    """Return all tables with their notes as Markdown, figures, and what was worked out from them."""
    lines = ["# Report", ""]
    for table in tables:
        text = cells(table)
        lines += [f"## {md(table.task)}", "", md_row(text.header), md_row(["---"] * len(text.header))]
        for index, row in enumerate(text.measured):
            marked = [md(cell or "-") for cell in row]
            lines.append(md_row([f"**{cell}**" for cell in marked[:2]] + marked[2:] if index in table.best else marked))
        if text.quoted:
            lines.append(md_row([f"*{QUOTED}*"] + [""] * (len(text.header) - 1)))
            lines += [md_row([md(cell or "-") for cell in row]) for row in text.quoted]
        lines += ["", *(f"- {md(note)}" for note in table.notes), ""]
    if pictures:
        lines += ["## Figures", ""]
    for picture in pictures:
        lines += [picture.markdown(), ""]
    for sheet in sheets:
        lines += sheet_markdown(sheet)
    if left_out:
        lines += ["## Left out", "", *(f"- {md(line)}" for line in left_out), ""]
    return "\n".join(lines)


def as_latex(tables: Sequence[Table], left_out: Sequence[str], sheets: Sequence[Sheet] = ()) -> str:
    """Return all tables, and what was worked out from them, as LaTeX for the packages booktabs and textcomp.

    The notes are in the captions.
    """
    lines = [r"% needs \usepackage{booktabs} and, before LaTeX of 2020, \usepackage{textcomp}"]
    lines += [f"% left out: {' '.join(line.split())}" for line in left_out]
    for table in tables:
        text = cells(table)
        columns = "".join("l" if name in ("method", "over", "source") else "r" for name in text.header)
        lines += [r"\begin{table}", r"  \centering", r"  \small", rf"  \begin{{tabular}}{{{columns}}}", r"    \toprule"]
        lines += [tex_row(text.header), r"    \midrule"]
        for index, row in enumerate(text.measured):
            lines.append(tex_row(row, bold=2 if index in table.best else 0))
        if text.quoted:
            lines += [r"    \midrule", rf"    \multicolumn{{{len(text.header)}}}{{l}}{{\emph{{{QUOTED}}}}} \\"]
            lines += [tex_row(row) for row in text.quoted]
        lines += [r"    \bottomrule", r"  \end{tabular}"]
        lines += [rf"  \caption{{{tex(table.task)}. {tex(' '.join(table.notes))}}}", r"\end{table}", ""]
    for sheet in sheets:
        lines += sheet_latex(sheet)
    return "\n".join(lines)


def _quoted_error(error: float | None, std: float | None) -> str:
    if error is None:
        return ""
    return f"{error:.2f}" if std is None else f"{error:.2f} ± {std:.2f}"


def _kept(row: Sequence[str], filled: Sequence[bool]) -> list[str]:
    return [cell for cell, keep in zip(row, filled, strict=True) if keep]
