"""A solve that begins at tensors which another problem hands over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mlo.errors import GraphError
from mlo.flat import Flat
from mlo.vector import Params


@dataclass(frozen=True)
class HandOver:
    """Where a solve begins: at the value of another problem, in the place of the problem's own stored one.

    The optimizer's state stays the problem's own, and so do the tensors that are not handed over. The value of a deeper
    problem is its answer, which moves with the outer variable: `Unroll` carries the derivative through it. For a rule
    whose answer does not depend on where its solve begins, such as `Implicit`, it is a place to begin and no more.

    Attributes:
        source: Name of the problem.
        names: Names of the tensors that are handed over; None for all.
        stored: Whether they are those that the problem had before this outer step, a constant, instead of its answer.

    Raises:
        GraphError: If an argument is not of its kind.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"])  # where to begin is learned
        >>> w = mlo.Problem("w", lambda v, _: (v.w - 1) ** 2, torch.zeros(()), update=torchopt.sgd(0.25), steps=2,
        ...             start=mlo.HandOver("x"))
        >>> mlo.hypergradient(mlo.ProblemGraph([x, w]), of="x")  # 2 w dw/dx, each step halves the way to 1
        tensor(0.7500)
    """

    source: str
    names: Collection[str] | None = None
    stored: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        if not isinstance(self.source, str) or not self.source:
            raise GraphError(f"HandOver: source must be the name of a problem, got {self.source!r}")
        if not isinstance(self.stored, bool):
            raise GraphError(f"HandOver: stored must be True or False, got {self.stored!r}")
        if self.names is None:
            return
        listed = isinstance(self.names, Iterable) and not isinstance(self.names, str)
        names = tuple(self.names) if listed else ()
        if not names or not all(isinstance(name, str) for name in names):
            raise GraphError(f"HandOver: names must be a list of names of tensors, or None for all, got {self.names!r}")
        object.__setattr__(self, "names", frozenset(names))

    @property
    def reads(self) -> tuple[str, ...]:
        """The source, if its answer is meant."""
        return () if self.stored else (self.source,)

    @property
    def remembers(self) -> tuple[str, ...]:
        """The source, if its stored value is meant."""
        return (self.source,) if self.stored else ()

    def begin(self, own: Params, given: Params) -> Params:
        """Return where a solve begins.

        Args:
            own: The problem's stored value.
            given: The value of the source.
        """
        flat, other = Flat.of(own), Flat.of(given)
        parts: list[list[Tensor]] = [[] for _ in flat.vectors]
        names = flat.layout.shapes if self.names is None else self.names
        for run in flat.layout.runs(other.layout, names):
            piece = run.of(flat.vectors)
            parts[run.vector].append(piece if run.other is None else run.there(other.vectors).to(piece))
        return Flat(flat.layout, vectors=[found[0] if len(found) == 1 else torch.cat(found) for found in parts])

    def check_place(self, owner: str, outermost: str, responders: Collection[str]) -> None:
        """Check that the source may hand something over to problem `owner` of a graph.

        Args:
            owner: Name of the problem that begins there.
            outermost: Name of the outermost problem.
            responders: Names of the problems that respond to the owner.

        Raises:
            GraphError: If the owner is not solved, or the source is the owner or moves with it.
        """
        where = f"problem {owner!r} cannot begin at the value of {self.source!r}"
        if owner == outermost:
            raise GraphError(f"{where}: the outermost problem is never solved inside another one: leave out its start")
        if self.source == owner:
            raise GraphError(f"{where}: it does so by itself: leave out its start")
        if not self.stored and self.source in responders:
            cause = f"{self.source!r} responds to it, and is solved inside its step"
            raise GraphError(f"{where}: {cause}: take stored=True, or let {self.source!r} not read {owner!r}")

    def check_shapes(self, owner: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
        """Check that what is handed over is there, and fits.

        Args:
            owner: Name of the problem that begins there.
            own: Its declared tensors.
            given: Those of the source.

        Raises:
            GraphError: If a tensor is missing or has another shape.
        """
        for name in own if self.names is None else sorted(self.names):
            shapes = [tuple(found[name].shape) if name in found else None for found in (own, given)]
            if shapes[0] is None or shapes[0] != shapes[1]:
                told = ["no such tensor" if shape is None else f"shape {shape}" for shape in shapes]
                raise GraphError(
                    f"problem {owner!r} begins at {name!r} of {self.source!r}, which has {told[1]} there and "
                    f"{told[0]} in {owner!r} itself: hand over only what is alike, by names=[...]"
                )
