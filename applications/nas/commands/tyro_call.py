"""Reading a command line with tyro, whose refusals are boxes of many lines: here they are errors of one line."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from difflib import get_close_matches
from typing import Any

import tyro

from mlo import ConfigError

_WIDE = "100000"  # columns: tyro breaks its lines where the terminal ends
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_EDGE, _CORNERS, _RULES = "│", ("╭", "╰"), "─-"  # where the output is no UTF-8: no edges, and rules of hyphens
_PARSING = re.compile(r"Error parsing (?P<place>[^:]*): (?P<why>.*)", re.DOTALL)
_OPTION = re.compile(r"--[\w.-]+")
_NUMBERS = re.compile(r"(?:invalid literal for int\(\) with base 10|could not convert string to float): (?P<value>.*)")
_SUGGESTED = 3
_MISPLACED = re.compile(r"(?P<word>\S+) \(applied to (?P<where>[^)]*)\)")


def read_words(kind: Any, words: Sequence[str], prog: str, **how: Any) -> Any:
    """Read words of a command line into a dataclass; `--help` is answered by tyro, and ends the program.

    Args:
        kind: The dataclass.
        words: Behind the command.
        prog: The command, as help and errors call it.
        how: Further arguments of `tyro.cli`: `default` and `config`.

    Raises:
        ConfigError: If the words do not fit; its message names the first culprit, and ends with a fix.
        SystemExit: After help was printed.
    """
    said = io.StringIO()
    try:
        with _wide(asked_for_help={"-h", "--help"}.intersection(words)), redirect_stderr(said):
            return tyro.cli(kind, args=list(words), prog=prog, **how)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(_one_line(said.getvalue(), prog)) from None


@contextmanager
def _wide(*, asked_for_help: object) -> Iterator[None]:
    """Let tyro write each part of a refusal in one line; help keeps the width of the terminal."""
    before = os.environ.get("COLUMNS")
    if not asked_for_help:
        os.environ["COLUMNS"] = _WIDE
    try:
        yield
    finally:
        if before is not None:
            os.environ["COLUMNS"] = before
        elif not asked_for_help:
            del os.environ["COLUMNS"]


def _one_line(box: str, prog: str) -> str:
    """Make an error message of what tyro printed."""
    command = prog.split()[1] if " " in prog else prog
    parts = _parts(box)
    told, see = parts[0] if parts else "the words cannot be read", f"`{prog} --help` lists the options"
    told = f"{told}: ''" if told == "Unrecognized options" else told  # a word without letters
    misplaced, parsing = _MISPLACED.findall(told), _PARSING.fullmatch(told)
    names = [name for part in parts[1:] if part.startswith("Perhaps you meant") for name in _OPTION.findall(part)]
    near = [name for name in dict.fromkeys(names) if name != "--help" and _like(name, misplaced)]
    meant = f"did you mean {', '.join(near[:_SUGGESTED])}? " if near else ""
    if misplaced:  # an option of another choice, such as --formulation.task with formulation:multi
        choices = " ".join(word for word in misplaced[0][1].split() if ":" in word)
        words = ", ".join(word for word, _ in misplaced)
        return f"{command}: unrecognized options: {words}: not with {choices or 'these choices'}: {meant}{see}"
    if parsing is None:
        return f"{command}: {told[:1].lower()}{told[1:]}: {meant}{see}"
    place, why = parsing["place"], parsing["why"]
    if not place.startswith("-"):  # a check of ours, which has named the culprit
        return why
    number = _NUMBERS.fullmatch(why)
    wrong = why if number is None else f"{number['value']} is no number"
    return f"{command}: {place}: {wrong}: {see}"


def _like(name: str, misplaced: Sequence[tuple[str, str]]) -> bool:
    """Whether an option may have been meant: one of another choice is written right, so only slips of it count."""
    return not misplaced or any(
        word != name and get_close_matches(word.rpartition(".")[2], [name.rpartition(".")[2]]) for word, _ in misplaced
    )


def _parts(box: str) -> list[str]:
    """Return the parts of a box that rules divide, each in one line."""
    parts: list[list[str]] = [[]]
    for line in _COLORS.sub("", box).splitlines():
        if line.startswith(_CORNERS):  # the upper or the lower edge
            continue
        text = line.strip(_EDGE + " ")
        if len(text) > len("--") and not text.strip(_RULES):
            parts.append([])
        elif text:
            parts[-1].append(text)
    told = [" ".join(part).rstrip(".:") for part in parts if part]
    return told if _EDGE in box else told[1:]  # without edges, the title is a part of its own
