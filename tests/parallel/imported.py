"""What takes long to import, done once, before processes are forked."""

import hypothesis.strategies  # noqa: F401
import torch
import torchopt  # noqa: F401

import mlo.testing.strategies  # noqa: F401
import tests.parallel.ranks  # noqa: F401

torch.set_num_threads(1)
torch.optim.SGD([torch.zeros(1)], lr=0.1)  # the first optimizer imports more
