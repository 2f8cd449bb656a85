"""The training loop against one written out by hand; moving average, pieces of a batch, smoothing, other objectives."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from applications.nas.data import Augment, Batches, Images, Task
from applications.nas.networks.network import Network
from applications.nas.objective import Classification, DensePrediction, Regression
from applications.nas.progress import silent
from applications.nas.retrain import Training, retrain
from applications.nas.retrain.build import build_network, check_fit, training_objective
from applications.nas.retrain.fit import fit
from applications.nas.run_folder import MetricsFile
from applications.nas.settings import (
    CifarForm,
    CosineSchedule,
    ExponentialSchedule,
    ImageNetForm,
    LinearSchedule,
    NetworkForm,
    RetrainSettings,
    RetrainWeights,
    Schedule,
    TorchvisionForm,
)
from applications.nas.space.genotype import Cell, Edge, Genotype
from applications.nas.space.zoo import ZOO
from mlo import ConfigError

CELL = Cell((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)), (2,))
GENOTYPE = Genotype(CELL, CELL)
SETTINGS = RetrainSettings(
    network=CifarForm(2, 3), epochs=3, batch=8, weights=RetrainWeights(lr=0.05, clip=0.7), ema=0.9, device="cpu"
)


def toy(side: int = 8, count: int = 20, classes: int = 3, channels: int = 1, **more: object) -> Task:
    """Random images: half of them to train on in a search, half to validate, all to test."""
    draw = torch.Generator().manual_seed(7)
    pixels, labels = torch.randn(count, channels, side, side, generator=draw), torch.arange(count) % classes
    parts = [Images(pixels[chosen], labels[chosen]) for chosen in (slice(0, count // 2), slice(count // 2, count))]
    every, names = Images(pixels, labels), tuple(map(str, range(classes)))
    mean, std = (0.1,) * channels, (1.5,) * channels
    return Task("toy", names, *parts, every, mean, std, **more)  # type: ignore[arg-type]


def start(task: Task, settings: RetrainSettings = SETTINGS, genotype: Genotype = GENOTYPE) -> nn.Module:
    torch.manual_seed(1)
    return build_network(genotype, task, settings).double()


def trained(task: Task, settings: RetrainSettings, folder: Path) -> nn.Module:
    with MetricsFile(folder / "metrics.csv") as metrics:
        return fit(start(task, settings), task, settings, 5, metrics, silent)


def same(first: nn.Module, second: nn.Module, tolerance: float) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.allclose(a.double(), b.double(), rtol=0, atol=tolerance) for a, b in pairs)


# ---------------------------------------------------------------- the loop


def by_hand(task: Task) -> tuple[Network, Network, list[float]]:
    """SGD with momentum, decay, clipping, a cosine by epoch, and a moving average: all written out."""
    network, average = start(task), start(task)
    assert isinstance(network, Network)
    assert isinstance(average, Network)
    both = Images(torch.cat([task.train.pixels, task.valid.pixels]), torch.cat([task.train.labels, task.valid.labels]))  # type: ignore[attr-defined]
    batches = Batches(both, size=8, seed=5, mean=task.mean, std=task.std, augment=task.augment)
    momenta = [torch.zeros_like(value) for value in network.parameters()]
    losses, scales = [], []
    for epoch in range(3):
        lr, total = 0.05 * (1 + math.cos(math.pi * epoch / 3)) / 2, 0.0
        for x, y in batches:
            loss = cross_entropy(network(x.double()).logits, y)
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            norm = torch.sqrt(sum((g.square().sum() for g in gradients), torch.zeros(())))
            scale = min(1.0, 0.7 / (norm.item() + 1e-6))  # torch's clipping adds 1e-6 to the norm
            with torch.no_grad():
                for value, gradient, momentum in zip(network.parameters(), gradients, momenta, strict=True):
                    momentum.mul_(0.9).add_(gradient * scale + 3e-4 * value)
                    value.sub_(lr * momentum)
                scales.append(scale)
                for old, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
                    share = 0.9 if old.is_floating_point() and len(scales) > 1 else 0.0
                    old.copy_(share * old + (1 - share) * new)
            total += float(loss.detach()) * len(y)
        losses.append(total / 20)
    assert min(scales) < 1, "clipping is at work"
    return network, average, losses


def test_the_loop_equals_one_written_out(tmp_path: Path) -> None:
    """Float64, three epochs: the two differ by the order of additions alone."""
    task = toy(augment=Augment(padding=1))
    network, average, losses = by_hand(task)
    with MetricsFile(tmp_path / "metrics.csv") as metrics:
        mine = start(task)
        found = fit(mine, task, SETTINGS, 5, metrics, silent)
    assert [row["loss"] for row in metrics.rows] == pytest.approx(losses, abs=1e-10)
    counts = {name for name, value in found.named_buffers() if not value.is_floating_point()}
    assert counts, "their average is of no use to anybody, and is not compared"
    for one, other in ((mine, network), (found, average)):
        for name, value in one.state_dict().items():
            if name not in counts:
                torch.testing.assert_close(value, other.state_dict()[name], rtol=0, atol=1e-10)
    assert not same(mine, found, 1e-3), "the average is another network"


def test_without_an_average_the_network_itself_is_tested(tmp_path: Path) -> None:
    task, settings = toy(), replace(SETTINGS, ema=None)
    network = start(task, settings)
    with MetricsFile(tmp_path / "metrics.csv") as metrics:
        assert fit(network, task, settings, 5, metrics, silent) is network


def test_pieces_of_a_batch_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without batch statistics a batch in pieces gives the gradient of the whole; sizes 8, 8, 4 make uneven pieces."""
    train = nn.Module.train
    monkeypatch.setattr(nn.Module, "train", lambda module, mode=True: train(module, False))
    task = toy()
    whole, pieces = (trained(task, replace(SETTINGS, accumulate=n), tmp_path) for n in (1, 3))
    assert same(whole, pieces, 1e-12)
    monkeypatch.undo()
    assert not same(trained(task, SETTINGS, tmp_path), trained(task, replace(SETTINGS, accumulate=3), tmp_path), 1e-6)


