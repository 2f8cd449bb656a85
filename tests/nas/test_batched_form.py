"""The batched supernet as a part of a search: golden values, cost, conversion, fallback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from applications.nas.dry_run import make_plan
from applications.nas.methods import Darts, PDarts, Progress
from applications.nas.methods.base import initial_alphas, softmax_tables
from applications.nas.methods.pdarts import DroppedSkip
from applications.nas.networks.batched import BatchedSupernet, batched_state, in_form, plain_state
from applications.nas.networks.supernet import Supernet
from applications.nas.settings import SearchSettings, SupernetSettings
from applications.nas.space.cell import CellSpace
from applications.nas.space.mixed import AbstractMixedOperation, MixedOperation
from benchmarks.counting import counted
from mlo import ConfigError, DataError
from tests.nas.test_dry_run import SMALL
from tests.nas.test_supernet import RADIUS, RATE, Batch, Point, norms

Net = Supernet | BatchedSupernet
PRINTED = 0.6e-10  # golden values are printed to ten decimals: half a unit of the last, and a little for other kernels


def gradient(net: Net, x: Tensor, y: Tensor, tables: Mapping[str, Tensor], *, weights: bool = True) -> Sequence[Tensor]:
    loss = cross_entropy(net(x, softmax_tables(tables)), y)
    return torch.autograd.grad(loss, [*tables.values(), *(net.parameters() if weights else [])])


def problem(batch: int, side: int, **form: Any) -> tuple[Supernet, Tensor, Tensor, dict[str, Tensor]]:
    torch.manual_seed(0)
    net = Supernet(CellSpace(), form.get("channels", 4), form.get("layers", 3), 10)
    tables = initial_alphas(CellSpace(), torch.Generator().manual_seed(0))
    x, y = torch.randn(batch, 3, side, side), torch.arange(batch) % 10
    return net, x, y, {name: table.requires_grad_() for name, table in tables.items()}


# ---------------------------------------------------------------- cost


def test_operations_and_memory() -> None:
    """At the size for which the goal was set; what is counted depends on shapes alone, not on the machine's load."""
    plain, x, y, tables = problem(16, 32, channels=8, layers=5)
    batched = BatchedSupernet(plain)
    assert len(list(batched.parameters())) == 32
    assert sum(one.numel() for one in batched.parameters()) == sum(one.numel() for one in plain.parameters())
    ours, theirs = (counted(lambda net=net: gradient(net, x, y, tables), memory=True)[1] for net in (batched, plain))
    assert ours.operations <= 3000 < theirs.operations
    assert ours.syncs == 0
    assert ours.peak <= 0.6 * theirs.peak


def test_error_in_single_precision() -> None:
    """Against float64, beside the plain form's own.

    On a CPU torch adds up the statistics of a norm one after the other where channels are last in memory, and pairwise
    where they are not: the batched form has 3 to 6 times the rounding of the plain one, some 1e-6. At a point where a
    ReLU or a maximum is about to switch, either form can be off by 1e-3; this is none.
    """
    plain, x, y, tables = problem(8, 16)
    batched = BatchedSupernet(plain)
    named = [name for name, _ in plain.named_parameters()]

    def found(net: Net, double: bool) -> list[Tensor]:
        net, kind = (net.double(), torch.float64) if double else (net.float(), torch.float32)
        leaves = {name: table.detach().to(kind).requires_grad_() for name, table in tables.items()}
        parts = gradient(net, x.to(kind), y, leaves)
        if isinstance(net, Supernet):
            return list(parts)
        values = dict(zip([name for name, _ in net.named_parameters()], parts[len(leaves) :], strict=True))
        state = plain_state(net, net.state_dict() | values)
        return [*parts[: len(leaves)], *(state[name] for name in named)]

    single = [found(net, False) for net in (batched, plain)]
    truth = found(plain, True)
    errors = [
        torch.stack([(one.double() - true).norm() / true.norm() for one, true in zip(parts, truth, strict=True)])
        for parts in single
    ]
    assert errors[0].median() < 10 * errors[1].median()
    assert errors[0].max() < 10 * errors[1].max()
    assert errors[0].max() < 1e-5


