"""`mlo-nas draw`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from applications.nas.draw import draw_genotype
from applications.nas.run_folder import read_genotype


@dataclass(frozen=True)
class DrawCommand:
    """Draw a cell as SVG and PNG."""

    cell: tyro.conf.Positional[str]
    """The name of a published cell, a genotype file, or the folder of a search."""
    out: Path = Path("cell")
    """Path of the pictures without their suffix."""


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas draw` with the words behind it."""
    command = tyro.cli(DrawCommand, args=words, prog="mlo-nas draw")
    stem = command.out.with_suffix("") if command.out.suffix in (".svg", ".png") else command.out
    for path in draw_genotype(read_genotype(command.cell), stem):
        console.print(str(path), highlight=False, soft_wrap=True)
