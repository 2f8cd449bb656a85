"""A problem's loss at solved answers, recorded from end to end: what autograd makes of the same thing."""

from __future__ import annotations

import torch
from torch import Tensor

from mlo.context import Context
from mlo.evaluate import call_loss
from mlo.solve import solve
from mlo.writable import Writable


def objective(context: Context, name: str) -> Tensor:
    """Return a problem's loss at solved answers, as autograd sees it: the reference for what `total_gradient` sweeps.

    The result carries its history from every value in `context` that requires a gradient, through all solves.
    """
    with torch.enable_grad():
        for responder in context.graph.inside(name):
            _, trace = solve(context, responder, differentiable=True)
            context = context.after(responder, trace)
        buffers = Writable(context.buffers[name])
        present = {other: context.values[other] for other in (name, *context.graph[name].dependencies)}
        return call_loss(context, name, present, buffers)
