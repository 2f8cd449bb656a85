"""An engine that is restored goes on, bit for bit, as one that was not stopped."""

from __future__ import annotations

import json
from functools import partial
from typing import NamedTuple

import hypothesis.strategies as st
import pytest
import torch
import torchopt
from hypothesis import given

import mlo
from tests.checkpoints import LOWER, UPPER, assert_same, check, engine, run, small


def scheduled(module):
    optimizer = torch.optim.AdamW([{"params": module[0].parameters()}, {"params": module[1:].parameters(), "lr": 0.03}])
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)


scheduled.of_module = True


class Lion(torch.optim.Optimizer):
    """An optimizer that torch does not know, with a state of its own that begins with its first step."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for value in group["params"]:
                slots = self.state[value]
                slots["mean"] = 0.9 * slots.get("mean", torch.zeros_like(value)) + 0.1 * value.grad
                slots["seen"] = slots.get("seen", 0) + 1
                value.sub_(group["lr"] * slots["mean"].sign())


class Averaged(NamedTuple):
    """The state of an update of a user's own."""

    mean: dict
    count: int


def averaged():
    def init(params):
        return Averaged({key: torch.zeros_like(value) for key, value in params.items()}, 0)

    def update(updates, state, *, params=None, inplace=True):
        mean = {key: 0.5 * state.mean[key] + 0.5 * value for key, value in updates.items()}
        return {key: -0.1 * value for key, value in mean.items()}, Averaged(mean, state.count + 1)

    return torchopt.base.GradientTransformation(init, update)


OPTIMIZERS = ["Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"]
UPDATES = {
    "momentum": torchopt.sgd(0.1, momentum=0.9),
    "adam": torchopt.adam(0.02),
    "schedule": torchopt.adam(torchopt.schedule.linear_schedule(0.05, 0.01, 8, 0)),
    "chain": torchopt.chain(mlo.clip_norm(0.5), torchopt.adamw(0.02, weight_decay=0.01)),
    "rmsprop": torchopt.rmsprop(0.01, centered=True),
    "clipped": mlo.Clipped(torchopt.sgd(0.1, momentum=0.9), max_norm=0.3),
    "torch scheduler": scheduled,
    "an unknown class": Lion,
    "a user's own": averaged(),
    **{f"torch {name}": getattr(torch.optim, name) for name in [*OPTIMIZERS, "Adafactor"]},
    "torch momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "torch amsgrad": partial(torch.optim.AdamW, lr=0.01, amsgrad=True),
}


def response(name):
    """Differentiate no step where a step may have no derivative."""
    odd = ("torch Rprop", "torch Adafactor", "an unknown class")
    return {"response": mlo.FirstOrder()} if name in odd else {}


@pytest.mark.parametrize("name", list(UPDATES))
def test_every_update(tmp_path, name):
    check(lambda: engine(UPDATES[name], **response(name)), tmp_path / "kept")


@given(
    names=st.tuples(st.sampled_from(list(UPDATES)), st.sampled_from(["momentum", "adam", "clipped", "torch NAdam"])),
    look_ahead=st.booleans(),
    before=st.integers(0, 4),
    frozen=st.booleans(),
)
def test_any_engine(tmp_path_factory, names, look_ahead, before, frozen):
    lower, upper = names

    def make():
        made = engine(UPDATES[lower], UPDATES[upper], look_ahead=look_ahead, **response(lower))
        return made if not frozen else warmed(made)

    check(make, tmp_path_factory.mktemp("any") / "kept", before=before, after=2)


def warmed(engine):
    engine.step(frozen=True)
    return engine


def test_a_learned_learning_rate(tmp_path):
    def make():
        update = mlo.Learned(lambda v: torchopt.sgd((v.x[0] - 3).exp(), momentum=0.9), reads=["x"])
        return engine(update)

    check(make, tmp_path / "kept")


@pytest.mark.filterwarnings("ignore::mlo.UnconvergedWarning")  # two terms are few on purpose
def test_a_linear_solve_that_starts_from_the_one_before(tmp_path):
    def make():
        return engine(torchopt.sgd(0.05), response=mlo.Implicit(mlo.CG(max_steps=2, tol=1e-14)))

    check(make, tmp_path / "kept", before=4)
    assert json.loads((tmp_path / "kept" / "mlo.json").read_text())["warned"] == [["adjoint", "w", 4]]


