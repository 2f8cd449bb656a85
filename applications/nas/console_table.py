"""A table for a console: numbers flush right, and nothing cut off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

_ANY = 10_000  # columns


@final
class _Whole(Table):
    """A table that gives up the least widths of its columns where they would cut something off."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if Measurement.get(console, options.update(max_width=_ANY), self).minimum > options.max_width:
            for column in self.columns:
                column.min_width = None
        yield from super().__rich_console__(console, options)


def console_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> Table:
    """Return a table whose first column never breaks, and where there is room no name of a column within a word.

    Args:
        header: Names of the columns.
        rows: The cells; what looks like markup in them is text.
        left: How many columns are texts, set flush left; the others are numbers.
    """
    table = _Whole(padding=(0, 0, 0, 1))  # narrow, so that the widest of ours fits a terminal of 80 columns
    for index, column in enumerate(header):
        justify: Literal["left", "right"] = "left" if index < left else "right"
        word = max(map(len, column.split()), default=0)
        table.add_column(escape(column), justify=justify, no_wrap=index == 0, overflow="fold", min_width=word)
    for row in rows:
        table.add_row(*map(escape, row))
    return table
