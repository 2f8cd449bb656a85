"""The largest eigenvalue of a Hessian, against dense Hessians in float64, and the test whether it has grown."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from applications.nas.methods.base import softmax_tables
from applications.nas.networks.supernet import Supernet
from applications.nas.watch import largest_eigenvalue, sharpened
from mlo import DivergenceError
from tests.nas.tiny import ALPHAS, SPACE, learner


def of_matrix(matrix: Tensor) -> float:
    return largest_eigenvalue(lambda v: 0.5 * v["x"] @ matrix @ v["x"], {"x": torch.ones(len(matrix)).to(matrix)})


def dense(loss: object, variables: Mapping[str, Tensor]) -> float:
    """The largest eigenvalue of the whole Hessian, by torch.func."""
    flat = torch.cat([table.flatten() for table in variables.values()])
    sizes = [table.numel() for table in variables.values()]

    def of_flat(vector: Tensor) -> Tensor:
        parts = vector.split(sizes)
        pairs = zip(variables.items(), parts, strict=True)
        return loss({name: part.view_as(table) for (name, table), part in pairs})  # type: ignore[operator]

    # torch.func.hessian is the same with a forward pass inside, which warns of what torch itself deprecates.
    hessian = torch.func.jacrev(torch.func.jacrev(of_flat))(flat).detach()
    return float(torch.linalg.eigvalsh(hessian)[-1])


@pytest.mark.parametrize("size", [1, 2, 8, 9, 40], ids=str)
def test_a_quadratic(size: int) -> None:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    matrix = root + root.T  # with eigenvalues of both signs
    expected = float(torch.linalg.eigvalsh(matrix)[-1])
    assert of_matrix(matrix) == pytest.approx(expected, rel=1e-8)
    assert of_matrix(matrix.float()) == pytest.approx(expected, rel=1e-3)
    negative = -root @ root.T
    # The tolerance of Lanczos is relative to the spectrum, whose largest value here is near 0.
    far = float(torch.linalg.eigvalsh(negative).abs().max())
    assert of_matrix(negative) == pytest.approx(float(torch.linalg.eigvalsh(negative)[-1]), abs=1e-8 * far)


def test_a_supernet() -> None:
    net = copy.deepcopy(learner("task", 3).network)
    assert isinstance(net, Supernet)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # torch.func refuses statistics that are written to
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 1, 8, 8, generator=generator, dtype=torch.float64)
    y = torch.arange(4) % 3

    def loss(variables: Mapping[str, Tensor]) -> Tensor:
        return cross_entropy(net(x, softmax_tables(variables)), y)

    assert sum(table.numel() for table in ALPHAS.values()) > 8, "many enough for Lanczos"
    expected = dense(loss, ALPHAS)
    found = largest_eigenvalue(loss, ALPHAS)
    assert found == pytest.approx(expected, rel=1e-8)
    assert abs(expected) > 1e-4
    assert largest_eigenvalue(loss, ALPHAS) == found, "twice the same"
    assert not any(table.requires_grad for table in ALPHAS.values())
    assert SPACE.edges == 2


@pytest.mark.parametrize("size", [3, 30])
def test_what_has_no_curvature(size: int) -> None:
    x = {"x": torch.ones(size, dtype=torch.float64), "unused": torch.ones(2, dtype=torch.float64)}
    assert largest_eigenvalue(lambda v: v["x"].sum(), x) == 0.0
    assert largest_eigenvalue(lambda v: (v["x"] * 1e-3).pow(3).sum() * 0.0, x) == 0.0


@pytest.mark.parametrize("size", [3, 30])
def test_what_is_not_finite(size: int) -> None:
    with pytest.raises(DivergenceError, match="second derivative of the validation loss is not finite"):
        largest_eigenvalue(lambda v: v["x"].sqrt().sum(), {"x": torch.zeros(size, dtype=torch.float64)})


@pytest.mark.parametrize(
    ("values", "grown"),
    [
        ([1.0] * 20, False),
        ([1.0] * 8, False),
        ([1.0] * 4 + [2.0] * 5, True),  # means 1.2 and 2
        ([1.0] * 5 + [1.3] * 4, False),  # means 1 and 1.24
        ([1.0] * 5 + [1.4] * 4, True),  # means 1 and 1.32
        ([0.0] * 9, False),
        ([-1.0] * 5 + [5.0] * 4, False),
        ([9.0] + [1.0] * 4 + [9.0] * 4, True),
        ([9.0] * 5 + [1.0] * 4, False),
    ],
)
def test_growth(values: list[float], grown: bool) -> None:
    assert sharpened(values) is grown


def test_only_the_last_values_count() -> None:
    assert sharpened([100.0] * 10 + [1.0] * 5 + [2.0] * 4)
    assert not sharpened([1.0] * 9 + [2.0] * 10)
    assert sharpened([1.0, 3.0], window=1, delta=1)
    assert not sharpened([1.0, 3.0], window=1, delta=1, factor=3.0)
