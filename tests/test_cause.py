"""What is not finite in a batch is found, wherever it is; what is finite is never said to be not."""

import math

import numpy as np
import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

import mlo

F64 = torch.float64


@st.composite
def places(draw):
    """A batch in some structure, with one number of one entry spoilt; what is told of the entry and the example."""
    kinds = draw(st.lists(st.sampled_from(["x", "array", "labels", "scalar", "none", "text"]), min_size=0, max_size=3))
    size, width = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    spoilt = torch.zeros(size, width, dtype=draw(st.sampled_from([F64, torch.float32, torch.float16])))
    rows = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=3, unique=True))
    bad = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    for row in rows:
        spoilt[row, draw(st.integers(0, width - 1))] = bad
    entries = [_entry(kind, size) for kind in kinds]
    at = draw(st.integers(0, len(entries)))
    entries.insert(at, spoilt.numpy() if draw(st.booleans()) else spoilt)
    shape = draw(st.sampled_from(["tuple", "list", "dict", "nested"]))
    keys = [f"k{index}" for index in range(len(entries))]
    batch = {
        "tuple": tuple(entries),
        "list": entries,
        "dict": dict(zip(keys, entries, strict=True)),
        "nested": {"in": (tuple(entries), torch.ones(size))},
    }[shape]
    path = {"tuple": f"{at}", "list": f"{at}", "dict": f"k{at}", "nested": f"in.0.{at}"}[shape]
    kind = "NaN" if math.isnan(bad) else "infinity"
    return batch, f"{kind} (entry {path}; in {len(rows)} of {size} examples, the first is number {min(rows) + 1})"


def _entry(kind, size):
    return {
        "x": torch.ones(size, 2),
        "array": np.ones((size, 2)),
        "labels": torch.zeros(size, dtype=torch.long),
        "scalar": torch.tensor(1.0),
        "none": None,
        "text": "a picture",
    }[kind]


def problem(batches):
    """A loss that is not finite at once where anything of its batch is not."""

    def loss(v, batch):
        leaves = torch.utils._pytree.tree_leaves(batch)
        found = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor | np.ndarray)]
        numbers = [torch.as_tensor(leaf).double().sum() for leaf in found]
        return (v.a * sum(numbers)).sum()

    update = torchopt.sgd(0.1)
    return mlo.ProblemGraph([mlo.Problem("a", loss, torch.ones(2, dtype=F64), update=update, batches=batches)])


@given(places())
@settings(max_examples=150, deadline=None)
def test_the_place_in_a_batch_is_told(case):
    batch, told = case
    engine = mlo.Engine(problem([batch]))
    with pytest.raises(mlo.DivergenceError) as caught:
        engine.step()
    assert f"its batch holds {told}: mend or leave out these examples" in str(caught.value)
    assert caught.value.__notes__ == ["in outer step 1 of the engine; batch 1 of pass 1 of problem 'a'"]


def test_a_finite_batch_is_not_blamed():
    engine = mlo.Engine(problem([torch.full((3,), 1e308, dtype=F64)]))
    with pytest.raises(mlo.DivergenceError, match=r"the loss of problem 'a' is inf") as caught:
        engine.step()
    assert str(caught.value) == "the loss of problem 'a' is inf: check its batch and step sizes"


def test_a_mask_of_infinities_is_told_only_where_nothing_is_nan():
    mask = torch.tensor([[0.0, -math.inf]] * 2)
    batch = {"mask": mask, "x": torch.tensor([[1.0], [math.nan]])}
    with pytest.raises(mlo.DivergenceError, match=r"its batch holds NaN \(entry x; in 1 of 2 examples, .* number 2\)"):
        mlo.Engine(problem([batch])).step()


def test_one_number_has_no_examples():
    with pytest.raises(mlo.DivergenceError, match=r"its batch holds NaN: mend"):
        mlo.hypergradient(problem(None), of="a", batches={"a": torch.tensor(math.nan)})


