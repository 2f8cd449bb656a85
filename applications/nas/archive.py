"""Whether a file of tensors is what `torch.save` makes of tensors and plain data, looked at without reading it as such.

`torch.load(weights_only=True)` runs no code of a file, but takes more than we ever write: parts that unpack to a
thousand times their size, or objects that ask for any amount of memory. Such a file is not read at all.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from typing import Any

import torch

_STORAGES = {f"torch {name}" for name in vars(torch) if name.endswith("Storage")} | {"torch.storage UntypedStorage"}
_TYPES = {f"torch {name}" for name, kind in vars(torch).items() if isinstance(kind, torch.dtype)}
_MADE = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3"}
_KNOWN = _STORAGES | _TYPES | _MADE
_PROTOCOL = 2
_DEPTH = 64
_END, _END64, _WHERE64 = 22, 56, 20  # bytes of the records at the end of a ZIP file


def check_archive(content: bytes) -> None:
    """Raise unless a file holds nothing but tensors and plain data, as large as it says and no larger than itself.

    Args:
        content: The file, without a comment at its end.

    Raises:
        ValueError: If it is something else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            _check_entries(content, archive, entries)
            (pickled,) = (entry for entry in entries if entry.filename.endswith("/data.pkl"))
            _check_pickle(archive.read(pickled))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, LookupError, OverflowError, OSError) as error:
        raise ValueError(f"no file of tensors: {error}") from error


def check_plain(state: Any, most: int) -> None:
    """Raise unless a walk through all that was read ends soon, and each tensor is as large as its memory.

    Lists that hold each other, or one list many times, are small in a file and without end for who walks through them.

    Args:
        state: What was read.
        most: How many parts it may have.

    Raises:
        ValueError: If it is something else.
    """
    parts: list[Any] = [state]
    count = 0
    for _ in range(_DEPTH):
        inner: list[Any] = []
        for part in parts:
            if isinstance(part, torch.Tensor):
                _check_tensor(part)
            elif isinstance(part, dict | list | tuple):
                count += len(part)
                if count > most:
                    raise ValueError("more parts than bytes")
                inner += [*part.keys(), *part.values()] if isinstance(part, dict) else part
        if not inner:
            return
        parts = inner
    raise ValueError(f"parts inside of each other on more than {_DEPTH} levels")


def _check_tensor(value: torch.Tensor) -> None:
    if value.layout != torch.strided or value.device.type != "cpu":
        raise ValueError("a tensor that is no plain block of numbers")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError("a tensor that is larger than its memory")


def _check_entries(content: bytes, archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """Raise unless Python and torch read the same list of parts, and these lie beside each other as they are."""
    names = [entry.filename for entry in entries]
    sizes = [(entry.compress_type, entry.compress_size, entry.file_size) for entry in entries]
    plain = all(kind == zipfile.ZIP_STORED and packed == size for kind, packed, size in sizes)
    total = sum(entry.file_size for entry in entries)
    if not entries or not plain or len(set(names)) < len(names) or total > len(content):
        raise ValueError("parts that are packed, or that overlap")
    # torch looks for the list where the end of the file says; Python, just before that end.
    end = len(content) - _END
    listed = int.from_bytes(content[end + 16 : end + 20], "little")
    where = content[end - _WHERE64 : end]
    if where[:4] == b"PK\x06\x07":
        end -= _WHERE64 + _END64
        if int.from_bytes(where[8:16], "little") != end or content[end : end + 4] != b"PK\x06\x06":
            raise ValueError("two lists of its parts")
        listed = int.from_bytes(content[end + 48 : end + 56], "little")
    if archive.comment or listed != archive.start_dir or min(entry.header_offset for entry in entries) != 0:
        raise ValueError("two lists of its parts")


def _check_pickle(pickled: bytes) -> None:
    """Raise unless all that it asks for by name is what tensors and plain data need."""
    for code, argument, _ in pickletools.genops(pickled):
        if code.proto > _PROTOCOL or code.name in ("INST", "OBJ", "NEWOBJ", "EXT1", "EXT2", "EXT4", "PERSID"):
            raise ValueError(f"{code.name.lower()} in its pickle, which tensors do not need")
        if code.name == "GLOBAL" and argument not in _KNOWN:
            raise ValueError(f"{argument!r} in its pickle, which is no part of a tensor")
