"""The cell of a search, computed wave by wave."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from applications.nas.methods.pdarts import DroppedSkip
from applications.nas.networks.batched.blocks import Inputs, Pieces, convolved, pooled, reduced
from applications.nas.networks.batched.images import as_image, as_plane, edges_of, repeat
from applications.nas.networks.batched.layout import COUNT, KERNELS, MEAN, SKIP, STATISTICS, VAR, Block, Layout, Wave
from applications.nas.networks.batched.mixing import Column, Mixing
from applications.nas.space.cell import CellSpace, SearchCell
from applications.nas.space.mixed import MixedOperation, PartialMixedOperation, total


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
        mixed: Tensor | None = None
        passing: Tensor | None = None
        for wave in waves:
            images = [states[source] for source in wave.sources]
            inputs = Inputs([image[:, : self._width] for image in images] if self._portion > 1 else images)
            mixed = self._own(wave, inputs, pieces, scales, mixed)
            mixed = self._shared(wave, inputs, pieces, table, masks, mixed)
            if self._portion > 1:
                passing = self._pass_by(wave, images, edges, passing)
            # At the first node of the wave everything has arrived; what has at the others is carried on.
            first, mixed = _first(mixed)
            aside, passing = _first(passing)
            states.append(self._state(first, aside, wave, inputs))
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

    def _own(
        self, wave: Wave, inputs: Inputs, pieces: Pieces, scales: Mapping[Block, Tensor], carried: Tensor | None
    ) -> Tensor | None:
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
        if not sums:
            return carried
        # One copy of all planes: to add up planes that lie apart would be slow, forward and backward.
        planes = torch.stack([plane for rows, terms in sums.items() for plane in edges_of(total(terms), len(rows))])
        matrix = self._mixing.sums(wave, [row for rows in sums for row in rows], planes)
        return _added(carried, matrix, planes)

    def _shared(
        self,
        wave: Wave,
        inputs: Inputs,
        pieces: Pieces,
        table: Tensor,
        masks: Mapping[int, Tensor],
        carried: Tensor | None,
    ) -> Tensor | None:
        """Add what all edges from a source share: its normalized pools, and the source itself, unless it is dropped."""
        planes: list[Tensor] = []
        columns: list[Column] = []
        for block in wave.blocks:
            if self._is_own(block):
                continue
            if block.name == SKIP and masks:
                for row in block.rows:
                    place = wave.sources.index(self.layout.rows[row][1])
                    planes.append(as_plane(inputs.images[place]) * masks[row])
                    columns.append(Column(block, place, row))
                continue
            images = inputs.images if block.name == SKIP else pieces.pools(inputs.images, block)
            held = [place for place, count in enumerate(block.counts) if count]
            planes += [as_plane(images[place]) for place in held]
            columns += [Column(block, place) for place in held]
        if not columns:
            return carried
        return _added(carried, self._mixing.matrix(table, wave, columns), torch.stack(planes))

    def _masks(self, like: Tensor, stride: int) -> dict[int, Tensor]:
        """Draw the masks of all dropped skips in the order of rows, as the plain cell does; empty if none is active."""
        skips = {int(row): skip for row, skip in self.dropped.items() if isinstance(skip, DroppedSkip)}
        active = {row: skip for row, skip in skips.items() if skip.training and skip.rate > 0}
        if not active:
            return {}
        batch, _, height, width = like.shape
        ones = like.new_ones((batch, self._width, -(-height // stride), -(-width // stride)))
        return {row: as_plane(skip(ones)).contiguous() for row, skip in active.items()}

    def _pass_by(self, wave: Wave, images: Sequence[Tensor], edges: Tensor, carried: Tensor | None) -> Tensor:
        """Add the channels that pass by the operations, times the weights of edges."""
        kept = [image[:, self._width :] for image in images]
        kept = [max_pool2d(image, 2, 2) for image in kept] if wave.stride == 2 else kept
        return _added(carried, self._mixing.edges(edges, wave), torch.stack([as_plane(image) for image in kept]))

    def _state(self, mixed: Tensor | None, passing: Tensor | None, wave: Wave, inputs: Inputs) -> Tensor:
        """Return a node from what has arrived at it, (B, H, W, C)."""
        if mixed is None:  # nothing but "none"
            mixed = as_plane(torch.zeros_like(inputs.images[0][:, :, :: wave.stride, :: wave.stride]))
        if passing is not None:  # shuffled: as many groups of channels as the portion says are laid into each other
            joined = torch.cat([mixed, passing], dim=3)
            mixed = joined.unflatten(3, (self._portion, -1)).transpose(3, 4).flatten(3)
        return as_image(mixed)


def _added(carried: Tensor | None, matrix: Tensor | None, planes: Tensor) -> Tensor:
    """Return what has arrived at nodes, (nodes, B, H, W, C), and a matrix (nodes, planes) times planes."""
    if matrix is None:
        return planes if carried is None else carried + planes
    flat = planes.flatten(1)
    sums = matrix @ flat if carried is None else torch.addmm(carried.flatten(1), matrix, flat)
    return sums.view(-1, *planes.shape[1:])


def _first(carried: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Take apart what has arrived at the first node and at the others."""
    if carried is None or len(carried) == 1:
        return (None if carried is None else carried[0]), None
    first, others = carried.split([1, len(carried) - 1])
    return first[0], others


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
