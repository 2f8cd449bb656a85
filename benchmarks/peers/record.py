"""One row of the table, and the values that it holds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import mlo

Value = float | str | tuple[float | str, ...]
"""A number, several, or a few words on what happened."""

LETTERS = {"B": "Betty", "T": "TorchOpt", "H": "hypertorch", "O": "BOAT", "U": "higher"}


@dataclass(frozen=True)
class Defect:
    """One case that a library was caught with.

    Attributes:
        id: As in the tests; its letter is the library's.
        what: The case, in one line, and what is shown of it.
        truth: The closed form, or what should happen.
        ours: Computes the same with `mlo`.
        rel: Relative error that `ours` may have; rounding only, unless `note` says more.
        note: What is fair to add: a choice that the peer documents, or a setting that cures it.
    """

    id: str
    what: str
    truth: Value
    ours: Callable[[], Value]
    rel: float = 1e-10
    note: str = ""

    @property
    def peer(self) -> str:
        """The library."""
        return LETTERS[self.id[0]]


def refused(act: Callable[[], object], culprit: str) -> str:
    """Return whether `act` raises an error of ours that names `culprit`."""
    try:
        act()
    except mlo.MLOError as error:
        return f"refused, names {culprit!r}" if repr(culprit) in str(error) else f"refused: {error}"
    return "accepted"


def happens(act: Callable[[], object]) -> str:
    """Return the error that `act` raises, cut to one short line."""
    try:
        act()
    except Exception as error:  # whatever a library raises is what the row shows
        return failure(error)
    return "no error"


def failure(error: Exception) -> str:
    """Return an error's type and the beginning of its first line."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else ""
    words = first if len(first) <= 60 else f"{first[:57].rstrip()}..."
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def numbers(values: Iterable[object]) -> tuple[float, ...]:
    """Return tensors or numbers as floats."""
    return tuple(float(value) for value in values)  # type: ignore[arg-type]


def show(value: Value) -> str:
    """Return a value as the page shows it: four digits, and rounding errors as the zeros that they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return show(value[0]) if len(value) == 1 else f"({', '.join(show(part) for part in value)})"
    return f"{round(value, 10) + 0.0:.4g}"
