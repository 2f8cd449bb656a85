"""Genotypes: the discrete result of a search, as plain values that can be stored, read back and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.operations import OPERATIONS
from mlo import DataError


@dataclass(frozen=True)
class Edge:
    """One operation applied to one earlier state of the cell.

    Attributes:
        operation: A name out of `OPERATIONS`.
        predecessor: 0 for the output of the cell before the previous one, 1 for that of the previous one, 2 and on for
            the nodes of this cell.
    """

    operation: str
    predecessor: int

    def __str__(self) -> str:
        """Write the edge as a function call."""
        return f"{self.operation}({self.predecessor})"


@dataclass(frozen=True)
class Cell:
    """A cell whose nodes are the sum of two edges each.

    Attributes:
        edges: Two edges for each node, in the order of the nodes.
        concat: The nodes that make the output, numbered from 2.

    Raises:
        DataError: The number of edges is odd or zero, an operation is unknown, a predecessor does not come before its
            node, or `concat` is empty, repeats itself or names something that is no node.
    """

    edges: tuple[Edge, ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that the cell can be built."""
        if not self.edges or len(self.edges) % 2:
            raise DataError(f"edges: {len(self.edges)} given; every node needs exactly two")
        for index, edge in enumerate(self.edges):
            self._check_edge(index, edge)
        for node in self.concat:
            if type(node) is not int:
                raise DataError(f"concat: {node!r} is no number of a node: give whole numbers from 2")
        if not self.concat:
            raise DataError("concat: empty; name at least one node to be the output")
        for node in self.concat:
            if not 2 <= node < self.nodes + 2:
                raise DataError(f"concat: {node} is no node of this cell; its nodes are 2 to {self.nodes + 1}")
            if self.concat.count(node) > 1:
                raise DataError(f"concat: node {node} appears twice; name each node once")

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.edges) // 2

    def __str__(self) -> str:
        """Write one line for each node, and one for the output."""
        pairs = zip(self.edges[::2], self.edges[1::2], strict=True)
        lines = [f"{node} = {first} + {second}" for node, (first, second) in enumerate(pairs, start=2)]
        return "\n".join([*lines, f"output = {', '.join(map(str, self.concat))}"])

    @staticmethod
    def _check_edge(index: int, edge: Edge) -> None:
        if type(edge.predecessor) is not int:
            raise DataError(f"edges[{index}]: predecessor {edge.predecessor!r} is no whole number: use 0 for the input")
        if edge.operation not in OPERATIONS:
            raise DataError(
                f"edges[{index}]: operation {edge.operation!r} is unknown; choose one of {', '.join(OPERATIONS)}"
            )
        node = index // 2 + 2
        if not 0 <= edge.predecessor < node:
            raise DataError(
                f"edges[{index}]: predecessor {edge.predecessor} does not come before node {node}; use 0 to {node - 1}"
            )


@dataclass(frozen=True)
class Genotype:
    """An architecture: two cells, of which networks are stacked.

    Attributes:
        normal: The cell that keeps height and width.
        reduction: The cell that halves them.
    """

    normal: Cell
    reduction: Cell

    def __str__(self) -> str:
        """Write both cells, one node a line."""
        blocks = (f"{name}:\n{getattr(self, name)}".replace("\n", "\n  ") for name in CELL_TYPES)
        return "\n".join(blocks)

    def count(self, operation: str) -> int:
        """Return how many edges of both cells hold an operation."""
        return sum(edge.operation == operation for edge in (*self.normal.edges, *self.reduction.edges))

    def to_json(self) -> str:
        """Return the genotype as JSON, `{"normal": {"edges": [["op", 0], ...], "concat": [2, ...]}, "reduction": ...}`.

        Returns:
            One line of text, which `from_json` reads back to an equal genotype.
        """
        return json.dumps(self.to_plain())

    def to_plain(self) -> dict[str, object]:
        """Return the same as plain data."""
        return {name: _plain(getattr(self, name)) for name in CELL_TYPES}

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """Read what `to_json` wrote, and refuse all else.

        Args:
            text: JSON.

        Returns:
            The genotype.

        Raises:
            DataError: The text is no JSON, a key is missing, unknown or repeated, or a value cannot be part of a cell.
                The message begins with where that is.
        """
        try:
            value = json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"genotype: not valid JSON ({error})") from error
        cells = _members(value, CELL_TYPES, "genotype")
        return cls(**{name: _read_cell(cells[name], f"genotype.{name}") for name in CELL_TYPES})


def random_genotype(space: CellSpace, generator: torch.Generator) -> Genotype:
    """Draw an architecture uniformly: the baseline that every search has to beat.

    Every node reads two distinct predecessors, all pairs equally likely, each through an operation drawn uniformly and
    independently from all primitives except "none".

    Args:
        space: The space of cells.
        generator: Where the random numbers come from.

    Returns:
        A genotype whose cells concatenate all nodes; the edges of a node are in the order of their predecessors.

    Source: "Random Search and Reproducibility for Neural Architecture Search", Li, Talwalkar, 2019.
    """
    return Genotype(normal=_random_cell(space, generator), reduction=_random_cell(space, generator))


def _random_cell(space: CellSpace, generator: torch.Generator) -> Cell:
    edges: list[Edge] = []
    for node in range(2, space.nodes + 2):
        order = torch.randperm(node, generator=generator, device=generator.device).tolist()
        draws = torch.randint(len(space.candidates), (2,), generator=generator, device=generator.device).tolist()
        pairs = zip(draws, sorted(order[:2]), strict=True)
        edges += [Edge(space.candidates[draw], source) for draw, source in pairs]
    return Cell(tuple(edges), tuple(range(2, space.nodes + 2)))


def _plain(cell: Cell) -> dict[str, object]:
    return {"edges": [[edge.operation, edge.predecessor] for edge in cell.edges], "concat": list(cell.concat)}


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build a JSON object, refusing a repeated key, of which `json` alone would silently keep the last."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise DataError(f"genotype: key {repeated!r} appears twice in one object; write it once")
    return members


def _members(value: object, names: tuple[str, ...], where: str) -> Mapping[str, object]:
    """Return a JSON object that has exactly these keys."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: must be an object with the keys {', '.join(names)}, got {value!r}")
    for name in value:
        if name not in names:
            raise DataError(f"{where}: key {name!r} is unknown; the keys are {', '.join(names)}")
    for name in names:
        if name not in value:
            raise DataError(f"{where}: key {name!r} is missing; the keys are {', '.join(names)}")
    return value


def _items(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise DataError(f"{where}: must be a list, got {value!r}")
    return value


def _integer(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{where}: must be an integer, got {value!r}")
    return value


def _read_edge(value: object, where: str) -> Edge:
    pair = _items(value, where)
    if len(pair) != 2 or not isinstance(pair[0], str):
        raise DataError(f"{where}: must be [operation, predecessor], got {value!r}")
    return Edge(pair[0], _integer(pair[1], f"{where} predecessor"))


def _read_cell(value: object, where: str) -> Cell:
    members = _members(value, ("edges", "concat"), where)
    pairs = _items(members["edges"], f"{where}.edges")
    edges = [_read_edge(pair, f"{where}.edges[{index}]") for index, pair in enumerate(pairs)]
    concat = [_integer(item, f"{where}.concat") for item in _items(members["concat"], f"{where}.concat")]
    try:
        return Cell(tuple(edges), tuple(concat))
    except DataError as error:
        raise DataError(f"{where}.{error}") from None
