"""Networks made by hand, of torchvision, in the place of a network of cells: a row to compare with."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from applications.nas.data._vision import load_torchvision
from applications.nas.networks.network import Prediction
from applications.nas.objective import AbstractObjective, Classification
from mlo import ConfigError

_EXTRA: dict[str, dict[str, Any]] = {  # these would train with auxiliary heads of their own, and warn of initial values
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


class HandMadeNetwork(nn.Module):
    """A classification network of torchvision with random initial values.

    Args:
        name: Its name in `torchvision.models`.
        objective: What the task asks for: a classification.
        in_channels: Channels of the images: 3, or 1, which is then repeated three times.
        stem: "original", or "small": a 3x3 convolution of stride 1 and no pool, which keeps small images from
            vanishing; for the ResNets alone.

    Raises:
        ConfigError: There is no such network, or it does not go with the task.

    Source: for the small stem "Deep Residual Learning for Image Recognition", He, Zhang, Ren, Sun, 2016, section 4.2.
    """

    def __init__(
        self, name: str, objective: AbstractObjective, in_channels: int, stem: Literal["original", "small"] = "original"
    ) -> None:
        """Build the network."""
        super().__init__()
        if not isinstance(objective, Classification):
            raise ConfigError(f"torchvision:{name} classifies, and {type(objective).__name__} is no classification")
        if in_channels not in (1, 3):
            raise ConfigError(f"torchvision:{name} reads 1 or 3 channels, the images have {in_channels}")
        models = load_torchvision().models
        if name not in models.list_models(module=models):
            raise ConfigError(
                f"torchvision:{name}: no classification network of torchvision has that name; some are resnet18, "
                "densenet121, mobilenet_v2, shufflenet_v2_x1_0, efficientnet_b0"
            )
        self.model: nn.Module = models.get_model(
            name, weights=None, num_classes=objective.classes, **_EXTRA.get(name, {})
        )
        if stem == "small":
            _shrink_stem(self.model, name)

    def forward(self, x: Tensor) -> Prediction:
        """Classify images (B, in_channels, H, W)."""
        logits: Tensor = self.model(x if x.shape[1] == 3 else x.expand(-1, 3, -1, -1))
        return Prediction(logits, None)


def _shrink_stem(model: nn.Module, name: str) -> None:
    first = getattr(model, "conv1", None)
    if not isinstance(first, nn.Conv2d) or not isinstance(getattr(model, "maxpool", None), nn.MaxPool2d):
        raise ConfigError(f"stem='small': torchvision:{name} is no ResNet; use stem='original'")
    model.conv1 = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()


def check_runs(network: nn.Module, shape: tuple[int, int, int]) -> None:
    """Refuse images that a network of torchvision cannot take.

    Args:
        network: On the meta device.
        shape: Channels, height and width of the images.

    Raises:
        ConfigError: The network's own words follow the size.
    """
    try:
        network(torch.zeros(2, *shape, device="meta"))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "x".join(map(str, shape))
        why = " ".join(str(error).split())
        raise ConfigError(f"network: images of {size} do not fit it ({why}); use larger images or another") from error
