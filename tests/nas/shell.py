"""The commands that the pages show, as a shell would take them apart."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.markdown import fences

_SHELLS = ("sh", "console")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*=.*")


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        text: Its words with one blank between them, without comment; what the table of ways is matched with.
        words: The same, as a program gets them; settings of the environment in front are left out.
        told: What the page says that it prints; None where the page does not say.
    """

    text: str
    words: tuple[str, ...]
    told: str | None = None


def commands(page: Path) -> list[Command]:
    """Return the commands of a page, in order: of fences `sh`, and behind `$` in fences `console`."""
    found: list[Command] = []
    for fence in fences(page.read_text(encoding="utf-8")):
        if fence.kind in _SHELLS:
            found += _of_console(fence.body) if fence.kind == "console" else _of_script(fence.body)
    return found


def _of_script(body: str) -> list[Command]:
    lines = body.replace("\\\n", " ").splitlines()
    return [command for line in lines for part in line.split(" && ") if (command := _command(part)) is not None]


def _of_console(body: str) -> list[Command]:
    found = []
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        line, _, told = part.partition("\n")
        command = _command(line)
        if command is not None:
            found.append(Command(command.text, command.words, told))
    return found


def _command(line: str) -> Command | None:
    """Return the command of a line; None if there is nothing but a comment."""
    words = shlex.split(line, comments=True)
    if not words:
        return None
    while _VARIABLE.fullmatch(words[0]) and len(words) > 1:
        words = words[1:]
    quoted = shlex.shlex(line, posix=False, punctuation_chars=False)
    quoted.whitespace_split, quoted.commenters = True, "#"
    return Command(" ".join(quoted), tuple(words))
