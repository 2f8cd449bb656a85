"""Progress on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from applications.nas.progress import progress, silent


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=100), file


def test_a_log_gets_a_line_at_each_fifth() -> None:
    log, file = console(terminal=False)
    with progress(log) as begin:
        tick = begin("search")
        for done in range(101):
            tick(done, 100, f"loss {done}")
    lines = file.getvalue().splitlines()
    assert [line.split(":")[1].split("/")[0].strip() for line in lines] == ["0", "20", "40", "60", "80", "100"]
    assert lines[0] == "search: 0/100; loss 0", "no time is told before anything is known"
    assert all(" s left; loss " in line for line in lines[1:])
    assert "\x1b" not in file.getvalue()


@pytest.mark.parametrize(("done", "total"), [(0, 0), (5, 3), (1, 1)])
def test_odd_numbers_do_not_break_a_log(done: int, total: int) -> None:
    log, file = console(terminal=False)
    with progress(log) as begin:
        begin("odd")(done, total, "")
    assert file.getvalue().startswith(f"odd: {done}/{total}")


def test_labels_are_shown_as_they_are() -> None:
    log, file = console(terminal=False)
    with progress(log) as begin:
        begin("a" * 200)(0, 1, "b" * 200)
    assert file.getvalue() == f"{'a' * 200}: 0/1; {'b' * 200}\n", "a log line is never wrapped"


def test_a_terminal_gets_a_bar_for_each_piece_of_work() -> None:
    terminal, file = console(terminal=True)
    with progress(terminal) as begin:
        ticks = [begin("first"), begin("second")]
        for tick, done in zip(ticks, (3, 10), strict=True):
            tick(done, 10, f"loss {done}")
    shown = file.getvalue()
    assert all(part in shown for part in ("first", "second", "30%", "100%", "loss 3", "loss 10"))


def test_silence() -> None:
    silent(1, 2, "nothing is shown")
