"""Run the gallery: draws the figures of its pages, and puts what each script prints, and its graphs, into its page.

python -m examples.figures              all
python -m examples.figures ridge maml   these
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import matplotlib
import torch

import mlo

ROOT = Path(__file__).resolve().parents[1]
NAMES = sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem != Path(__file__).stem)


@dataclass(frozen=True)
class Ran:
    """What a script printed, and the problem graphs that it made, as Mermaid source."""

    printed: str
    graphs: tuple[str, ...]


def script(name):
    return ROOT / "examples" / f"{name}.py"


def page(name):
    return ROOT / "docs" / "gallery" / f"{name}.md"


def figure(name):
    return ROOT / "docs" / "figures" / "gallery" / f"{name}.svg"


def run(name, path):
    """Run a script as a user does, with its figure drawn to `path`."""
    made: list[str] = []
    declare = mlo.ProblemGraph.__init__

    def declared(graph, problems):
        declare(graph, problems)
        made.append(graph.to_mermaid())

    out, default = io.StringIO(), torch.get_default_dtype()
    with (
        mock.patch.object(mlo.ProblemGraph, "__init__", declared),
        mock.patch.object(sys, "argv", [str(script(name)), "--figure", str(path)]),
        mock.patch.dict(os.environ, SOURCE_DATE_EPOCH="0"),  # the figure has no date of its own
        matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}),
        contextlib.redirect_stdout(out),
    ):
        try:
            runpy.run_path(str(script(name)), run_name="__main__")
        finally:
            torch.set_default_dtype(default)  # scripts set it for themselves
    return Ran(out.getvalue(), tuple(dict.fromkeys(made)))


def fence(kind, text):
    """Return the contents of the first fence of a kind in a page, or None."""
    found = re.search(rf"^```{kind}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return found and found[1]


def renewed(text, ran):
    """Return a page's text with what the script prints now; a graph is put in only if the script makes just one."""
    for kind, new in (("text", ran.printed), ("mermaid", "".join(f"{graph}\n" for graph in ran.graphs[:1]))):
        old = fence(kind, text)
        if old is not None and (kind == "text" or len(ran.graphs) == 1):
            text = text.replace(f"```{kind}\n{old}```", f"```{kind}\n{new}```", 1)
    return text


def main():
    parser = argparse.ArgumentParser(description="run the gallery and renew its pages and figures")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: all): {', '.join(NAMES)}")
    names = parser.parse_args().names or NAMES
    for name in names:
        if name not in NAMES:
            parser.error(f"there is no example {name!r}; there are {', '.join(NAMES)}")
    for name in names:
        figure(name).parent.mkdir(parents=True, exist_ok=True)
        ran = run(name, figure(name))
        if page(name).exists():
            page(name).write_text(renewed(page(name).read_text(encoding="utf-8"), ran), encoding="utf-8")
        print(f"{name}: drawn", flush=True)


if __name__ == "__main__":
    main()
