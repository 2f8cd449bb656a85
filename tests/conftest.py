"""What every test gets: one thread, fixed seeds, and the hypothesis profile of continuous integration."""

from __future__ import annotations

import random
import signal

import hypothesis
import numpy as np
import pytest
import torch

torch.set_num_threads(1)


class TorchRandom:
    """Torch's global generator, as hypothesis wants it: every example then starts from the same state."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


TORCH_RANDOM = TorchRandom()  # hypothesis keeps a weak reference only
hypothesis.register_random(TORCH_RANDOM)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=25, print_blob=True)
hypothesis.settings.load_profile("ci")


if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a shell: tests send it to themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
