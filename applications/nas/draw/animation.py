"""The cell of a search in motion: one frame for each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from applications.nas.draw.canvas import FAINT, INK, new_figure
from applications.nas.draw.cell_paint import INCHES_PER_UNIT, PAPER
from applications.nas.draw.colors import LINE_COLORS
from applications.nas.draw.evolution import HEAD_INCHES, TITLE_INCHES, boxes_of, check_snapshots, paint_kind
from applications.nas.draw.frames import Box, Span, name_span
from applications.nas.files import write_bytes

if TYPE_CHECKING:
    from applications.nas.run_folder.history import Snapshot

_DPI, _FRAME_MS, _LAST_MS = 80, 350, 2500
_SHADES = 20

Pixels = NDArray[np.uint8]


def animate_evolution(snapshots: Sequence[Snapshot], path: Path) -> Path:
    """Write a GIF of the cells after every epoch, the normal cell above the reduction cell.

    Args:
        snapshots: The history.
        path: The file; its folder must exist.

    Returns:
        The path.

    Raises:
        DataError: There is no snapshot, or the file cannot be written.
    """
    check_snapshots(snapshots)
    boxes, palette = boxes_of(snapshots), _palette()
    images = []
    for index, snapshot in enumerate(snapshots):
        title, before = name_span(snapshots, Span(index, index)), snapshots[index - 1] if index else None
        images.append(_reduce(_frame(snapshot, before, boxes, title), palette))
    times = [_FRAME_MS] * (len(images) - 1) + [_LAST_MS]
    moving = BytesIO()
    images[0].save(moving, format="GIF", save_all=True, append_images=images[1:], duration=times, loop=0)
    write_bytes(path, moving.getvalue())
    return path


def _frame(snapshot: Snapshot, before: Snapshot | None, boxes: Mapping[str, Box], title: str) -> Pixels:
    """Paint one frame (height, width, 3); all frames of an animation have the same size."""
    width = max(box[2] - box[0] for box in boxes.values()) * INCHES_PER_UNIT
    heights = {kind: (box[3] - box[1]) * INCHES_PER_UNIT for kind, box in boxes.items()}
    total = sum(heights.values()) + HEAD_INCHES + TITLE_INCHES * len(boxes)
    figure = new_figure(width, total)
    figure.text(0.012, 1 - 0.07 / total, title, va="top", fontsize=12, color=INK)
    top = total - HEAD_INCHES
    for kind, box in boxes.items():
        top -= TITLE_INCHES + heights[kind]
        share = (box[2] - box[0]) * INCHES_PER_UNIT / width
        paint_kind(figure, ((1 - share) / 2, top / total, share, heights[kind] / total), kind, box, snapshot, before)
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(_DPI)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels: Pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    return pixels


def _palette() -> Pixels:
    """Return every color of the pictures in shades up to white, (colors, 3).

    A palette that is made of the frames themselves would drop the color of an operation that is rare.
    """
    shades = np.linspace(0.0, 1.0, _SHADES)[:, None]
    bases = [np.array(to_rgb(color)) for color in (INK, FAINT, PAPER, *LINE_COLORS)]
    colors = np.concatenate([base + (1.0 - base) * shades for base in bases])
    return np.unique((255 * colors).round().astype(np.uint8), axis=0)


def _reduce(pixels: Pixels, palette: Pixels) -> Image.Image:
    """Give each pixel the nearest color of a palette.

    Pillow's own search is coarse and turns white gray; dots of mixed colors would make text unclean and the file large.
    """
    red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
    found, places = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    colors = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    distances = ((colors[:, None] - palette.astype(np.int64)) ** 2).sum(axis=2)
    image = Image.fromarray(distances.argmin(axis=1)[places].reshape(pixels.shape[:2]).astype(np.uint8))
    image.putpalette(palette.tobytes())
    return image
