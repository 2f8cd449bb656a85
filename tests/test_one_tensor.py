"""A problem of many tensors is the problem of one: their entries in a row, under any rule and at any depth."""

import functools

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ExponentialLR
from torchopt.base import GradientTransformation

import mlo

F64 = torch.float64
OPTIM = torch.optim
SHAPES = st.lists(st.lists(st.integers(0, 3), max_size=2).map(tuple), min_size=1, max_size=4).map(lambda s: [*s, (2,)])
# A transformation of the user's may tell tensors apart: the update is made tensor by tensor.
OWN = GradientTransformation(lambda params: (), lambda slope, state, params=None, inplace=True: (slope, state))
APART = torchopt.chain(OWN, torchopt.sgd(0.03))
UPDATES = [
    torchopt.sgd(0.03, momentum=0.5),
    torchopt.adam(0.03, eps_root=1e-4),
    APART,
    mlo.Clipped(torchopt.sgd(0.03), max_norm=0.5, max_value=0.3),
    functools.partial(OPTIM.SGD, lr=0.03, momentum=0.5, nesterov=True),
    functools.partial(OPTIM.RMSprop, lr=0.01, eps=1e-2),
    lambda tensors: ExponentialLR(OPTIM.SGD(tensors, lr=0.05, momentum=0.5), gamma=0.5),
    mlo.Learned(lambda v: torchopt.sgd(0.03 * flat(v.p0).sum().sigmoid(), momentum=0.5), reads=["p0"]),
]
RESPONSES = [
    mlo.Unroll(),
    mlo.Unroll(truncate=2),
    mlo.Unroll(memory=mlo.Recompute()),
    mlo.Unroll(memory=mlo.Forward()),
    mlo.Implicit(mlo.Dense()),
    mlo.Implicit(mlo.CG(4)),
    mlo.Implicit(mlo.Neumann(4, step_size=0.2)),
    mlo.FirstOrder(),
]


def flat(value):
    values = [value] if isinstance(value, torch.Tensor) else list(value.values())
    return torch.cat([piece.reshape(-1) for piece in values])


def loss(name, reads):
    def value(v, _):
        own = flat(v[name])
        total = 0.5 * (own**2).sum()
        for place, other in enumerate(reads):
            read = flat(v[other])
            weights = torch.sin(torch.arange(own.numel() * read.numel(), dtype=F64) + place)
            total = total + 0.2 * torch.sin(own @ weights.view(own.numel(), -1) @ torch.tanh(read))
        return total

    return value


def built(variables, updates, responses):
    """Return a chain in which each problem reads all others above it, and the one below."""
    names = [f"p{level}" for level in range(len(variables))]
    problems = []
    for level, name in enumerate(names):
        reads = [other for place, other in enumerate(names) if place != level and place <= level + 1]
        depth = {} if level == 0 else {"steps": 2, "response": responses[level]}
        problems.append(
            mlo.Problem(name, loss(name, reads), variables[level], reads=reads, update=updates[level], **depth)
        )
    return mlo.ProblemGraph(problems)


@pytest.mark.filterwarnings("ignore::mlo.UnconvergedWarning")  # a few steps of a solver are asked for
@settings(max_examples=25, deadline=None)
@given(st.data(), st.integers(2, 3), st.booleans())
def test_many_tensors_are_one(data, levels, partial):
    shapes = [data.draw(SHAPES) for _ in range(levels)]
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 100)))
    many = [
        {f"t{place}": torch.randn(shape, generator=generator, dtype=F64) for place, shape in enumerate(own)}
        for own in shapes
    ]
    responses = [None, *(data.draw(st.sampled_from(RESPONSES)) for _ in range(levels - 1))]
    # An answer that is taken for a stationary point does not depend on a setting that is learned: refused.
    fitting = [UPDATES[:-1] if isinstance(rule, mlo.Implicit) else UPDATES for rule in responses[1:]]
    updates = [torchopt.sgd(0.1), *(data.draw(st.sampled_from(choice)) for choice in fitting)]
    graphs = [built(variables, updates, responses) for variables in (many, [flat(value) for value in many])]
    found, expected = (flat(mlo.hypergradient(graph, of="p0", partial=partial)) for graph in graphs)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    engines = [mlo.Engine(graph, partial=partial, look_ahead=levels == 2) for graph in graphs]
    reports = [list(engine.run(2))[-1] for engine in engines]
    for name in graphs[0].names:
        left, right = (flat(engine.values[name]) for engine in engines)
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)
    assert reports[0].norms == pytest.approx(reports[1].norms, rel=1e-9, abs=1e-10)
    assert (reports[0].gradients, reports[0].products) == (reports[1].gradients, reports[1].products)
