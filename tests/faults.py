"""A disk that fails at the n-th thing that is asked of it."""

from __future__ import annotations

import builtins
import errno
import io
import os

NAMES = ("open", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "chmod")
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES)


class Faults:
    """Counts what is asked of the disk, and lets one of it fail; as a context, while it lasts.

    Args:
        monkeypatch: Of pytest.
        at: Which one fails, from 0; None for none.
        code: With which error of the system.
        onward: Whether all that comes later fails too, as on a disk that stays full or turned read-only.
    """

    def __init__(self, monkeypatch, at, code=errno.ENOSPC, *, onward=False) -> None:
        self._patch, self._at, self._code, self._onward = monkeypatch, at, code, onward
        self.asked: list[str] = []

    def ask(self, what: str) -> None:
        """Count one, and fail if it is its turn."""
        number = len(self.asked)
        self.asked.append(what)
        if self._at is not None and (number >= self._at if self._onward else number == self._at):
            raise OSError(self._code, os.strerror(self._code))

    @property
    def failed(self) -> bool:
        """Whether the turn came."""
        return self._at is not None and len(self.asked) > self._at

    def __enter__(self):
        with_name = {name: getattr(os, name) for name in NAMES}
        for name, real in with_name.items():
            self._patch.setattr(os, name, self._failing(name, real))
        real_open = io.open

        def opened(file, mode="r", *args, **kwargs):
            if not set(mode) & set("wax+"):
                return real_open(file, mode, *args, **kwargs)
            if not isinstance(file, int):
                self.ask("open to write")
            return Stream(real_open(file, mode, *args, **kwargs), self)

        self._patch.setattr(io, "open", opened)
        self._patch.setattr(builtins, "open", opened)
        return self

    def __exit__(self, *error) -> None:
        self._patch.undo()

    def _failing(self, name, real):
        def call(*args, **kwargs):
            self.ask(name)
            return real(*args, **kwargs)

        return call


class Stream:
    """A file whose writes may fail."""

    def __init__(self, file, faults) -> None:
        self._file, self._faults, self._wrote = file, faults, False

    def write(self, content):
        self._wrote = True
        self._faults.ask("write")
        return self._file.write(content)

    def flush(self):
        self._faults.ask("flush")
        return self._file.flush()

    def close(self):
        if not self._file.closed:
            self._file.close()
            if self._wrote:
                self._faults.ask("close")

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def each_fault(monkeypatch, work, *, before=lambda: None, onward=False):
    """Let a piece of work fail at each thing that it asks of the disk, in turn.

    Args:
        monkeypatch: Of pytest.
        work: What asks; called anew for each.
        before: Called before each, while the disk is well.
        onward: As in `Faults`.

    Yields:
        What was asked of the disk, and the error that `work` raised; None if it raised none.
    """
    with Faults(monkeypatch, None) as quiet:
        work()
    for at, what in enumerate(quiet.asked):
        if what == "write" and at % 12:  # there are dozens, all alike
            continue
        before()
        faults, found = Faults(monkeypatch, at, ERRORS[at % len(ERRORS)], onward=onward), None
        try:
            with faults:
                work()
        except Exception as error:
            found = error
        if faults.failed:
            yield faults.asked[at], found
