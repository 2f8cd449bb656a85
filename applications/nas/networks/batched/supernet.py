"""A supernet in the batched form, made from one in the plain form."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from applications.nas.methods.pdarts import DroppedSkip
from applications.nas.networks.batched.cell import BatchedCell, gather, scatter
from applications.nas.networks.batched.images import as_image, as_plane
from applications.nas.networks.batched.layout import BATCHED
from applications.nas.networks.batched.normed import EPSILON, MOMENTUM
from applications.nas.networks.supernet import Encoder, Supernet
from applications.nas.space.cell import CellSpace, SearchCell
from applications.nas.space.mixed import MixedOperation, PartialMixedOperation
from applications.nas.space.operations import DilConv, FactorizedReduce, Identity, Pool, SepConv, Zero
from mlo import ConfigError, DataError

log = logging.getLogger("mlo.nas")
_KNOWN = (Zero, Pool, Identity, DroppedSkip, FactorizedReduce, SepConv, DilConv)
_LAYERS = (*_KNOWN, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d)


class BatchedEncoder(nn.Module):
    """Stem and cells, with the same parameters as `Encoder` in fewer tensors.

    Args:
        plain: The encoder whose weights and statistics are copied.
        space: The space of cells.
    """

    def __init__(self, plain: Encoder, space: CellSpace) -> None:
        """Copy stem and cells."""
        super().__init__()
        self.kinds, self.outputs, self.columns = plain.kinds, plain.outputs, plain.columns
        self.stem = copy.deepcopy(plain.stem)
        pairs = zip(self.kinds, plain.cells, strict=True)
        self.cells = nn.ModuleList(BatchedCell(cell, space, kind) for kind, cell in pairs)  # type: ignore[arg-type]

    def forward(self, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Map images to features; see `Encoder`."""
        older, newer = self.stem(as_image(as_plane(x).contiguous()))  # channels last, in words that `vmap` knows, too
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            older, newer = newer, cell(older, newer, weights[kind])
        features: Tensor = newer
        return features


