"""An update that moves each entry alike is made on whole vectors, and gives the bits of one made tensor by tensor."""

import functools
import itertools

import optree
import pytest
import torch
import torchopt
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim.lr_scheduler import StepLR

import mlo
from mlo.flat import Flat
from mlo.update import as_update
from mlo.update.grouped import Grouped
from mlo.update.transformation import TorchOptUpdate

F64 = torch.float64
OPTIM = torch.optim
START = {"a": torch.randn(2, 3, dtype=F64), "b": torch.randn((), dtype=F64), "c": torch.randn(4)}


def trail(rule, start):
    """Return where three updates lead, with gradients that differ from step to step."""
    params, state = Flat.of(start), rule.init(start)
    for step in range(1, 4):
        slope = {name: (value * step).sin() for name, value in params.items()}
        params, state = rule.apply(params, slope, state, {})
    return {name: value.clone() for name, value in params.items()}


def alike(rule, start=START):
    """Make the updates as the rule does them, and again one tensor at a time."""
    whole = trail(rule(), start)
    apart = {}
    for name, value in start.items():
        apart |= trail(rule(), {name: value})
    return all(torch.equal(whole[name], apart[name]) for name in start)


TORCHOPT = [
    lambda: torchopt.sgd(0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    lambda: torchopt.sgd(lambda count: 0.1 / (1 + count), momentum=0.9),
    lambda: torchopt.adamw(0.1, weight_decay=0.1),
    lambda: torchopt.rmsprop(0.1, centered=True),
    lambda: torchopt.adagrad(0.1),
    lambda: torchopt.adadelta(0.1),
    lambda: torchopt.radam(0.1),
    lambda: torchopt.chain(torchopt.nan_to_num(0.0), torchopt.adamax(0.1)),
]


@pytest.mark.parametrize("make", TORCHOPT)
def test_torchopt_moves_whole_vectors(make):
    rule = as_update("x", make())
    assert isinstance(rule, TorchOptUpdate)
    assert rule._alike
    assert alike(lambda: as_update("x", make()))


def halved(params):
    return [value.dim() > 1 for value in params]


OWN = torchopt.base.GradientTransformation(lambda params: (), lambda updates, state, params=None, inplace=True: 0)


def disguised():
    """A transformation of the user's that has taken the names of one of torchopt's."""
    inner = torchopt.sgd(0.1)

    @functools.wraps(inner.update)
    def update(updates, state, *, params=None, inplace=True):
        return inner.update({n: v / v.norm() for n, v in updates.items()}, state, params=params, inplace=inplace)

    return torchopt.base.GradientTransformation(inner.init, update)


TORCHOPT_APART = [
    disguised,
    lambda: torchopt.adamw(0.1, weight_decay=0.1, mask=halved),
    lambda: torchopt.adamw(0.1, weight_decay=0.1, mask={"a": True, "b": False, "c": True}),
    lambda: torchopt.chain(torchopt.sgd(0.1), OWN),
    lambda: torchopt.chain(torchopt.register_hook(lambda g: g), torchopt.sgd(0.1)),
]


@pytest.mark.parametrize("make", TORCHOPT_APART)
def test_what_may_tell_tensors_apart_is_shown_tensors(make):
    assert not as_update("x", make())._alike


def test_a_clipped_norm_is_that_of_all_tensors():
    start = {"a": torch.full((3,), 3.0, dtype=F64), "b": torch.full((1, 4), 4.0)}
    for update in (torchopt.chain(mlo.clip_norm(0.5), torchopt.sgd(1.0)), mlo.Clipped(torchopt.sgd(1.0), max_norm=0.5)):
        rule = as_update("x", update)
        moved, _ = rule.apply(Flat.of(start), Flat.of(start), rule.init(start), {})
        way = torch.cat([(moved[name] - start[name]).double().reshape(-1) for name in start])
        assert float(way.norm()) == pytest.approx(0.5, rel=1e-6)


KINDS = [
    functools.partial(OPTIM.SGD, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    functools.partial(OPTIM.Adam, lr=0.1, amsgrad=True),
    functools.partial(OPTIM.AdamW, lr=0.1),
    functools.partial(OPTIM.NAdam, lr=0.1),
    functools.partial(OPTIM.RAdam, lr=0.1),
    functools.partial(OPTIM.Adamax, lr=0.1),
    functools.partial(OPTIM.RMSprop, lr=0.1, centered=True, momentum=0.5),
    functools.partial(OPTIM.Adagrad, lr=0.1, lr_decay=0.1),
    functools.partial(OPTIM.Adadelta, lr=0.1),
    functools.partial(OPTIM.ASGD, lr=0.1),
    functools.partial(OPTIM.Rprop, lr=0.1),
    lambda tensors: StepLR(OPTIM.SGD(tensors, lr=0.1, momentum=0.9), step_size=1),
]


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize("factory", KINDS)
def test_torch_optim_moves_whole_vectors(factory, recording):
    def run(start):
        rule = as_update("x", factory, start)
        whole = all("vector" in name for names in rule._shape(Flat.of(start)).names for name in names)
        assert whole or list(start) == ["b"]  # one number may not be told from a setting that is a tensor
        return trail(rule, start)

    with torch.set_grad_enabled(recording):
        whole, apart = run(START), {}
        for name, value in START.items():
            apart |= run({name: value})
    assert all(torch.equal(whole[name], apart[name]) for name in START)


@pytest.mark.parametrize("split", [["a"], ["b"], ["a", "c"], ["c", "b"]])
def test_groups_of_parameters_are_one_vector_each(split):
    """Against torch itself, on the parameters."""

    def factory(tensors):
        named = dict(zip(START, tensors, strict=True))
        rest = [value for name, value in named.items() if name not in split]
        settings = [{"params": [named[n] for n in split], "lr": 0.3}, {"params": rest, "weight_decay": 0.2}]
        return OPTIM.SGD(settings, lr=0.1, momentum=0.9)

    rule = as_update("x", factory, START)
    params, state = Flat.of(START), rule.init(START)
    theirs = {name: value.clone().requires_grad_() for name, value in START.items()}
    optimizer = factory(list(theirs.values()))
    for step in range(1, 4):
        slope = {name: (value * step).sin() for name, value in params.items()}
        for name, value in theirs.items():
            value.grad = slope[name].clone()
        optimizer.step()
        params, state = rule.apply(params, slope, state, {})
    assert all(torch.equal(params[name], theirs[name]) for name in START)
    shown = rule._shape(params)
    kinds = [{START[n].dtype for n in names} for names in (split, [n for n in START if n not in split])]
    assert [len(names) for names in shown.names] == [len(kind) for kind in kinds]


@pytest.mark.parametrize("kind", [OPTIM.SGD, OPTIM.Adam, OPTIM.ASGD, OPTIM.Adagrad])
@pytest.mark.parametrize("used", [tuple(START), ("a", "c"), ("c",)])
def test_the_state_that_an_optimizer_holds_goes_on(kind, used):
    theirs = {name: value.clone().requires_grad_() for name, value in START.items()}
    optimizer = kind(theirs.values(), lr=0.1, **({"momentum": 0.9} if kind is OPTIM.SGD else {}))
    sum((theirs[name] ** 2).sum() for name in used).backward()
    optimizer.step()
    start = {name: value.detach().clone() for name, value in theirs.items()}
    rule = as_update("x", optimizer, theirs)
    params, state = Flat.of(start), rule.init(start)
    for step in range(1, 4):
        slope = {name: (value * step).sin() for name, value in params.items()}
        for name, value in theirs.items():
            value.grad = slope[name].clone()
        optimizer.step()
        params, state = rule.apply(params, slope, state, {})
    for name in START:  # torch counts steps in float32, so that bias corrections differ
        torch.testing.assert_close(params[name], theirs[name].detach(), rtol=1e-4, atol=1e-5)
    if kind is OPTIM.SGD:  # one vector, if all that lies in it have a momentum
        assert ("vector" in rule._shape(params).names[0][0]) == (used != ("a", "c"))


def test_a_state_that_some_parameters_have_is_not_lost():
    """As where a momentum was begun for some of them: the first has none, which is not to stand for all."""
    layout = Flat.of({"a": torch.zeros(2), "b": torch.zeros(3)}).layout
    grouped = Grouped(layout, [["a", "b"]], whole=True)
    begun = {"momentum_buffer": torch.ones(3)}
    assert grouped.packed({"a": {"momentum_buffer": None}, "b": begun}) is None
    both = grouped.packed({"a": {"momentum_buffer": None}, "b": {"momentum_buffer": None}})
    assert list(both.values()) == [{"momentum_buffer": None}]
    assert grouped.packed({"a": {"step": 1.0}, "b": {"step": 2.0}}) is None


def test_an_optimizer_that_may_look_at_shapes_is_shown_tensors():
    class Own(OPTIM.SGD):
        def step(self, closure=None):
            return super().step(closure)

    assert as_update("x", functools.partial(Own, lr=0.1), START)._shape(Flat.of(START)).names == (tuple(START),)


def test_any_division_into_groups_comes_back_as_it_was():
    layout = Flat.of(START).layout
    for order in itertools.permutations(START):
        for cut in range(1, 3):
            for whole in (False, True):
                grouped = Grouped(layout, [order[:cut], order[cut:]], whole=whole)
                again = grouped.taken(grouped.shown(START))
                assert list(again) == list(START)
                assert all(torch.equal(again[name], START[name]) for name in START)


def test_numbers_of_updates_are_on_the_host_and_the_rest_is_where_the_variable_is():
    with FakeTensorMode():  # shapes and devices, without numbers and without the device
        start = {"a": torch.zeros(3, device="cuda"), "b": torch.zeros(2, 2, device="cuda")}
        for make in (torchopt.adam(lambda count: 0.1 / (1 + count)), torchopt.sgd(0.1, momentum=0.9)):
            rule = as_update("x", make)
            params, state = Flat.of(start), rule.init(start)
            for _ in range(2):
                params, state = rule.apply(params, params, state, {})
            leaves = [leaf for leaf in optree.tree_leaves(state) if isinstance(leaf, torch.Tensor)]
            assert all(leaf.device.type == ("cuda" if leaf.is_floating_point() else "cpu") for leaf in leaves)
            assert params["b"].device.type == "cuda"
