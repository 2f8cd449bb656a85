"""Where the operations of a cell lie when equal ones of several edges are stored, and computed, as one.

All edges that leave a state read the same input with the same stride. A wave is what can be computed as soon as one
more state is known: all edges from the two inputs, then all from the first node, and so on. A block is one operation on
all edges of a wave that hold it. The tensors of a cell lie in a few arrays, of which every block has its pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

from applications.nas.space.cell import CellSpace
from applications.nas.space.operations import OPERATIONS

POINT, MEAN, VAR, COUNT = "point", "running_mean", "running_var", "num_batches_tracked"
STATISTICS = (MEAN, VAR, COUNT)
MAX, AVG, SKIP = "max_pool_3x3", "avg_pool_3x3", "skip_connect"
KERNELS = {"sep_conv_3x3": 3, "sep_conv_5x5": 5, "sep_conv_7x7": 7, "dil_conv_3x3": 3, "dil_conv_5x5": 5}
BATCHED = ("none", MAX, AVG, SKIP, *KERNELS)
"""Operations that can be batched."""


def depth(kernel: int) -> str:
    """Return the name of the array of depthwise kernels of a size."""
    return f"depth{kernel}"


@dataclass(frozen=True)
class Slot:
    """Where a tensor of the plain cell lies.

    Attributes:
        key: Its name there.
        array: The array that holds it.
        start: Its first row there.
        shape: Its shape; empty for a counter.
    """

    key: str
    array: str
    start: int
    shape: tuple[int, ...]

    @property
    def rows(self) -> int:
        """How many rows of the array it takes."""
        return self.shape[0] if self.shape else 1


@dataclass(frozen=True, eq=False)
class Block:
    """One operation on all edges of a wave that hold it.

    Attributes:
        name: The operation.
        stride: Of the wave.
        rows: The edges: by source, then by node.
        counts: How many leave each source of the wave.
        pieces: By array, the numbers of its pieces, in the order of use.
    """

    name: str
    stride: int
    rows: tuple[int, ...]
    counts: tuple[int, ...]
    pieces: dict[str, tuple[int, ...]]

    @property
    def shared(self) -> bool:
        """Whether all edges from a source would compute the same, up to their mixing weight."""
        return self.name in (MAX, AVG) or (self.name == SKIP and self.stride == 1)


@dataclass(frozen=True, eq=False)
class Wave:
    """All edges that can be computed once a further state is known.

    Attributes:
        sources: The states that they leave: both inputs, or one node.
        nodes: The nodes that they reach.
        stride: Of all its edges.
        blocks: Their operations; "none" has no block.
    """

    sources: tuple[int, ...]
    nodes: tuple[int, ...]
    stride: int
    blocks: tuple[Block, ...]


class Layout:
    """The waves of a type of cell, and where its tensors lie.

    Args:
        space: The space of cells.
        kind: "normal" or "reduction".
        channels: Channels that operations see.
        prefix: What stands between the number of an edge and the word "operations" in the plain cell's names.

    Attributes:
        waves: In the order in which they can be computed.
        sizes: By array, the rows of its pieces.
        slots: Every tensor of the plain cell's edges, by the order in its array.
    """

    def __init__(self, space: CellSpace, kind: str, channels: int, prefix: str = "") -> None:
        """Lay out all waves."""
        self.rows, self.names, self.channels = space.rows, space.choices[kind], channels
        self.sizes: dict[str, list[int]] = {}
        self.slots: list[Slot] = []
        self._prefix, self._ends = prefix, dict[str, int]()
        last, reduction = space.nodes + 1, kind == "reduction"
        groups = [(0, 1), *((source,) for source in range(2, last))]
        self.waves = tuple(self._wave(group, last, 2 if reduction and group[0] == 0 else 1) for group in groups)

    def place(self, row: int, name: str) -> int:
        """Return the column of an operation of an edge."""
        return self.names[row].index(name)

    def _wave(self, sources: tuple[int, ...], last: int, stride: int) -> Wave:
        blocks: list[Block] = []
        for name in OPERATIONS:
            held = [
                [row for row, (_, start) in enumerate(self.rows) if start == source and name in self.names[row]]
                for source in sources
            ]
            if name in BATCHED[1:] and any(held):
                blocks.append(self._block(name, stride, held))
        return Wave(sources, tuple(range(sources[-1] + 1, last + 1)), stride, tuple(blocks))

    def _block(self, name: str, stride: int, held: list[list[int]]) -> Block:
        rows, width = [row for group in held for row in group], self.channels
        pieces: dict[str, tuple[int, ...]] = {}
        if name in KERNELS:
            size = KERNELS[name]
            for first in (0, 4) if name.startswith("sep") else (0,):  # of a sequence: ReLU, two convolutions, norm
                self._add(pieces, depth(size), rows, name, f"{first + 1}.weight", (width, 1, size, size))
                self._add(pieces, POINT, rows, name, f"{first + 2}.weight", (width, width, 1, 1))
                self._add_norm(pieces, rows, name, f"{first + 3}")
        elif name == SKIP and stride == 2:
            for group in held:
                for half in ("even", "odd"):
                    self._add(pieces, POINT, group, name, f"{half}.weight", (width // 2, width, 1, 1))
            self._add_norm(pieces, rows, name, "norm")
        elif name != SKIP:
            for group in held:
                self._add_norm(pieces, group, name, "1")
        return Block(name, stride, tuple(rows), tuple(len(group) for group in held), pieces)

    def _add_norm(self, pieces: dict[str, tuple[int, ...]], rows: list[int], name: str, key: str) -> None:
        for array, shape in ((MEAN, (self.channels,)), (VAR, (self.channels,)), (COUNT, ())):
            self._add(pieces, array, rows, name, f"{key}.{array}", shape)

    def _add(
        self,
        pieces: dict[str, tuple[int, ...]],
        array: str,
        rows: list[int],
        name: str,
        key: str,
        shape: tuple[int, ...],
    ) -> None:
        """Give a block one more piece of an array, with room for a tensor of each edge."""
        sizes, start = self.sizes.setdefault(array, []), self._ends.get(array, 0)
        for row in rows:
            plain = f"edges.{row}.{self._prefix}operations.{self.place(row, name)}.{key}"
            slot = Slot(plain, array, self._ends.get(array, 0), shape)
            self.slots.append(slot)
            self._ends[array] = slot.start + slot.rows
        pieces[array] = (*pieces.get(array, ()), len(sizes))
        sizes.append(self._ends.get(array, 0) - start)
