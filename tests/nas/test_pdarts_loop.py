"""A stage of P-DARTS with dropout, warm-up and both clips against a loop written with torch's own optimizers."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

import mlo
from applications.nas.formulations import ARCHITECTURE, Clock, build_graph, looks_ahead
from applications.nas.methods import PDarts, Progress
from applications.nas.methods.pdarts import DroppedSkip
from applications.nas.settings import ArchitectureSettings, SingleTask
from tests.nas.tiny import ALPHAS, learner, setup

METHOD = PDarts(deeper=(0,), kept=(1.0,), dropout=(0.5,), warm_up=0.5)
EPOCHS, RATES = 4, [0.5 * 3 / 4, 0.5 * 2 / 4, 0.5, 0.5 * math.exp(-0.2)]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """torchopt's Adam corrects its moments in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("clip", [1e9, 1e-3])
def test_a_stage_equals_a_plain_loop(clip: float) -> None:
    """Four epochs of one step, the architecture resting in two: Adam's first step is that of the third."""
    one = learner("a", 3, method=METHOD)
    network = copy.deepcopy(one.network)
    settings = replace(
        setup(SingleTask(), "first", clip=0.5), method=METHOD, architecture=ArchitectureSettings(lr=0.05, clip=clip)
    )
    clock = Clock(0, EPOCHS)
    engine = mlo.Engine(build_graph([one], ALPHAS, settings, clock=clock), look_ahead=looks_ahead(settings))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for epoch in range(EPOCHS):
            clock.now = Progress(0, epoch, EPOCHS)
            METHOD.begin_epoch(one.network, clock.now)
            engine.step(frozen=epoch < 2)
    alphas = {name: table.clone().requires_grad_() for name, table in ALPHAS.items()}
    sgd = torch.optim.SGD(network.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(alphas.values(), 0.05, betas=(0.5, 0.999), weight_decay=1e-3)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for epoch in range(EPOCHS):
            sgd.param_groups[0]["lr"] = 0.001 + 0.024 * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2
            for module in network.modules():
                if isinstance(module, DroppedSkip):
                    module.rate = RATES[epoch]
            for step, (x, y) in ((sgd, one.train[0]), (adam, one.valid[0])):  # type: ignore[index]
                if step is adam and epoch < 2:
                    continue
                network.zero_grad()
                adam.zero_grad()
                cross_entropy(network(x, {name: table.softmax(-1) for name, table in alphas.items()}), y).backward()
                clip_grad_norm_(network.parameters(), 0.5) if step is sgd else clip_grad_norm_(alphas.values(), clip)
                step.step()
    # torch divides by |g| + 1e-6 where it clips, ours by |g|: a relative 1e-5 of a clipped gradient; seen: 1e-7
    for name, table in alphas.items():
        torch.testing.assert_close(engine.values[ARCHITECTURE][name], table.detach(), rtol=0, atol=1e-6)
        assert float((table.detach() - ALPHAS[name]).abs().max()) > 0.05
    for name, value in network.named_parameters():
        torch.testing.assert_close(engine.values["a"][name], value.detach(), rtol=0, atol=1e-6)
