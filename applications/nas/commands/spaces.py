"""`mlo-nas spaces`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from applications.nas.commands.tyro_call import read_words
from applications.nas.console_table import console_table
from applications.nas.presets import SEARCH
from applications.nas.retrain.build import measure
from applications.nas.space.cell import CellSpace
from applications.nas.space.operations import OPERATIONS, PRIMITIVES, operation

_CHANNELS, _SIDE = 16, 32


@dataclass(frozen=True)
class SpacesCommand:
    """Show the operations of the cells, and the search spaces of the presets."""


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas spaces` with the words behind it."""
    read_words(SpacesCommand, words, "mlo-nas spaces")
    console.print(_operations())
    console.print(
        f"At C = {_CHANNELS}, for a map of {_SIDE}x{_SIDE}. In a search the normalizations have no parameters. "
        f"{', '.join(OPERATIONS[len(PRIMITIVES) :])} occur in older published cells alone.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_spaces())
    console.print(
        "Cells: what can be derived, with two edges for each node and one operation (not none) for each edge, for the "
        "normal and the reduction cell together.",
        highlight=False,
        soft_wrap=True,
    )


def cells(space: CellSpace) -> int:
    """Return how many architectures can be derived from a space: pairs of predecessors times operations, twice."""
    choices = len(space.candidates)
    one = math.prod(math.comb(node, 2) * choices**2 for node in range(2, space.nodes + 2))
    return one**2


def _operations() -> Table:
    header = ["operation", "params, search", "params, final", "params, stride 2, final", "mult-adds"]
    header.append("mult-adds, stride 2")
    rows = []
    for name in OPERATIONS:
        search, final, strided = (_measure(name, *how) for how in ((1, False), (1, True), (2, True)))
        rows.append([name, *(f"{n:,}" for n in (search[0], final[0], strided[0], final[1], strided[1]))])
    return console_table(header, rows)


def _measure(name: str, stride: int, affine: bool) -> tuple[int, int]:
    """Return parameters and multiply-adds of an operation."""
    with torch.device("meta"):
        cost = measure(operation(name, _CHANNELS, stride, affine=affine), (_CHANNELS, _SIDE, _SIDE))
    return cost.parameters, cost.multiply_adds


def _spaces() -> Table:
    table = Table()
    for heading in ("presets", "nodes", "edges", "operations"):
        table.add_column(heading, justify="right" if heading in ("nodes", "edges") else "left")
    table.add_column("cells", justify="right", no_wrap=True)
    users: dict[CellSpace, list[str]] = {}
    for name, (_, settings) in SEARCH.items():
        users.setdefault(settings.supernet.space, []).append(name)
    for space, names in users.items():
        held = ", ".join(space.primitives)
        table.add_row(", ".join(names), str(space.nodes), str(space.edges), held, f"{cells(space):.2e}")
    return table
