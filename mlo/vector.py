"""Named tensors as a vector space.

All algebra on variables lives here and in `flat`, so that their representation can change without anybody noticing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from mlo.flat import Flat
from mlo.look import stacked

Params = Mapping[str, Tensor]
Values = Mapping[str, Params]


def tensors(params: Params) -> list[Tensor]:
    """Return the tensors of `params` in their order."""
    return list(named(params).values())


def named(params: Params) -> dict[str, Tensor]:
    """Return the tensors of `params` in a dict of their own."""
    return dict(params.pieces if isinstance(params, Flat) else params)


def like(params: Params, values: Sequence[Tensor]) -> Params:
    """Name `values` as `params` names its own, in the same order."""
    pieces = dict(zip(params, values, strict=True))
    return Flat(params.layout, pieces=pieces) if isinstance(params, Flat) else pieces


def mapped(function: Callable[..., Tensor], first: Params, *others: Params) -> Flat:
    """Apply a function of tensors that acts on each entry alone."""
    flat = Flat.of(first)
    columns = [Flat.of(other).arranged(flat.layout).vectors for other in others]
    return Flat(flat.layout, vectors=[function(*row) for row in zip(flat.vectors, *columns, strict=True)])


def detach(params: Params) -> Params:
    """Return the same numbers without their history."""
    flat = Flat.of(params)
    return flat.like_roots([value.detach() for value in flat.roots])


def clone(params: Params) -> Params:
    """Return copies without history."""
    return mapped(lambda value: value.detach().clone(), params)


def apart(params: Params) -> dict[str, Tensor]:
    """Return copies without history, each in memory of its own: what is handed to a user."""
    return {name: value.detach().clone() for name, value in params.items()}


def constants(values: Values) -> dict[str, Params]:
    """Return the values of several problems without their history."""
    return {name: detach(params) for name, params in values.items()}


def precision(values: Iterable[Params]) -> float:
    """Return the machine epsilon of the coarsest tensor of all."""
    kinds = {kind for params in values for kind, _ in Flat.of(params).layout.kinds}
    return max(torch.finfo(kind).eps for kind in kinds)


def add(left: Params | None, right: Params) -> Params:
    """Return left + right, where no left means zero."""
    return right if left is None else mapped(torch.add, left, right)


def axpy(scale: Tensor | float, direction: Params, origin: Params) -> Params:
    """Return origin + scale * direction."""
    if isinstance(scale, Tensor):
        return mapped(lambda start, way: torch.addcmul(start, way, scale.to(start)), origin, direction)
    return mapped(lambda start, way: torch.add(start, way, alpha=scale), origin, direction)


def scaled(scale: Tensor | float, params: Params) -> Params:
    """Return scale * params."""
    return mapped(lambda value: scale * value, params)


def zeros_like(params: Params) -> Params:
    """Return the zero of the space that `params` lives in."""
    flat = Flat.of(params)
    return flat.like_roots([torch.zeros_like(value) for value in flat.roots])


def dot(left: Params, right: Params) -> Tensor:
    """Return the inner product, as a tensor of no dimensions."""
    one = Flat.of(left)
    other = Flat.of(right).arranged(one.layout)
    return _summed([torch.dot(*pair) for pair in zip(one.vectors, other.vectors, strict=True)])


def norm(params: Params) -> Tensor:
    """Return the Euclidean norm over all entries, as a tensor of no dimensions."""
    parts = [torch.linalg.vector_norm(vector) for vector in Flat.of(params).vectors]
    size: Tensor = parts[0] if len(parts) == 1 else torch.linalg.vector_norm(stacked(parts))
    return size


def largest(params: Params) -> Tensor:
    """Return the largest absolute value of all entries, as a tensor of no dimensions; 0 if there is no entry."""
    parts = [_peak(v) if v.numel() else v.new_zeros(()) for v in Flat.of(params).vectors]
    return parts[0] if len(parts) == 1 else stacked(parts).max()


def finite(params: Params) -> Tensor:
    """Return, as a tensor on the device, whether all entries are finite: false also where their squares overflow."""
    return torch.isfinite(norm(params))  # one pass, where a mask of all entries takes four


def not_finite(params: Params) -> str | None:
    """Return the name of the first tensor with NaN or infinity in it, None if there is none."""
    if bool(finite(params)):  # one look at the device, where all is well
        return None
    return next((name for name, value in params.items() if not bool(torch.isfinite(value).all())), None)


def unit(params: Params) -> tuple[Params, Tensor]:
    """Return params / |params| and |params|, without overflow or underflow of squares; of zero: zero and 0.

    Nothing is looked at: the size is a tensor on the device.
    """
    peak = largest(params)
    down = mapped(lambda value: value / _or_one(peak).to(value), params)
    size = norm(down)
    return mapped(lambda value: value / _or_one(size).to(value), down), size * peak


def ravel(params: Params) -> Tensor:
    """Return all entries as one vector."""
    vectors = Flat.of(params).vectors
    return vectors[0] if len(vectors) == 1 else torch.cat(vectors)


def unravel(vector: Tensor, example: Params) -> Params:
    """Cut a vector into tensors named, shaped and typed as in `example`: the reverse of `ravel`."""
    layout = Flat.of(example).layout
    if len(layout.groups) == 1:
        return Flat(layout, vectors=[vector.to(layout.kinds[0][0])])
    parts = vector.split(layout.sizes)
    typed = zip(parts, layout.kinds, strict=True)
    return Flat(layout, vectors=[part.to(dtype=kind, device=device) for part, (kind, device) in typed])


def _peak(vector: Tensor) -> Tensor:
    peak: Tensor = torch.linalg.vector_norm(vector, float("inf"))
    return peak


def _or_one(value: Tensor) -> Tensor:
    return torch.where(value == 0, torch.ones_like(value), value)


def _summed(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else stacked(parts).sum()
