"""Cuts and vector-Jacobian products."""

import pytest
import torch

from mlo.autodiff import cut, cut_tensor, named_vjp, vjp
from mlo.flat import Flat


def leaf(*entries):
    return torch.tensor(entries, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("differentiable", [True, False])
def test_a_cut_of_a_constant_is_a_leaf_with_the_same_number(differentiable):
    value = torch.tensor([1.0, 2.0], dtype=torch.float64)
    at = cut_tensor(value, differentiable=differentiable)
    assert at.is_leaf
    assert at.requires_grad
    assert not value.requires_grad
    assert torch.equal(at, value)


def test_a_differentiable_cut_is_partial_at_the_cut_and_total_through_it():
    x = leaf(3.0)
    y = x * x
    at = cut_tensor(y, differentiable=True)
    out = at * x  # x^3, of which at sees the factor x
    assert torch.autograd.grad(out, at, retain_graph=True)[0].item() == 3.0
    assert torch.autograd.grad(out, x)[0].item() == 27.0


def test_a_plain_cut_sees_nothing_of_what_came_before():
    x = leaf(3.0)
    at = cut({"y": x * x}, differentiable=False)["y"]
    assert torch.autograd.grad(at * x, x)[0].item() == 9.0


def test_vjp_passes_over_what_depends_on_nothing():
    x, y = leaf(1.0, 2.0), leaf(5.0)
    constant = torch.ones(2, dtype=torch.float64)
    found = vjp([x * 3, constant], [x, y], [torch.ones(2, dtype=torch.float64)] * 2)
    assert torch.equal(found[0], torch.full((2,), 3.0, dtype=torch.float64))
    assert found[1] is None
    assert vjp([constant], [x], [constant]) == [None]
    assert vjp([x * 3], [], [constant]) == []


def test_vjp_can_be_differentiated_again():
    x = leaf(2.0)
    (first,) = vjp([x**3], [x], [torch.ones(1, dtype=torch.float64)], differentiable=True)
    (second,) = vjp([first], [x], [torch.ones(1, dtype=torch.float64)])
    assert (first.item(), second.item()) == (12.0, 12.0)
    (plain,) = vjp([x**3], [x], [torch.ones(1, dtype=torch.float64)])
    assert not plain.requires_grad


def test_vjp_keeps_the_graph_only_when_asked():
    x = leaf(2.0)
    out, one = x.exp(), torch.ones(1, dtype=torch.float64)
    first, again = vjp([out], [x], [one], retain=True), vjp([out], [x], [one])
    assert torch.equal(first[0], again[0])
    with pytest.raises(RuntimeError, match="second time"):
        vjp([out], [x], [one])


def test_groups_are_filled_with_zeros_or_left_out():
    used, unused, other = leaf(1.0, 2.0), leaf(3.0), leaf(4.0)
    groups = {"mine": Flat.of({"used": used, "unused": unused}), "other": Flat.of({"value": other})}
    found = named_vjp([(used**2).sum()], groups, [torch.ones((), dtype=torch.float64)])
    assert set(found) == {"mine"}
    assert torch.equal(found["mine"]["used"], torch.tensor([2.0, 4.0], dtype=torch.float64))
    assert torch.equal(found["mine"]["unused"], torch.zeros(1, dtype=torch.float64))
