"""Vectors inside, where tensors are odd: sparse ones, ones that a loss writes to, ones that change their form."""

import pytest
import torch
import torchopt
from torch import nn

import mlo
from mlo.flat import Flat
from mlo.layout import Layout
from mlo.meter import LiveBytes

F64 = torch.float64
Z = torch.full((2,), 0.5, dtype=F64)
SGD = torchopt.sgd(0.05)
# A function of the user's that may tell tensors apart: the update is made tensor by tensor.
APART = torchopt.chain(torchopt.register_hook(lambda slope: slope), torchopt.sgd(0.05))


class OnGraph(nn.Module):
    """A layer with sparse buffers: the adjacency of a graph."""

    def __init__(self, layout):
        super().__init__()
        self.layer = nn.Linear(3, 2, dtype=F64)
        adjacency = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=F64)
        self.register_buffer("adjacency", adjacency.to_sparse(layout=layout) if layout is not None else adjacency)
        self.register_buffer("mean", torch.zeros(2, dtype=F64))

    def forward(self, x):
        y = torch.tanh(torch.mm(self.adjacency, self.layer(x)))
        self.mean.add_(y.detach().mean(0))
        return y


def test_sparse_buffers_stay_as_they_are():
    layout = torch.sparse_coo  # torch itself does not copy modules with one in rows
    x = torch.linspace(-1, 1, 9, dtype=F64).view(3, 3)

    def run(kind):
        torch.manual_seed(0)

        def lower(v, _):
            return ((v.w(x) - v.z) ** 2).sum()

        problems = [
            mlo.Problem("z", lambda v, _: (v.w(x) ** 2).sum(), Z, reads=["w"], update=SGD),
            mlo.Problem("w", lower, OnGraph(kind), reads=["z"], update=SGD, steps=2, response=mlo.Unroll()),
        ]
        engine = mlo.Engine(mlo.ProblemGraph(problems))
        assert len(list(engine.run(2))) == 2
        return engine.export("w")

    found, expected = run(layout), run(None)
    assert found.adjacency.layout == layout
    torch.testing.assert_close(found.adjacency.to_dense(), expected.adjacency)
    for name in ("mean", "layer.weight"):
        torch.testing.assert_close(found.state_dict()[name], expected.state_dict()[name], rtol=1e-12, atol=1e-12)


def writing(v, _):
    with torch.no_grad():
        v.w["a"].add_(1.0)
    return (v.w["a"] ** 2).sum() * v.z.exp().sum() + (v.w["b"] ** 2).sum()


def embedding(v, _):
    ids = torch.tensor([0, 1])
    return nn.functional.embedding(ids, v.w["a"], max_norm=0.1).sum() * v.z.exp().sum() + (v.w["b"] ** 2).sum()


@pytest.mark.parametrize("loss", [writing, embedding])
def test_a_loss_that_writes_to_what_it_is_shown_is_named(loss):
    """Torch itself refuses to go on with a view that was written to, and says nothing of the problem."""
    start = {"a": torch.ones(2, 2, dtype=F64), "b": torch.ones(3, dtype=F64)}
    problems = [
        mlo.Problem("z", lambda v, _: (v.w["a"] ** 2).sum(), Z, reads=["w"], update=SGD),
        mlo.Problem("w", loss, start, reads=["z"], update=SGD, steps=2),
    ]
    engine = mlo.Engine(mlo.ProblemGraph(problems))
    for _ in range(2):
        with pytest.raises(mlo.LossError, match=r"the loss of problem 'w' changed 'w' in place.*v\.w\.clone"):
            engine.step()


