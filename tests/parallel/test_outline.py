"""The text by which ranks compare their graphs: the same for the same settings, in any process; another for others."""

from functools import partial

import pytest
import torch
import torchopt

import mlo
from mlo.outline import outline
from tests.parallel.graphs import Share, bilevel, chain, linear, network

UPDATES = [
    lambda lr: torchopt.sgd(lr),
    lambda lr: torchopt.adamw(1e-3, weight_decay=lr),
    lambda lr: torchopt.sgd(torchopt.schedule.linear_schedule(lr, 0.0, 10, 0)),
    lambda lr: partial(torch.optim.SGD, lr=lr),
    lambda lr: lambda params: torch.optim.SGD(params, lr=lr),
    lambda lr: mlo.Clipped(torchopt.sgd(0.1), lr),
    lambda lr: mlo.Learned(lambda v: torchopt.sgd(lr * v.a.exp().sum()), reads=["a"]),
]


@pytest.mark.parametrize("update", UPDATES)
def test_numbers_in_an_update_are_seen(update):
    one, again, other = (outline(bilevel(mlo.Unroll(), Share(), 4, update=update(lr))) for lr in (0.1, 0.1, 0.2))
    assert one == again
    assert next(found for found, compared in zip(one, other, strict=True) if found != compared).startswith("w: update")


def test_the_settings_of_an_optimizer_are_seen():
    def lines(lr):
        model = linear()
        return outline(
            bilevel(mlo.Unroll(), Share(), 4, model=lambda: model, update=torch.optim.SGD(model.parameters(), lr))
        )

    assert lines(0.1) == lines(0.1) != lines(0.2)


def test_what_lies_where_in_memory_and_which_data_there_are_is_not():
    for make in (bilevel, chain):
        one, other = outline(make(mlo.Unroll(), Share(0, 2), 4)), outline(make(mlo.Unroll(), Share(1, 2), 9))
        assert one == other
        assert not any(" at 0x" in line or "object at" in line for line in one)


def test_shapes_types_and_rules_are():
    plain = outline(bilevel(mlo.Unroll(), Share(), 4))
    others = [
        bilevel(mlo.Unroll(truncate=1), Share(), 4),
        bilevel(mlo.Implicit(mlo.CG(max_steps=3)), Share(), 4),
        bilevel(mlo.Unroll(), Share(), 4, model=network),
        bilevel(mlo.Unroll(), Share(), 4, model=lambda: linear().float()),
        bilevel(mlo.Unroll(), Share(), 4, steps=1),
        bilevel(mlo.Unroll(), Share(), 4, accumulate=2),
    ]
    assert all(outline(other) != plain for other in others)
