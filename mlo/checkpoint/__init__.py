"""An engine on disk, in the format of torch.distributed.checkpoint."""

from mlo.checkpoint.reading import restore
from mlo.checkpoint.series import Checkpoints, Kept
from mlo.checkpoint.writing import save

__all__ = ["Checkpoints", "Kept", "restore", "save"]
