"""Training a found architecture from scratch, and testing it."""

from applications.nas.retrain.train import retrain, retrain_seeds, retrain_task
from applications.nas.retrain.training import Training

__all__ = ["Training", "retrain", "retrain_seeds", "retrain_task"]
