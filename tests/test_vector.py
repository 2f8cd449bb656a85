"""`Params` as a vector space: the laws of one, for any mixture of shapes and types."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlo.vector import add, axpy, clone, detach, dot, like, norm, ravel, scaled, unit, unravel, zeros_like

SHAPES = st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), min_size=1, max_size=4)
TYPES = [torch.float32, torch.float64]


def draw(shapes, seed, dtypes=(torch.float64,)):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"t{i}": torch.randn(shape, generator=generator, dtype=torch.float64).to(dtypes[i % len(dtypes)])
        for i, shape in enumerate(shapes)
    }


def same(left, right):
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) and left[name].dtype == right[name].dtype for name in left
    )


@given(SHAPES, st.integers(0, 99))
def test_ravel_and_unravel_are_inverse(shapes, seed):
    for dtypes in (TYPES, TYPES[1:]):
        params = draw(shapes, seed, dtypes)
        assert same(unravel(ravel(params), params), params)
        assert ravel(params).shape == (sum(value.numel() for value in params.values()),)


@given(SHAPES, st.integers(0, 99))
def test_dot_and_norm_are_those_of_the_vector(shapes, seed):
    left, right = draw(shapes, seed), draw(shapes, seed + 1)
    assert float(dot(left, right)) == pytest.approx(float(ravel(left) @ ravel(right)), rel=1e-12, abs=1e-12)
    assert float(norm(left)) == pytest.approx(float(ravel(left).norm()), rel=1e-12)
    assert dot(left, right).shape == norm(left).shape == ()


@given(SHAPES, st.integers(0, 99))
def test_dot_and_norm_of_mixed_types(shapes, seed):
    left = draw(shapes, seed, TYPES)
    assert float(dot(left, left)) == pytest.approx(float(ravel(left) @ ravel(left)), rel=1e-6)
    assert float(norm(left)) == pytest.approx(float(ravel(left).norm()), rel=1e-6)


@given(SHAPES, st.integers(0, 99), st.floats(-10, 10))
def test_algebra(shapes, seed, scale):
    left, right = draw(shapes, seed, TYPES), draw(shapes, seed + 1, TYPES)
    assert same(add(None, left), left)
    assert same(add(left, right), {name: left[name] + right[name] for name in left})
    assert same(add(left, scaled(-1.0, left)), zeros_like(left))
    # One operation, which may round once where two round twice; a scale that is a tensor is no other number.
    for factor in (scale, torch.tensor(scale, dtype=torch.float64)):
        moved = axpy(factor, left, right)
        for name in left:
            eps = torch.finfo(left[name].dtype).eps
            assert moved[name].dtype == right[name].dtype
            torch.testing.assert_close(moved[name], right[name] + scale * left[name], rtol=4 * eps, atol=40 * eps)
    assert same(scaled(scale, left), {name: scale * left[name] for name in left})


@given(SHAPES, st.integers(0, 99), st.sampled_from([1e-30, 1.0, 1e30]))
def test_a_vector_is_its_size_times_a_unit(shapes, seed, scale):
    params = scaled(scale, draw(shapes, seed, TYPES))
    direction, size = unit(params)
    assert float(norm(direction)) == pytest.approx(1.0 if size else 0.0, rel=1e-6)
    assert all(
        torch.allclose((size * direction[name].double()).to(params[name]), params[name], rtol=1e-5, atol=0)
        for name in params
    )
    assert all(direction[name].dtype == params[name].dtype for name in params)


def test_names_are_matched_not_places():
    left, right = {"a": torch.ones(2), "b": torch.zeros(3)}, {"b": torch.ones(3), "a": torch.zeros(2)}
    assert same(add(left, right), {"a": torch.ones(2), "b": torch.ones(3)})
    assert same(axpy(1.0, right, left), {"a": torch.ones(2), "b": torch.ones(3)})
    assert float(dot(left, right)) == 0.0


def test_copies_share_nothing_and_have_no_history():
    params = {"a": torch.ones(2, requires_grad=True) * 2}
    copied, cut = clone(params), detach(params)
    assert not copied["a"].requires_grad
    assert not cut["a"].requires_grad
    copied["a"].zero_()
    assert torch.equal(params["a"], torch.full((2,), 2.0))
    assert cut["a"].data_ptr() == params["a"].data_ptr()


def test_a_list_of_another_length_is_refused():
    with pytest.raises(ValueError, match="zip"):
        like({"a": torch.ones(1)}, [])
