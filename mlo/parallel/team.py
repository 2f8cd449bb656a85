"""Collective operations of the ranks of one group, which end when one of them fails."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mlo.errors import RankError
from mlo.parallel.board import Board

_LOOK_EVERY = timedelta(seconds=0.5)


class Team:
    """The ranks of a group of torch.distributed.

    Operations wait for the others, but not in vain: while they wait they look at the board, and raise `RankError` once
    a rank has left its error there, or is gone.

    Args:
        group: The group; None for the one of all ranks.
        board: Where ranks leave their errors.
    """

    def __init__(self, group: dist.ProcessGroup | None, board: Board) -> None:
        """Belong to a group."""
        self._group, self._board = group, board
        self.size: int = dist.get_world_size(group)
        self.rank: int = dist.get_rank(group)

    def total(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums over the ranks: one operation for all values of one dtype on one device."""
        kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
        for index, value in enumerate(values):
            kinds.setdefault((value.dtype, value.device), []).append(index)
        found: dict[int, Tensor] = {}
        for indices in kinds.values():
            chosen = [values[index].detach() for index in indices]
            flat = torch.cat([value.reshape(-1) for value in chosen])  # a copy, also of one value
            self._wait(partial(dist.all_reduce, flat, group=self._group, async_op=True), flat)
            parts = flat.split([value.numel() for value in chosen])
            found |= {i: part.view(v.shape) for i, part, v in zip(indices, parts, chosen, strict=True)}
        return [found[index] for index in range(len(values))]

    def gather(self, row: Tensor) -> list[Tensor]:
        """Return what each rank gave, in their order; all of one shape."""
        rows = [torch.empty_like(row) for _ in range(self.size)]
        self._wait(lambda: dist.all_gather(rows, row, group=self._group, async_op=True), row)
        return rows

    def send(self, value: Tensor, owner: int) -> Callable[[], None]:
        """Begin to overwrite `value` with that of the rank with number `owner` in the group.

        Returns:
            A function that waits until it is done.
        """
        source = owner if self._group is None else dist.get_global_rank(self._group, owner)
        work = self._started(lambda: dist.broadcast(value, source, group=self._group, async_op=True))
        return lambda: self._finish(work, value)

    def lend(self, thing: object, owner: int) -> object:
        """Return what the rank with number `owner` gave; it is pickled, and read by ranks of the same program."""
        sent = torch.frombuffer(bytearray(pickle.dumps(thing)), dtype=torch.uint8) if owner == self.rank else None
        length = torch.tensor(0 if sent is None else len(sent), device=self.device)
        self.send(length, owner)()
        parcel = torch.empty(int(length), dtype=torch.uint8, device=self.device)
        if sent is not None:
            parcel.copy_(sent)
        self.send(parcel, owner)()
        return thing if sent is not None else pickle.loads(parcel.cpu().numpy().tobytes())

    @cached_property
    def device(self) -> torch.device:
        """Where numbers lie that are exchanged."""
        if "cpu:" in dist.get_backend_config():
            return torch.device("cpu")
        return torch.device("cuda", torch.cuda.current_device())

    def _wait(self, start: Callable[[], Any], value: Tensor) -> None:
        self._finish(self._started(start), value)

    def _started(self, start: Callable[[], Any]) -> Any:
        self._board.begun += 1
        try:
            return start()
        except RuntimeError as error:
            raise self._lost(error) from error

    def _finish(self, work: Any, value: Tensor) -> None:
        if value.device.type != "cpu":
            work.wait()  # on the device's own queue: the host goes on
            return
        while True:
            try:
                work.wait(_LOOK_EVERY)
                return
            except RuntimeError as error:
                if work.is_completed():
                    raise self._lost(error) from error
                self._board.check()  # the time to look was up

    def _lost(self, error: RuntimeError) -> RankError:
        gone = self._board.wait()  # who ended the connection may have said why
        who = f"rank {', '.join(map(str, gone))}" if gone else "another rank"
        cure = "look at the output of that rank for why it ended, and begin again from a checkpoint"
        return RankError(f"{who} is gone, without a word ({str(error).split('. ')[0]}): {cure}")
