"""The supernet: sizes to the unit, and golden losses, logits and gradients in double precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from applications.nas.methods.base import initial_alphas, softmax_tables
from applications.nas.space.cell import CellSpace
from applications.nas.space.mixed import MixedOperation
from applications.nas.space.operations import PRIMITIVES
from applications.nas.supernet import Supernet
from mlo import ConfigError

Tables = dict[str, Tensor]
Batch = tuple[Tensor, Tensor]
RATE, DECAY, RADIUS = 0.025, 3e-4, 0.01
PRINTED = 0.6e-10  # golden values are printed to ten decimals: half a unit of the last, and a little for other kernels


# ---------------------------------------------------------------- sizes

# channels, cells, classes; parameters, their tensors, multiply-adds of a 32x32 image (None: not compared)
SIZES = [
    (16, 8, 10, 1_930_618, 1399, 300_255_744),
    (16, 8, 100, 1_953_748, 1399, None),
    (16, 5, 10, 1_275_834, None, 186_698_240),
    (16, 5, 100, 1_298_964, None, None),
    (8, 5, 10, 394_210, 889, 61_629_696),
    (8, 5, 100, 405_820, 889, None),
    (4, 3, 10, 72_854, 548, 15_483_520),
    (4, 3, 100, 78_704, 548, 15_489_280),
]


@pytest.mark.parametrize(("channels", "layers", "classes", "weights", "tensors", "cost"), SIZES)
def test_size_and_cost(
    channels: int,
    layers: int,
    classes: int,
    weights: int,
    tensors: int | None,
    cost: int | None,
    multiply_adds: Callable[[nn.Module, Callable[[], object]], int],
) -> None:
    space = CellSpace()
    with torch.device("meta"):
        net = Supernet(space, channels, layers, classes).eval()
        mixing = {name: torch.zeros(14, 8) for name in ("normal", "reduction")}
        images = torch.zeros(1, 3, 32, 32)
    sizes = {name: value.numel() for name, value in net.named_parameters()}
    assert sum(sizes.values()) == weights
    assert tensors is None or len(sizes) == tensors
    assert {name.split(".")[0] for name in sizes} == {"encoder", "head"}
    assert {name for name in sizes if name.startswith("head")} == {"head.weight", "head.bias"}
    assert cost is None or multiply_adds(net, lambda: net(images, mixing)) == cost


REDUCED = [
    (11, PRIMITIVES[:5], 887_226),
    (11, PRIMITIVES[3:], 2_585_146),
    (17, PRIMITIVES[:3], 228_474),
    (17, (*PRIMITIVES[4:6], PRIMITIVES[7]), 3_322_586),
]


@pytest.mark.parametrize(("layers", "primitives", "weights"), REDUCED)
def test_size_with_fewer_primitives(layers: int, primitives: tuple[str, ...], weights: int) -> None:
    with torch.device("meta"):
        net = Supernet(CellSpace(primitives=primitives), 16, layers, 10)
    assert sum(value.numel() for value in net.parameters()) == weights


def test_statistics_of_the_full_supernet() -> None:
    with torch.device("meta"):
        net = Supernet(CellSpace(), 16, 8, 10)
    assert sum(value.numel() for value in net.buffers()) == 75_521  # running means, variances and counters


def test_architecture_variables_are_no_part_of_the_network() -> None:
    alphas = initial_alphas(CellSpace(), torch.Generator().manual_seed(0))
    assert sum(table.numel() for table in alphas.values()) == 224
    with torch.device("meta"):
        state = Supernet(CellSpace(), 4, 3, 10).state_dict()
    assert all(tuple(value.shape) != (14, 8) for value in state.values())


# ---------------------------------------------------------------- golden values


class Point:
    """The point at which golden values were taken: filled weights, a wave of architecture variables, two batches."""

    def __init__(self, net: Supernet, train: Batch, val: Batch) -> None:
        self.net, self.train, self.val = net, train, val
        wave = 0.5 * torch.sin(torch.arange(1, 113, dtype=torch.float64)).view(14, 8)
        self.alphas: Tables = {"normal": wave.requires_grad_(), "reduction": (-wave.detach()).requires_grad_()}
        self.weights: Tables = dict(net.named_parameters())

    def logits(self, weights: Mapping[str, Tensor], batch: Batch) -> Tensor:
        out: Tensor = functional_call(self.net, dict(weights), (batch[0], softmax_tables(self.alphas)))
        return out

    def loss(self, weights: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return cross_entropy(self.logits(weights, batch), batch[1])

    def grad_alphas(self, loss: Tensor) -> Tables:
        return dict(zip(self.alphas, torch.autograd.grad(loss, list(self.alphas.values())), strict=True))

    def grad_weights(self, weights: Tables, batch: Batch, *, differentiable: bool = False) -> Tables:
        loss = self.loss(weights, batch)
        grads = torch.autograd.grad(loss, list(weights.values()), create_graph=differentiable)
        return dict(zip(weights, grads, strict=True))

    def step(self, *, differentiable: bool = False) -> Tables:
        """Return the weights after one training step, w' = w - rate (g + decay w)."""
        grads = self.grad_weights(self.weights, self.train, differentiable=differentiable)
        return {name: w - RATE * (grads[name] + DECAY * w) for name, w in self.weights.items()}


