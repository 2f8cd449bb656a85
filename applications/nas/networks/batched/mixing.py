"""Mixing weights in the order in which a batched cell needs them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from applications.nas.networks.batched.layout import Block, Layout, Wave


class Mixing:
    """Picks, out of a table of mixing weights (edges, operations), what the parts of a cell are multiplied by.

    Args:
        layout: Of the cell.
    """

    def __init__(self, layout: Layout) -> None:
        """Begin without indices; each is made when it is first needed, on the table's device."""
        self._layout, self._columns = layout, len(layout.names[0])
        self._indices: dict[Hashable, Tensor] = {}

    def scales(self, table: Tensor, blocks: Sequence[Block]) -> dict[Block, Tensor]:
        """Return the weights of all channels of some blocks.

        Args:
            table: Mixing weights.
            blocks: Those of which every edge computes something of its own.

        Returns:
            By block, (edges of the block * channels,).
        """
        if not blocks:
            return {}
        chosen = self._choose(
            table.flatten(), ("scales", len(blocks)), lambda: [e for block in blocks for e in self._entries(block)]
        )
        channels = self._layout.channels
        parts = chosen.unsqueeze(1).expand(-1, channels).flatten().split([len(one.rows) * channels for one in blocks])
        return dict(zip(blocks, parts, strict=True))

    def matrix(self, table: Tensor, wave: Wave, blocks: Sequence[Block]) -> Tensor:
        """Return the weights with which the nodes of a wave take what all edges from a source share.

        Args:
            table: Mixing weights.
            wave: The wave.
            blocks: Those of its blocks that are meant.

        Returns:
            (nodes, columns), with a column for each block and, in it, for each source that has such an edge.
        """
        absent, flat = table.numel(), table.flatten()
        if any(len(wave.nodes) != count for block in blocks for count in block.counts if count):
            flat = pad(flat, (0, 1))  # a zero for edges that do not hold an operation

        def entries() -> list[int]:
            pairs = [(node, block, place) for node in wave.nodes for block, place in seen(blocks)]
            return [self._meeting(wave, node, block, place, absent) for node, block, place in pairs]

        key = ("matrix", wave.sources, tuple(block.name for block in blocks))
        return self._choose(flat, key, entries).view(len(wave.nodes), -1)

    def single(self, table: Tensor, block: Block) -> tuple[Tensor, ...]:
        """Return the weight of each edge of a block, as numbers."""
        return self._choose(table.flatten(), ("single", block), lambda: self._entries(block)).unbind()

    def edges(self, edges: Tensor, wave: Wave) -> Tensor:
        """Return the weights of the edges of a wave, (nodes, sources), from those of all edges, (edges,)."""

        def entries() -> list[int]:
            return [self._layout.rows.index((node, source)) for node in wave.nodes for source in wave.sources]

        return self._choose(edges, ("edges", wave), entries).view(len(wave.nodes), -1)

    def _entries(self, block: Block) -> list[int]:
        return [self._entry(row, block.name) for row in block.rows]

    def _entry(self, row: int, name: str) -> int:
        return row * self._columns + self._layout.place(row, name)

    def _meeting(self, wave: Wave, node: int, block: Block, place: int, absent: int) -> int:
        row = self._layout.rows.index((node, wave.sources[place]))
        return self._entry(row, block.name) if row in block.rows else absent

    def _choose(self, flat: Tensor, key: Hashable, entries: Callable[[], list[int]]) -> Tensor:
        key = (key, flat.device)
        if key not in self._indices:
            self._indices[key] = torch.tensor(entries(), device=flat.device)
        return flat.index_select(0, self._indices[key])


def seen(blocks: Sequence[Block]) -> list[tuple[Block, int]]:
    """List blocks with those sources, by their place in the wave, that have such an edge."""
    return [(block, place) for block in blocks for place, count in enumerate(block.counts) if count]
