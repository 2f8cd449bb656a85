"""Mixing weights in the order in which a batched cell needs them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from applications.nas.networks.batched.layout import Block, Layout, Wave


@dataclass(frozen=True)
class Column:
    """A plane that nodes take from a source.

    Attributes:
        block: The operation that made it.
        place: The source, by its place in the wave.
        row: The one edge that it belongs to; None if all of them from this source share it.
    """

    block: Block
    place: int
    row: int | None = None


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
        # Of a single edge `flatten` would give a view of stride 0, which torch's norm misreads in its backward pass.
        spread = chosen.unsqueeze(1).expand(-1, channels).flatten().contiguous()
        parts = spread.split([len(one.rows) * channels for one in blocks])
        return dict(zip(blocks, parts, strict=True))

    def matrix(self, table: Tensor, wave: Wave, columns: Sequence[Column]) -> Tensor:
        """Return the weights with which the nodes of a wave take some planes.

        Args:
            table: Mixing weights.
            wave: The wave.
            columns: The planes.

        Returns:
            (nodes, planes).
        """
        absent, flat = table.numel(), pad(table.flatten(), (0, 1))  # a zero for what no edge takes

        def entries() -> list[int]:
            pairs = [(node, column) for node in wave.nodes for column in columns]
            return [self._meeting(wave, node, column, absent) for node, column in pairs]

        key = ("matrix", wave, tuple(columns))
        return self._choose(flat, key, entries).view(len(wave.nodes), -1)

    def sums(self, wave: Wave, rows: Sequence[int], like: Tensor) -> Tensor | None:
        """Return the matrix of zeros and ones that adds the planes of edges up by nodes.

        Args:
            wave: The wave.
            rows: The edge of each plane.
            like: A tensor of the type that is wanted.

        Returns:
            (nodes, planes); None where each node gets one plane, in the order of nodes.
        """
        reached = [self._layout.rows[row][0] for row in rows]
        if reached == list(wave.nodes):
            return None
        key = ("sums", wave, tuple(rows), like.device, like.dtype)
        if key not in self._indices:
            ones = [[float(node == one) for one in reached] for node in wave.nodes]
            with torch.inference_mode(False):  # or it could not be kept for a later backward pass
                self._indices[key] = torch.tensor(ones, device=like.device, dtype=like.dtype)
        return self._indices[key]

    def edges(self, edges: Tensor, wave: Wave) -> Tensor:
        """Return the weights of the edges of a wave, (nodes, sources), from those of all edges, (edges,)."""

        def entries() -> list[int]:
            return [self._layout.rows.index((node, source)) for node in wave.nodes for source in wave.sources]

        return self._choose(edges, ("edges", wave), entries).view(len(wave.nodes), -1)

    def _entries(self, block: Block) -> list[int]:
        return [self._entry(row, block.name) for row in block.rows]

    def _entry(self, row: int, name: str) -> int:
        return row * self._columns + self._layout.place(row, name)

    def _meeting(self, wave: Wave, node: int, column: Column, absent: int) -> int:
        row = self._layout.rows.index((node, wave.sources[column.place]))
        held = row in column.block.rows and column.row in (None, row)
        return self._entry(row, column.block.name) if held else absent

    def _choose(self, flat: Tensor, key: Hashable, entries: Callable[[], list[int]]) -> Tensor:
        key = (key, flat.device)
        if key not in self._indices:
            with torch.inference_mode(False):  # or it could not be kept for a later backward pass
                self._indices[key] = torch.tensor(entries(), device=flat.device)
        return flat.index_select(0, self._indices[key])
