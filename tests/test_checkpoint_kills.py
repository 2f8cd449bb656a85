"""Processes that are killed as they save, and several that save at once: what is there is always whole."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
import warnings

import pytest

import mlo
from mlo.checkpoint import lock
from tests.checkpoints import after, assert_same, small

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that share what is imported")


@pytest.fixture(scope="module", autouse=True)
def _imports(tmp_path_factory):
    """All that a save imports is there before the first process is forked: they are killed as they save, not before."""
    mlo.save(small(), tmp_path_factory.mktemp("first") / "kept")


def forked(work):
    """Run a function in another process; return its number."""
    with warnings.catch_warnings(action="ignore"):  # newer Pythons warn of threads, of which none takes a lock here
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


class Goals:
    """What an engine is after any number of steps."""

    def __init__(self):
        self._engine, self._known = small(), []

    def __getitem__(self, number):
        while len(self._known) <= number:
            self._known.append(self._engine.snapshot())
            self._engine.step()
        made = small()
        made.rewind(self._known[number])
        return made


def test_kills_at_any_moment(tmp_path):
    """A process saves after every step; 60 times it is killed, and the next one goes on."""
    series, goals, draw, made = mlo.Checkpoints(tmp_path / "run", keep=2), Goals(), random.Random(0), small()
    left, reached = 0, 0
    for round_ in range(60):
        reader, writer = os.pipe()

        def work(writer=writer):
            engine = small()
            series.restore(engine)
            while True:
                engine.step()
                series.save(engine, more=engine.step_count)
                os.write(writer, engine.step_count.to_bytes(4, "little"))

        child = forked(work)
        os.close(writer)
        told = os.read(reader, 4) if round_ % 3 else b""  # or as it begins
        time.sleep(draw.uniform(0.0, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told += os.read(reader, 1 << 16)
        os.close(reader)
        left += any(path.name.startswith(".") for path in series.folder.glob("*"))
        returned = int.from_bytes(told[-4:], "little") if told else reached
        kept = series.restore(made)
        reached = 0 if kept is None else kept.number
        assert returned <= reached <= returned + 1, "what `save` has returned for is there, or the one in flight"
        if kept is not None:
            assert kept.more == kept.number
            assert_same(made, goals[kept.number])
    assert reached > 30
    assert left > 5, "some were killed in the middle of a save"
    series.save(made)
    assert not [path for path in series.folder.iterdir() if path.name.startswith(".")]


def test_several_processes_save_into_one_folder(tmp_path):
    """One waits for the other: whoever reads finds one of both, or an error, and never a mixture."""
    folder, made, goals = tmp_path / "kept", small(), {number: after(number) for number in (1, 2, 3)}
    mlo.save(goals[1], folder)

    def work(number):
        for _ in range(40):
            mlo.save(goals[number], folder, more=number)

    children = [forked(lambda number=number: work(number)) for number in (2, 3)]
    seen, refused, running = set(), 0, True
    while running:
        running = not os.waitid(os.P_PID, children[0], os.WEXITED | os.WNOHANG | os.WNOWAIT)
        try:
            more = mlo.restore(made, folder)
        except mlo.DataError:  # replaced while it was read
            refused += 1
            continue
        assert made.step_count == (more or 1)
        assert_same(made, goals[made.step_count])
        seen.add(made.step_count)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert seen >= {2, 3}
    assert mlo.restore(made, folder) in (2, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_process_that_does_not_let_go(tmp_path, monkeypatch):
    """It is waited for, but not for ever; once it is killed, the lock is gone with it."""
    reader, writer = os.pipe()

    def work():
        with lock.alone(tmp_path):
            os.write(writer, b"1")
            time.sleep(60)

    child = forked(work)
    os.read(reader, 1)
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    with pytest.raises(mlo.DataError, match=r"another process has been writing a checkpoint there for long: end it"):
        mlo.save(small(), tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    mlo.save(small(), tmp_path / "kept")


def test_where_there_are_no_locks(tmp_path, monkeypatch):
    import fcntl

    def none(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    mlo.save(after(1), tmp_path / "kept")
    monkeypatch.setitem(__import__("sys").modules, "fcntl", None)
    mlo.save(after(1), tmp_path / "kept")
    mlo.restore(small(), tmp_path / "kept")


def test_a_removal_that_is_killed_leaves_no_half(tmp_path, monkeypatch):
    """The folder of a checkpoint that is too old goes at once, under a name that nobody reads."""
    series, found = mlo.Checkpoints(tmp_path / "run", keep=1), []
    series.save(after(1))
    real = os.unlink

    def unlink(path, *args, **kwargs):
        found.append(sorted(path.name for path in series.folder.iterdir()))
        real(path, *args, **kwargs)

    monkeypatch.setattr(os, "unlink", unlink)
    series.save(after(2))
    assert found[0] == [".step-00000001.mlo-new", "step-00000002"]
