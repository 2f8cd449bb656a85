"""The batched supernet under transforms of functions, and in the modes that torch can compute in."""

from __future__ import annotations

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from applications.nas.methods.base import softmax_tables
from applications.nas.networks.batched import BatchedSupernet
from applications.nas.networks.supernet import Supernet
from applications.nas.space.cell import CellSpace
from tests.nas.test_batched_form import gradient, problem


def test_bound_weights_and_statistics() -> None:
    """A functional call uses what it is given, writes statistics there, and leaves the module as it was."""
    plain, x, _, tables = problem(4, 8)
    net, other = BatchedSupernet(plain), BatchedSupernet(Supernet(CellSpace(), 4, 3, 10))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    given = {name: value.clone() for name, value in other.state_dict().items()}
    out = functional_call(net, given, (x, softmax_tables(tables)))
    torch.testing.assert_close(out, other(x, softmax_tables(tables)), rtol=0, atol=0)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(torch.equal(given[name], value) for name, value in other.named_buffers())


def test_several_tables_at_once() -> None:
    plain, x, _, tables = problem(2, 8)
    net = BatchedSupernet(plain).eval()
    mixing = softmax_tables(tables)
    stacked = {name: torch.stack([table, table.flip(-1)]) for name, table in mixing.items()}
    out = torch.vmap(lambda one: net(x, one))(stacked)
    for found, one in zip(out, (mixing, {name: table.flip(-1) for name, table in mixing.items()}), strict=True):
        torch.testing.assert_close(found, net(x, one))


def test_several_images_at_once() -> None:
    """Gradients of single images by `vmap`, as the plain form gives them."""
    plain, x, y, tables = problem(2, 8)
    given = {name: table.detach() for name, table in tables.items()}
    found = []
    for net in (plain.eval(), BatchedSupernet(plain).eval()):
        loss = lambda one, image, label, net=net: cross_entropy(net(image[None], softmax_tables(one)), label[None])  # noqa: E731
        found.append(torch.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(given, x, y))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-5)


def test_training_after_inference_mode() -> None:
    """What is remembered between calls serves a backward pass, too, wherever it was made."""
    plain, x, y, tables = problem(2, 8)
    net = BatchedSupernet(plain)
    with torch.inference_mode():
        net(x, softmax_tables(tables))
    again = gradient(net, x, y, tables)
    torch.testing.assert_close(again, gradient(BatchedSupernet(plain), x, y, tables), rtol=0, atol=0)


def test_lower_precision() -> None:
    """Under autocast both forms have derivatives of both orders, which agree to the digits of bfloat16."""
    plain, x, y, tables = problem(16, 8)
    found = []
    for net in (plain, BatchedSupernet(plain)):
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(net(x, softmax_tables(tables)), y)
        first = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
        energy = sum(one.square().sum() for one in first)
        found.append([loss, energy, *torch.autograd.grad(energy, list(tables.values()))])
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() < 0.3 * theirs.norm()
    assert abs(found[0][0] - found[1][0]) < 0.01
