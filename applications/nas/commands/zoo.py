"""`mlo-nas zoo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from applications.nas.commands.common import picture_stem
from applications.nas.commands.tyro_call import read_words
from applications.nas.console_table import console_table
from applications.nas.draw import draw_genotype
from applications.nas.space.published import PUBLISHED
from applications.nas.space.zoo import ZOO
from mlo import ConfigError


@dataclass(frozen=True)
class ZooCommand:
    """List the published cells, or show one of them."""

    cell: tyro.conf.Positional[str] = ""
    """A name of the list; left out: the list."""
    out: Path | None = None
    """Draw the cell: path of the pictures without their suffix."""


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas zoo` with the words behind it."""
    command = read_words(ZooCommand, words, "mlo-nas zoo")
    if command.cell and command.cell not in ZOO:
        raise ConfigError(f"zoo: no published cell is called {command.cell!r}; there are {', '.join(ZOO)}")
    if command.out is not None and not command.cell:
        raise ConfigError("zoo: --out draws one cell: name it, as in `mlo-nas zoo DARTS_V2 --out cell`")
    if not command.cell:
        _list(console)
        return
    facts = PUBLISHED[command.cell]
    console.print(f"{command.cell}: {facts.source}", highlight=False, soft_wrap=True)
    console.print(str(ZOO[command.cell]), highlight=False)
    if command.out is not None:
        for path in draw_genotype(ZOO[command.cell], picture_stem(command.out)):
            console.print(str(path), highlight=False, soft_wrap=True)


def _list(console: Console) -> None:
    header = ["cell", "CIFAR-10 params", "CIFAR-100 params", "CIFAR-10 mult-adds", "ImageNet params"]
    header += ["ImageNet mult-adds", "skips"]
    rows = []
    for name, one in PUBLISHED.items():
        counts = (one.cifar10, one.cifar100, one.cifar_multiply_adds, one.imagenet, one.imagenet_multiply_adds)
        skips = str(ZOO[name].count("skip_connect"))
        rows.append([name, *(f"{count / 1e6:.2f} M" for count in counts), skips])
    console.print(console_table(header, rows))
    for name, one in PUBLISHED.items():
        console.print(f"{name}: {one.source}", highlight=False, soft_wrap=True)
    console.print(
        "CIFAR: 20 cells, C = 36, 32x32. ImageNet: 14 cells, C = 48, 224x224. Without auxiliary heads; multiply-adds "
        "of one image in convolutions and linear layers. `mlo-nas zoo NAME` shows a cell, --out STEM draws it.",
        highlight=False,
        soft_wrap=True,
    )
