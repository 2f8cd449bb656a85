"""The largest eigenvalue of a Hessian, and the test whether it has grown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlo import DivergenceError

_FEW = 8
_RESTARTS = 100

Product = Callable[[NDArray[Any]], NDArray[Any]]


def largest_eigenvalue(loss: Callable[[dict[str, Tensor]], Tensor], variables: Mapping[str, Tensor]) -> float:
    """Return the largest (most positive) eigenvalue of the Hessian of a loss.

    By the Lanczos method on exact Hessian-vector products, which are double backward passes through one graph that is
    kept meanwhile. The start is fixed, so that twice the same gives the same.

    Args:
        loss: From variables, as given, to a scalar; called once.
        variables: Where, by name; floating point.

    Returns:
        The eigenvalue, to a relative 1e-4 in float32 and 1e-8 in float64; 0 if the loss is linear there.

    Raises:
        DivergenceError: The loss or a derivative is not finite, or the iteration does not converge.

    Source: R-DARTS follows this number: "Understanding and Robustifying Differentiable Architecture Search", Zela,
    Elsken, Saikia, Marrakchi, Brox, Hutter, 2020, section 3.
    """
    # Loaded here: it takes a fifth of a second, and few searches need it.
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    product, size, tolerance = _hessian_product(loss, variables)
    if size <= _FEW:  # too few for Lanczos
        dense = np.stack([product(row) for row in np.eye(size)])
        return float(np.linalg.eigvalsh((dense + dense.T) / 2)[-1])
    start = np.random.default_rng(0).standard_normal(size)
    if not product(start).any():  # the Hessian is zero, on which Lanczos cannot start
        return 0.0
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    try:
        found = eigsh(operator, k=1, which="LA", v0=start, tol=tolerance, maxiter=_RESTARTS, return_eigenvectors=False)
    except ArpackError as error:
        raise DivergenceError(
            f"the largest eigenvalue of a Hessian was not found ({error}): look less often"
        ) from error
    return float(found[0])


def sharpened(values: Sequence[float], window: int = 5, delta: int = 4, factor: float = 1.3) -> bool:
    """Tell whether eigenvalues have grown: R-DARTS would stop its search here.

    Compares the mean of the last `window` of them with the same mean `delta` values ago. A mean that was not positive
    tells nothing.

    Args:
        values: The eigenvalues, oldest first.
        window: How many make a mean.
        delta: How far back the other mean is.
        factor: Growth from which on it counts.

    Source: "Understanding and Robustifying Differentiable Architecture Search", Zela, Elsken, Saikia, Marrakchi, Brox,
    Hutter, 2020, section 4.3; the three numbers are those of its authors' code, where the paper has other ones.
    """
    if len(values) < window + delta:
        return False
    now, before = statistics.fmean(values[-window:]), statistics.fmean(values[-window - delta : -delta])
    return before > 0 and now > factor * before


def _hessian_product(
    loss: Callable[[dict[str, Tensor]], Tensor], variables: Mapping[str, Tensor]
) -> tuple[Product, int, float]:
    """Return the product of the Hessian with a vector, the length of vectors, and the tolerance for eigenvalues."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in variables.items()}
    inputs = list(leaves.values())
    sizes = [value.numel() for value in inputs]
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(leaves), inputs, create_graph=True, materialize_grads=True)
    curved = [gradient for gradient in gradients if gradient.requires_grad]

    def product(vector: NDArray[Any]) -> NDArray[Any]:
        parts = torch.from_numpy(np.array(vector, dtype=np.float64).reshape(-1)).split(sizes)
        pairs = zip(parts, gradients, strict=True)
        along = [part.view_as(at).to(at) for part, at in pairs if at.requires_grad]
        if not curved:
            return np.zeros(sum(sizes))
        found = torch.autograd.grad(curved, inputs, along, retain_graph=True, materialize_grads=True)
        flat = torch.cat([part.flatten() for part in found]).double().cpu()
        if not bool(flat.isfinite().all()):
            raise DivergenceError("a second derivative of the validation loss is not finite: lower the step sizes")
        return flat.numpy()

    doubles = all(value.dtype == torch.float64 for value in inputs)
    return product, sum(sizes), 1e-8 if doubles else 1e-4
