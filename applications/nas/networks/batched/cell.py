"""The cell of a search, computed wave by wave."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from applications.nas.methods.pdarts import DroppedSkip
from applications.nas.networks.batched.blocks import Inputs, Pieces, convolved, pooled, reduced
from applications.nas.networks.batched.images import as_image, as_plane, repeat, separate
from applications.nas.networks.batched.layout import COUNT, KERNELS, MEAN, SKIP, STATISTICS, VAR, Block, Layout, Wave
from applications.nas.networks.batched.mixing import Mixing, seen
from applications.nas.space.cell import CellSpace, SearchCell
from applications.nas.space.mixed import MixedOperation, PartialMixedOperation, total

Planes = dict[int, list[Tensor]]
"""What has arrived at each node, by its number."""


class BatchedCell(nn.Module):
    """A cell of a search with the mathematics of `SearchCell`, where equal operations of several edges are one.

    Args:
        plain: The cell whose weights and statistics are copied; all its operations can be batched.
        space: The space of cells.
        kind: "normal" or "reduction".

    Attributes:
        layout: Where the tensors of the plain cell lie.
        columns: How many mixing weights an edge takes.
    """

    def __init__(self, plain: SearchCell, space: CellSpace, kind: str) -> None:
        """Copy the plain cell's tensors into arrays."""
        super().__init__()
        edge = plain.edges[0]
        partial = edge if isinstance(edge, PartialMixedOperation) else None
        channels: int = plain.newer[1].out_channels  # type: ignore[index]
        self._portion = partial.portion if partial else 1
        self._weighs_edges, self._width = partial is not None, channels // self._portion
        self.layout = Layout(space, kind, self._width, "mixed." if partial else "")
        self.columns = plain.columns
        self._mixing = Mixing(self.layout)
        self.older, self.newer = copy.deepcopy(plain.older), copy.deepcopy(plain.newer)
        self.dropped = nn.ModuleDict(_dropped_skips(plain))
        for array, value in gather(self.layout, plain.state_dict()).items():
            if array in STATISTICS:
                self.register_buffer(array, value)
            else:
                self.register_parameter(array, nn.Parameter(value))

    def forward(self, older: Tensor, newer: Tensor, weights: Tensor) -> Tensor:
        """Compute the cell; see `SearchCell`."""
        table, edges = (weights[:, :-1] * weights[:, -1:], weights[:, -1]) if self._weighs_edges else (weights, weights)
        pieces = self._pieces()
        waves = self.layout.waves
        scales = self._mixing.scales(table, [block for wave in waves for block in wave.blocks if self._is_own(block)])
        states = [self.older(older), self.newer(newer)]
        masks = self._masks(states[1], waves[0].stride)
        mixed, passing = Planes(), Planes()
        for wave in waves:
            images = [states[source] for source in wave.sources]
            inputs = Inputs([image[:, : self._width] for image in images] if self._portion > 1 else images)
            self._own(wave, inputs, pieces, scales, mixed)
            self._shared(wave, inputs, pieces, table, masks, mixed)
            if self._portion > 1:
                self._pass_by(wave, images, edges, passing)
            states.append(self._state(wave, inputs, mixed, passing))
        return torch.cat(states[2:], dim=1)

    def _pieces(self) -> Pieces:
        arrays: dict[str, Sequence[Tensor]] = {}
        for array, sizes in self.layout.sizes.items():
            whole = getattr(self, array)
            if array == COUNT:
                if self.training:
                    whole.add_(1)
            elif array in (MEAN, VAR):  # written to one by one, which autograd need not know of the others
                arrays[array] = torch.unsafe_split_with_sizes(whole, sizes)
            else:
                arrays[array] = whole.split(sizes)
        return Pieces(arrays, training=self.training)

    def _is_own(self, block: Block) -> bool:
        """Tell whether a block is computed for each edge; pools are, where edges normalize by what each remembers."""
        return not block.shared or (not self.training and block.name != SKIP)

    def _own(self, wave: Wave, inputs: Inputs, pieces: Pieces, scales: Mapping[Block, Tensor], mixed: Planes) -> None:
        """Add what is computed for each edge; blocks on the same edges are summed first."""
        sums: dict[tuple[int, ...], list[Tensor]] = {}
        for block in filter(self._is_own, wave.blocks):
            if block.name in KERNELS:
                found = convolved(inputs, block, pieces, scales[block])
            elif block.name == SKIP:
                found = reduced(inputs, block, pieces, scales[block])
            else:
                pools = repeat([pooled(image, block) for image in inputs.images], block.counts)
                found = pieces.normalize(pools, block, scales[block])
            sums.setdefault(block.rows, []).append(found)
        for rows, terms in sums.items():
            for row, plane in zip(rows, separate(total(terms), len(rows)), strict=True):
                mixed.setdefault(self.layout.rows[row][0], []).append(plane)

    def _shared(
        self, wave: Wave, inputs: Inputs, pieces: Pieces, table: Tensor, masks: Mapping[int, Tensor], mixed: Planes
    ) -> None:
        """Add what all edges from a source share: its normalized pools, and the source itself."""
        blocks: list[Block] = []
        for block in wave.blocks:
            if block.name == SKIP and block.stride == 1 and masks:
                self._drop(block, wave, inputs, table, masks, mixed)
            elif not self._is_own(block):
                blocks.append(block)
        if not blocks:
            return
        normalized = {block: pieces.pools(inputs.images, block) for block in blocks if block.name != SKIP}
        planes = torch.stack([as_plane(normalized.get(block, inputs.images)[place]) for block, place in seen(blocks)])
        sums = self._mixing.matrix(table, wave, blocks) @ planes.flatten(1)
        for node, plane in zip(wave.nodes, sums.view(-1, *planes.shape[1:]).unbind(), strict=True):
            mixed.setdefault(node, []).append(plane)

    def _drop(
        self,
        block: Block,
        wave: Wave,
        inputs: Inputs,
        table: Tensor,
        masks: Mapping[int, Tensor],
        mixed: Planes,
    ) -> None:
        """Add skip connections of which each has a dropout of its own."""
        for row, weight in zip(block.rows, self._mixing.single(table, block), strict=True):
            node, source = self.layout.rows[row]
            image = inputs.images[wave.sources.index(source)]
            mixed.setdefault(node, []).append(as_plane(image) * (weight * masks[row]))

    def _masks(self, like: Tensor, stride: int) -> dict[int, Tensor]:
        """Draw the masks of all dropped skips in the order of rows, as the plain cell does; empty if none is active."""
        skips = {int(row): skip for row, skip in self.dropped.items() if isinstance(skip, DroppedSkip)}
        active = {row: skip for row, skip in skips.items() if skip.training and skip.rate > 0}
        if not active:
            return {}
        batch, _, height, width = like.shape
        ones = like.new_ones((batch, self._width, -(-height // stride), -(-width // stride)))
        return {row: as_plane(skip(ones)).contiguous() for row, skip in active.items()}

    def _pass_by(self, wave: Wave, images: Sequence[Tensor], edges: Tensor, passing: Planes) -> None:
        """Add the channels that pass by the operations, times the weights of edges."""
        kept = [image[:, self._width :] for image in images]
        kept = [max_pool2d(image, 2, 2) for image in kept] if wave.stride == 2 else kept
        planes = torch.stack([as_plane(image) for image in kept])
        sums = self._mixing.edges(edges, wave) @ planes.flatten(1)
        for node, plane in zip(wave.nodes, sums.view(-1, *planes.shape[1:]).unbind(), strict=True):
            passing.setdefault(node, []).append(plane)

    def _state(self, wave: Wave, inputs: Inputs, mixed: Planes, passing: Planes) -> Tensor:
        """Return the first node of a wave, at which everything has arrived."""
        node = wave.nodes[0]
        if node not in mixed:  # nothing but "none"
            zeros = torch.zeros_like(inputs.images[0][:, :, :: wave.stride, :: wave.stride])
            mixed[node] = [as_plane(zeros)]
        state = total(mixed.pop(node))
        if self._portion > 1:  # shuffled: as many groups of channels as the portion says are laid into each other
            joined = torch.cat([state, total(passing.pop(node))], dim=3)
            state = joined.unflatten(3, (self._portion, -1)).transpose(3, 4).flatten(3)
        return as_image(state)


def gather(layout: Layout, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the arrays of a cell from the tensors of the plain one, by their names there."""
    parts: dict[str, list[Tensor]] = {}
    for slot in layout.slots:
        parts.setdefault(slot.array, []).append(state[slot.key].reshape(slot.rows, *slot.shape[1:]))
    return {array: torch.cat(found) for array, found in parts.items()}


def scatter(layout: Layout, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the plain cell, by their names there, from its arrays."""
    return {
        slot.key: arrays[slot.array][slot.start : slot.start + slot.rows].reshape(slot.shape).clone()
        for slot in layout.slots
    }


def _dropped_skips(plain: SearchCell) -> dict[str, nn.Module]:
    """Return skip connections with dropout by the number of their edge, in the order of rows."""
    found: dict[str, nn.Module] = {}
    for row, edge in enumerate(plain.edges):
        inner = edge.mixed if isinstance(edge, PartialMixedOperation) else edge
        assert isinstance(inner, MixedOperation)
        found |= {str(row): copy.deepcopy(one) for one in inner.operations if isinstance(one, DroppedSkip)}
    return found
