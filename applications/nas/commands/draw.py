"""`mlo-nas draw`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from applications.nas.commands.common import picture_stem
from applications.nas.commands.tyro_call import read_words
from applications.nas.draw import draw_genotype
from applications.nas.run_folder import CONFIG, GENOTYPE, GENOTYPES, read_genotype
from applications.nas.search.pages import draw_search
from applications.nas.space.zoo import ZOO


@dataclass(frozen=True)
class DrawCommand:
    """Draw a cell as SVG and PNG; of the folder of a search, everything that it has data for."""

    cell: tyro.conf.Positional[str]
    """The name of a published cell, a genotype file, or the folder of a search."""
    out: Path = Path("cell")
    """Path of the pictures without their suffix; those of a search besides its cell are called OUT-evolution and so on:
    how the cell and the mixing weights went, the curves, and the problem graph."""


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas draw` with the words behind it."""
    command = read_words(DrawCommand, words, "mlo-nas draw")
    stem = picture_stem(command.out)
    folder = Path(command.cell)
    searched = (folder / CONFIG).is_file() and any((folder / name).is_file() for name in (GENOTYPE, GENOTYPES))
    if searched and command.cell not in ZOO:
        drawn, notes = draw_search(folder, lambda name: stem if name == "cell" else Path(f"{stem}-{name}"))
    else:
        drawn, notes = list(draw_genotype(read_genotype(command.cell), stem)), []
    for line in (*map(str, drawn), *notes):
        console.print(line, highlight=False, soft_wrap=True)
