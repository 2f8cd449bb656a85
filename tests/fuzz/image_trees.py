"""Folders ROOT/{train,test}/CLASS/IMAGE in which something is amiss."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

MODES = ["RGB", "L", "RGBA", "CMYK", "P", "I;16", "1", "LA", "F"]
FORMATS = {"CMYK": "JPEG", "F": "TIFF"}
NAMES = [
    "0.png",
    "1.png",
    "a b.PNG",
    "\u00fc\u4e2d.jpg",
    "new\nline.png",
    "1.jpeg",
    "2.webp",
    ".hidden.png",
    "x.txt",
    "no-suffix",
]
CLASSES = ["cat", "dog", "\u4e2d", "a b", "line\nbreak", ".hidden", "train", "x.png"]


def encoded(mode: str, side: int, level: int) -> bytes:
    """An image file of one gray level, in some mode."""
    pixels = np.full((side, side), level, dtype=np.uint8)
    image = Image.fromarray(pixels)
    image = Image.fromarray(pixels.astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    file = io.BytesIO()
    image.save(file, FORMATS.get(mode, "PNG"))
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A PNG whose header tells of a huge image, with next to no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """What an image file holds."""
    whole = encoded(draw(st.sampled_from(MODES)), draw(st.sampled_from([8, 8, 8, 1, 3, 33])), draw(st.integers(0, 255)))
    how = draw(st.integers(0, 7))
    if how == 0:
        return whole[: draw(st.integers(0, len(whole)))]
    if how == 1:
        place = draw(st.integers(0, len(whole) - 1))
        return whole[:place] + bytes([draw(st.integers(0, 255))]) + whole[place + 1 :]
    if how == 2:
        return draw(st.sampled_from([b"", b"text", b"GIF89a", b"%PDF", bomb(9_500), bomb(20_000), bomb(2**31 - 1)]))
    return whole


@st.composite
def trees(draw: st.DrawFn, parts: tuple[str, str]) -> dict[str, bytes | str | None]:
    """Files by path: their content, where a link points, or None for a folder."""
    files: dict[str, bytes | str | None] = {}
    good = encoded("RGB", 8, 100)
    for part in parts:
        for kind in ("cat", "dog"):
            for number in range(4):
                files[f"{part}/{kind}/{number}.png"] = good
    for _ in range(draw(st.integers(0, 3))):
        _spoil(draw, files, parts)
    return files


def _spoil(draw: st.DrawFn, files: dict[str, bytes | str | None], parts: tuple[str, str]) -> None:
    how, part, kind = draw(st.integers(0, 7)), draw(st.sampled_from(parts)), draw(st.sampled_from(CLASSES))
    path = f"{part}/{kind}/{draw(st.sampled_from(NAMES))}"
    if how <= 2:
        if files:
            files[draw(st.sampled_from(sorted(files)))] = draw(contents())
    elif how == 3:
        files[path] = draw(contents())
    elif how == 4:
        files[path] = draw(st.sampled_from(["nowhere", ".", "..", "0.png", "/dev/null"]))
    elif how == 5:
        files[path] = None
    else:
        gone = draw(st.sampled_from([f"{part}/", f"{part}/cat/", f"{part}/dog/", f"{part}/dog/1", f"{part}/cat/0"]))
        for name in [name for name in files if name.startswith(gone)]:
            del files[name]
        if how == 7 and gone.endswith("/"):
            files[gone.rstrip("/")] = None  # an empty folder stays


def build(root: Path, files: dict[str, bytes | str | None]) -> None:
    """Write a tree; what does not fit beside something else is left out."""
    root.mkdir()
    for name, content in files.items():
        path = root / name
        try:
            if content is None:
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                os.symlink(content, path)
            else:
                path.write_bytes(content)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
