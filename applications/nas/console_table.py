"""A table for a console: numbers flush right, and nothing cut off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.markup import escape
from rich.table import Table


def console_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> Table:
    """Return a table whose first column never breaks.

    Args:
        header: Names of the columns.
        rows: The cells; what looks like markup in them is text.
        left: How many columns are texts, set flush left; the others are numbers.
    """
    table = Table()
    for index, column in enumerate(header):
        justify: Literal["left", "right"] = "left" if index < left else "right"
        table.add_column(escape(column), justify=justify, no_wrap=index == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
