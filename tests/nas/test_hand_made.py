"""Networks of torchvision as reference rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from applications.nas.data import Images, Task
from applications.nas.retrain.build import build_network, check_fit, measure_on
from applications.nas.settings import RetrainSettings, TorchvisionForm
from mlo import ConfigError

SETTINGS = RetrainSettings(network=TorchvisionForm("resnet18"), device="cpu")


def toy(side: int = 32, channels: int = 3, classes: int = 10) -> Task:
    images = Images(torch.zeros(classes, channels, side, side), torch.arange(classes))
    return Task("toy", tuple(map(str, range(classes))), images, images, images, (0.0,) * channels, (1.0,) * channels)


def with_model(name: str, stem: str = "original") -> RetrainSettings:
    return replace(SETTINGS, network=TorchvisionForm(name, stem))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("resnet18", 11_689_512, 1_814_073_344),
        ("densenet121", 7_978_856, 2_834_161_664),
        ("mobilenet_v2", 3_504_872, 300_774_272),
    ],
)
def test_sizes_for_imagenet(name: str, parameters: int, multiply_adds: int) -> None:
    """Parameters and multiply-adds of torchvision's own tables (1.81, 2.83 and 0.30 G), to the unit as measured."""
    cost = measure_on(None, toy(side=224, classes=1000), with_model(name))
    assert (cost.parameters, cost.multiply_adds) == (parameters, multiply_adds)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "efficientnet_b0", "vgg11_bn", "shufflenet_v2_x1_0"])
def test_others_are_built_without_a_warning(name: str) -> None:
    check_fit(None, toy(side=96), with_model(name))


def test_the_small_stem_keeps_the_size() -> None:
    """16 times the pixels in every block: 0.556 G multiply-adds on 32x32 instead of 0.037 G."""
    small, original = (measure_on(None, toy(), with_model("resnet18", stem)) for stem in ("small", "original"))
    assert small.parameters == original.parameters - 64 * 3 * (7 * 7 - 3 * 3)
    assert small.multiply_adds == 555_422_720
    assert 14 < small.multiply_adds / original.multiply_adds < 16


def test_gray_images_are_repeated() -> None:
    network = build_network(None, toy(channels=1), SETTINGS).eval()
    gray = torch.rand(2, 1, 32, 32)
    model = network.model
    assert isinstance(model, nn.Module)
    torch.testing.assert_close(network(gray).logits, model(gray.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize(
    ("task", "name", "stem", "told"),
    [
        (toy(), "resnet17", "original", "no classification network of torchvision has that name; some are resnet18"),
        (toy(), "fasterrcnn_resnet50_fpn", "original", "no classification network"),
        (toy(), "", "original", "no classification network"),
        (toy(channels=2), "resnet18", "original", "reads 1 or 3 channels, the images have 2"),
        (toy(), "mobilenet_v2", "small", "is no ResNet; use stem='original'"),
        (toy(), "densenet121", "small", "is no ResNet; use stem='original'"),
        (toy(side=8), "vgg11", "original", "images of 3x8x8 do not fit it"),
        (toy(), "vit_b_16", "original", "images of 3x32x32 do not fit it"),
    ],
)
def test_refusals(task: Task, name: str, stem: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_fit(None, task, with_model(name, stem))
