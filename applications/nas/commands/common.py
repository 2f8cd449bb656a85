"""What the commands share: presets, and settings that the words of a command line override."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tyro

from applications.nas.commands.choices import choices_first
from applications.nas.commands.tyro_call import read_words
from mlo import ConfigError

T = TypeVar("T")

ANY_ORDER = (tyro.conf.CascadeSubcommandArgs,)
"""Lets options stand behind a choice such as formulation:single, wherever it stands."""


def choose_preset(
    words: list[str], presets: Mapping[str, tuple[str, T]], read: Callable[[Path], T] | None, command: str
) -> tuple[str, T, list[str]]:
    """Return name, settings and remaining words of a command that begins with a preset or with --config FILE."""
    if words and words[0] in presets:
        return words[0], presets[words[0]][1], words[1:]
    if read is not None and words and words[0].partition("=")[0] == "--config":
        file, *rest = [*words[0].split("=", 1), *words[1:]][1:] or [""]
        if not file:
            raise ConfigError(f"{command}: --config needs the folder of a run, or the file of its settings")
        return "config", read(Path(file)), rest
    width = max(map(len, presets)) + 2
    if not words or words[0] not in ("-h", "--help"):
        found = f"{words[0]!r} is none" if words else "none was given"
        known = ", ".join(presets)
        raise ConfigError(
            f"{command}: name a preset first ({found}): {known}; `mlo-nas {command} --help` tells what each is"
        )
    listing = "\n".join(f"  {name:{width}}{text}" for name, (text, _) in presets.items())
    usage = f"mlo-nas {command} PRESET [options]; `mlo-nas {command} PRESET --help` lists choices and options"
    sys.stdout.write(f"{usage}\n{listing}\n")
    raise SystemExit(0)


def resumed_folder(words: list[str], command: str) -> Path | None:
    """Return the folder of a command that goes on with a run, `--resume DIR`; None if it does not.

    Raises:
        ConfigError: If there is no folder, or something behind it.
    """
    if not words or words[0].partition("=")[0] != "--resume":
        return None
    _, equals, value = words[0].partition("=")
    given, rest = ([value], words[1:]) if equals else (words[1:2], words[2:])
    if not given or not given[0] or given[0].startswith("-") or rest:
        raise ConfigError(f"{command}: --resume takes a folder and nothing else, for that holds all settings")
    return Path(given[0])


def parse(default: T, words: list[str], prog: str) -> T:
    """Let the words of a command line override settings."""
    kind: Any = type(default)
    if {"-h", "--help"}.intersection(words):  # tyro begins with the last of the choices
        sys.stdout.write(f"{prog}: {inspect.cleandoc(kind.__doc__)}\n\n")
    words = choices_first(default, words)
    parsed: T = read_words(kind, words, prog, default=default, config=ANY_ORDER)
    return parsed


def picture_stem(out: Path) -> Path:
    """Return the path of pictures without the suffix that a user may have named."""
    return out.with_suffix("") if out.suffix in (".svg", ".png") else out