def test_a_batch_of_no_kind_that_can_be_looked_through():
    class Own:
        x = torch.tensor(math.nan)

    def loss(v, batch):
        return (v.a * batch.x).sum()

    graph = mlo.ProblemGraph([mlo.Problem("a", loss, torch.ones(2), update=torchopt.sgd(0.1), batches=[Own()])])
    with pytest.raises(mlo.DivergenceError, match=r"the loss of problem 'a' is nan: check its batch"):
        mlo.Engine(graph).step()


ODD = {
    "read-only array": np.frombuffer(np.array([1.0, math.nan]).tobytes()),
    "array backwards": np.array([1.0, math.nan])[::-1],
    "array of the other byte order": np.array([1.0, math.nan]).astype(np.dtype(float).newbyteorder()),
    "long double": np.array([1.0, math.nan], dtype=np.longdouble),
    "number of numpy": np.float32(math.nan),
    "complex array": np.array([1.0, complex(0, math.nan)]),
    "sparse": torch.tensor([[1.0, math.nan]]).to_sparse(),
    "float8": torch.tensor([1.0, math.nan]).to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_entry_of_an_odd_kind_is_looked_through(kind):
    graph = problem(None)
    with pytest.raises(mlo.DivergenceError, match="its batch holds NaN"):
        mlo.hypergradient(with_loss(graph, lambda v, _: (v.a * math.nan).sum()), of="a", batches={"a": (ODD[kind],)})


def in_itself():
    batch = []
    batch.append(batch)
    return batch


@pytest.mark.parametrize("batch", [in_itself(), torch.ones(2, device="meta")], ids=["in itself", "without numbers"])
def test_what_cannot_be_looked_through_does_not_hide_the_error(batch):
    graph = with_loss(problem([batch]), lambda v, _: (v.a * math.nan).sum())
    report = mlo.Engine(graph, on_divergence=mlo.Skip(in_a_row=2))
    with pytest.raises(mlo.DivergenceError, match="the loss of problem 'a' is nan: check its batch") as caught:
        report.step()
    assert caught.value.__notes__[-1] == "given up after 2 attempts at this step"


def with_loss(graph, loss):
    (one,) = graph.problems
    return mlo.ProblemGraph([mlo.Problem("a", loss, torch.ones(2), update=torchopt.sgd(0.1), batches=one.batches)])


def test_an_error_is_pickled_with_what_was_found():
    import pickle

    with pytest.raises(mlo.DivergenceError) as caught:
        mlo.Engine(problem([torch.tensor([math.nan])])).step()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.problem, again.finding) == (str(caught.value), "a", caught.value.finding)


def running_away(step_size, cap):
    """Updates of w by a factor 1 - 2 step_size, and an upper loss that is not finite from a size of w on."""

    def upper(v, _):
        size = (v.w**2).sum()
        return (v.x**2).sum() + torch.where(size < cap, size, math.nan)

    return mlo.ProblemGraph(
        [
            mlo.Problem("x", upper, torch.ones(2, dtype=F64), reads=["w"], update=torchopt.sgd(0.1)),
            mlo.Problem(
                "w",
                lambda v, _: ((v.w - v.x) ** 2).sum(),
                torch.full((2,), 3.0, dtype=F64),
                reads=["x"],
                update=torchopt.sgd(step_size),
                steps=8,
            ),
        ]
    )


def test_a_solve_that_runs_away_is_named_where_a_problem_above_it_fails():
    # Each step multiplies w - x by -5, so the loss, 8 at first, by 25: 8 * 25^7 before the last of eight.
    told = r"the loss of problem 'w' rose from 8 to 4\.88e\+10 within the step: its updates run away: lower its step"
    with pytest.raises(mlo.DivergenceError, match=told):
        mlo.Engine(running_away(3.0, cap=1e6)).step()


def test_a_solve_that_comes_to_rest_is_not_blamed():
    with pytest.raises(mlo.DivergenceError, match="the loss of problem 'x' is nan: check its batch"):
        mlo.Engine(running_away(0.1, cap=1e-3)).step()
