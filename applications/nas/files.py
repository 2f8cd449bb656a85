"""Files that are written whole or not at all, and errors that say which file and what to do."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlo import DataError

_ASIDE = ".aside"


def tidy(folder: Path) -> None:
    """Remove what `write_bytes` has left behind where a process was killed as it wrote; of a folder that is held."""
    for file in folder.glob(f".*{_ASIDE}"):
        file.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: aside first, then renamed.

    Args:
        path: The file, in a folder that exists.
        content: What to write.

    Raises:
        DataError: If it cannot be written: the disk is full, the folder is read-only or gone.
    """
    with explained(path):
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_ASIDE)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(aside).chmod(0o644)
            os.replace(aside, path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, in UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write plain data as JSON; see `write_bytes`."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        DataError: If it is missing, or not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): is it the right folder?") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error


def read_json(path: Path, fix: str) -> Any:
    """Read plain data.

    Args:
        path: The file.
        fix: What to do if it is not JSON: the end of the error's message.

    Raises:
        DataError: If it is missing, or not JSON, as after a disk was full.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not JSON ({error}): {fix}") from error


def read_object(path: Path, fix: str) -> dict[str, Any]:
    """Read plain data that are an object; see `read_json`.

    Raises:
        DataError: If they are missing, or no JSON object.
    """
    content = read_json(path, fix)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object, but a {type(content).__name__}: {fix}")
    return content


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system says about a file that cannot be written into an error that names it.

    Args:
        path: The file or folder that is being written.

    Raises:
        DataError: Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        cure = "free some space, or choose another folder with --out"
        raise DataError(f"{path} cannot be written ({error.strerror or error}): {cure}") from error
