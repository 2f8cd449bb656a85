"""What an engine holds between two steps, and where it is in its batches, as values that can be kept and put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mlo.errors import GraphError
from mlo.graph import ProblemGraph
from mlo.position import Position
from mlo.rng import RandomState
from mlo.supply import Supply
from mlo.update import State
from mlo.vector import Params


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything that an engine holds between two steps, but for the place in its batches.

    No step changes it: an engine puts new tensors in the places of old ones. So it costs no copy, only the memory of
    what the engine has left behind since.

    Attributes:
        step_count: How many outer steps were made.
        params: The value of each problem.
        buffers: Module buffers, by problem.
        states: The optimizer state of each problem that has an update.
        adjoints: The last solution of each problem's linear solve.
        unconverged: How often each kind of solve of each problem did not converge.
    """

    step_count: int
    params: Mapping[str, Params]
    buffers: Mapping[str, Params]
    states: Mapping[str, State]
    adjoints: Mapping[str, Tensor]
    unconverged: Mapping[tuple[str, str], int]


class Resumable:
    """The part of an engine that keeps what it holds and puts it back."""

    graph: ProblemGraph
    step_count: int
    _params: dict[str, Params]
    _buffers: dict[str, Params]
    _states: dict[str, State]
    _adjoints: dict[str, Tensor]
    _unconverged: dict[tuple[str, str], int]
    _supply: Supply

    def snapshot(self) -> Snapshot:
        """Return what is held now; `rewind` puts it back, and `mlo.save` writes it to disk."""
        held = (dict(self._params), dict(self._buffers), dict(self._states), dict(self._adjoints))
        return Snapshot(self.step_count, *held, dict(self._unconverged))

    def rewind(self, snapshot: Snapshot) -> None:
        """Put back what was held when `snapshot` was taken.

        Batches go on where they are, and so do random generators.

        Args:
            snapshot: Of this engine, or of another one on the same problems.

        Raises:
            GraphError: If it is of an engine on other problems.
        """
        if set(snapshot.params) != set(self.graph.names):
            there, here = ", ".join(map(repr, snapshot.params)), ", ".join(map(repr, self.graph.names))
            cure = "give one of an engine on the same problems"
            raise GraphError(f"Engine.rewind: the snapshot is of problems {there}, the engine of {here}: {cure}")
        self._params, self._buffers = dict(snapshot.params), dict(snapshot.buffers)
        self._states, self._adjoints = dict(snapshot.states), dict(snapshot.adjoints)
        self._unconverged, self.step_count = dict(snapshot.unconverged), snapshot.step_count

    def position(self) -> Position:
        """Return where this process is in its batches and in its random numbers; `seek` goes back there.

        With the `snapshot` of the same time it decides all that follows.
        """
        return Position(self._supply.position(), RandomState.capture())

    def seek(self, position: Position) -> None:
        """Go to where a process was when `position` was taken.

        A pass over batches that had begun is begun again with the random numbers of then, and the batches that were
        drawn of it are left out: read and dropped, or passed over by the batches' own `start_at(count)`. The global
        generators of torch, numpy and `random` are put back last.

        Args:
            position: Of this engine, or of another one on the same problems and batches.

        Raises:
            DataError: If the batches are others, or can be read only once and are read already; the message names the
                problem. The engine stays where it is.
        """
        chance = RandomState.capture()
        try:
            self._supply.seek(position.feeds)
            position.chance.restore()
        except BaseException:
            chance.restore()
            raise
