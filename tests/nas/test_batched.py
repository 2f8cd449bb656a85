"""The batched supernet against the plain one, which is its definition: everything equal in float64, up to rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn.functional import cross_entropy

from applications.nas.methods import AbstractMethod, Darts, PCDarts, PDarts, Progress
from applications.nas.networks.batched import BatchedSupernet, plain_state
from applications.nas.networks.supernet import Supernet
from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.operations import PRIMITIVES

Net = Supernet | BatchedSupernet
Tables = dict[str, Tensor]
START = Progress(1, 0, 5)
# Tolerances are in parts of the largest entry of a tensor, or of 1e-3, if that is more: the forms add in another order.


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a space, a method that mixes in its own way, and a network."""
    nodes = draw(st.integers(1, 3))
    names = draw(st.lists(st.sampled_from((*PRIMITIVES, "sep_conv_7x7")), min_size=1, max_size=5, unique=True))
    space = CellSpace(nodes, tuple(names) if set(names) != {"none"} else ("none", "skip_connect"))
    if draw(st.booleans()):
        count = draw(st.integers(1, len(space.primitives)))
        subset = st.permutations(space.primitives).map(lambda order: tuple(order[:count]))
        rows = st.lists(subset, min_size=space.edges, max_size=space.edges).map(tuple)
        space = space.narrow({name: draw(rows) for name in CELL_TYPES})
    method = draw(st.sampled_from([Darts(), PDarts(), PCDarts(portion=1), PCDarts(portion=2)]))
    layers, large = draw(st.integers(1, 4)), draw(st.booleans())
    return {
        "space": space,
        "method": method,
        "channels": draw(st.sampled_from([4, 8])),
        "layers": layers,
        "large": large,
        "reductions": draw(st.sampled_from([None, (), (0,)])),
        "batch": draw(st.integers(2, 3)),
        "side": 32 if large else 8,
        "seed": draw(st.integers(0, 99)),
    }


def build(case: Mapping[str, Any]) -> tuple[Supernet, BatchedSupernet, Tensor, Tensor, Tables]:
    method: AbstractMethod = case["method"]
    torch.manual_seed(case["seed"])
    form = {name: case[name] for name in ("large", "reductions")}
    arguments = (case["space"], case["channels"], case["layers"], 3)
    plain = Supernet(*arguments, mixed=method.mixed_operation, stem_multiplier=2, **form).double()
    batched = BatchedSupernet(plain)
    for net in (plain, batched):
        method.begin_epoch(net, START)
    x = torch.randn(case["batch"], 3, case["side"], case["side"], dtype=torch.float64)
    drawn = method.initial(case["space"], torch.Generator().manual_seed(case["seed"]))
    variables = {name: (1e3 * table.double()).requires_grad_() for name, table in drawn.items()}
    return plain, batched, x, torch.arange(case["batch"]) % 3, variables


def loss_of(net: nn.Module, method: AbstractMethod, x: Tensor, y: Tensor, variables: Tables) -> Tensor:
    torch.manual_seed(7)  # the same draws of dropout for both forms
    return cross_entropy(net(x, method.relax(variables, START)), y)


def as_plain(net: Net, named: Tables) -> Tables:
    """Name tensors that belong to the parameters of either form as the plain form does."""
    if isinstance(net, Supernet):
        return named
    return plain_state(net, net.state_dict() | named)


def derivatives(net: Net, method: AbstractMethod, x: Tensor, y: Tensor, variables: Tables) -> Tables:
    """Return loss, first derivatives, and as a second one that of half their squared norm in the architecture."""
    loss, weights = loss_of(net, method, x, y, variables), dict(net.named_parameters())
    inputs = [*variables.values(), *weights.values()]
    found = grad(loss, inputs, create_graph=True, materialize_grads=True)
    first, second = found[: len(variables)], found[len(variables) :]
    energy = sum(one.square().sum() for one in second) / 2
    curved = grad(energy, list(variables.values()), materialize_grads=True)
    plain = as_plain(net, {name: one.detach() for name, one in zip(weights, second, strict=True)})
    return {
        "loss": loss.detach(),
        **{f"first {name}": one.detach() for name, one in zip(variables, first, strict=True)},
        **{f"second {name}": one for name, one in zip(variables, curved, strict=True)},
        **{name: one for name, one in plain.items() if "running" not in name and "tracked" not in name},
    }


def assert_same(ours: Tables, theirs: Tables, values: float, first: float, second: float) -> None:
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        part = values if name == "loss" or name.startswith("statistic") else second if "second" in name else first
        size = max(float(value.abs().max()) if value.numel() else 0.0, 1e-3)
        error = float((ours[name] - value).abs().max()) if value.numel() else 0.0
        assert error <= part * size, f"{name}: {error / size}"


def check(case: Mapping[str, Any], values: float, first: float, second: float) -> None:
    """Compare loss, derivatives of both orders, statistics after two passes, and then predictions in eval mode."""
    plain, batched, x, y, variables = build(case)
    method = case["method"]
    for _ in range(2):
        assert_same(*(derivatives(net, method, x, y, variables) for net in (batched, plain)), values, first, second)
    statistics = [{f"statistic {name}": one for name, one in net.items()} for net in states(batched, plain)]
    assert_same(*statistics, values, first, second)
    weights = method.relax(variables, START)
    torch.testing.assert_close(batched.eval()(x, weights), plain.eval()(x, weights), rtol=0, atol=100 * values)


def states(batched: BatchedSupernet, plain: Supernet) -> tuple[Tables, Tables]:
    """Return both states by the names of the plain form, and in numbers that can be compared."""
    ours, theirs = plain_state(batched), plain.state_dict()
    return {name: one.double() for name, one in ours.items()}, {name: one.double() for name, one in theirs.items()}


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(cases())
def test_drawn_spaces_and_networks(case: dict[str, Any]) -> None:
    # Drawn cases have norms over a few pixels that hardly differ, which magnify rounding with every derivative.
    check(case, values=1e-11, first=1e-9, second=1e-7)


FULL = {"channels": 4, "layers": 3, "large": False, "reductions": None, "batch": 3, "side": 8, "seed": 1}
ROWS = tuple(tuple(PRIMITIVES[(row + step) % 8] for step in (0, 3, 4, 5, 6)) for row in range(5))
SMALLER = CellSpace(2).narrow(dict.fromkeys(CELL_TYPES, ROWS))


@pytest.mark.parametrize(
    ("space", "method"),
    [(CellSpace(), Darts()), (SMALLER, PDarts()), (CellSpace(3), PCDarts(portion=2))],
    ids=["darts", "pdarts", "pcdarts"],
)
def test_to_twelve_digits(space: CellSpace, method: AbstractMethod) -> None:
    """P-DARTS in its second stage: each edge holds operations of its own, and skip connections have dropout."""
    check(FULL | {"space": space, "method": method}, values=1e-12, first=1e-12, second=1e-12)


def test_a_large_stem() -> None:
    case = FULL | {"space": CellSpace(1), "method": Darts(), "large": True, "side": 64}
    check(case, values=1e-12, first=1e-12, second=1e-12)
