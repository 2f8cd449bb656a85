"""Where the derivative of a learned setting would be lost, an error names the problem and what it reads."""

import functools

import pytest
import torch
import torchopt

import mlo
from tests.update.learning import F64, X0, graph, numbers

OPTIM = torch.optim


CUTS = {
    "float": (lambda v: torchopt.sgd(float(v.h["lr"])), r"'x': its update takes float.*'h'"),
    "item": (lambda v: functools.partial(OPTIM.SGD, lr=v.h["lr"].exp().item()), r"'x'.*\.item\(\).*'h'"),
    "detach": (lambda v: torchopt.sgd(v.h["lr"].detach()), r"'x'.*\.detach\(\).*'h'"),
    "no_grad": (lambda v: torchopt.sgd(torch.no_grad()(torch.exp)(v.h["lr"])), r"'x'.*takes torch\.no_grad\(\).*'h'"),
    "unused": (lambda v: torchopt.sgd(0.1), r"'x'.*reads 'h', but does not depend on it.*leave it out of reads"),
    "radam": (lambda v: torchopt.radam(0.1, betas=(0.9, 0.99 - v.h["lr"])), r"'x'.*'h' cannot be made.*plain number"),
    "start": (
        lambda v: functools.partial(OPTIM.Adagrad, initial_accumulator_value=v.h["lr"]),
        r"'x'.*'h' cannot be made.*full_like",
    ),
    "keyword": (lambda v: functools.partial(OPTIM.SGD, rate=v.h["lr"]), r"'x'.*cannot be made.*'rate'"),
    "instance": (lambda v: OPTIM.SGD([X0.clone().requires_grad_()], lr=v.h["lr"]), r"'x'.*made SGD.*factory"),
    "scheduler": (
        lambda v: lambda tensors: OPTIM.lr_scheduler.StepLR(OPTIM.SGD(tensors, lr=v.h["lr"]), 2),
        r"'x'.*'h' cannot be made.*in-place",
    ),
    "constant": (
        lambda v: lambda tensors: OPTIM.lr_scheduler.StepLR(OPTIM.SGD(tensors, momentum=v.h["lr"]), 2),
        r"'x'.*made StepLR, which writes over",
    ),
    "kind": (lambda v: v.h["lr"], r"'x': update must be"),
    "nested": (lambda v: mlo.Learned(lambda w: torchopt.sgd(0.1), reads=["h"]), r"'x'.*reads 'h' for itself"),
    "rough": (lambda v: functools.partial(OPTIM.Adafactor, lr=v.h["lr"]), r"'x' cannot be unrolled.*Adafactor"),
    "name": (lambda v: torchopt.sgd(v.step["lr"]), r"update of problem 'x' uses 'step', it reads 'h'"),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_derivative_that_would_be_lost_is_an_error(name):
    make, message = CUTS[name]
    with pytest.raises(mlo.GraphError, match=message):
        mlo.hypergradient(graph(make, numbers(lr=0.1)), of="h")


def test_stationarity_knows_nothing_of_a_learned_update():
    with pytest.raises(mlo.GraphError, match=r"'x' cannot respond by Implicit.*made from 'h'"):
        graph(lambda v: torchopt.sgd(v.h["lr"]), numbers(lr=0.1), response=mlo.Implicit())


def test_an_error_in_make_says_whose_it_is():
    # One step size for each entry: torchopt asks whether all of it is positive.
    with pytest.raises(RuntimeError, match="ambiguous") as caught:
        mlo.hypergradient(graph(lambda v: torchopt.sgd(v.h.exp()), torch.zeros(3, dtype=F64)), of="h")
    assert "problem 'x'" in caught.value.__notes__[0]


def test_reads_are_checked():
    for reads in ("h", [], [1]):
        with pytest.raises(mlo.ConfigError, match="Learned: reads"):
            mlo.Learned(lambda v: torchopt.sgd(0.1), reads=reads)
    with pytest.raises(mlo.ConfigError, match="Learned: make"):
        mlo.Learned(0.1, reads=["h"])
    with pytest.raises(mlo.GraphError, match=r"'x' reads 'step', not in the graph"):
        graph(lambda v: torchopt.sgd(v.step), numbers(lr=0.1), reads=["step"])
