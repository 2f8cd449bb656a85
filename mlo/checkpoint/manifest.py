"""What a checkpoint says of itself: a JSON file beside the tensors."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlo.checkpoint.folder import MANIFEST
from mlo.checkpoint.storage import Place
from mlo.checkpoint.tree import Node, keys
from mlo.errors import DamagedError, DataError
from mlo.version import __version__

FORMAT = 2
_SEAL = "sha256"


@dataclass(frozen=True)
class Entry:
    """A named tensor that is a part of a vector.

    Attributes:
        name: Its name.
        dtype: Its type, as in "float32".
        shape: Its shape.
        key: Of the vector.
        start: Where it starts there.
    """

    name: str | int
    dtype: str
    shape: tuple[int, ...]
    key: str
    start: int

    def of(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the tensor, as a view of its vector."""
        return tensors[self.key][self.start : self.start + math.prod(self.shape)].view(self.shape)


@dataclass(frozen=True)
class Block:
    """Named tensors that are one value, kept as one vector for each type: a thousand small tensors take as many files.

    Attributes:
        joined: Whether they lie behind each other in the engine, too.
        entries: The tensors, in order.
    """

    joined: bool
    entries: tuple[Entry, ...]

    @property
    def names(self) -> dict[Any, Entry]:
        """The entries, by name."""
        return {entry.name: entry for entry in self.entries}

    @staticmethod
    def of(content: Any) -> Block:
        """Return the block that plain data stand for.

        Raises:
            ValueError: If they stand for none.
        """
        entries = []
        for item in content["entries"]:
            entry = Entry(**{**item, "shape": tuple(item["shape"])})
            kinds = [type(entry.name) in (str, int), type(entry.dtype) is str, type(entry.key) is str]
            numbers = [*entry.shape, entry.start]
            if not all(kinds) or any(type(number) is not int or number < 0 for number in numbers):
                raise ValueError(f"no entry of a block: {item!r}")
            entries.append(entry)
        if type(content["joined"]) is not bool:
            raise ValueError("no block")
        return Block(content["joined"], tuple(entries))


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
        places: Where each rank was in its batches and random numbers, as plain data.
        more: What the user added.
    """

    step: int
    problems: dict[str, ProblemContent]
    adjoints: dict[str, str]
    warned: list[list[Any]]
    places: list[Any]
    more: Node

    def digest(self, fingerprints: Mapping[str, str]) -> str:
        """Return a number that tells this content with its tensors from any other."""
        text = json.dumps([asdict(self), fingerprints], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def named(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return all tensors, those in a vector by their own names."""
        found: dict[str, Tensor] = {}
        for name, kept in self.problems.items():
            for kind, block in (("values", kept.values), ("buffers", kept.buffers)):
                found |= {f"{kind}/{name}/{entry.name}": entry.of(tensors) for entry in block.entries}
        parts = {
            entry.key for kept in self.problems.values() for entry in (*kept.values.entries, *kept.buffers.entries)
        }
        return found | {key: value for key, value in tensors.items() if key not in parts}


@dataclass(frozen=True)
class Manifest:
    """A checkpoint without its tensors.

    Attributes:
        content: What is kept.
        places: Where each tensor lies, by key.
        digest: Of the content with its tensors.
        files: Size and SHA-256 of each file beside this one, by name.
    """

    content: Content
    places: dict[str, Place]
    digest: str
    files: dict[str, list[Any]]

    def text(self) -> str:
        """Return it as JSON, sealed with the SHA-256 of what it is without that."""
        head = {"format": FORMAT, "mlo": __version__, "torch": str(torch.__version__), "digest": self.digest}
        places = {key: place.content() for key, place in self.places.items()}
        return _sealed({**head, "files": self.files, **asdict(self.content), "tensors": places})


def read_manifest(folder: Path) -> Manifest:
    """Read what a folder says of itself.

    Raises:
        DamagedError: If it is not what was written.
        DataError: If it was written by a newer library, or by one that is too old.
    """
    cure = "take an earlier checkpoint"
    try:
        text = (folder / MANIFEST).read_bytes().decode()
        found = json.loads(text)
        _check_format(folder, found)
        if _sealed({name: part for name, part in found.items() if name != _SEAL}) != text:
            raise ValueError("it is not what was written")
        return _manifest(found)
    except DataError:
        raise
    except OSError as error:
        raise DamagedError(f"{folder}: its {MANIFEST} cannot be read ({error.strerror or error}): {cure}") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DamagedError(f"{folder}: its {MANIFEST} is damaged ({' '.join(reason.split())[:200]}): {cure}") from error


def _check_format(folder: Path, found: Any) -> None:
    number = found["format"]
    if type(number) is not int or number < 1:
        raise ValueError(f"format {number!r}")
    if number != FORMAT:
        wrote = (
            f"{folder}: is of format {number}, written by mlo {str(found['mlo'])[:20]}, and this version reads {FORMAT}"
        )
        cure = "update the library" if number > FORMAT else "restore with the version that wrote it, or begin again"
        raise DataError(f"{wrote}: {cure}")


def _sealed(content: dict[str, Any]) -> str:
    body = json.dumps(content)  # on one line, for that is much faster where there are thousands of tensors
    return f'{body[:-1]}, "{_SEAL}": "{hashlib.sha256(body.encode()).hexdigest()}"}}\n'


def _manifest(found: Any) -> Manifest:
    problems = {
        name: ProblemContent(Block.of(item["values"]), Block.of(item["buffers"]), item["frozen"], item["state"])
        for name, item in found["problems"].items()
    }
    rest = {item.name: found[item.name] for item in fields(Content) if item.name != "problems"}
    content = Content(problems=problems, **rest)
    places = {key: Place.of(place) for key, place in found["tensors"].items()}
    _check_content(content, places)
    files = _files(found["files"])
    # No two tensors share bytes: a small file must not ask for all of the memory.
    _expect(sum(place.length for place in places.values()) <= sum(size for size, _ in files.values()), "sizes")
    return Manifest(content, places, found["digest"], files)


def _files(found: Any) -> dict[str, list[Any]]:
    for name, (size, digest) in found.items():
        _expect(type(size) is int and type(digest) is str and Path(name).name == name, "files")
    return dict(found)


def _check_content(content: Content, places: Mapping[str, Place]) -> None:
    """Raise unless it has the form that `save` gives it, and speaks of tensors that are there."""
    used = [*content.adjoints.values(), *keys(content.more)]
    for kept in content.problems.values():
        entries = [*kept.values.entries, *kept.buffers.entries]
        used += sorted({entry.key for entry in entries})
        _expect(all(_lies_in(entry, places[entry.key]) for entry in entries), "entries")
        _expect(type(kept.frozen) is dict, "frozen parameters")
        used += [] if kept.state is None else list(keys(kept.state))
    _expect(sorted(used) == sorted(places), "keys of tensors")
    _expect(type(content.step) is int and content.step >= 0, "number of steps")
    _expect(all([type(part) for part in row] == [str, str, int] for row in content.warned), "warnings")
    _expect(type(content.places) is list and len(content.places) > 0, "places")


def _lies_in(entry: Entry, place: Place) -> bool:
    size = math.prod(place.shape)
    return entry.dtype == place.dtype and entry.start + math.prod(entry.shape) <= size and len(place.shape) == 1


def _expect(right: bool, what: str) -> None:
    if not right:
        raise ValueError(f"unexpected {what}")
