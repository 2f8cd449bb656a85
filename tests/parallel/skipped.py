"""Steps that met a number which is not finite on one rank, for the children of a launch."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torchopt

import mlo
from tests.parallel.faults import CULPRIT, BrokenError
from tests.parallel.graphs import Share, chain, data, decayed, linear
from tests.parallel.trained import flat


def spoilt(seed, at):
    """Return this rank's share of six batches; those of the numbers `at` have NaN in an example of the culprit."""
    batches = data(seed, 8, Share(dist.get_rank(), dist.get_world_size()), count=6)
    if dist.get_rank() == CULPRIT:
        for index in at:
            batches[index][0][2, 1] = float("nan")
    return batches


def graph(at, *, loss=decayed):
    rule = {"update": torchopt.sgd(0.1)}
    upper = mlo.Problem(
        "a", lambda v, b: v.w(b[0]).square().mean(), torch.zeros(3).double(), reads=["w"], batches=spoilt(1, ()), **rule
    )
    return mlo.ProblemGraph([upper, mlo.Problem("w", loss, linear(), reads=["a"], batches=spoilt(2, at), **rule)])


def skipping(policy):
    """Batches 2 and 3 are spoilt: return what the reports say, and the values at the end."""
    engine = mlo.Engine(graph((1, 2)), on_divergence=policy)
    found = [report.skipped for report in engine.run(4)]
    return found, engine.step_count, flat(engine.values).numpy()


def clean():
    """Make the same steps with the batches that are left."""
    found = graph(())
    for problem in found.problems:
        object.__setattr__(problem, "batches", [b for i, b in enumerate(problem.batches) if i not in (1, 2)])
    engine = mlo.Engine(found)
    for _ in engine.run(4):
        pass
    return flat(engine.values).numpy()


def given_up():
    """All batches are spoilt: return the error, and whether the state is as it was."""
    engine = mlo.Engine(graph(range(6)), on_divergence=mlo.Skip(in_a_row=2))
    before = flat(engine.values)
    try:
        engine.step()
    except mlo.DivergenceError as error:
        return str(error), list(error.__notes__), torch.equal(before, flat(engine.values)), engine.step_count


def another_error():
    """At the same place, the culprit meets NaN and the others an error of their own: nobody may skip."""

    def loss(v, batch):
        if dist.get_rank() != CULPRIT:
            raise BrokenError("no such picture")
        raise mlo.DivergenceError("a user's own check", problem="w")

    engine = mlo.Engine(graph((), loss=loss), on_divergence=mlo.Skip())
    try:
        engine.step()
    except Exception as error:
        return type(error).__name__, str(error), list(error.__notes__)


def alone(how):
    """The culprit alone meets an error of its own before the others could."""

    def loss(v, batch):
        if dist.get_rank() == CULPRIT:
            raise mlo.DivergenceError("a user's own check", problem="w") if how == "diverges" else BrokenError("no")
        return decayed(v, batch)

    engine = mlo.Engine(graph((), loss=loss), on_divergence=mlo.Skip())
    engine.step()


def policies_differ():
    mlo.Engine(graph(()), on_divergence=mlo.Skip(2 + dist.get_rank()))


def stages():
    """Two members share the stages of a chain, of which one batch is spoilt."""
    torch.manual_seed(0)
    found = chain(mlo.Unroll(), Share(), 6)
    last = found.problems[-1]
    last.batches[1][0][0, 0] = float("nan")
    torch.manual_seed(0)
    engine = mlo.Engine(found, parallel=mlo.Parallel(stages=2), on_divergence=mlo.Skip())
    reports = [report.skipped for report in engine.run(3)]
    return reports, flat(engine.values).numpy()


def all_cases():
    """Everything after which the ranks can go on, in one launch."""
    return {
        "skip": skipping(mlo.Skip()),
        "clean": clean(),
        "given up": given_up(),
        "another": another_error(),
        "stages": stages(),
    }
