"""Training a found architecture from scratch, and testing it."""

from applications.nas.retrain.train import Training, retrain, retrain_seeds, retrain_task

__all__ = ["Training", "retrain", "retrain_seeds", "retrain_task"]
