"""One color for each operation, the same in all pictures; dark enough to be read as text on white."""

from __future__ import annotations

from applications.nas.draw.canvas import FAINT, INK

# Families by hue, their members by shade. For text and lines.
_LINES = {
    "sep_conv": "#0072b2",
    "dil_conv": "#c65100",
    "max_pool": "#00805d",
    "avg_pool": "#8a6d00",
    "skip": "#b0478a",
}
# For areas that lie next to each other.
_AREAS = {
    "none": "#c3cbd4",
    "skip_connect": "#cc79a7",
    "max_pool_3x3": "#009e73",
    "avg_pool_3x3": "#f0e442",
    "sep_conv_3x3": "#0072b2",
    "sep_conv_5x5": "#56b4e9",
    "sep_conv_7x7": "#b5dcf5",
    "dil_conv_3x3": "#d55e00",
    "dil_conv_5x5": "#f0a860",
    "conv_7x1_1x7": "#4d4d4d",
}
LINE_COLORS = (*_LINES.values(), INK, FAINT)
"""Everything that `line_color` returns."""

_SPARE = ("#7b5ea7", "#8c564b", "#a3c585", "#2f4858")


def line_color(operation: str) -> str:
    """Return the color of an operation's arrow and name; that of no operation is faint."""
    if not operation:
        return FAINT
    return next((color for prefix, color in _LINES.items() if operation.startswith(prefix)), INK)


def area_color(operation: str, number: int = 0) -> str:
    """Return the color of an operation's area.

    Args:
        operation: Its name.
        number: Its place among all; it decides where the operation is not one of the known.
    """
    return _AREAS.get(operation, _SPARE[number % len(_SPARE)])
