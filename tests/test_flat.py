"""Named tensors in one vector: the two forms are the same numbers, and derivatives go through either."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlo.autodiff import named_vjp
from mlo.flat import Flat
from mlo.layout import Layout
from mlo.vector import add, axpy, detach, ravel, unravel

F64 = torch.float64
SHAPES = st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), min_size=1, max_size=6)
TYPES = st.lists(st.sampled_from([torch.float32, F64]), min_size=6, max_size=6)


def drawn(shapes, types, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {f"p{i}": torch.randn(s, generator=generator, dtype=types[i]) for i, s in enumerate(shapes)}


def same(left, right):
    return list(left) == list(right) and all(torch.equal(left[n], right[n]) for n in right)


@given(SHAPES, TYPES)
def test_pieces_become_vectors_and_pieces_again(shapes, types):
    given_ = drawn(shapes, types)
    flat = Flat.of(given_)
    again = Flat(flat.layout, vectors=flat.vectors)
    assert same(again, given_)
    assert len(again) == len(given_)
    assert all(again[name].dtype == value.dtype for name, value in given_.items())
    assert len(flat.vectors) == len({value.dtype for value in given_.values()})
    assert flat.layout == Layout(given_)
    for name, (which, start) in flat.layout.starts.items():
        stretch = flat.vectors[which][start : start + given_[name].numel()]
        assert torch.equal(stretch, given_[name].reshape(-1))
    assert same(unravel(ravel(flat), flat), given_)


@given(SHAPES, st.booleans())
def test_a_derivative_is_the_same_through_either_form(shapes, pieces_first):
    value = Flat.of(drawn(shapes, [F64] * 6)).cut(differentiable=False)
    if pieces_first:  # as a loss does
        assert value.pieces
    else:  # as an update does
        assert value.vectors
    loss = sum((piece**2).sum() for piece in value.pieces.values()) + sum(v.sum() for v in value.vectors)
    found = named_vjp([loss], {"x": value}, [torch.ones_like(loss)])["x"]
    expected = {name: 2 * piece.detach() + 1 for name, piece in value.items()}
    assert all(root.is_leaf for root in value.roots)
    assert len(value.roots) == (len(shapes) if pieces_first else 1)
    assert same(detach(found), expected)


def test_what_was_cut_is_not_touched_and_has_no_history():
    source = Flat.of(drawn([(2,), (3,)], [F64] * 6))
    joined = Flat(source.layout, vectors=source.vectors)
    for origin in (source, joined):
        for form in ("pieces", "vectors"):
            leaves = origin.cut(differentiable=False)
            getattr(leaves, form)
            assert not any(value.requires_grad for value in (*origin.vectors, *origin.pieces.values()))
            assert all(value.requires_grad and value.is_leaf for value in leaves.roots)


def test_a_cut_that_is_to_be_differentiated_stays_connected():
    z = torch.ones((), dtype=F64, requires_grad=True)
    value = axpy(z, drawn([(2,), (3,)], [F64] * 6), drawn([(2,), (3,)], [F64] * 6, seed=1))
    at = Flat.of(value).cut(differentiable=True)
    loss = sum((piece**2).sum() for piece in at.pieces.values())
    part = named_vjp([loss], {"x": at}, [torch.ones_like(loss)], differentiable=True)["x"]
    (through,) = torch.autograd.grad(ravel(part).sum(), [z])
    assert float(through) == pytest.approx(2 * float(ravel(drawn([(2,), (3,)], [F64] * 6)).sum()), rel=1e-12)


def test_a_form_that_is_made_where_nothing_is_recorded_is_not_kept():
    leaf = torch.ones(2, dtype=F64, requires_grad=True)
    flat = Flat.of({"a": leaf * 2, "b": leaf * 3})
    with torch.no_grad():
        assert not flat.vectors[0].requires_grad
    assert flat.vectors[0].requires_grad
    joined = Flat(flat.layout, vectors=flat.vectors)
    with torch.no_grad():
        assert joined["a"].grad_fn is None
    assert joined["a"].grad_fn is not None


def test_names_in_another_order_are_found():
    left = {"a": torch.zeros(2), "b": torch.ones(3)}
    right = {"b": torch.full((3,), 5.0), "a": torch.full((2,), 7.0)}
    assert same(add(left, right), {"a": torch.full((2,), 7.0), "b": torch.full((3,), 6.0)})


@given(st.lists(st.booleans(), min_size=1, max_size=6), TYPES, st.integers(0, 5))
def test_runs_find_the_same_pieces_in_another_layout(shared, types, gap):
    own = drawn([(i + 1,) for i in range(len(shared))], types)
    held = [name for name, is_held in zip(own, shared, strict=True) if is_held]
    there = {"first": torch.zeros(gap), **{name: own[name] + 1 for name in held}, "last": torch.zeros(2)}
    left, right = Flat.of(own), Flat.of(there)
    seen = {name: [] for name in own}
    for run in left.layout.runs(right.layout, frozenset(held)):
        covered = [
            name
            for name, (which, start) in left.layout.starts.items()
            if which == run.vector and run.start <= start < run.stop
        ]
        for name in covered:
            seen[name].append(run)
        if run.other is None:
            assert not set(covered) & set(held)
        else:
            assert set(covered) <= set(held)
            assert torch.equal(run.of(left.vectors) + 1, run.there(right.vectors))
    assert all(len(runs) == 1 for runs in seen.values())