# ---------------------------------------------------------------- golden values


class BatchedPoint(Point):
    """The point of the plain form's golden values, with the batched form."""

    def __init__(self, net: BatchedSupernet, train: Batch, val: Batch) -> None:
        super().__init__(net, train, val)  # type: ignore[arg-type]


@pytest.fixture
def point(fill: Callable[[nn.Module], None], batch: Callable[[int], Batch]) -> BatchedPoint:
    net = Supernet(CellSpace(), 4, 3, 10).to(torch.float64)
    fill(net)
    return BatchedPoint(BatchedSupernet(net), batch(0), batch(1))


def test_golden_values(point: BatchedPoint) -> None:
    """The numbers of `test_supernet.py`: losses, first order, finite difference, and exact through one step."""
    with torch.no_grad():
        assert point.loss(point.weights, point.train).item() == pytest.approx(2.2825001709, abs=PRINTED)
        assert point.loss(point.weights, point.val).item() == pytest.approx(2.3408575390, abs=PRINTED)
    first = point.grad_alphas(point.loss(point.weights, point.val))
    assert norms(first) == pytest.approx([0.0745102011, 0.0344834874], abs=PRINTED)
    loss = point.loss(point.step(differentiable=True), point.val)
    assert loss.item() == pytest.approx(2.3454202934, abs=PRINTED)
    assert norms(point.grad_alphas(loss)) == pytest.approx([0.1122780687, 0.0549889543], abs=PRINTED)


def test_golden_finite_difference(point: BatchedPoint) -> None:
    stepped = {name: w.detach().requires_grad_() for name, w in point.step().items()}
    loss = point.loss(stepped, point.val)
    direction = dict(zip(stepped, torch.autograd.grad(loss, list(stepped.values()), retain_graph=True), strict=True))
    radius = RADIUS / torch.cat([v.flatten() for v in direction.values()]).norm()
    total = point.grad_alphas(loss)
    for sign in (1.0, -1.0):
        moved = {name: w.detach() + sign * radius * direction[name] for name, w in point.weights.items()}
        for name, side in point.grad_alphas(point.loss(moved, point.train)).items():
            total[name] = total[name] - sign * RATE * side / (2 * radius)
    assert norms(total) == pytest.approx([0.1602115557, 0.0675146295], abs=PRINTED)


# ---------------------------------------------------------------- input, conversion


def test_odd_feature_maps() -> None:
    """They are refused in the words of the plain form."""
    plain, _, _, tables = problem(2, 8)
    for net in (plain, BatchedSupernet(plain)):
        with pytest.raises(ConfigError, match="feature map of 7x7: a reduction needs an even"):
            net(torch.randn(2, 3, 7, 7), softmax_tables(tables))


def test_states_convert_both_ways() -> None:
    plain, x, y, tables = problem(4, 8)
    gradient(plain, x, y, tables)  # statistics that are not the initial ones
    net = BatchedSupernet(Supernet(CellSpace(), 4, 3, 10))
    net.load_state_dict(batched_state(net, plain.state_dict()))
    back = plain_state(net)
    assert set(back) == set(plain.state_dict())
    assert all(torch.equal(back[name], value) for name, value in plain.state_dict().items())
    plain.eval(), net.eval()
    torch.testing.assert_close(net(x, softmax_tables(tables)), plain(x, softmax_tables(tables)), rtol=1e-4, atol=1e-5)


def test_states_that_do_not_fit() -> None:
    plain, *_ = problem(2, 8)
    net, other = BatchedSupernet(plain), Supernet(CellSpace(), 8, 3, 10)
    with pytest.raises(DataError, match=r"has shape \(8,\), not \(4,\)"):
        batched_state(net, other.state_dict())
    with pytest.raises(DataError, match=r"edges.0.*is missing"):
        batched_state(net, net.state_dict())
    with pytest.raises(DataError, match=r"encoder.cells.0.*is missing"):
        plain_state(net, plain.state_dict())


