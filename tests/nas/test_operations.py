"""Operations: sizes, shapes, and what passes through."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from applications.nas.space.operations import OPERATIONS, PRIMITIVES, FactorizedReduce, Identity, Pool, Zero, operation
from mlo import ConfigError

# name: parameters without and with affine normalization, multiply-adds at stride 1 and 2; 16 channels, 32x32 pixels
TABLE = {
    "none": (0, 0, 0, 0),
    "max_pool_3x3": (0, 0, 0, 0),
    "avg_pool_3x3": (0, 0, 0, 0),
    "sep_conv_3x3": (800, 864, 819_200, 204_800),
    "sep_conv_5x5": (1312, 1376, 1_343_488, 335_872),
    "sep_conv_7x7": (2080, 2144, 2_129_920, 532_480),
    "dil_conv_3x3": (400, 432, 409_600, 102_400),
    "dil_conv_5x5": (656, 688, 671_744, 167_936),
    "conv_7x1_1x7": (3584, 3616, 3_670_016, 1_376_256),
}
ROWS = [
    *((name, stride, row[0], row[1], row[1 + stride]) for name, row in TABLE.items() for stride in (1, 2)),
    ("skip_connect", 1, 0, 0, 0),
    ("skip_connect", 2, 256, 288, 65_536),
]


@pytest.mark.parametrize(("name", "stride", "plain", "affine", "cost"), ROWS)
def test_size_cost_and_shape(
    name: str,
    stride: int,
    plain: int,
    affine: int,
    cost: int,
    multiply_adds: Callable[[nn.Module, Callable[[], object]], int],
) -> None:
    with torch.device("meta"):
        modules = [operation(name, 16, stride, affine=affine, pool_norm=not affine) for affine in (False, True)]
        image = torch.zeros(1, 16, 32, 32)
        assert [sum(p.numel() for p in module.parameters()) for module in modules] == [plain, affine]
        assert multiply_adds(modules[0], lambda: modules[0](image)) == cost
        assert modules[1](image).shape == (1, 16, 32 // stride, 32 // stride)


def test_table_covers_every_operation() -> None:
    assert {row[0] for row in ROWS} == set(OPERATIONS)
    assert OPERATIONS[:8] == PRIMITIVES


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [8, 7])
def test_zero_lets_nothing_through(stride: int, side: int) -> None:
    x = torch.full((2, 3, side, side), torch.nan, dtype=torch.float64)
    x[0] = torch.inf
    out = Zero(stride)(x)
    assert out.dtype == torch.float64
    assert out.shape == Pool("max", 3, stride, norm=False)(x).shape
    assert torch.equal(out, torch.zeros_like(out))


def test_identity_is_its_input() -> None:
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    module = operation("skip_connect", 4, 1, affine=True)
    assert isinstance(module, Identity)
    assert module(x) is x


def test_mean_ignores_pixels_outside() -> None:
    out = operation("avg_pool_3x3", 1, 1, affine=True)(torch.ones(1, 1, 4, 4, dtype=torch.float64))
    torch.testing.assert_close(out, torch.ones_like(out))


@pytest.mark.parametrize("kind", ["max_pool_3x3", "avg_pool_3x3"])
def test_searched_pools_are_normalized(kind: str) -> None:
    module = operation(kind, 4, 1, affine=False, pool_norm=True).to(torch.float64)
    out = module(5.0 + 3.0 * torch.randn(8, 4, 8, 8, dtype=torch.float64))
    mean, variance = out.mean(dim=(0, 2, 3)), out.var(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean))
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=1e-4, atol=0.0)


def test_strided_skip_sees_every_pixel_of_both_diagonals() -> None:
    module = FactorizedReduce(1, 2, affine=False).to(torch.float64).eval()
    x = torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4)
    with torch.no_grad():
        module.even.weight.fill_(1.0)
        module.odd.weight.fill_(1.0)
        out = module(x) * (1 + 1e-5) ** 0.5  # undo the division by the initial running deviation
    torch.testing.assert_close(out[0, 0], x[0, 0, ::2, ::2])
    torch.testing.assert_close(out[0, 1], x[0, 0, 1::2, 1::2])


def test_the_input_is_not_changed() -> None:
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    before = x.clone()
    for name in OPERATIONS:
        operation(name, 4, 2, affine=True).to(torch.float64)(x)
    assert torch.equal(x, before)


def test_unknown_name_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'sep_conv_9x9' is unknown.*none.*sep_conv_3x3.*conv_7x1_1x7"):
        operation("sep_conv_9x9", 4, 1, affine=True)


@pytest.mark.parametrize(
    ("name", "channels", "stride", "culprit"),
    [("none", 4, 3, "stride=3"), ("none", 0, 1, "channels=0"), ("skip_connect", 5, 2, "channels=5")],
)
def test_bad_settings(name: str, channels: int, stride: int, culprit: str) -> None:
    with pytest.raises(ConfigError, match=culprit):
        operation(name, channels, stride, affine=True)


def test_odd_map_cannot_be_reduced() -> None:
    with pytest.raises(ConfigError, match="7x8"):
        FactorizedReduce(4, 4, affine=True)(torch.zeros(1, 4, 7, 8))
