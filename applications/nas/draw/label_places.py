"""Where the labels of a drawn cell lie: on their edges, off the nodes, the other labels and the other edges."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]
Link = tuple[int, int]
Box = tuple[float, float, float, float]

_LABEL_HEIGHT, _LETTER_WIDTH, _MARGIN = 0.30, 0.112, 0.10
# A node's box takes in the arrowheads that point at it.
_NODE_WIDTH, _NODE_HEIGHT = 1.25, 0.85
_PLACES = tuple(0.5 + sign * step / 40 for step in range(14) for sign in (1, -1))
_STEPS, _ROUNDS = 32, 5


def curve_point(start: Point, end: Point, bend: float, place: float) -> Point:
    """Point of matplotlib's `arc3` curve.

    Args:
        start: Where the curve begins.
        end: Where it ends.
        bend: How far the control point is off the straight line, in lengths of that line.
        place: 0 at the start, 1 at the end.

    Returns:
        The point.
    """
    across = (start[0] + end[0]) / 2 + bend * (end[1] - start[1])
    up = (start[1] + end[1]) / 2 - bend * (end[0] - start[0])
    first, middle, last = (1 - place) ** 2, 2 * place * (1 - place), place**2
    return first * start[0] + middle * across + last * end[0], first * start[1] + middle * up + last * end[1]


def place_labels(
    links: Sequence[Link], names: Sequence[str], bends: Sequence[float], positions: dict[int, Point]
) -> list[Point]:
    """Slide each label along its edge to where it covers the least.

    Labels are placed one after the other, several times over, each time against where all others lie by then;
    the best round counts.

    Args:
        links: Source and target of each edge.
        names: Its label; empty where there is none to place.
        bends: Its bend, as in `curve_point`.
        positions: Of the vertices.

    Returns:
        Center of each label.
    """
    ends = [(positions[source], positions[target]) for source, target in links]
    curves = [[curve_point(*ends[i], bends[i], step / _STEPS) for step in range(_STEPS + 1)] for i in range(len(links))]
    nodes = [_box(point, _NODE_WIDTH, _NODE_HEIGHT) for point in positions.values()]
    named = [index for index, name in enumerate(names) if name]
    centers = [curve_point(*pair, bend, 0.5) for pair, bend in zip(ends, bends, strict=True)]
    costs = dict.fromkeys(named, 0.0)
    best: tuple[float, list[Point]] | None = None
    for _ in range(_ROUNDS):
        for index in named:
            labels = [_label(centers[i], names[i]) for i in named if i != index]
            under = [point for i, curve in enumerate(curves) if i != index for point in curve]
            options = [curve_point(*ends[index], bends[index], place) for place in _PLACES]
            prices = [_cost(_label(point, names[index]), nodes, labels, under) for point in options]
            costs[index] = min(prices)
            centers[index] = options[prices.index(costs[index])]
        if best is None or sum(costs.values()) < best[0]:
            best = sum(costs.values()), list(centers)
    return best[1] if best else centers


def _cost(label: Box, nodes: Sequence[Box], labels: Sequence[Box], under: Sequence[Point]) -> float:
    """Overlaps by how much they hurt; equal costs fall to the place nearest the middle, which is tried first."""
    left, bottom, right, top = label
    covered = sum(left < x < right and bottom < y < top for x, y in under)
    return 30 * sum(_overlap(label, box) for box in (*nodes, *labels)) + 0.2 * covered


def _overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _label(center: Point, name: str) -> Box:
    return _box(center, _LETTER_WIDTH * len(name) + 2 * _MARGIN, _LABEL_HEIGHT + _MARGIN)


def _box(center: Point, width: float, height: float) -> Box:
    x, y = center
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
