"""A loss as a sum of pieces, each differentiated for itself, so that one graph is alive at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import optree
import torch
from torch import Tensor

from mlo.errors import DataError, GraphError
from mlo.view import View

Loss = Callable[[View, Any], Tensor]
_SHOWN = 4  # items of a batch that a message shows


@dataclass(frozen=True, eq=False)
class Sum:
    """The sum of several losses, of one batch each.

    L(v, (b_1, ..., b_K)) = L_1(v, b_1) + ... + L_K(v, b_K)

    As the loss of a problem it means the same as a function that adds them up, but each term is differentiated for
    itself: one graph is alive at a time, and ranks that share the work of a step (`mlo.Parallel(stages=...)`) take
    terms each.

    Attributes:
        terms: The losses, functions of (view, batch) as `Problem.loss` is.
        names: A name of each, for messages; none for the numbers alone.

    Raises:
        GraphError: If there is no term, one is no function, or there is not one name for each.

    Examples:
        >>> import mlo, torch
        >>> both = mlo.Sum([lambda v, batch: batch, lambda v, batch: 10 * batch], names=["one", "ten"])
        >>> both(None, (torch.tensor(1.0), torch.tensor(2.0)))
        tensor(21.)
    """

    terms: Sequence[Loss]
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the terms."""
        terms = tuple(self.terms) if isinstance(self.terms, Sequence) else ()
        if not terms or not all(callable(term) for term in terms):
            raise GraphError(f"Sum: needs one function of (view, batch) or more, got {self.terms!r}")
        object.__setattr__(self, "terms", terms)
        names = tuple(self.names)
        if names and (isinstance(self.names, str) or len(names) != len(terms)):
            raise GraphError(f"Sum: names has {len(names)} for {len(terms)} terms: give one for each, or none")
        object.__setattr__(self, "names", names)

    def label(self, index: int) -> str:
        """Return what to call the term of a number from 0: its number from 1, and its name."""
        return f"term {index + 1} ({self.names[index]!r})" if self.names else f"term {index + 1}"

    def __call__(self, view: View, batch: Any) -> Tensor:
        """Return the sum."""
        parts = [term(view, part) for term, part in zip(self.terms, self.batches(batch), strict=True)]
        return torch.stack(parts).sum() if len(parts) > 1 else parts[0]

    def batches(self, batch: Any) -> Sequence[Any]:
        """Return the batch of each term: None for each where there is none.

        Raises:
            DataError: If there is not one for each.
        """
        if batch is None:
            return [None] * len(self.terms)
        if not isinstance(batch, Sequence) or len(batch) != len(self.terms):
            got = f"{len(batch)}" if isinstance(batch, Sequence) else f"a {type(batch).__name__}"
            cure = "let each batch be a tuple with one item for each term"
            raise DataError(f"a Sum of {len(self.terms)} losses needs as many batches, got {got}: {cure}")
        return batch


@dataclass(frozen=True, eq=False)
class Piece:
    """One piece of a loss: `factor * loss(view, batch)`.

    Attributes:
        loss: The function.
        batch: Its batch.
        factor: What multiplies it.
        term: The number of the term that it is of, from 0.
    """

    loss: Loss
    batch: Any
    factor: float = 1.0
    term: int = 0


def terms(loss: Loss, batch: Any) -> list[tuple[Loss, Any]]:
    """Return the terms of a loss with their batches: one, unless it is a `Sum`."""
    if not isinstance(loss, Sum):
        return [(loss, batch)]
    return list(zip(loss.terms, loss.batches(batch), strict=True))


def pieces(loss: Loss, batch: Any, *, chunks: int, factors: Sequence[float]) -> list[Piece]:
    """Divide a loss into its terms, and each of them, a mean over its batch, into chunks of that batch.

    Args:
        loss: The loss.
        batch: Its batch.
        chunks: How many chunks at most.
        factors: What multiplies each term; none for 1, and where nobody else has a share of the batch.
    """
    found: list[Piece] = []
    for index, (term, part) in enumerate(terms(loss, batch)):
        factor = factors[index] if factors else 1.0
        if chunks == 1:
            found.append(Piece(term, part, factor, index))
            continue
        cut = [Piece(term, chunk, factor * share, index) for chunk, share in chunked(part, chunks)]
        # Ranks with batches of other lengths make as many calls, for a layer may wait for the others in each.
        found += cut + [replace(cut[-1], factor=0.0)] * (chunks - len(cut) if factors else 0)
    return found


def chunked(batch: Any, chunks: int) -> list[tuple[Any, float]]:
    """Cut every tensor of a batch along its first dimension; return the chunks and the share of each.

    Raises:
        DataError: If its tensors are not all of one length.
    """
    lengths = {len(leaf) for leaf in _cuttable(batch)}
    if len(lengths) != 1:
        found = f"are of lengths {sorted(lengths)}" if lengths else "there are none"
        raise DataError(f"a batch is to be cut along the first dimension of its tensors, but {found}: accumulate=1")
    (length,) = lengths
    count = min(chunks, length)
    cuts = [length * index // count for index in range(count + 1)]
    return [(_sliced(batch, start, stop), (stop - start) / length) for start, stop in pairwise(cuts)]


def described(batch: Any) -> str:
    """Return what a batch is made of, in a few words: types, lengths, shapes."""
    if isinstance(batch, Tensor):
        return f"{str(batch.dtype).removeprefix('torch.')} of shape {tuple(batch.shape)}"
    if isinstance(batch, Mapping):
        return f"{type(batch).__name__} of {', '.join(map(repr, batch)) or 'nothing'}"
    if isinstance(batch, list | tuple):
        items = "; ".join(described(item) for item in batch[:_SHOWN]) + ("; ..." if len(batch) > _SHOWN else "")
        return f"{type(batch).__name__} of {len(batch)} ({items})"
    return "None" if batch is None else type(batch).__name__


def examples(batch: Any) -> int:
    """Return how many examples a batch holds: the length of its first tensor; 1 if it has none."""
    return next((len(leaf) for leaf in _cuttable(batch)), 1)


def _sliced(batch: Any, start: int, stop: int) -> Any:
    def cut(leaf: Any) -> Any:
        return leaf[start:stop] if isinstance(leaf, Tensor) and leaf.dim() else leaf

    return optree.tree_map(cut, batch, none_is_leaf=True)


def _cuttable(batch: Any) -> list[Tensor]:
    return [leaf for leaf in optree.tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim()]