@pytest.fixture
def point(fill: Callable[[nn.Module], None], batch: Callable[[int], Batch]) -> Point:
    net = Supernet(CellSpace(), 4, 3, 10).to(torch.float64)
    fill(net)
    return Point(net, batch(0), batch(1))


def norms(tables: Tables) -> list[float]:
    return [tables[name].norm().item() for name in ("normal", "reduction")]


def test_golden_losses_and_logits(point: Point) -> None:
    with torch.no_grad():
        logits = point.logits(point.weights, point.train)
        assert point.loss(point.weights, point.train).item() == pytest.approx(2.2825001709, abs=PRINTED)
        assert point.loss(point.weights, point.val).item() == pytest.approx(2.3408575390, abs=PRINTED)
    printed = [0.01382091, -0.00217633, -0.01679769, -0.02079951]
    assert logits[0, :4].tolist() == pytest.approx(printed, abs=0.6e-8)


def test_golden_first_order_gradient(point: Point) -> None:
    grads = point.grad_alphas(point.loss(point.weights, point.val))
    assert norms(grads) == pytest.approx([0.0745102011, 0.0344834874], abs=PRINTED)
    assert grads["normal"][0, :3].tolist() == pytest.approx([0.0098624683, -0.0124810959, -0.0116540312], abs=PRINTED)


def test_golden_finite_difference_gradient(point: Point) -> None:
    stepped = {name: w.detach().requires_grad_() for name, w in point.step().items()}
    loss = point.loss(stepped, point.val)
    assert loss.item() == pytest.approx(2.3454202934, abs=PRINTED)
    direction = dict(zip(stepped, torch.autograd.grad(loss, list(stepped.values()), retain_graph=True), strict=True))
    radius = RADIUS / torch.cat([v.flatten() for v in direction.values()]).norm()
    total = point.grad_alphas(loss)
    for sign in (1.0, -1.0):
        moved = {name: w.detach() + sign * radius * direction[name] for name, w in point.weights.items()}
        for name, side in point.grad_alphas(point.loss(moved, point.train)).items():
            total[name] = total[name] - sign * RATE * side / (2 * radius)
    # Dividing by the tiny radius magnifies rounding; still all printed digits are reached.
    assert norms(total) == pytest.approx([0.1602115557, 0.0675146295], abs=PRINTED)
    assert total["normal"][0, :3].tolist() == pytest.approx([0.0104071212, 0.0073028368, 0.0106821196], abs=PRINTED)


