"""Final networks: sizes to the unit, golden values, drop path and the auxiliary head."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from applications.nas.networks.imagenet import ImageNetNetwork
from applications.nas.networks.network import EvaluationNetwork, Network, drop_path
from applications.nas.objective import DensePrediction, Regression
from applications.nas.retrain.build import Cost, measure
from applications.nas.space.genotype import Cell, Edge, Genotype
from applications.nas.space.published import PUBLISHED
from applications.nas.space.zoo import ZOO
from mlo import ConfigError

Batch = tuple[Tensor, Tensor]
Counter = Callable[[nn.Module, Callable[[], object]], int]

# parameters: 10 and 100 classes without, then with, auxiliary head; multiply-adds of the first; the same for ImageNet
SIZES = {
    "NASNet-A": (3_830_950, 3_895_840, 4_288_944, 4_423_044, 603_452_448, 5_564_320, 6_800_520, 604_031_616),
    "AmoebaNet-A": (3_145_078, 3_184_048, 3_603_072, 3_711_252, 488_931_552, 4_627_360, 5_863_560, 526_746_624),
    "DARTS_V1": (3_169_414, 3_221_344, 3_645_840, 3_766_980, 500_987_520, 4_510_432, 5_771_208, 505_864_704),
    "DARTS_V2": (3_349_342, 3_401_272, 3_825_768, 3_946_908, 528_359_040, 4_718_752, 5_979_528, 529_911_552),
    "PDARTS": (3_433_798, 3_485_728, 3_910_224, 4_031_364, 532_174_464, 4_944_352, 6_206_664, 542_819_328),
    "PC_DARTS_cifar": (3_634_678, 3_686_608, 4_111_104, 4_232_244, 556_670_592, 5_270_560, 6_531_336, 571_137_408),
    "PC_DARTS_image": (3_721_510, 3_773_440, 4_197_936, 4_319_076, 570_466_944, 5_342_464, 6_603_240, 581_627_328),
}


def size(net: nn.Module, *, auxiliary: bool) -> int:
    named = net.named_parameters()
    return sum(value.numel() for name, value in named if auxiliary or not name.startswith("auxiliary."))


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_cost_on_small_images(name: str) -> None:
    ten, hundred, ten_with, hundred_with, cost, *_ = SIZES[name]
    with torch.device("meta"):
        small, large = (Network(ZOO[name], 36, 20, classes, auxiliary=True) for classes in (10, 100))
    assert (size(small, auxiliary=False), size(small, auxiliary=True)) == (ten, ten_with)
    assert (size(large, auxiliary=False), size(large, auxiliary=True)) == (hundred, hundred_with)
    assert measure(small, (3, 32, 32)) == Cost(ten, cost)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_cost_on_large_images(name: str) -> None:
    *_, without, with_auxiliary, cost = SIZES[name]
    with torch.device("meta"):
        net = ImageNetNetwork(ZOO[name], auxiliary=True, auxiliary_norm=name == "PDARTS")
    assert size(net, auxiliary=True) == with_auxiliary
    assert measure(net, (3, 224, 224)) == Cost(without, cost)


def test_the_count_agrees_with_another_counter(multiply_adds: Counter) -> None:
    """The other one is that of the reference values: hooks on convolutions and linear layers."""
    net, images = Network(ZOO["NASNet-A"], 4, 6, 10), torch.zeros(1, 3, 16, 16)
    assert measure(net, (3, 16, 16)).multiply_adds == multiply_adds(net, lambda: net.eval()(images))


def test_measuring_leaves_the_mode_and_the_statistics() -> None:
    net = Network(ZOO["DARTS_V2"], 4, 3, 10)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert measure(net, (3, 8, 8)).parameters == size(net, auxiliary=True)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_is_told_of_the_published_cells() -> None:
    for name, one in PUBLISHED.items():
        ten, hundred, _, _, small, large, _, wide = SIZES[name]
        told = (one.cifar10, one.cifar100, one.cifar_multiply_adds, one.imagenet, one.imagenet_multiply_adds)
        assert told == (ten, hundred, small, large, wide), name


def test_every_published_genotype_is_measured() -> None:
    assert set(ZOO) == set(SIZES) == set(PUBLISHED)


def test_without_auxiliary_head_there_is_none() -> None:
    with torch.device("meta"):
        net = Network(ZOO["DARTS_V2"], 36, 20, 10)
    assert size(net, auxiliary=True) == SIZES["DARTS_V2"][0]


# size, first logit, first auxiliary logit, loss, auxiliary loss, at four channels and six cells
GOLDEN = {
    "DARTS_V2": (423_264, -0.0053541977, 0.0122687359, 2.3122356941, 2.3053689746),
    "NASNet-A": (433_856, 0.0130382244, -0.0758497956, 2.3183283758, 2.3240240946),
    "AmoebaNet-A": (432_192, 0.1071908157, -0.0968695309, 2.3068442689, 2.3072364798),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name: str, fill: Callable[[nn.Module], None], batch: Callable[[int], Batch]) -> None:
    net = Network(ZOO[name], 4, 6, 10, auxiliary=True).to(torch.float64)
    fill(net)
    images, labels = batch(0)
    logits, auxiliary = net(images)
    losses = [cross_entropy(out, labels).item() for out in (logits, auxiliary)]
    parameters, *printed = GOLDEN[name]
    assert size(net, auxiliary=True) == parameters
    assert [logits[0, 0].item(), auxiliary[0, 0].item(), *losses] == pytest.approx(printed, abs=0.6e-10)


def test_auxiliary_head_is_silent_outside_training(batch: Callable[[int], Batch]) -> None:
    net = Network(ZOO["DARTS_V2"], 4, 6, 10, auxiliary=True).to(torch.float64).eval()
    assert net(batch(0)[0]).auxiliary_logits is None


# ---------------------------------------------------------------- drop path


def test_drop_path_zeroes_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    samples, rate = 20_000, 0.3
    out = drop_path(torch.ones(samples, 2, 2, 2, dtype=torch.float64), rate)
    first = out[:, 0, 0, 0]
    assert torch.equal(out, first.view(-1, 1, 1, 1).expand_as(out))
    torch.testing.assert_close(first.unique(), torch.tensor([0.0, 1 / 0.7], dtype=torch.float64))
    deviation = (rate / (1 - rate) / samples) ** 0.5
    assert first.mean().item() == pytest.approx(1.0, abs=4 * deviation)


def chain(name: str) -> Genotype:
    """Return a genotype of one node, which adds one operation on each input."""
    cell = Cell((Edge(name, 0), Edge(name, 1)), (2,))
    return Genotype(cell, cell)


def outputs(net: EvaluationNetwork, times: int = 8) -> int:
    """Return how many different results the same images give."""
    images = torch.linspace(-1, 1, 4 * 3 * 8 * 8, dtype=torch.float64).view(4, 3, 8, 8)
    torch.manual_seed(0)
    return len({tuple(net(images).logits.flatten().tolist()) for _ in range(times)})


@pytest.mark.parametrize(
    ("name", "reductions", "random"),
    [
        ("skip_connect", (), False),
        ("skip_connect", (1,), True),
        ("max_pool_3x3", (), True),
        ("sep_conv_3x3", (), True),
    ],
)
def test_only_identities_are_spared(name: str, reductions: tuple[int, ...], random: bool) -> None:
    net = Network(chain(name), 4, 2, 5, drop_path=0.5, reductions=reductions).to(torch.float64)
    assert (outputs(net) > 1) is random
    net.eval()
    assert outputs(net) == 1


def test_drop_path_can_be_set_between_epochs() -> None:
    net = Network(chain("sep_conv_3x3"), 4, 2, 5, reductions=()).to(torch.float64)
    assert (net.drop_path, outputs(net)) == (0.0, 1)
    net.drop_path = 0.25
    assert net.drop_path == 0.25
    assert outputs(net) > 1
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="drop_path="):
            net.drop_path = rate
    assert net.drop_path == 0.25
    assert not any("drop_path" in key for key in net.state_dict())


# ---------------------------------------------------------------- settings


def test_unequal_cells_change_the_width() -> None:
    small = Cell((Edge("skip_connect", 0), Edge("skip_connect", 1)), (2,))
    wide = Cell((Edge("skip_connect", 0), Edge("max_pool_3x3", 1), Edge("sep_conv_3x3", 2), Edge("none", 1)), (3, 2))
    for reductions, width in {(): 4, (0,): 8, (2,): 16}.items():
        net = Network(Genotype(small, wide), 4, 3, 5, in_channels=1, reductions=reductions)
        assert net.head.in_features == width
        assert net(torch.randn(2, 1, 8, 8)).logits.shape == (2, 5)


def test_auxiliary_head_wants_its_size_but_only_in_training() -> None:
    net = Network(ZOO["DARTS_V2"], 4, 3, 10, auxiliary=True)
    images = torch.zeros(2, 3, 16, 16)
    with pytest.raises(ConfigError, match=r"auxiliary=True.*8x8.*4x4"):
        net(images)
    assert net.eval()(images).logits.shape == (2, 10)


def test_large_form_trains_with_both_heads() -> None:
    net = ImageNetNetwork(ZOO["PDARTS"], 4, 3, 7, auxiliary=True, auxiliary_norm=True, drop_path=0.1)
    logits, auxiliary = net(torch.randn(2, 3, 224, 224))
    assert logits.shape == auxiliary.shape == (2, 7)


@pytest.mark.parametrize(
    ("objective", "shape"), [(Regression(2), (3, 2)), (DensePrediction(2, (8, 8)), (3, 2, 8, 8))], ids=repr
)
def test_heads_that_do_not_classify(objective: Regression | DensePrediction, shape: tuple[int, ...]) -> None:
    net = Network(ZOO["DARTS_V2"], 2, 3, objective, in_channels=1)
    assert net(torch.randn(3, 1, 8, 8)).logits.shape == shape
    with pytest.raises(ConfigError, match=r"auxiliary=True.*is no classification; use auxiliary=False"):
        Network(ZOO["DARTS_V2"], 2, 3, objective, auxiliary=True)


@pytest.mark.parametrize(
    ("build", "culprit"),
    [
        (lambda genotype: Network(genotype, 4, 3, 0), "classes=0"),
        (lambda genotype: Network(genotype, 4, 3, 10, drop_path=1.0), "drop_path=1.0"),
        (lambda genotype: Network(genotype, 4, 3, 10, reductions=(-1,)), "cell -1"),
        (lambda genotype: ImageNetNetwork(genotype, 5, 3), "channels=5"),
    ],
)
def test_bad_settings(build: Callable[[Genotype], object], culprit: str) -> None:
    with pytest.raises(ConfigError, match=culprit):
        build(ZOO["DARTS_V2"])