class BatchedSupernet(nn.Module):
    """A supernet that computes equal operations of several edges as one.

    Predictions, derivatives of every order, and remembered statistics are those of the plain form up to rounding, and
    random numbers (dropout) are drawn in the same order. Its parameters are those of the plain form in far fewer
    tensors, under the same two prefixes `encoder.` and `head.`; `plain_state` and `batched_state` convert.

    It has no module for each edge and norm, so that code which walks modules finds none of those; an optimizer that
    looks at whole tensors (LARS, Muon) sees other ones. Forward-mode derivatives (`torch.func.jvp`), and `vmap` over
    stacked statistics in training, are for the plain form alone. In float32 a search in one form parts from that in
    the other as it would from one whose first weights are off in the last digit.

    Args:
        plain: The supernet whose weights and statistics are copied.

    Raises:
        ConfigError: It holds something that cannot be batched.
    """

    def __init__(self, plain: Supernet) -> None:
        """Copy all tensors."""
        super().__init__()
        reason = obstacle(plain)
        if reason:
            raise ConfigError(f"supernet: {reason}, which cannot be batched: use the plain form")
        self.space = plain.space
        self.encoder = BatchedEncoder(plain.encoder, plain.space)
        self.head = copy.deepcopy(plain.head)
        self.train(plain.training)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Predict with the architecture that the mixing weights describe; see `Supernet`."""
        self.space.check(weights, self.encoder.columns)
        prediction: Tensor = self.head(self.encoder(x, weights))
        return prediction


def in_form(plain: Supernet, form: Literal["auto", "plain", "batched"]) -> Supernet | BatchedSupernet:
    """Return a supernet in a form.

    Args:
        plain: The supernet.
        form: "plain" for itself; "batched" for the batched form; "auto" for the batched form wherever it can be: on a
            CPU it was faster in everything that was measured; on a GPU it launches a third of the kernels, but no time
            has been measured there.

    Raises:
        ConfigError: It is to be batched and cannot be.
    """
    reason = obstacle(plain) if form == "auto" else None
    if reason:
        log.info("supernet: %s, which cannot be batched: it is computed in the plain form, which is slower", reason)
    return plain if reason or form == "plain" else BatchedSupernet(plain)


def obstacle(plain: Supernet) -> str | None:
    """Return what in a supernet cannot be batched, or None if all can.

    A mixed operation or an operation that a method has made itself may compute anything; only those of this project
    are known to the batched form.
    """
    for cell in plain.encoder.cells:
        assert isinstance(cell, SearchCell)
        for edge in cell.edges:
            inner = edge.mixed if type(edge) is PartialMixedOperation else edge
            if type(inner) is not MixedOperation:
                return f"an edge is a {type(inner).__name__}"
            for one in inner.operations:
                if type(one) not in _KNOWN:
                    return f"an operation is a {type(one).__name__}"
                if not all(_is_usual(part) for part in one.modules()):
                    return f"a layer of a {type(one).__name__} is not the usual one"
    unknown = [name for name in plain.space.primitives if name not in BATCHED]
    return f"an operation is {unknown[0]!r}" if unknown else None


def _is_usual(part: nn.Module) -> bool:
    """Tell whether a layer computes what the batched form takes for granted: it knows names and weights alone."""
    if isinstance(part, nn.BatchNorm2d):
        settings = (part.momentum, part.eps, part.affine, part.track_running_stats)
        return type(part) is nn.BatchNorm2d and settings == (MOMENTUM, EPSILON, False, True)
    if isinstance(part, nn.Conv2d):
        return type(part) is nn.Conv2d and part.bias is None and part.padding_mode == "zeros"
    return type(part) in _LAYERS


def batched_state(network: BatchedSupernet, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the state dict of a plain supernet into that of a batched one.

    Args:
        network: A batched supernet of the same form.
        state: The plain one's.

    Returns:
        What `network.load_state_dict` takes.

    Raises:
        DataError: A tensor is missing or has another shape.
    """
    rest, found = dict(state), dict[str, Tensor]()
    for prefix, cell in _cells(network):
        part: dict[str, Tensor] = {}
        for slot in cell.layout.slots:
            value = rest.pop(prefix + slot.key, None)
            if value is None or tuple(value.shape) != slot.shape:
                got = "is missing" if value is None else f"has shape {tuple(value.shape)}, not {slot.shape}"
                raise DataError(f"{prefix}{slot.key} {got}: give the state of a supernet of the same form")
            part[slot.key] = value
        found |= {prefix + array: value for array, value in gather(cell.layout, part).items()}
    return rest | found


def plain_state(network: BatchedSupernet, state: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Turn the state dict of a batched supernet into that of a plain one.

    Args:
        network: A batched supernet.
        state: One of its form; None for its own.

    Returns:
        What `load_state_dict` of a plain supernet of the same form takes; copies.

    Raises:
        DataError: A tensor is missing.
    """
    rest, found = dict(network.state_dict() if state is None else state), dict[str, Tensor]()
    for prefix, cell in _cells(network):
        missing = [array for array in cell.layout.sizes if prefix + array not in rest]
        if missing:
            raise DataError(f"{prefix}{missing[0]} is missing: give the state of a batched supernet of the same form")
        arrays = {array: rest.pop(prefix + array) for array in cell.layout.sizes}
        found |= {prefix + key: value for key, value in scatter(cell.layout, arrays).items()}
    return {name: value.clone() for name, value in rest.items()} | found


def _cells(network: BatchedSupernet) -> list[tuple[str, BatchedCell]]:
    cells = [cell for cell in network.encoder.cells if isinstance(cell, BatchedCell)]
    return [(f"encoder.cells.{number}.", cell) for number, cell in enumerate(cells)]
