"""The checkpoints of a run: the last few of them, and the newest that is whole."""

from __future__ import annotations

import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from mlo.checkpoint.folder import discard, readable
from mlo.checkpoint.ranks import Ranks
from mlo.checkpoint.reading import read_more, restore
from mlo.checkpoint.writing import Folder, check_engine, save
from mlo.checks import check_count
from mlo.engine import Engine
from mlo.errors import DamagedError, DamagedWarning

_NAME = re.compile(r"step-(\d{8,})|\.step-(\d{8,})\.mlo-old")  # the second: one whose replacement was cut short


@dataclass(frozen=True, eq=False)
class Kept:
    """A checkpoint of a series.

    Attributes:
        folder: Where it lies.
        number: By which it was saved.
        more: What `Checkpoints.save` was given as such, with tensors on the CPU.
    """

    folder: Path
    number: int
    more: Any


@final
class Checkpoints:
    """The last checkpoints of a run, in folders `step-NUMBER` inside of one.

    A checkpoint that is damaged is passed over with a `DamagedWarning`, for the one before; so a run that was killed
    and whose disk lost a file still goes on.

    Args:
        folder: Holds them and nothing else; made by the first `save`.
        keep: How many; older ones are removed.

    Raises:
        ConfigError: If `keep` is not a whole number >= 1.

    Examples:
        >>> import mlo, tempfile, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.x**2, torch.tensor(1.0), update=torchopt.sgd(0.1))
        >>> engine, kept = mlo.Engine(mlo.ProblemGraph([x])), mlo.Checkpoints(tempfile.mkdtemp(), keep=2)
        >>> for report in engine.run(4):
        ...     folder = kept.save(engine)
        >>> folder.name, len(list(folder.parent.iterdir()))
        ('step-00000004', 2)
    """

    def __init__(self, folder: Folder, *, keep: int = 3) -> None:
        """Look at nothing yet."""
        check_count("Checkpoints", "keep", keep, least=1)
        self.folder, self.keep = Path(folder).resolve(), keep

    def save(self, engine: Engine, *, more: Any = None, number: int | None = None) -> Path:
        """Write a checkpoint, then remove those that are too old; see `mlo.save`.

        Args:
            engine: The engine.
            more: What else to keep.
            number: Tells its place in the series; None for the number of the engine's steps. Those with larger numbers,
                of a run that was taken back behind them, are removed.

        Returns:
            Its folder.

        Raises:
            MLOError: As `mlo.save`.
        """
        check_engine("Checkpoints.save", engine)
        mine = engine.step_count if number is None else number
        check_count("Checkpoints.save", "number", mine, least=0)
        path = self.folder / f"step-{mine:08d}"
        save(engine, path, more=more)
        if Ranks(engine.parallel).rank == 0:
            self._tidy(mine)
        return path

    def latest(self) -> Kept | None:
        """Return the newest checkpoint whose files are what was written; None if there is no checkpoint at all.

        Raises:
            DamagedError: If there are some, and none is whole; the message names the newest and what is wrong with it.
            DataError: If one was written by another version of the format.
        """
        first: DamagedError | None = None
        for number in reversed(self.numbers()):
            folder = self.folder / f"step-{number:08d}"
            try:
                return Kept(folder, number, read_more(folder))
            except DamagedError as error:
                first = first or error
                warnings.warn(f"{error}; the one before is looked at", DamagedWarning, stacklevel=2)
        if first is not None:
            raise DamagedError(f"{first}, but there is none that is whole")
        return None

    def restore(self, engine: Engine, *, place: bool = True) -> Kept | None:
        """Put an engine into the state of the newest checkpoint that is whole; see `mlo.restore`.

        Args:
            engine: The engine.
            place: Whether to go on at the same place in the batches, and with the same random numbers.

        Returns:
            The checkpoint; None if there is none at all: a run that begins.

        Raises:
            MLOError: As `latest` and `mlo.restore`.
        """
        check_engine("Checkpoints.restore", engine)
        kept = self.latest()
        if kept is not None:
            restore(engine, kept.folder, place=place)
        return kept

    def _tidy(self, last: int) -> None:
        """Remove what is too old, what is newer than the last, and what a save has left that was killed."""
        numbers = self.numbers()
        for old in [*(one for one in numbers if one > last), *[one for one in numbers if one <= last][: -self.keep]]:
            discard(self.folder / f"step-{old:08d}")
        for cut_short in self.folder.glob(".step-*.mlo-new"):
            shutil.rmtree(cut_short, ignore_errors=True)

    def numbers(self) -> list[int]:
        """Return the numbers of the checkpoints that there are, ascending; damaged ones, too."""
        with readable(self.folder):
            folders = [path for path in self.folder.iterdir() if path.is_dir()] if self.folder.is_dir() else []
        found = (_NAME.fullmatch(path.name) for path in folders)
        return sorted({int(match[1] or match[2]) for match in found if match is not None})
