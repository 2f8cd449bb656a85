"""What the library asks of the processes that share its work, and the answers of one process alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor


class AbstractRanks(ABC):
    """The processes that share the work of a step, seen from one of them.

    Two ways to share it go together: *replicas* have a share of each batch, and each has all problems; *members* have
    a share of the problems, and all of them see the same batches.

    A gradient that is shared is taken between `fork` and `join`. Outside of the two, every number is the same on each
    rank, derivatives included; inside, each rank has its own.

    Attributes:
        replicas: How many ranks have a share of each batch.
        members: How many ranks have a share of the problems.
        member: Which of these this one is, from 0.
        replica: Whose share of each batch it has, from 0.
    """

    replicas: int
    members: int
    member: int
    replica: int

    @abstractmethod
    def seed(self, seed: int) -> int:
        """Return a seed for what this rank draws by itself: of each replica another one, the same for its members."""

    @abstractmethod
    def fork(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the same values; a cotangent on them is averaged over replicas."""

    @abstractmethod
    def join(self, values: Sequence[Tensor], *, divided: bool) -> list[Tensor]:
        """Return the means over replicas; a cotangent on them goes to each as it is.

        Args:
            values: The values.
            divided: Whether each member has a part of them, so that they are summed over members.
        """

    @abstractmethod
    def across(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums over replicas, of numbers between fork and join, for a layer that shares statistics."""

    @abstractmethod
    def over_members(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums over members, without history."""

    @abstractmethod
    def apart(self) -> AbstractRanks:
        """Return the same replicas, each with one member: for what a member computes by itself."""

    @abstractmethod
    def deal(self, values: Sequence[Sequence[Tensor]]) -> None:
        """Overwrite the values of each place in a row with those of its owner: members take turns."""

    @abstractmethod
    def exchange(self, rows: Sequence[float]) -> list[list[float]]:
        """Return what each replica gave, in their order; all give as many numbers."""

    @abstractmethod
    def lend(self, thing: object, owner: int) -> object:
        """Return what replica `owner` gave; what the others give is dropped."""

    @abstractmethod
    def same(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the values of the first rank of all."""

    @abstractmethod
    def tell(self, thing: Any) -> list[Any]:
        """Return what each rank of all gave, in their order."""

    @property
    def intact(self) -> bool:
        """Whether the ranks can go on together: none of them has failed alone."""
        return True

    @contextmanager
    def guarded(self, doing: Callable[[], Sequence[str]]) -> Iterator[None]:
        """Tell the other ranks of an error in the body, and let one of theirs end it.

        Args:
            doing: Returns what it does, in lines of text; the same on all ranks.
        """
        yield


class Alone(AbstractRanks):
    """One process that shares its work with nobody, whatever torch.distributed has been started for."""

    replicas, members, member, replica = 1, 1, 0, 0

    def seed(self, seed: int) -> int:
        """Return the seed."""
        return seed

    def fork(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the values."""
        return list(values)

    def join(self, values: Sequence[Tensor], *, divided: bool) -> list[Tensor]:
        """Return the values."""
        return list(values)

    def across(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the values."""
        return list(values)

    def over_members(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the values."""
        return list(values)

    def apart(self) -> AbstractRanks:
        """Return itself."""
        return self

    def deal(self, values: Sequence[Sequence[Tensor]]) -> None:
        """Leave the values as they are."""

    def exchange(self, rows: Sequence[float]) -> list[list[float]]:
        """Return the one row."""
        return [list(rows)]

    def lend(self, thing: object, owner: int) -> object:
        """Return it."""
        return thing

    def same(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the values."""
        return list(values)

    def tell(self, thing: Any) -> list[Any]:
        """Return the one thing."""
        return [thing]

    def __repr__(self) -> str:
        """Return a call that makes it."""
        return "Alone()"
