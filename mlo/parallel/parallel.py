"""The processes of torch.distributed as replicas and members."""

from __future__ import annotations

import copy
import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from mlo.checks import check_count
from mlo.errors import ConfigError, RankError
from mlo.parallel.base import AbstractRanks, Alone
from mlo.parallel.board import Board
from mlo.parallel.conjugate import fork, join, total
from mlo.parallel.team import Team


class Parallel(AbstractRanks):
    """Ranks of torch.distributed share the batches, the stages of an interleaving, or both.

    They lie in a grid of `data` x `stages`; ranks that follow one another are in one row. A row has one share of every
    batch, and its ranks have some of the problems each.

    With `data` = N, each rank gives its problems a share of every batch, and every gradient and every second-order
    product is averaged over ranks, weighted by the number of examples: the step is that of one process whose batches
    are those of all ranks together, and every rank ends with the same numbers. That holds for losses that are means
    over their batch. BatchNorm normalizes by the statistics of its own rank's share, unless it is made to share them by
    `mlo.SyncBatchNorm`; its running statistics are averaged. Random numbers that a loss draws are each rank's own: seed
    ranks differently by `seed`.

    With `stages` = N, ranks compute the gradients of different problems that do not depend on each other: those of the
    stages of `mlo.interleave` that make one step, and the terms of a `mlo.Sum`; see `mlo.Engine`. The ranks of one row
    must draw the same batches and the same random numbers: seed them alike, by `seed`.

    Ranks make the same calls in the same order; a loss does the same on each rank, but for its batch. torch.distributed
    is started before, and ended after, by the program: `torchrun` and `torch.distributed.init_process_group` do.

    That all ranks do the same is looked at when an engine is made, and before each step. A rank that fails tells the
    others, and its error ends their step within a second as a `RankError` with its rank; after that nothing more is
    computed in this process group. An error that all ranks meet at the same place, such as a loss that is not finite,
    is raised on each as it is, and leaves all of them where they can go on.

    Args:
        stages: How many ranks share the problems.
        data: How many ranks share the batches; None for as many as there are ranks for.

    Raises:
        ConfigError: If torch.distributed was not started, or has another number of ranks.
    """

    _made: ClassVar[Iterator[int]] = itertools.count()
    _broken: ClassVar[object] = ()

    def __init__(self, *, stages: int = 1, data: int | None = None) -> None:
        """Arrange the ranks; all of them make this call, in the same order."""
        if not (dist.is_available() and dist.is_initialized()):
            cure = "start the program by torchrun, and call torch.distributed.init_process_group before"
            raise ConfigError(f"Parallel: torch.distributed was not started: {cure}")
        world = dist.get_world_size()
        check_count("Parallel", "stages", stages, least=1)
        if data is None and stages > world:
            cure = f"give at most {world}, or start more ranks"
            raise ConfigError(f"Parallel: stages={stages} ranks are to share problems, but there are {world}: {cure}")
        data = world // stages if data is None else data
        check_count("Parallel", "data", data, least=1)
        if data * stages != world:
            cure = f"give numbers whose product is {world}"
            raise ConfigError(f"Parallel: data={data} x stages={stages} ranks, but there are {world}: {cure}")
        self._refuse_after_failure()
        self._board = Board(next(Parallel._made))
        self._all = Team(None, self._board)
        self._row, self._column = self._teams(data, stages)
        self.replicas, self.members = data, stages
        self.replica, self.member = divmod(self._all.rank, stages)

    def _teams(self, data: int, stages: int) -> tuple[Team | None, Team | None]:
        """Return the ranks that see the same batches, and those that have the same problems; None for one alone."""
        if stages == 1 or data == 1:
            return (self._all if stages > 1 else None), (self._all if data > 1 else None)
        device = "cuda" if "nccl" in dist.get_backend_config() else "cpu"
        mesh = init_device_mesh(device, (data, stages), mesh_dim_names=("data", "stages"))
        return Team(mesh.get_group("stages"), self._board), Team(mesh.get_group("data"), self._board)

    def __repr__(self) -> str:
        """Return a call that makes it."""
        return f"Parallel(stages={self.members}, data={self.replicas})"

    def seed(self, seed: int) -> int:
        """Return a seed for what this rank draws by itself: of each replica another one, the same for its members."""
        return seed + 1_000_003 * self.replica

    def across(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums over replicas."""
        return list(values) if self._column is None else total(self._column.total, values)

    def over_members(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums over members."""
        return list(values) if self._row is None else self._row.total(values)

    def apart(self) -> Parallel:
        """Return the same replicas, each with one member."""
        found = copy.copy(self)
        found.members, found.member, found._row = 1, 0, None
        return found

    def deal(self, values: Sequence[Sequence[Tensor]]) -> None:
        """Overwrite the values of each place with those of the member whose turn it is."""
        if self._row is not None:
            sent = [self._row.send(v, place % self.members) for place, found in enumerate(values) for v in found]
            for wait in sent:
                wait()

    def fork(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the same values; cotangents on them are averaged."""
        return fork(self._averaged, values)

    def join(self, values: Sequence[Tensor], *, divided: bool) -> list[Tensor]:
        """Return the averages of values."""
        return join(self._divided if divided else self._averaged, values)

    def exchange(self, rows: Sequence[float]) -> list[list[float]]:
        """Return what each replica gave."""
        if self._column is None:
            return [list(rows)]
        row = torch.tensor(rows, dtype=torch.float64, device=self._all.device)
        return [found.tolist() for found in self._column.gather(row)]

    def lend(self, thing: object, owner: int) -> object:
        """Return what replica `owner` gave."""
        return thing if self._column is None else self._column.lend(thing, owner)

    def same(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the values of the first rank of all."""
        found = [value.detach().clone(memory_format=torch.contiguous_format) for value in values]
        for wait in [self._all.send(value, 0) for value in found]:
            wait()
        return found

    def tell(self, thing: Any) -> list[Any]:
        """Return what each rank of all gave."""
        return [self._all.lend(thing, rank) for rank in range(self._all.size)]

    @property
    def intact(self) -> bool:
        """Whether no rank of this process group has failed alone."""
        return dist.group.WORLD is not Parallel._broken

    @contextmanager
    def guarded(self, doing: Callable[[], Sequence[str]]) -> Iterator[None]:
        """Tell the other ranks of an error in the body."""
        self._refuse_after_failure()
        try:
            self._agree(doing())
            yield
        except RankError:
            Parallel._broken = dist.group.WORLD
            self._board.give_up()
            raise
        except BaseException as error:
            self._board.post(error)
            if not (isinstance(error, Exception) and self._board.alike()):
                Parallel._broken = dist.group.WORLD
            error.add_note(f"on rank {self._all.rank} of {self._all.size}")
            raise

    def _refuse_after_failure(self) -> None:
        """Raise if ranks of this very group have stopped at different places: what one sends is not what one awaits."""
        if not self.intact:
            cure = "end the program, or torch.distributed's process group, and begin again from a checkpoint"
            raise RankError(f"Parallel: a rank failed before, and the others stopped somewhere else: {cure}")

    def _agree(self, doing: Sequence[str]) -> None:
        """Compare what ranks are about to do: another thing on each would make them wait for each other for ever.

        Raises:
            ConfigError: If one does something else than the first, or members would draw other random numbers.
        """
        drawn = torch.get_rng_state().numpy().tobytes() if self.members > 1 else b""
        marks = [zlib.crc32("\n".join(doing).encode()), zlib.crc32(drawn)]
        found = torch.stack(self._all.gather(torch.tensor(marks, device=self._all.device))).tolist()
        for rank, (does, draws) in enumerate(found):
            if does != found[0][0]:
                self._tell_difference(doing, rank)
            first = rank - rank % self.members
            if draws != found[first][1]:
                cure = "seed all ranks of a row alike, as torch.manual_seed(parallel.seed(0)) does"
                raise ConfigError(f"ranks {first} and {rank} share stages, but would draw other random numbers: {cure}")

    def _tell_difference(self, doing: Sequence[str], other: int) -> NoReturn:
        first, second = (cast(list[str], self._all.lend(list(doing), rank)) for rank in (0, other))
        pairs = itertools.zip_longest(first, second, fillvalue="nothing")
        one, two = _cropped(*next(pair for pair in pairs if pair[0] != pair[1]))
        cure = "let all ranks make the same calls, with the same problems and settings; data alone may differ"
        raise ConfigError(f"ranks 0 and {other} differ: the first has {one!r}, the other {two!r}: {cure}")

    def _averaged(self, values: Sequence[Tensor]) -> list[Tensor]:
        return list(values) if self._column is None else self._scaled(self._column.total(values))

    def _divided(self, values: Sequence[Tensor]) -> list[Tensor]:
        return self._scaled(self._all.total(values))

    def _scaled(self, values: list[Tensor]) -> list[Tensor]:
        return values if self.replicas == 1 else [value / self.replicas for value in values]


def _cropped(one: str, two: str) -> tuple[str, str]:
    """Return two lines, of long ones their beginning and what is around their first difference."""
    same = next((place for place, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), 0)
    if same < 100:
        return one[:150], two[:150]
    return f"{one[:40]} ... {one[same - 40 : same + 40]}", f"{two[:40]} ... {two[same - 40 : same + 40]}"


def present_ranks(given: AbstractRanks | None) -> AbstractRanks:
    """Return `given`; else all ranks of torch.distributed as replicas, if it was started for several; else one alone.

    So that a program which was started on several ranks never gets another hypergradient on each without a word.

    Raises:
        ConfigError: If `given` is something else.
    """
    if given is None:
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        return Parallel() if several else Alone()
    if not isinstance(given, AbstractRanks):
        raise ConfigError(f"parallel must be mlo.Parallel(), mlo.Alone() or None, got {given!r}")
    return given
