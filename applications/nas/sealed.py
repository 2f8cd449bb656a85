"""Files of tensors that tell whether they are what was written: a checksum in the comment of torch's ZIP format.

Other programs read them by `torch.load(file, weights_only=True)`, as any file of torch.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from applications.nas.archive import check_archive, check_plain
from applications.nas.files import write_bytes
from mlo import DamagedError, DataError

_MARK, _FORMAT = b"mlo-nas ", 1
_NO_COMMENT = b"\0\0"


def write_sealed(path: Path, state: Any) -> None:
    """Write tensors on the CPU and plain data, whole or not at all.

    Args:
        path: The file, in a folder that exists.
        state: Tensors, numbers, texts, and tuples, lists or dicts of them.

    Raises:
        DataError: If it cannot be written: the disk is full, the folder is read-only or gone; or if the state holds
            something else.
    """
    stream = io.BytesIO()
    torch.save(state, stream)
    content = stream.getvalue()
    try:
        _check(content, state)
    except ValueError as error:  # told now, and not by whoever needs the file
        raise DataError(f"{path}: what it was to hold could not be read again ({error}): give plain data") from error
    # A ZIP file ends with the length of its comment, which torch leaves empty, and the comment.
    comment = _comment(content, b"%d" % _FORMAT)
    write_bytes(path, content[:-2] + len(comment).to_bytes(2, "little") + comment)


def read_sealed(path: Path, fix: str) -> Any:
    """Read what `write_sealed` wrote, without running code that the file may contain.

    Args:
        path: The file.
        fix: What to do if it is damaged: the end of the error's message.

    Returns:
        The state, with its tensors on the CPU.

    Raises:
        DamagedError: If it is missing, cut off, changed, or something else; the message names it.
        DataError: If a newer version wrote it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror or error}): {fix}") from error
    size = len(content) - content.rfind(_MARK) if _MARK in content[-200:] else 0
    number = content[len(content) - size :].removeprefix(_MARK).partition(b" ")[0]
    plain, comment = content[: len(content) - size - 2] + _NO_COMMENT, content[len(content) - size - 2 :]
    right = _comment(plain, number)
    if not size or comment != len(right).to_bytes(2, "little") + right:
        raise DamagedError(f"{path} is not what was written: {fix}")
    if number != b"%d" % _FORMAT:
        wrote = f"{path} is of format {number.decode()}, and this version reads {_FORMAT}"
        raise DataError(f"{wrote}: read it with the version of the library that wrote it")
    try:
        check_archive(plain)
        state = torch.load(io.BytesIO(plain), map_location="cpu", weights_only=True)
        check_plain(state, len(content))
        return state
    except Exception as error:  # a foreign file can fail in any way
        reason = " ".join(str(error).split(". ")[0].split())[:200]
        raise DamagedError(f"{path} cannot be read ({reason}): {fix}") from error


def _check(content: bytes, state: Any) -> None:
    check_archive(content)
    check_plain(state, len(content))


def _comment(content: bytes, number: bytes) -> bytes:
    return _MARK + number + b" " + hashlib.sha256(content + number).hexdigest().encode()
