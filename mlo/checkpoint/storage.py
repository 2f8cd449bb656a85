"""Named tensors in files of torch.distributed.checkpoint.

Its own index, `.metadata`, is a pickle: whoever reads it runs what it says. It is written for other readers, and not
read here; where each tensor lies is kept in the manifest as well. A tensor itself is read by
`torch.load(weights_only=True)`, which runs nothing.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mlo.checkpoint.tree import Tensors
from mlo.errors import DamagedError

DTYPES = {str(kind).removeprefix("torch."): kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}
_SUFFIX = ".distcp"


@dataclass(frozen=True)
class Place:
    """Where a tensor lies, and what it is.

    Attributes:
        shape: Its shape.
        dtype: Its type, as in "float32".
        relative_path: The file in the folder.
        offset: Of its first byte there.
        length: In bytes.
    """

    shape: tuple[int, ...]
    dtype: str
    relative_path: str
    offset: int
    length: int

    @property
    def transform_descriptors(self) -> None:
        """What the bytes went through: nothing."""
        return None

    def content(self) -> dict[str, Any]:
        """Return the attributes as plain data."""
        return asdict(self)

    @staticmethod
    def of(content: Any) -> Place:
        """Return the place that `content` describes.

        Raises:
            ValueError: If it describes none.
        """
        place = Place(**{**content, "shape": tuple(content["shape"])})
        numbers = (*place.shape, place.offset, place.length)
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"a size is not a whole number >= 0: {numbers}")
        name = place.relative_path
        if Path(name).name != name or not name.endswith(_SUFFIX) or place.dtype not in DTYPES:
            raise ValueError(f"no file or type of a tensor: {name!r}, {place.dtype!r}")
        return place


def write(folder: Path, tensors: Tensors) -> dict[str, Place]:
    """Write tensors into an empty folder; return where each lies.

    Raises:
        OSError: If they cannot be written.
    """
    # Takes over a second to import, so not at the top.
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    copies = {key: value.cpu().contiguous() for key, value in tensors.items()}
    with _raised():
        found: Any = save(dict(copies), storage_writer=FileSystemWriter(folder), no_dist=True)
    stored = {index.fqn: info for index, info in found.storage_data.items()}
    return {key: _place(value, stored[key]) for key, value in copies.items()}


def digests(folder: Path) -> dict[str, list[Any]]:
    """Return size and SHA-256 of each file in a folder, by name."""
    return {file.name: _digest(file) for file in sorted(folder.iterdir())}


def check_files(folder: Path, files: Mapping[str, list[Any]]) -> None:
    """Compare files with what they were when they were written.

    Raises:
        DamagedError: If one is missing, or is not what was written; the message names it.
    """
    for name, expected in files.items():
        file = folder / name
        try:
            if file.stat().st_size == expected[0] and _digest(file) == expected:
                continue
            what = "is not what was written"
        except OSError as error:
            what = f"cannot be read ({error.strerror or error})"
        raise DamagedError(f"{file}: {what}: take an earlier checkpoint")


def read(folder: Path, places: Mapping[str, Place]) -> Tensors:
    """Read tensors to memory of the host, of files that were checked.

    Raises:
        DamagedError: If they cannot be read; the message names the folder.
    """
    from torch.distributed.checkpoint.state_dict_loader import load

    try:
        tensors = {
            key: torch.empty(place.shape, dtype=DTYPES[place.dtype], device="cpu") for key, place in places.items()
        }
        with _raised():
            load(dict(tensors), storage_reader=_reader(folder, places), no_dist=True)
    except Exception as error:  # a foreign file can fail in any way
        # The first sentence: what follows in torch's messages is advice that does not fit here.
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()).split(". ")[0] or type(error).__name__
        raise DamagedError(
            f"{folder}: its tensors cannot be read ({reason[:200]}): take an earlier checkpoint"
        ) from error
    return tensors


def _digest(file: Path) -> list[Any]:
    with file.open("rb") as stream:
        return [os.fstat(stream.fileno()).st_size, hashlib.file_digest(stream, "sha256").hexdigest()]


def fingerprints(tensors: Tensors) -> dict[str, str]:
    """Return a number for each tensor that tells it from another one: of its bytes, not of where they lie."""
    return {key: _fingerprint(value) for key, value in tensors.items()}


def _fingerprint(value: torch.Tensor) -> str:
    flat = value.detach().cpu().contiguous().reshape(-1)
    content: Any = flat.view(torch.uint8).numpy() if flat.numel() else b""
    return hashlib.sha256(content).hexdigest()


def _place(value: torch.Tensor, info: Any) -> Place:
    kind = str(value.dtype).removeprefix("torch.")
    return Place(tuple(value.shape), kind, info.relative_path, info.offset, info.length)


def _reader(folder: Path, places: Mapping[str, Place]) -> Any:
    """Return a reader that knows from the manifest where everything lies."""
    from torch.distributed.checkpoint import metadata as meta
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    class Reader(FileSystemReader):
        def read_metadata(self, *args: Any, **kwargs: Any) -> meta.Metadata:
            found = meta.Metadata({}, planner_data={}, storage_data={})
            for key, place in places.items():
                size, start = torch.Size(place.shape), torch.Size([0] * len(place.shape))
                kind = meta.TensorProperties(dtype=DTYPES[place.dtype])
                chunks = [meta.ChunkStorageMetadata(start, size)]
                found.state_dict_metadata[key] = meta.TensorStorageMetadata(kind, size, chunks)
                found.storage_data[meta.MetadataIndex(key, start)] = place
            return found

    return Reader(folder)


@contextmanager
def _raised() -> Iterator[None]:
    """Let what torch reports as a failure of ranks be raised as the exception that it is."""
    from torch.distributed.checkpoint.api import CheckpointException

    with warnings.catch_warnings():
        # It says that one process alone is at work, which is what is asked for.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        try:
            yield
        except CheckpointException as error:
            causes = [cause for cause, _ in error.failures.values()]
            raise (causes[0] if causes else RuntimeError(str(error))) from error
