"""`Params = dict[str, Tensor]` as a vector space.

All algebra on variables lives here, so that its representation can change without anybody noticing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Params = dict[str, Tensor]
Values = Mapping[str, Params]


def tensors(params: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the tensors of `params` in their order."""
    return list(params.values())


def like(params: Mapping[str, Tensor], values: list[Tensor]) -> Params:
    """Name `values` as `params` names its own, in the same order."""
    return dict(zip(params, values, strict=True))


def detach(params: Mapping[str, Tensor]) -> Params:
    """Return the same numbers without their history."""
    return {name: value.detach() for name, value in params.items()}


def clone(params: Mapping[str, Tensor]) -> Params:
    """Return copies without history."""
    return {name: value.detach().clone() for name, value in params.items()}


def constants(values: Values) -> dict[str, Params]:
    """Return the values of several problems without their history."""
    return {name: detach(params) for name, params in values.items()}


def precision(values: Iterable[Mapping[str, Tensor]]) -> float:
    """Return the machine epsilon of the coarsest tensor of all."""
    return max(torch.finfo(value.dtype).eps for params in values for value in params.values())


def add(left: Params | None, right: Params) -> Params:
    """Return left + right, where no left means zero."""
    if left is None:
        return right
    return like(left, list(torch._foreach_add(tensors(left), [right[name] for name in left])))


def axpy(scale: Tensor | float, direction: Params, origin: Params) -> Params:
    """Return origin + scale * direction."""
    return {name: value + scale * direction[name] for name, value in origin.items()}


def scaled(scale: Tensor | float, params: Params) -> Params:
    """Return scale * params."""
    return {name: scale * value for name, value in params.items()}


def zeros_like(params: Mapping[str, Tensor]) -> Params:
    """Return the zero of the space that `params` lives in."""
    return {name: torch.zeros_like(value) for name, value in params.items()}


def dot(left: Params, right: Params) -> Tensor:
    """Return the inner product, as a tensor of no dimensions."""
    return torch.stack([(left[name] * right[name]).sum() for name in left]).sum()


def norm(params: Mapping[str, Tensor]) -> Tensor:
    """Return the Euclidean norm over all entries, as a tensor of no dimensions."""
    parts: list[Tensor] = list(torch._foreach_norm(tensors(params)))
    result: Tensor = torch.linalg.vector_norm(torch.stack(parts))
    return result


def not_finite(params: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor with NaN or infinity in it, None if there is none."""
    if bool(torch.isfinite(norm(params))):  # one look at the device, where all is well
        return None
    return next((name for name, value in params.items() if not bool(torch.isfinite(value).all())), None)


def unit(params: Params) -> tuple[Params, float]:
    """Return params / |params| and |params|, without overflow or underflow of squares; of zero: zero and 0.0."""
    filled = [value for value in tensors(params) if value.numel()]
    largest = float(torch.stack(list(torch._foreach_norm(filled, float("inf")))).max()) if filled else 0.0
    if largest == 0.0:
        return params, 0.0
    scaled_down = {name: value / largest for name, value in params.items()}
    size = float(norm(scaled_down))
    return scaled(1 / size, scaled_down), size * largest


def ravel(params: Mapping[str, Tensor]) -> Tensor:
    """Return all entries as one vector."""
    return torch.cat([value.reshape(-1) for value in params.values()])


def unravel(vector: Tensor, example: Mapping[str, Tensor]) -> Params:
    """Cut a vector into tensors named, shaped and typed as in `example`."""
    pieces = torch.split(vector, [value.numel() for value in example.values()])
    shaped = zip(example.items(), pieces, strict=True)
    return {name: piece.view(value.shape).to(value.dtype) for (name, value), piece in shaped}
