"""Which lines of `mlo` ask for the operations that a computation dispatches: to find what is too much."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

import mlo
from benchmarks.counting import Counting
from mlo.meter import LiveBytes

PACKAGE = str(Path(mlo.__file__).parent) + "/"
HELPERS = ("vector.py", "autodiff.py")
"""Files whose lines say little without the line that called them."""


class Sites(Counting):
    """Counts, and remembers from where.

    Attributes:
        sites: How often each pair (call site in `mlo`, operation) was met; "in a loss" are the user's own operations,
            "backward" those of a backward pass, at the line that asked for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sites: Counter[tuple[str, str]] = Counter()

    def seen(self, name: str) -> None:
        """Note an operation that was counted."""
        self.sites[call_site(), name] += 1


def call_site() -> str:
    """Return the innermost lines of `mlo` on the stack, up to the first that is not of a helper."""
    frame, lines, backward = sys._getframe(1), [], False
    while frame is not None:
        file = frame.f_code.co_filename
        backward |= frame.f_code.co_name == "_engine_run_backward"
        if file.startswith(PACKAGE) and not file.endswith("meter.py"):
            place = file.removeprefix(PACKAGE)
            if place == "evaluate.py" and frame.f_code.co_name == "_loss" and not backward:
                return "in a loss"
            lines.append(f"{place}:{frame.f_lineno} {frame.f_code.co_name}")
            if place not in HELPERS:
                break
        frame = frame.f_back
    return ("backward, " if backward else "") + (" < ".join(lines) or "elsewhere")


def table(ours: Callable[[], object], rival: Callable[[], object], *, least: int = 1) -> str:
    """Return where ours dispatches, and by how much each operation differs from a rival.

    Args:
        ours: A computation by `mlo`.
        rival: The same by something else.
        least: Leave out sites with fewer operations.
    """
    with Sites() as here:
        ours()
    with Sites() as there:
        rival()
    found, others = by_name(here), by_name(there)
    lines = ["operation               ours  rival   more"]
    for name in sorted({*found, *others}, key=lambda name: others[name] - found[name]):
        if found[name] != others[name]:
            lines.append(f"{name:22}{found[name]:6}{others[name]:7}{found[name] - others[name]:+7}")
    total = Counter[str]()
    for (site, _), count in here.sites.items():
        total[site] += count
    lines += ["", "  all  from"]
    for site, count in total.most_common():
        if count >= least:
            parts = Counter({name: n for (other, name), n in here.sites.items() if other == site}).most_common(6)
            lines.append(f"{count:5}  {site}: {', '.join(f'{name} {n}' for name, n in parts)}")
    return "\n".join(lines)


class Holders(LiveBytes):
    """Remembers who made what is alive when the most is.

    Attributes:
        at_peak: Bytes by call site.
    """

    def __init__(self) -> None:
        super().__init__()
        self.at_peak: Counter[str] = Counter()
        self._made: dict[int, tuple[str, int]] = {}

    def _count(self, storage: torch.UntypedStorage) -> None:
        before = self.peak
        super()._count(storage)
        self._made[id(storage)] = (call_site(), storage.nbytes())
        if self.peak > before:
            self._made = {key: self._made[key] for key in self._alive}
            self.at_peak = Counter()
            for site, size in self._made.values():
                self.at_peak[site] += size


def memory(act: Callable[[], object], *, least: float = 0.02) -> str:
    """Return who made the bytes that are alive when the most are, but for small shares."""
    with Holders() as holders:
        act()
    lines = [f"{holders.peak:,} bytes alive at most, made by"]
    lines += [f"{size:12,}  {site}" for site, size in holders.at_peak.most_common() if size > least * holders.peak]
    return "\n".join(lines)


def by_name(mode: Sites) -> Counter[str]:
    """Return the counts of operations, wherever they came from."""
    total = Counter[str]()
    for (_, name), count in mode.sites.items():
        total[name] += count
    return total