def test_no_piece_is_a_single_image(tmp_path: Path) -> None:
    """On 4x4 images the last feature maps are single pixels, whose statistics over one image are undefined."""
    trained(toy(side=4, count=21), replace(SETTINGS, batch=9, accumulate=9, epochs=1), tmp_path)


def test_smoothing_is_for_training_alone() -> None:
    task = toy()
    assert training_objective(task, replace(SETTINGS, smoothing=0.1)) == Classification(3, 0.1)
    assert training_objective(task, SETTINGS) == task.objective == Classification(3)


def test_smoothing_changes_the_loss_as_torch_does(tmp_path: Path) -> None:
    task, settings = toy(count=8), replace(SETTINGS, smoothing=0.2, epochs=1)
    network = start(task, settings)
    (x, y) = next(iter(task.stream("all", size=8, seed=5, device="cpu", training=True)))
    expected = cross_entropy(start(task)(x.double()).logits, y, label_smoothing=0.2).item()
    with MetricsFile(tmp_path / "metrics.csv") as metrics:
        fit(network, task, settings, 5, metrics, silent)
    assert metrics.rows[0]["loss"] == pytest.approx(expected, abs=1e-12)


# ---------------------------------------------------------------- every network, schedule and objective


@pytest.mark.parametrize(
    "schedule", [CosineSchedule(), LinearSchedule(tail=1, warm_up="pcdarts"), ExponentialSchedule()], ids=repr
)
@pytest.mark.parametrize(
    "network", [CifarForm(2, 3), ImageNetForm(2, 3), TorchvisionForm("shufflenet_v2_x0_5")], ids=repr
)
def test_each_network_trains_with_each_schedule(network: NetworkForm, schedule: Schedule, tmp_path: Path) -> None:
    settings = replace(SETTINGS, network=network, schedule=schedule, epochs=2, batch=10)
    cell = None if isinstance(network, TorchvisionForm) else GENOTYPE
    found = retrain(cell, toy(side=32, classes=6), settings, 0, tmp_path)
    assert 0 <= (found.top5 or 0.0) <= found.error <= 100


@pytest.mark.parametrize("norm", [False, True])
def test_the_imagenet_network_trains_with_its_auxiliary_head(norm: bool, tmp_path: Path) -> None:
    form = ImageNetForm(2, 3, auxiliary=True, auxiliary_norm=norm)
    settings = replace(SETTINGS, network=form, epochs=1, batch=4, smoothing=0.1)
    assert retrain(GENOTYPE, toy(side=224, count=4), settings, 0, tmp_path).tested == 4


def other(objective: Regression | DensePrediction, targets: Tensor) -> Task:
    pixels = torch.randn(len(targets), 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, targets)
    return Task("other", (), images, images, images, (0.0,), (1.0,), objective=objective)


def run_other(task: Task, folder: Path) -> Training:
    return retrain(GENOTYPE, task, replace(SETTINGS, network=CifarForm(4, 3), epochs=20, ema=None), 0, folder)


def test_tasks_that_are_not_classification(tmp_path: Path) -> None:
    """Targets are constant, so that the root of their mean square, 2, is the error of an untrained answer 0."""
    for objective, shape in ((Regression(2), (16, 2)), (DensePrediction(1, (8, 8)), (16, 1, 8, 8))):
        found = run_other(other(objective, torch.full(shape, 2.0)), tmp_path)
        assert (found.metric, found.top5) == ("RMSE", None)
        assert found.error < 1.0  # seen: 0.1 and 0.2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"network": CifarForm(2, 3, auxiliary=True)}, "auxiliary=True: its head classifies, and Regression is no"),
        ({"smoothing": 0.1}, r"smoothing=0\.1: task 'other' is a Regression, without labels; use 0"),
        ({"network": TorchvisionForm("resnet18")}, "torchvision:resnet18 classifies, and Regression is no"),
    ],
)
def test_what_only_a_classification_has(change: dict[str, object], told: str) -> None:
    settings = replace(SETTINGS, **change)  # type: ignore[arg-type]
    cell = None if isinstance(settings.network, TorchvisionForm) else ZOO["DARTS_V2"]
    with pytest.raises(ConfigError, match=told):
        check_fit(cell, other(Regression(), torch.zeros(4, 1)), settings)


@pytest.mark.parametrize(("cell", "network"), [(GENOTYPE, TorchvisionForm("resnet18")), (None, CifarForm(2, 3))])
def test_cell_and_network_go_together(cell: Genotype | None, network: NetworkForm) -> None:
    with pytest.raises(ConfigError, match="cell"):
        check_fit(cell, toy(), replace(SETTINGS, network=network))
