"""What is trained on ranks and on one process."""

from __future__ import annotations

from functools import partial

import torch
import torchopt

import mlo
from tests.parallel.graphs import bilevel, chain, learned, network, scaled, trilevel
from tests.parallel.trained import Case

CG = mlo.CG(max_steps=50, tol=1e-12)
# Differences of differences would amplify rounding by 1 / (2 h)^2: with a larger h that is nothing.
COARSE = mlo.Unroll(product=mlo.FiniteDifference(epsilon=0.01))
THREE = {
    "unroll": mlo.Unroll(),
    "cg": mlo.Implicit(CG),
    "difference": mlo.Unroll(product=mlo.FiniteDifference()),
}
ISSUE = [
    Case(f"{make.__name__} {name}", partial(make, COARSE if (make, name) == (trilevel, "difference") else rule, size=7))
    for make in (bilevel, trilevel, chain)
    for name, rule in THREE.items()
] + [Case("shares of one size", partial(bilevel, mlo.Unroll(), size=12))]


RESPONSES = {
    "recompute": mlo.Unroll(memory=mlo.Recompute()),
    "forward": mlo.Unroll(memory=mlo.Forward()),
    "truncated": mlo.Unroll(truncate=2),
    "first order": mlo.FirstOrder(),
    "implicit difference": mlo.Implicit(CG, product=COARSE.product),
    "gmres": mlo.Implicit(mlo.GMRES(max_steps=50, tol=1e-12)),
    "nystrom": mlo.Implicit(mlo.Nystrom(rank=3)),
    "dense": mlo.Implicit(mlo.Dense()),
    "neumann": mlo.Implicit(mlo.Neumann(max_steps=20, step_size=0.1)),
    "identity": mlo.Implicit(mlo.Identity(0.1)),
    "damped": mlo.Implicit(mlo.Damped(CG, 0.1)),
    "fixed point": mlo.FixedPoint(mlo.GMRES(max_steps=50, tol=1e-12)),
    "penalty": mlo.Penalty(10.0, steps=20),
}
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
SMOOTH = partial(bilevel, mlo.Unroll(), size=7, loss=scaled, model=network)
OTHERS = [Case(name, partial(bilevel, rule, size=7)) for name, rule in RESPONSES.items()] + [
    Case("net", SMOOTH),
    Case("torch.optim", partial(SMOOTH, update=SGD, top=partial(torch.optim.Adam, lr=0.05))),
    Case("clipped", partial(SMOOTH, update=mlo.Clipped(torchopt.sgd(0.1), 0.5))),
    Case("single loop", partial(bilevel, mlo.SingleLoop(0.1), size=7, steps=1)),
    Case("learned", partial(learned, size=7)),
    Case("chunks", partial(SMOOTH, accumulate=3)),
    Case("look-ahead", SMOOTH, {"look_ahead": True}),
    Case("frozen", SMOOTH, frozen=(0, 2)),
    Case("partial", partial(trilevel, mlo.Unroll(), size=7), {"partial": True}),
    Case("one example", partial(bilevel, mlo.Unroll(), size=1)),  # so that all ranks but one have none
]
THIN = [
    case for case in OTHERS if case.name in ("one example", "chunks", "partial", "implicit difference", "torch.optim")
]
