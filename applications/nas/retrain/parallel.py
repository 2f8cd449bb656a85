"""A network that several ranks train together, each on its share of every batch."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from applications.nas.launch import Ranks
from applications.nas.networks.network import Prediction
from applications.nas.settings import RetrainSettings
from applications.nas.tasks import choose_device
from mlo import ConfigError


def check_ranks(settings: RetrainSettings, ranks: Ranks) -> None:
    """Refuse, before anything is trained, what cannot be split over these ranks.

    Raises:
        ConfigError: The batch is too small, the device is wrong, or there are too few of them.
    """
    device = choose_device(settings.device, ranks)
    if settings.sync_batch_norm and device.type == "cpu":
        raise ConfigError("sync_batch_norm: torch has it for GPUs alone, and this is the CPU: use --no-sync-batch-norm")
    least = 2 * ranks.world if ranks.world > 1 else 0
    if settings.batch < least:
        raise ConfigError(
            f"retrain: batch={settings.batch} is that of all {ranks.world} ranks together: give two images to each, "
            f"--batch {least} or more, or start fewer"
        )


class Sharer(nn.Module):
    """A network that takes part in a step of all ranks even if no image of the batch is its own.

    Args:
        network: From images to a `Prediction`.
        synchronized: Whether its BatchNorm waits for that of the other ranks: then no image is a batch, too.
    """

    def __init__(self, network: nn.Module, *, synchronized: bool) -> None:
        """Keep the network."""
        super().__init__()
        self.network, self.synchronized = network, synchronized

    def forward(self, x: Tensor) -> Prediction:
        """Predict from images (B, C, H, W); for B = 0 the prediction is a zero that depends on every weight."""
        if len(x) or self.synchronized:
            prediction: Prediction = self.network(x)
            return prediction
        sums = [value.sum() for value in self.parameters() if value.requires_grad]
        return Prediction(torch.stack(sums).sum() * 0.0, None)


def distribute(network: nn.Module, shape: tuple[int, int, int], ranks: Ranks, *, synchronized: bool) -> nn.Module:
    """Return what computes the gradient over all ranks: their mean, so each scales its loss by its share of the batch.

    Args:
        network: From images to a `Prediction`; on every rank the same, and it stays that.
        shape: Channels, height and width of an image.
        ranks: With one rank, the network itself is returned.
        synchronized: Whether its BatchNorm is synchronized.
    """
    if ranks.world == 1:
        return network
    _freeze_unused(network, shape)
    if synchronized:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # inside the network: its weights stay the same tensors
    shared = DistributedDataParallel(Sharer(network, synchronized=synchronized))
    # The running statistics differ until `average_statistics`: in training nobody reads them. The argument of this name
    # is another one in each version of torch.
    shared.broadcast_buffers = False
    return shared


def average_statistics(network: nn.Module, share: float, ranks: Ranks) -> None:
    """Put the mean over all ranks in the place of the running statistics; counts are those of the first rank.

    Args:
        network: Its buffers are changed.
        share: What part of the images of the epoch this rank saw.
        ranks: All of them must call this.
    """
    buffers = list(network.buffers())
    if ranks.world == 1 or not buffers:
        return
    weights = [share if value.is_floating_point() else float(ranks.first) for value in buffers]
    flat = torch.cat([value.double().flatten() * weight for value, weight in zip(buffers, weights, strict=True)])
    ranks.add(flat)
    for value, mean in zip(buffers, flat.split([value.numel() for value in buffers]), strict=True):
        value.copy_(mean.view_as(value))


def _freeze_unused(network: nn.Module, shape: tuple[int, int, int]) -> None:
    """Take weights that no prediction depends on, as behind an input that no edge takes, out of the training.

    One process leaves them alone because they get no gradient; several would wait for it forever.
    """
    twin = copy.deepcopy(network).to("meta").train()  # shapes alone, no numbers
    weights = list(twin.parameters())
    logits, auxiliary = twin(torch.zeros(2, *shape, dtype=weights[0].dtype, device="meta"))
    total = logits.sum() if auxiliary is None else logits.sum() + auxiliary.sum()
    found = torch.autograd.grad(total, weights, allow_unused=True)
    for value, gradient in zip(network.parameters(), found, strict=True):
        value.requires_grad_(gradient is not None)