def test_copies_share_nothing() -> None:
    plain, *_ = problem(2, 8)
    net = BatchedSupernet(plain)
    pointers = {one.data_ptr() for one in plain.state_dict().values()}
    assert not pointers & {one.data_ptr() for one in [*net.state_dict().values(), *plain_state(net).values()]}


# ---------------------------------------------------------------- choice of the form


class Foreign(MixedOperation):
    """A mixed operation that is not this project's."""


@dataclass(frozen=True)
class ForeignMethod(Darts):
    """DARTS with edges of its own."""

    def mixed_operation(self, names: Sequence[str], channels: int, stride: int) -> AbstractMixedOperation:
        return Foreign(names, channels, stride)


def test_foreign_edges_are_not_batched(caplog: pytest.LogCaptureFixture) -> None:
    net = Supernet(CellSpace(1), 4, 3, 10, mixed=ForeignMethod().mixed_operation)
    with caplog.at_level("INFO", "mlo.nas"):
        assert in_form(net, "auto") is net
    assert "an edge is a Foreign, which cannot be batched" in caplog.text
    with pytest.raises(ConfigError, match=r"an edge is a Foreign.*use the plain form"):
        in_form(net, "batched")
    assert in_form(net, "plain") is net


@pytest.mark.parametrize("change", ["operation", "primitive"])
def test_foreign_operations_are_not_batched(change: str) -> None:
    space = CellSpace(1, ("skip_connect", "conv_7x1_1x7") if change == "primitive" else ("skip_connect", "none"))
    net = Supernet(space, 4, 3, 10)
    if change == "operation":
        net.encoder.cells[0].edges[0].operations[0] = nn.Tanh()  # type: ignore[union-attr, index]
    assert in_form(net, "auto") is net


@pytest.mark.parametrize("changed", [nn.BatchNorm2d(4, affine=True), nn.BatchNorm2d(4, affine=False, momentum=0.01)])
def test_changed_layers_are_not_batched(changed: nn.Module) -> None:
    """Nothing of an operation that a method has changed is lost without a word."""
    net = Supernet(CellSpace(1, ("sep_conv_3x3",)), 4, 3, 10)
    assert isinstance(in_form(net, "auto"), BatchedSupernet)
    net.encoder.cells[0].edges[0].operations[0][3] = changed  # type: ignore[union-attr, index]
    assert in_form(net, "auto") is net
    with pytest.raises(ConfigError, match="a layer of a SepConv is not the usual one, which cannot be batched"):
        in_form(net, "batched")


def test_the_rate_of_dropout_reaches_the_batched_form() -> None:
    method = PDarts()
    plain = Supernet(CellSpace(1), 4, 3, 5, mixed=method.mixed_operation)
    net = in_form(plain, "batched")
    method.begin_epoch(net, Progress(1, 0, 25))
    rates = [module.rate for module in net.modules() if isinstance(module, DroppedSkip)]
    assert rates == pytest.approx([0.4 * 24 / 25] * 2)


def test_a_search_takes_the_form_that_is_asked_for() -> None:
    """The dry run sees less memory, and the same work up to the sums of what edges share."""
    plans = [make_plan(replace(SMALL, supernet=replace(SMALL.supernet, form=form))) for form in ("plain", "auto")]
    tasks: list[Iterable[Any]] = [plan.stages[0].tasks.values() for plan in plans]
    for plain, batched in zip(*tasks, strict=True):
        assert batched.weights == plain.weights
        assert batched.valid < plain.valid
        assert batched.multiply_adds == pytest.approx(plain.multiply_adds, rel=0.05)
    assert SearchSettings().supernet == SupernetSettings(form="auto")
