"""Shared by the tests of updates."""

import pytest
import torch


@pytest.fixture
def double():
    """Torch and torchopt keep counters in the default type: their own runs are exact in float64 if that is it."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
