"""Named tensors in files of torch.distributed.checkpoint.

Its own index, `.metadata`, is a pickle: whoever reads it runs what it says. It is written for other readers, and not
read here; where each tensor lies is kept in the manifest as well. A tensor itself is a ZIP file with a small pickle and
the bytes of its numbers; only the bytes are read here. So no pickle is read at all.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy
import torch

from mlo.checkpoint.tree import Tensors
from mlo.errors import DamagedError

DTYPES = {str(kind).removeprefix("torch."): kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}
Streams = dict[str, BufferedReader]

_SUFFIX = ".distcp"
_HEADER = 30  # bytes of a ZIP file before the name of an entry


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

    # Resolved, for what a conjugate still waits to become is said by the pickle, which is not read.
    copies = {key: value.cpu().contiguous().resolve_conj().resolve_neg() for key, value in tensors.items()}
    with _raised():
        found: Any = save(dict(copies), storage_writer=FileSystemWriter(folder), no_dist=True)
    stored = {index.fqn: info for index, info in found.storage_data.items()}
    return {key: _place(value, stored[key]) for key, value in copies.items()}


def digests(folder: Path) -> dict[str, list[Any]]:
    """Return size and SHA-256 of each file in a folder, by name."""
    found = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as stream:
            found[file.name] = _digest(stream)
    return found


@contextmanager
def checked(folder: Path, files: Mapping[str, list[Any]]) -> Iterator[Streams]:
    """Open files and compare them with what they were when they were written.

    They stay open: what is read of them is what was compared, even if another process replaces them meanwhile.

    Args:
        folder: Where they are.
        files: What they should be, as `digests` says.

    Yields:
        The open files, by name.

    Raises:
        DamagedError: If one is missing, or is not what was written; the message names it.
    """
    with ExitStack() as held:
        found: Streams = {}
        for name, expected in files.items():
            what = "is not what was written"
            try:
                stream = held.enter_context((folder / name).open("rb"))
                if os.fstat(stream.fileno()).st_size == expected[0] and _digest(stream) == expected:
                    found[name] = stream
                    continue
            except OSError as error:
                what = f"cannot be read ({error.strerror or error})"
            raise DamagedError(f"{folder / name}: {what}: take an earlier checkpoint")
        yield found


def read(folder: Path, streams: Streams, places: Mapping[str, Place]) -> Tensors:
    """Read tensors to memory of the host.

    Args:
        folder: Where they are, for errors.
        streams: The files, which were checked.
        places: Where each lies.

    Raises:
        DamagedError: If they cannot be read; the message names the folder.
    """
    try:
        return {key: _tensor(streams[place.relative_path], place) for key, place in places.items()}
    except Exception as error:  # a foreign file can fail in any way
        # The first sentence: what follows in torch's messages is advice that does not fit here.
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()).split(". ")[0] or type(error).__name__
        raise DamagedError(
            f"{folder}: its tensors cannot be read ({reason[:200]}): take an earlier checkpoint"
        ) from error


def _tensor(stream: BufferedReader, place: Place) -> torch.Tensor:
    """Read a tensor: the bytes that `torch.save` has put under `data/0`, and not the pickle that describes them."""
    stream.seek(place.offset)
    content = stream.read(place.length)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (entry,) = (one for one in archive.infolist() if one.filename.endswith("/data/0"))
        orders = [archive.read(one) for one in archive.infolist() if one.filename.endswith("/byteorder")]
    kind, header = DTYPES[place.dtype], content[entry.header_offset :][:_HEADER]
    size = math.prod(place.shape) * kind.itemsize
    # Before there is a tensor: a few bytes must not ask for all of the memory.
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != size or orders != [sys.byteorder.encode()]:
        raise ValueError(f"there are no {size} bytes of {place.dtype} in the order of this machine")
    lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))  # of the name and of what follows it
    start = entry.header_offset + _HEADER + sum(lengths)
    value = torch.empty(place.shape, dtype=kind, device="cpu")
    if size:
        value.view(-1).view(torch.uint8).numpy()[:] = numpy.frombuffer(content, numpy.uint8, size, start)
    return value


def _digest(stream: BufferedReader) -> list[Any]:
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
            raise _first(causes[0] if causes else RuntimeError(str(error))) from error


def _first(error: BaseException) -> BaseException:
    """Return what the system said, where torch has failed once more because of it, as over a file that is not whole."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, OSError):
        inner = inner.__context__
    return inner or error
