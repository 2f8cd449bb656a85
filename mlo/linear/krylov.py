"""The space that the products with A span, and A as seen in it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlo.linear.base import Matvec
from mlo.linear.scaling import safe_norm


class Krylov:
    """An orthonormal basis V of span{b, A b, A^2 b, ...}, with A V_k = V_{k+1} H_k (Arnoldi's relation).

    H_k has k + 1 rows and is zero below its first subdiagonal. Each new vector is made orthogonal to all before it
    twice, each time at once (classical Gram-Schmidt): as orthogonal as modified Gram-Schmidt repeated where needed, in
    four products with V and one synchronization with the device, where that takes one for each vector.

    Attributes:
        ended: The space is invariant, so that H_k's last row is 0: no vector can be added.
        broken: A product was not finite; it is not part of H.

    Source: The Principle of Minimized Iterations in the Solution of the Matrix Eigenvalue Problem (Arnoldi, 1951);
    Rounding Error Analysis of the Classical Gram-Schmidt Orthogonalization Process (Giraud, Langou, Rozloznik, van den
    Eshof, 2005), section 3: twice is enough.
    """

    def __init__(self, b: Tensor, size: int) -> None:
        """Begin with b, of length 1, and room for `size` products."""
        self._vectors = b.new_empty(size + 1, b.numel())
        self._vectors[0] = b
        self._columns: list[list[float]] = []
        self._eps = torch.finfo(b.dtype).eps
        self.ended = self.broken = False

    def __len__(self) -> int:
        """Return k, the number of columns of H."""
        return len(self._columns)

    def extend(self, matvec: Matvec) -> list[float]:
        """Take one product; return the new column of H, whose k + 1 entries may be nonzero."""
        k = len(self)
        basis = self._vectors[: k + 1]
        product = matvec(basis[k])
        size = safe_norm(product)
        # In units of its own size no coefficient overflows. An exact 0 stays 0; what is not finite becomes NaN.
        w = product / torch.where(size == 0, torch.ones_like(size), size)
        first = basis @ w
        w = w - first @ basis
        second = basis @ w
        w = w - second @ basis
        left = torch.linalg.vector_norm(w)
        *along, rest, length = torch.cat([first + second, left[None], size[None]]).tolist()
        if not all(math.isfinite(entry) for entry in (*along, rest, length)):
            self.broken = True
            return []
        # What two subtractions leave of a vector of length 1 that lies in the span is rounding, of this size.
        self.ended = not rest > 4 * self._eps * math.sqrt(w.numel())
        column = [entry * length for entry in (*along, 0.0 if self.ended else rest)]
        if not self.ended:
            self._vectors[k + 1] = w / left
        self._columns.append(column)
        return column

    def matrix(self) -> Tensor:
        """Return H_k, shape (k + 1, k), in double precision on the host."""
        k = len(self)
        h = torch.zeros(k + 1, k, dtype=torch.float64)
        for j, column in enumerate(self._columns):
            h[: j + 2, j] = torch.tensor(column, dtype=torch.float64)
        return h

    def ritz_values(self) -> Tensor:
        """Return the eigenvalues of the symmetric part of A as seen in the first k vectors, smallest first.

        The first is the smallest p.A p / p.p of all p in that space.
        """
        h = self.matrix()[:-1]
        values: Tensor = torch.linalg.eigvalsh((h + h.mT) / 2)
        return values

    def combine(self, coordinates: Tensor) -> Tensor:
        """Return V c for c of k + 1 entries, the last of which is ignored if the space ended."""
        used = len(self) + (0 if self.ended else 1)
        return coordinates[:used].to(self._vectors) @ self._vectors[:used]
