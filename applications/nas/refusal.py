"""An error as the command line tells it: one line, whatever paths and values it names, and not too long."""

from __future__ import annotations

import torch

from mlo import MLOError

_LONGEST = 700  # characters: longer messages lose their middle, for the culprit is named first and the fix last
_MEMORY = "take a smaller --batch, a smaller network, or fewer images (--data.subset)"
_NO_ROOM = ("DefaultCPUAllocator", "not enough memory", "Storage size calculation overflowed", "out of memory")


def is_refusal(error: Exception) -> bool:
    """Return whether an error is one that a user can mend, and no defect of the program."""
    return isinstance(error, MLOError | OSError) or lacks_memory(error)


def lacks_memory(error: Exception) -> bool:
    """Return whether an error says that there is too little memory, here or on a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_ROOM)


def as_line(error: Exception) -> str:
    """Write an error, with its notes, in one line.

    Args:
        error: One for which `is_refusal` holds.
    """
    text = f"memory: there is too little ({str(error).partition(chr(10))[0]}): {_MEMORY}"
    if not lacks_memory(error):
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        text = f"{_of_system(error) if isinstance(error, OSError) else error}{notes}"
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    return text


def _of_system(error: OSError) -> str:
    if isinstance(error, MLOError) or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror or error}: see that it exists, and that it may be read and written"