def test_golden_exact_gradient_through_one_step(point: Point) -> None:
    loss = point.loss(point.step(differentiable=True), point.val)
    assert loss.item() == pytest.approx(2.3454202934, abs=PRINTED)
    assert norms(point.grad_alphas(loss)) == pytest.approx([0.1122780687, 0.0549889543], abs=PRINTED)


# ---------------------------------------------------------------- behavior


def demo() -> tuple[Supernet, Tables]:
    space = CellSpace(nodes=2, primitives=("none", "skip_connect", "sep_conv_3x3"))
    net = Supernet(space, 4, 3, 5, in_channels=1).to(torch.float64)
    alphas = initial_alphas(space, torch.Generator().manual_seed(0))
    return net, {name: table.double() for name, table in softmax_tables(alphas).items()}


def test_reductions_are_where_they_are_put() -> None:
    space = CellSpace(nodes=2, primitives=("skip_connect", "none"))
    mixing = {name: torch.ones(5, 2) for name in ("normal", "reduction")}
    x = torch.randn(2, 1, 8, 8)
    shapes = {
        reductions: tuple(Supernet(space, 4, 4, 5, in_channels=1, reductions=reductions).encoder(x, mixing).shape)
        for reductions in ((), (0,), (1, 2), None)
    }
    assert shapes == {(): (2, 8, 8, 8), (0,): (2, 16, 4, 4), (1, 2): (2, 32, 2, 2), None: (2, 32, 2, 2)}


def test_one_hot_weights_choose_one_operation() -> None:
    edge = MixedOperation(PRIMITIVES, 4, 1).to(torch.float64)
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    for index, weights in enumerate(torch.eye(8, dtype=torch.float64)):
        torch.testing.assert_close(edge(x, weights), edge.operations[index](x))


def test_batched_weights_agree_with_a_loop() -> None:
    net, mixing = demo()
    net.eval()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    stacked = {name: torch.stack([table, table.flip(-1)]) for name, table in mixing.items()}
    out = torch.vmap(lambda tables: net(x, tables))(stacked)
    torch.testing.assert_close(out[0], net(x, mixing))
    torch.testing.assert_close(out[1], net(x, {name: table.flip(-1) for name, table in mixing.items()}))


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"reduction": torch.zeros(5, 4)}, r"'reduction' has shape \(5, 4\).*\(5, 3\)"),
        ({"reduce": torch.zeros(5, 3)}, "reduce"),
    ],
)
def test_weights_that_do_not_fit(change: Tables, culprit: str) -> None:
    net, mixing = demo()
    with pytest.raises(ConfigError, match=culprit):
        net(torch.zeros(2, 1, 8, 8, dtype=torch.float64), {**mixing, **change})


@pytest.mark.parametrize(
    ("build", "culprit"),
    [
        (lambda: CellSpace(nodes=0), "nodes=0"),
        (lambda: CellSpace(primitives=("none",)), "nothing to choose"),
        (lambda: CellSpace(primitives=("none", "wide")), "'wide' is unknown"),
        (lambda: CellSpace(primitives=("skip_connect",) * 2), "'skip_connect' appears twice"),
        (lambda: Supernet(CellSpace(), 4, 0, 10), "layers=0"),
        (lambda: Supernet(CellSpace(), 0, 3, 10), "channels=0"),
        (lambda: Supernet(CellSpace(), 4, 3, 0), "classes=0"),
        (lambda: Supernet(CellSpace(), 4, 3, 10, in_channels=0), "stem from 0"),
        (lambda: Supernet(CellSpace(), 4, 3, 10, reductions=(1, 3)), "cell 3 does not exist"),
    ],
)
def test_bad_settings(build: Callable[[], object], culprit: str) -> None:
    with pytest.raises(ConfigError, match=culprit):
        build()


def test_rows_are_node_major() -> None:
    space = CellSpace()
    assert space.edges == 14
    assert space.rows[:5] == ((2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
    assert space.rows[9:] == tuple((5, source) for source in range(5))
