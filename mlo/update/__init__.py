"""How one gradient moves a variable: the optimizers of torchopt and torch.optim behind a pure `init` / `apply` pair."""

from mlo.update.base import State, UpdateRule, detach_state, split_state
from mlo.update.clipping import Clipped, clip_norm
from mlo.update.learned import Learned
from mlo.update.optimizer import OptimizerUpdate
from mlo.update.recognition import as_update
from mlo.update.transformation import TorchOptUpdate

__all__ = [
    "Clipped",
    "Learned",
    "OptimizerUpdate",
    "State",
    "TorchOptUpdate",
    "UpdateRule",
    "as_update",
    "clip_norm",
    "detach_state",
    "split_state",
]