def test_what_an_implicit_answer_reads_may_change_its_form_meanwhile():
    """Stage b is unrolled from the answer of stage a, which makes vectors of it, after m was solved that reads it."""
    start = {"a": torch.ones(3, dtype=F64), "b": torch.full((2,), 2.0, dtype=F64)}

    def stage(name, update):
        def loss(v, _):
            return sum(((value - v.z.sum()) ** 2).sum() for value in v[name].values())

        return mlo.Problem(name, loss, start, reads=["z"], update=update, response=mlo.Unroll())

    def middle(v, _):
        return ((v.m - v["s@1"]["a"].sum() * v.z - v["s@1"]["b"].prod()) ** 2).sum()

    def upper(v, _):
        return (v.m**2).sum() + sum((value**2).sum() for value in v["t@1"].values())

    def gradient(update):
        pair = [stage("s", update), stage("t", SGD)]
        stages = mlo.interleave(pair, rounds=1, proximal=mlo.Proximal(1.0, step_size=0.05), shared="")
        rule = mlo.Implicit(mlo.Dense())
        between = mlo.Problem("m", middle, Z, reads=["z", "s@1"], update=torchopt.sgd(0.5), steps=3, response=rule)
        top = mlo.Problem("z", upper, Z, reads=["m", "t@1"], update=SGD)
        late, early = stages
        return [mlo.hypergradient(mlo.ProblemGraph([top, *order]), of="z") for order in _orders(late, between, early)]

    for found in gradient(APART):
        torch.testing.assert_close(found, gradient(SGD)[0], rtol=1e-12, atol=1e-12)


def _orders(late, between, early):
    return [[late, between, early], [between, late, early]]


def test_layouts_that_come_and_go_leave_nothing_behind():
    own = Layout({"a": torch.zeros(2), "b": torch.zeros(3)})
    for _ in range(5):
        runs = own.runs(Layout({"b": torch.zeros(3), "a": torch.zeros(2)}), {"a"})
        assert [run.other for run in runs] == [(0, 3), None]
    assert len(own._runs) == 1
    assert own.runs(Layout({"a": torch.zeros(2)}), {"a"})[0].other == (0, 0)


def test_differences_of_a_given_length_keep_no_point_alive():
    """The check of the length is made at the end of the step: it must not hold what `Recompute` is there to drop."""
    n = 2000
    start = {"a": torch.ones(n, dtype=F64), "b": torch.ones(n, dtype=F64)}

    def lower(v, _):
        return ((v.w["a"] ** 2).sum() + (v.w["b"] ** 2).sum()) * v.z.exp().sum()

    def peak(epsilon):
        rule = mlo.Unroll(product=mlo.FiniteDifference(epsilon=epsilon), memory=mlo.Recompute())
        problems = [
            mlo.Problem("z", lambda v, _: (v.w["a"] ** 2).sum(), Z, reads=["w"], update=SGD),
            mlo.Problem("w", lower, start, reads=["z"], update=torchopt.sgd(0.01), steps=36, response=rule),
        ]
        graph = mlo.ProblemGraph(problems)
        mlo.hypergradient(graph, of="z")
        with LiveBytes() as live:
            mlo.hypergradient(graph, of="z")
        return live.peak / (16 * n)

    assert peak(0.01) < peak(None) + 2  # in variables; the 36 points of a solve would be seen


def test_a_stage_keeps_its_type_whatever_its_anchor_has():
    def stage(name, dtype):
        def loss(v, _):
            return sum(((value - v.z.sum()) ** 2).sum() for value in v[name].values())

        content = {"a": torch.ones(3, dtype=F64), "b": torch.ones(2, dtype=dtype)}
        return mlo.Problem(name, loss, content, reads=["z"], update=torchopt.sgd(0.05, momentum=0.5))

    for form in ("implicit", "explicit"):
        term = mlo.Proximal(1.0, step_size=0.05, form=form)
        stages = mlo.interleave([stage("s", F64), stage("t", torch.float32)], rounds=2, proximal=term, shared="")
        top = mlo.Problem(
            "z", lambda v, _: v["t@2"]["b"].sum() + v["s@2"]["a"].sum(), Z, reads=["t@2", "s@2"], update=SGD
        )
        engine = mlo.Engine(mlo.ProblemGraph([top, *stages]))
        assert len(list(engine.run(2))) == 2
        assert engine.values["t@2"]["b"].dtype == torch.float32
        assert engine.values["s@2"]["b"].dtype == F64


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_a_piece_that_is_not_strided_is_for_itself(layout):
    given = {"x": torch.ones(2), "s": torch.eye(3).to_sparse(layout=layout), "y": torch.zeros(3, 1)}
    flat = Flat.of(given)
    assert [list(names) for names in flat.layout.groups] == [["x", "y"], ["s"]]
    again = Flat(flat.layout, vectors=flat.vectors)
    assert again["s"].layout == layout
    assert list(again) == list(given)
