"""Where ranks leave their errors for the others to find."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

from mlo.errors import RankError

_SETTLE, _COURTESY = 2.0, 0.5
_ERROR, _VERDICT, _ALIKE, _NOT = "error", "verdict", "alike", "not"


class Board:
    """The first error of any rank, and whether all of them met it at the same place.

    Args:
        number: Which board, for several may follow one another; all ranks give the same.

    Attributes:
        begun: How many operations this rank has begun with others.
    """

    def __init__(self, number: int) -> None:
        """Open the board of a number."""
        self._root, self._page, self.begun = f"mlo/board/{number}", 0, 0
        self._turn()

    def _turn(self) -> None:
        self._page += 1
        self._store = PrefixStore(f"{self._root}/{self._page}", _get_default_store())

    def post(self, error: BaseException) -> None:
        """Leave an error, unless there is one."""
        text = " ".join(str(error).split())
        found = {"rank": dist.get_rank(), "text": f"{type(error).__name__}: {text}" if text else type(error).__name__}
        with suppress(RuntimeError):  # a store that ended with its rank has nobody left to read it
            self._store.compare_set(_ERROR, "", json.dumps(found))

    def check(self) -> None:
        """Look for an error.

        Raises:
            RankError: If a rank has left one; it is named.
        """
        try:
            if not self._store.check([_ERROR]):
                return
            found = json.loads(self._store.get(_ERROR))
        except RuntimeError as error:
            raise RankError(f"the rank that keeps the store has ended ({error}): look at its output") from error
        cure = "mend that, and begin again from a checkpoint"
        raise RankError(f"rank {found['rank']} failed with {found['text']}: {cure}")

    def wait(self) -> list[int]:
        """Look for an error for a while.

        Returns:
            The ranks that have not come here by the end: those that are gone, or are busy with something else.

        Raises:
            RankError: If there is an error by then.
        """
        with suppress(RuntimeError):
            self._store.set(f"lost/{dist.get_rank()}", "")
        self._sleep_until(self._is_in_vain)
        with suppress(RuntimeError):
            return [rank for rank in range(dist.get_world_size()) if not self._store.check([f"lost/{rank}"])]
        return []

    def alike(self) -> bool:
        """Tell, after an error on this rank, whether every rank met one after as many operations as this one.

        Then nobody waits for anybody, and all of them can go on; the board is blank again. The answer is the same on
        all ranks that ask.
        """
        try:
            self._store.set(f"met/{dist.get_rank()}", str(self.begun))
            ranks = [f"met/{rank}" for rank in range(dist.get_world_size())]
            self._sleep_until(lambda: self._store.check([_VERDICT]) or self._store.check(ranks))
            met = self._store.check(ranks) and len({self._store.get(rank) for rank in ranks}) == 1
            # What the first to give an answer says holds for all.
            alike = self._store.compare_set(_VERDICT, "", _ALIKE if met else _NOT) == _ALIKE.encode()
        except RuntimeError:
            return False
        if alike:
            self._turn()
        return alike

    def give_up(self) -> None:
        """Let ranks that have failed and ask whether all can go on know that they cannot, and end before this one."""
        with suppress(RuntimeError):
            self._store.compare_set(_VERDICT, "", _NOT)
        # torchrun ends all ranks when one has ended: let the one that failed be first, to show its own error.
        time.sleep(_COURTESY)

    def _is_in_vain(self) -> bool:
        self.check()
        return False

    def _sleep_until(self, there: Callable[[], bool]) -> None:
        end = time.monotonic() + _SETTLE
        while time.monotonic() < end and not there():
            time.sleep(0.01)
