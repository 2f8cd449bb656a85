"""Random numbers that depend on a seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let the body draw the same numbers each time, and leave the global generators as they were.

    Args:
        seed: Of the CPU's generator, and of those of the GPUs if the body computes on one.
        device: Where the body computes.
    """
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(range(torch.cuda.device_count()) if on_gpu else []):
        if on_gpu:
            torch.manual_seed(seed)
        else:  # torch.manual_seed would seed the GPUs of this process as well
            torch.default_generator.manual_seed(seed)
        yield
