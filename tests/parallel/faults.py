"""Ways in which ranks fail, for the children of a launch."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time

import torch
import torch.distributed as dist
import torchopt

import mlo
from tests.parallel.graphs import Share, bilevel, chain, data, decayed, linear
from tests.parallel.trained import flat

CULPRIT = 1


class BrokenError(Exception):
    """Of no kind that the library knows."""


def fail(how):
    if how == "raises":
        raise BrokenError("no such picture")
    if how == "interrupted":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    if how == "exits":
        os._exit(3)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "diverges":
        return float("nan")
    return 0.0


class Fault:
    """Fails in its call number `at`, on the culprit alone or on all ranks."""

    def __init__(self, how, at, *, alone=True):
        self.how, self.at, self.alone, self.calls = how, at, alone, 0

    def __call__(self):
        self.calls += 1
        due = self.calls == self.at and (dist.get_rank() == CULPRIT or not self.alone)
        return fail(self.how) if due else 0.0


def mine():
    return Share(dist.get_rank(), dist.get_world_size())


def faulty(fault):
    def loss(v, batch):
        return decayed(v, batch) + fault()

    return loss


def in_loss(how, at, rule):
    for _ in mlo.Engine(bilevel(rule, mine(), 7, loss=faulty(Fault(how, at)))).run(4):
        pass


def in_backward(how):
    """Fail inside a second derivative."""
    fault = Fault(how, 8)

    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, cotangent):
            fault()
            return Same.apply(cotangent)

    def loss(v, batch):
        return Same.apply(decayed(v, batch))

    for _ in mlo.Engine(bilevel(mlo.Implicit(mlo.CG()), mine(), 7, loss=loss)).run(4):
        pass


def in_loader(how):
    class Batches:
        def __iter__(self):
            for batch in data(2, 7, mine()):
                fault()
                yield batch

    fault = Fault(how, 2)
    lower = mlo.Problem("w", decayed, linear(), reads=["a"], update=torchopt.sgd(0.1), batches=Batches())
    upper = bilevel(mlo.Unroll(), mine(), 7).problems[0]
    for _ in mlo.Engine(mlo.ProblemGraph([upper, lower])).run(4):
        pass


def in_gradient(how):
    mlo.hypergradient(bilevel(mlo.Unroll(), mine(), 7, loss=faulty(Fault(how, 2))), of="a")


def in_stage(how):
    """Fail on a member that has half of the stages."""
    torch.manual_seed(0)
    graph = chain(mlo.Unroll(), Share(), 7)
    fault = Fault(how, 3)
    plain = graph.problems[-1].loss
    object.__setattr__(graph.problems[-1], "loss", lambda v, b: plain(v, b) + fault())
    other = graph.problems[-2].loss
    object.__setattr__(graph.problems[-2], "loss", lambda v, b: other(v, b) + fault())
    for _ in mlo.Engine(graph, parallel=mlo.Parallel(stages=dist.get_world_size())).run(4):
        pass


class Locked:
    """A part of a batch that cannot be pickled, so that it cannot be lent to a rank that has none."""

    def __init__(self):
        self.lock = threading.Lock()


def in_lending(how):
    """The rank that has data cannot lend it; it lives on for a while, so that no connection ends."""
    share = mine()
    batches = [(x, y, Locked()) for x, y in data(2, 4, Share())] if share.rank == CULPRIT else []

    def loss(v, batch):
        return decayed(v, batch[:2])

    lower = mlo.Problem("w", loss, linear(), reads=["a"], update=torchopt.sgd(0.1), batches=batches)
    upper = bilevel(mlo.Unroll(), mine(), 7).problems[0]
    try:
        mlo.Engine(mlo.ProblemGraph([upper, lower])).step()
    finally:
        if share.rank == CULPRIT:
            time.sleep(3)


def alike(how):
    """All ranks fail at one place: return what they raised, and what came of the steps after it."""
    fault = Fault(how, 5, alone=False)
    engine = mlo.Engine(bilevel(mlo.Unroll(), mine(), 7, loss=faulty(fault)))
    engine.step()
    before = flat(engine.values)
    try:
        engine.step()
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
    kept = torch.equal(before, flat(engine.values))
    for _ in engine.run(3):
        pass
    return raised, kept, engine.step_count, flat(engine.values).numpy()


def again(folder):
    """Go on after another rank has failed: with the engine, with a new one, and in a new process group."""
    engine = mlo.Engine(bilevel(mlo.Unroll(), mine(), 7, loss=faulty(Fault("raises", 2))))
    plain = bilevel(mlo.Unroll(), mine(), 7)
    found = []
    for _ in range(2):
        try:
            engine.step()
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    try:
        mlo.Engine(plain)
    except mlo.RankError as error:
        found.append(f"RankError: {error}")
    rank, world = dist.get_rank(), dist.get_world_size()
    dist.destroy_process_group()
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/anew", world), rank=rank, world_size=world)
    for _ in mlo.Engine(plain).run(2):
        pass
    return found


def nothing_anywhere():
    lower = mlo.Problem("w", decayed, linear(), reads=["a"], update=torchopt.sgd(0.1), batches=[])
    mlo.Engine(mlo.ProblemGraph([bilevel(mlo.Unroll(), mine(), 7).problems[0], lower])).step()


def different(what):
    """Build or do something else on the last rank."""
    other = dist.get_rank() == dist.get_world_size() - 1
    options = {
        "steps": {"steps": 3 + other},
        "step size": {"update": torchopt.sgd(0.1 + 0.1 * other)},
    }.get(what, {})
    rule = mlo.FirstOrder() if what == "rule" and other else mlo.Unroll()
    graph = bilevel(rule, mine(), 7, **options)
    if what == "batches" and other:
        graph = mlo.ProblemGraph([graph.problems[0], dataclasses.replace(graph.problems[1], batches=None)])
    engine = mlo.Engine(graph, look_ahead=what == "look-ahead" and other)
    engine.step()
    if what == "a call" and other:
        mlo.hypergradient(engine.graph, of="a")
    engine.step(frozen=what == "frozen" and other)
