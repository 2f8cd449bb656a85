"""An engine that reads damaged checkpoints."""

from __future__ import annotations

import random

import numpy
import torch

import mlo
from tests.checkpoints import after
from tests.damage import Watch


class Reader:
    """An engine that reads one checkpoint after another, and must never be changed by it."""

    def __init__(self, folder):
        self.watch, self.folder, self.engine, self.taken = Watch(), folder, after(1), 0
        self._before, self._chance = self.engine.snapshot(), torch.get_rng_state()
        self._numpy, self._random = numpy.random.get_state()[1].copy(), random.getstate()

    def read(self):
        """Restore; return whether it was taken, and else see that all is as it was."""
        try:
            with self.watch.reading():
                mlo.restore(self.engine, self.folder)
        except mlo.DataError as error:
            message = str(error)
            assert "\n" not in message
            assert self.folder.name in message or message.startswith("problem ")
            assert len(message) < 1000
            self._check_unchanged()
            return False
        self.taken += 1
        return True

    def put_back(self):
        self.engine.rewind(self._before)
        torch.set_rng_state(self._chance)
        numpy.random.seed(0)
        random.setstate(self._random)
        self._numpy = numpy.random.get_state()[1].copy()

    def _check_unchanged(self):
        now = self.engine.snapshot()
        for held in ("params", "buffers", "states", "adjoints"):
            old, new = getattr(self._before, held), getattr(now, held)
            assert all(old[name] is new[name] for name in {**old, **new})
        assert (now.step_count, now.unconverged) == (self._before.step_count, self._before.unconverged)
        assert torch.equal(self._chance, torch.get_rng_state())
        assert numpy.array_equal(self._numpy, numpy.random.get_state()[1])
        assert random.getstate() == self._random
