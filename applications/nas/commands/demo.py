"""`mlo-nas demo`."""

from __future__ import annotations

from rich.console import Console

from applications.nas.commands.common import parse
from applications.nas.demo import DemoSettings, demo


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas demo` with the words behind it."""
    demo(parse(DemoSettings(), words, "mlo-nas demo"), console)