def test_an_adjoint_that_is_trained(tmp_path):
    def make():
        return single(torchopt.sgd(0.05))

    check(make, tmp_path / "kept", before=5)


def single(update):
    def far(v, batch):
        return ((v.w - batch) ** 2).sum()

    def near(v, batch):
        return ((v.w - batch) ** 2 + v.x.exp() * v.w**2).sum()

    low = {"reads": ["x"], "update": update, "batches": LOWER[:1], "response": mlo.SingleLoop(step_size=0.1)}
    x = mlo.Problem("x", far, torch.zeros(3).double(), reads=["w"], update=torchopt.sgd(0.05), batches=UPPER[:1])
    return mlo.Engine(mlo.ProblemGraph([x, mlo.Problem("w", near, torch.ones(3).double(), **low)]))


@pytest.mark.parametrize("anchor", ["none", "cyclic"])
@pytest.mark.parametrize("weight", [0.5, mlo.Learned(lambda v: v.x[0].exp(), reads=["x"])], ids=["fixed", "learned"])
def test_interleaving(tmp_path, anchor, weight):
    def make():
        def learner(name, update):
            def loss(v, batch):
                return ((v[name]["body"] * batch[0] + v[name]["head/a"] - 3) ** 2 * v.x.exp()).sum()

            start = {"body": torch.ones(3).double(), "head/a": torch.zeros(3, dtype=torch.float64)}
            return mlo.Problem(name, loss, start, reads=["x"], update=update, batches=[LOWER])

        learners = [learner("a/b", torchopt.sgd(0.1)), learner("c", torchopt.adam(0.1))]
        proximal = mlo.Proximal(weight, step_size=0.1, anchor=anchor)
        stages = mlo.interleave(learners, rounds=2, proximal=proximal, shared="body")
        reads = [stage.name for stage in stages[:2]]

        def outer(v, batch):
            return sum(((v[name]["body"] * batch[0] - 1) ** 2).sum() for name in reads) + (v.x**2).sum()

        x = mlo.Problem("x", outer, torch.zeros(3).double(), reads=reads, update=torchopt.adam(0.05), batches=[UPPER])
        return mlo.Engine(mlo.ProblemGraph([x, *stages]))

    check(make, tmp_path / "kept", before=2)


def test_a_snapshot_is_not_changed_by_steps(tmp_path):
    one, other = engine(), engine()
    run(one, 2), run(other, 2)
    kept = one.snapshot()
    run(one, 2)
    one.rewind(kept)
    assert_same(one, other)
    run(one, 3), run(other, 3)
    assert_same(one, other)


def test_saving_and_restoring_leave_generators_and_the_engine_alone(tmp_path):
    class Noisy(torch.optim.SGD):
        def step(self, closure=None):
            torch.rand(())
            return super().step(closure)

    one, other = (engine(partial(Noisy, lr=0.1, momentum=0.9), response=mlo.FirstOrder()) for _ in range(2))
    run(one, 2), run(other, 2)
    state = torch.get_rng_state()
    mlo.save(one, tmp_path / "kept")
    mlo.restore(one, tmp_path / "kept")
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(one, other)
    run(one, 2), run(other, 2)
    assert_same(one, other)


def test_in_any_mode_of_autograd(tmp_path):
    one, other = engine(), engine()
    with torch.inference_mode():
        run(one, 2)
        mlo.save(one, tmp_path / "kept")
        mlo.restore(other, tmp_path / "kept")
        assert torch.is_inference_mode_enabled()
    run(one, 2), run(other, 2)
    assert_same(one, other)


ODD = {
    "names": {"a/b": torch.ones(2), "a%2Fb": torch.ones(1), "ü w": torch.ones(1), "": torch.ones(1), 3: torch.ones(1)},
    "types": {"a": torch.ones(2).double(), "b": torch.ones(3), "c": torch.ones(2, dtype=torch.bfloat16)},
    "shapes": {"none": torch.ones(()), "empty": torch.ones(0, 3), "strided": torch.ones(3, 2).t()},
}


@pytest.mark.parametrize("weights", ODD.values(), ids=list(ODD))
def test_odd_variables(tmp_path, weights):
    check(lambda: small(weights=weights), tmp_path / "kept")
