"""Where the parts of a drawn cell lie: nodes in layers, edges that pass other nodes by, labels that do not collide.

Everything is found by trying fixed candidates in a fixed order, so the same cell is always drawn the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations, product
from math import hypot
from typing import TYPE_CHECKING

import networkx as nx

from applications.nas.draw.label_places import Link, Point, curve_point, place_labels

if TYPE_CHECKING:
    from applications.nas.space.genotype import Cell

_LAYER_GAP, _LAST_GAP, _ROW_GAP = 3.3, 2.2, 1.5
_NODE_ROOM, _CURVE_ROOM = 0.62, 0.28
_BENDS = (0.0, 0.12, -0.12, 0.22, -0.22, 0.34, -0.34, 0.48, -0.48, 0.62, -0.62)
_MAX_ORDERS = 800
_SIDE_MARGIN, _MARGIN = 0.85, 0.6


@dataclass(frozen=True)
class Arrow:
    """One drawn edge; `operation` is empty where a node only feeds the output."""

    source: int
    target: int
    operation: str
    bend: float
    label: Point


@dataclass(frozen=True)
class Layout:
    """Positions of the vertices (inputs 0 and 1, then the nodes, last the output) and all arrows."""

    positions: dict[int, Point]
    arrows: tuple[Arrow, ...]

    @property
    def output(self) -> int:
        """The vertex that stands for the concatenation."""
        return max(self.positions)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of everything that is drawn, with a margin."""
        points = [*self.positions.values(), *(arrow.label for arrow in self.arrows)]
        for arrow in self.arrows:
            points += _inner_points(self.positions[arrow.source], self.positions[arrow.target], arrow.bend)
        xs, ys = [x for x, _ in points], [y for _, y in points]
        return min(xs) - _SIDE_MARGIN, min(ys) - _MARGIN, max(xs) + _SIDE_MARGIN, max(ys) + _MARGIN


def lay_out(cell: Cell, positions: Mapping[int, Point] | None = None) -> Layout:
    """Place everything that is drawn of a cell.

    Args:
        cell: Two edges for each node, in node order.
        positions: Of the vertices, where they are not to be chosen for this cell.

    Returns:
        Positions with equal units on both axes, and arrows in the order of the edges, then of the concatenation.
    """
    output = 2 + len(cell.edges) // 2
    links = [(edge.predecessor, 2 + index // 2) for index, edge in enumerate(cell.edges)]
    links += [(node, output) for node in cell.concat]
    names = [edge.operation for edge in cell.edges] + [""] * len(cell.concat)
    places = dict(positions) if positions is not None else _positions(links, output)
    bends = _bends(links, places)
    labels = place_labels(links, names, bends, places)
    arrows = zip(*zip(*links, strict=True), names, bends, labels, strict=True)
    return Layout(places, tuple(Arrow(*arrow) for arrow in arrows))


def _positions(links: Sequence[Link], output: int) -> dict[int, Point]:
    graph = nx.MultiDiGraph(links)
    graph.add_nodes_from(range(output + 1))
    depth = dict.fromkeys(range(output + 1), 0)
    for node in range(2, output):
        depth[node] = 1 + max(depth[source] for source, target in links if target == node)
    depth[output] = 1 + max(depth.values())
    layers = [[node for node in range(output + 1) if depth[node] == layer] for layer in range(depth[output] + 1)]
    best = min(_orders(layers), key=lambda order: _tangle(_place(graph, order), links))
    return _place(graph, best)


def _orders(layers: list[list[int]]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Orders of the nodes inside their layers; the two inputs stay as they are."""
    return islice(product((tuple(layers[0]),), *(permutations(layer) for layer in layers[1:])), _MAX_ORDERS)


def _place(graph: nx.MultiDiGraph, order: Sequence[Sequence[int]]) -> dict[int, Point]:
    # networkx centers each layer and then rescales the whole: undone, for the room that labels need is absolute.
    ranked = nx.multipartite_layout(graph, subset_key=dict(enumerate(order)))
    first, last = float(ranked[order[0][0]][0]), float(ranked[order[-1][0]][0])
    unit = (last - first) / (len(order) - 1)
    positions = {
        node: ((float(ranked[node][0]) - first) / unit * _LAYER_GAP, -float(ranked[node][1]) / unit * _ROW_GAP)
        for node in sorted(ranked)
    }
    # The edges to the output have no label, so they need less room.
    x, y = positions[max(positions)]
    positions[max(positions)] = x - _LAYER_GAP + _LAST_GAP, y
    return positions


def _tangle(positions: dict[int, Point], links: Sequence[Link]) -> float:
    """Crossings first, then the total height that the edges climb."""
    lines = [(positions[source], positions[target]) for source, target in links]
    crossings = sum(_cross(*lines[i], *lines[j]) for i in range(len(lines)) for j in range(i))
    return 100.0 * crossings + sum(abs(start[1] - end[1]) for start, end in lines)


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    def side(p: Point, q: Point, r: Point) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < -1e-9 and side(c, d, a) * side(c, d, b) < -1e-9


def _bends(links: Sequence[Link], positions: dict[int, Point]) -> list[float]:
    """Bend each edge just enough to clear other nodes and the edges before it."""
    bends: list[float] = []
    drawn: list[Point] = []
    for link in links:
        start, end = positions[link[0]], positions[link[1]]
        nodes = [point for node, point in positions.items() if node not in link]
        taken = {bend for other, bend in zip(links, bends, strict=False) if other == link}
        if links.count(link) > 1:
            taken.add(0.0)
        curves = {bend: _inner_points(start, end, bend) for bend in _BENDS if bend not in taken}
        costs = {bend: _crowding(points, nodes, drawn) + 1.5 * abs(bend) for bend, points in curves.items()}
        bends.append(min(costs, key=costs.__getitem__))
        drawn += curves[bends[-1]]
    return bends


def _inner_points(start: Point, end: Point, bend: float) -> list[Point]:
    """Points of an edge, without its ends, where it has to come near to others."""
    return [curve_point(start, end, bend, step / 24) for step in range(3, 22)]


def _crowding(points: Sequence[Point], nodes: Sequence[Point], drawn: Sequence[Point]) -> float:
    near_nodes = sum(max(0.0, _NODE_ROOM - hypot(x - u, y - v)) for x, y in points for u, v in nodes)
    near_curves = sum(any(hypot(x - u, y - v) < _CURVE_ROOM for u, v in drawn) for x, y in points)
    return 10 * near_nodes + 0.1 * near_curves
