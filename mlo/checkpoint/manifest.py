"""What a checkpoint says of itself: a JSON file beside the tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from mlo.checkpoint.folder import MANIFEST
from mlo.checkpoint.storage import Place
from mlo.checkpoint.tree import Node, keys
from mlo.errors import DataError
from mlo.version import __version__

FORMAT = 1


@dataclass(frozen=True)
class Block:
    """Named tensors that are one value.

    Attributes:
        joined: Whether they lie behind each other in memory.
        keys: The key of each, by name, in order.
    """

    joined: bool
    keys: list[list[Any]]

    @property
    def names(self) -> dict[Any, str]:
        """The keys, by name."""
        return {name: key for name, key in self.keys}


@dataclass(frozen=True)
class ProblemContent:
    """What is kept of a problem.

    Attributes:
        values: Its value.
        buffers: The buffers of its module.
        frozen: A fingerprint of each parameter of its module that is not trained, by name.
        state: The state of its optimizer; None if it has no update.
    """

    values: Block
    buffers: Block
    frozen: dict[str, str]
    state: Node | None


@dataclass(frozen=True)
class Content:
    """What is kept of an engine, but for the numbers in tensors.

    Attributes:
        step: How many outer steps were made.
        problems: By name.
        adjoints: The key of the last solution of each problem's linear solve.
        warned: [kind, problem, times]: how often each kind of solve did not converge.
    """

    step: int
    problems: dict[str, ProblemContent]
    adjoints: dict[str, str]
    warned: list[list[Any]]

    def digest(self, fingerprints: Mapping[str, str]) -> str:
        """Return a number that tells this content with its tensors from any other."""
        text = json.dumps([asdict(self), fingerprints], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """A checkpoint without its tensors.

    Attributes:
        content: What is kept.
        places: Where each tensor lies, by key.
        digest: Of the content with its tensors.
    """

    content: Content
    places: dict[str, Place]
    digest: str

    def text(self) -> str:
        """Return it as JSON."""
        head = {"format": FORMAT, "mlo": __version__, "torch": str(torch.__version__), "digest": self.digest}
        places = {key: place.content() for key, place in self.places.items()}
        return json.dumps({**head, **asdict(self.content), "tensors": places}, indent=1) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """Read what a folder says of itself.

    Raises:
        DataError: If it cannot be understood, or was written by a newer library.
    """
    cure = "take an earlier checkpoint"
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        number = found["format"]
        if type(number) is int and number > FORMAT:
            newer = f"{folder}: is of format {number}, written by mlo {found['mlo']}, and this version reads {FORMAT}"
            raise DataError(f"{newer}: update the library")
        return _manifest(found)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{folder}: its {MANIFEST} cannot be read ({error.strerror or error}): {cure}") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{folder}: its {MANIFEST} is damaged ({' '.join(reason.split())[:200]}): {cure}") from error


def _manifest(found: Any) -> Manifest:
    if type(found["format"]) is not int or found["format"] < 1:
        raise ValueError(f"format {found['format']!r}")
    problems = {
        name: ProblemContent(Block(**item["values"]), Block(**item["buffers"]), item["frozen"], item["state"])
        for name, item in found["problems"].items()
    }
    rest = {item.name: found[item.name] for item in fields(Content) if item.name != "problems"}
    content = Content(problems=problems, **rest)
    places = {key: Place.of(place) for key, place in found["tensors"].items()}
    _check_content(content, places)
    return Manifest(content, places, found["digest"])


def _check_content(content: Content, places: Mapping[str, Place]) -> None:
    """Raise unless it has the form that `save` gives it, and speaks of tensors that are there."""
    used = list(content.adjoints.values())
    for kept in content.problems.values():
        blocks = [*kept.values.keys, *kept.buffers.keys]
        used += [key for _, key in blocks]
        _expect(all(type(name) in (str, int) for name, _ in blocks), "names of entries")
        _expect(type(kept.frozen) is dict, "frozen parameters")
        used += [] if kept.state is None else list(keys(kept.state))
    _expect(sorted(used) == sorted(places), "keys of tensors")
    _expect(type(content.step) is int and content.step >= 0, "number of steps")
    _expect(all([type(part) for part in row] == [str, str, int] for row in content.warned), "warnings")


def _expect(right: bool, what: str) -> None:
    if not right:
        raise ValueError(f"unexpected {what}")
