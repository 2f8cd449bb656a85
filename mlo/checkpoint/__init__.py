"""An engine on disk, in the format of torch.distributed.checkpoint."""

from mlo.checkpoint.restore import restore
from mlo.checkpoint.save import save

__all__ = ["restore", "save"]
