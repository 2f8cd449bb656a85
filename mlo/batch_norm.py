"""BatchNorm over the batches of all ranks, differentiable to any order."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mlo.parallel.present import present


class SyncBatchNorm(_BatchNorm):
    """Normalizes by the mean and the variance of a channel over the whole batch, of which each rank has a share.

    With n_r entries of a channel on rank r,

        mean = sum_r sum_i x_ri / sum_r n_r,    var = sum_r sum_i (x_ri - mean)^2 / sum_r n_r

    so that ranks of `mlo.Parallel` together compute what `torch.nn.BatchNorm1d`, `2d` or `3d` computes on one. Unlike
    `torch.nn.SyncBatchNorm` it can be differentiated any number of times, and works on every device. Two small sums
    over ranks in each forward pass, and as many in the backward pass. A rank without examples of its own counts for
    nothing. Outside of a loss that ranks share, and in evaluation mode, it is plain BatchNorm.

    Source: Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift (Ioffe,
    Szegedy, 2015), algorithm 1.
    """

    @staticmethod
    def convert(module: nn.Module) -> nn.Module:
        """Put a `SyncBatchNorm` with the same tensors in the place of each BatchNorm in a module.

        Args:
            module: Changed in place.

        Returns:
            The module, or what takes its place if it is itself a BatchNorm.
        """
        for name, child in module.named_children():
            setattr(module, name, SyncBatchNorm.convert(child))
        if not isinstance(module, _BatchNorm) or isinstance(module, SyncBatchNorm):
            return module
        found = SyncBatchNorm(
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        )
        for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(found, key, getattr(module, key))
        return found.train(module.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize.

        Args:
            x: (N, C) or (N, C, ...).
        """
        ranks, factor = present()
        if ranks.replicas == 1 or not (self.training or self.running_mean is None):
            return super().forward(x)
        over, alive = [0, *range(2, x.dim())], float(factor > 0)
        shape, kind = [1, -1, *[1] * (x.dim() - 2)], x.dtype
        x = x.float() if x.element_size() < 4 else x  # sums over a batch are not for half precision
        count = torch.full((), alive * x.numel() / x.shape[1], dtype=x.dtype, device=x.device)
        total, count = ranks.across([alive * x.sum(over), count])
        some = count.clamp(min=1)  # a chunk of which no rank has any counts for nothing, and is no 0 / 0
        mean = total / some
        centered = x - mean.view(shape)
        (squares,) = ranks.across([alive * (centered * centered).sum(over)])
        variance = squares / some
        self._remember(mean.detach(), variance.detach(), count.detach())
        found = centered * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            found = found * self.weight.view(shape) + self.bias.view(shape)
        return found.to(kind)

    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics as torch does: the variance without bias."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        with torch.no_grad():
            pace = 0.0 if self.momentum is None else self.momentum
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
                if self.momentum is None:
                    pace = 1.0 / float(self.num_batches_tracked)
            moved = pace * count.clamp(max=1)
            unbiased = variance * count / (count - 1).clamp(min=1)
            for statistic, value in ((self.running_mean, mean), (self.running_var, unbiased)):
                statistic.lerp_(value.to(statistic), moved.to(statistic))

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"SyncBatchNorm: expected (N, C, ...), got {tuple(x.shape)}")
