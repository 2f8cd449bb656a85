"""Where a rank leaves its error for the others to find."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

from mlo.errors import RankError

_KEY = "error"
_SETTLE = 2.0


class Board:
    """The first error of any rank.

    Args:
        number: Which board, for several may follow one another; all ranks give the same.
    """

    def __init__(self, number: int) -> None:
        """Open the board of a number."""
        self._store = PrefixStore(f"mlo/board/{number}", _get_default_store())

    def post(self, error: BaseException) -> None:
        """Leave an error, unless there is one."""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        with suppress(RuntimeError):  # a store that ended with its rank has nobody left to read it
            self._store.compare_set(_KEY, "", json.dumps({"rank": dist.get_rank(), "text": text}))

    def check(self) -> None:
        """Look for an error.

        Raises:
            RankError: If a rank has left one; it is named.
        """
        try:
            if not self._store.check([_KEY]):
                return
            found = json.loads(self._store.get(_KEY))
        except RuntimeError as error:
            raise RankError(f"the rank that keeps the store has ended ({error}): look at its output") from error
        cure = "mend that, and begin again from a checkpoint"
        raise RankError(f"rank {found['rank']} failed with {found['text']}: {cure}")

    def wait(self) -> None:
        """Look for an error for a while.

        Raises:
            RankError: If there is one by then.
        """
        end = time.monotonic() + _SETTLE
        while time.monotonic() < end:
            self.check()
            time.sleep(0.1)
