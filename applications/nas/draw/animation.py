"""The cell of a search in motion: one frame for each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from applications.nas._canvas import FAINT, INK, new_figure
from applications.nas.draw.cell_paint import INCHES_PER_UNIT, PAPER
from applications.nas.draw.colors import LINE_COLORS
from applications.nas.draw.evolution import HEAD_INCHES, TITLE_INCHES, boxes_of, check_snapshots, paint_kind
from applications.nas.draw.frames import Box, Span, name_span
from applications.nas.files import write_bytes

if TYPE_CHECKING:
    from applications.nas.run_folder.history import Snapshot

_DPI, _FRAME_MS, _LAST_MS = 80, 350, 2500
_SHADES = 20


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
        # With dots of mixed colors instead of the nearest one, text would be unclean and the file large.
        images.append(_frame(snapshot, before, boxes, title).quantize(palette=palette, dither=Image.Dither.NONE))
    times = [_FRAME_MS] * (len(images) - 1) + [_LAST_MS]
    moving = BytesIO()
    images[0].save(moving, format="GIF", save_all=True, append_images=images[1:], duration=times, loop=0)
    write_bytes(path, moving.getvalue())
    return path


def _frame(snapshot: Snapshot, before: Snapshot | None, boxes: Mapping[str, Box], title: str) -> Image.Image:
    """Paint one frame; all frames of an animation have the same size."""
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
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels[..., :3])


def _palette() -> Image.Image:
    """Return an image whose palette holds every color of the pictures in shades down to white.

    One that is made of the frames themselves would drop the color of an operation that is rare.
    """
    shades = np.linspace(0.0, 1.0, _SHADES)[:, None]
    bases = [np.array(to_rgb(color)) for color in (INK, FAINT, PAPER, *LINE_COLORS)]
    colors = np.concatenate([base + (1.0 - base) * shades for base in bases])
    image = Image.new("P", (1, 1))
    image.putpalette([int(value) for value in (255 * colors).round().astype(int).ravel()])
    return image
