"""Several steps of a search in both forms: the same weights, statistics and architecture in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import mlo
from applications.nas.formulations import ARCHITECTURE, Learner, build_graph, looks_ahead
from applications.nas.methods import AbstractMethod, Darts, PCDarts, PDarts, Progress
from applications.nas.networks.batched import in_form, plain_state
from applications.nas.networks.batched.supernet import BatchedSupernet
from applications.nas.networks.supernet import Supernet
from applications.nas.settings import Formulation, Interleaving, MultiTask, SearchSettings, SingleTask
from applications.nas.space.cell import CellSpace
from tests.nas.tiny import setup

# A finite difference enlarges rounding some hundredfold, and three steps carry it on. Seen: below 1e-13 without one,
# 1e-11 with one.
ROUNDING = {"first": 1e-12, "exact": 1e-12, "difference": 1e-10}
SPACE = CellSpace(2, ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"))
METHODS: list[AbstractMethod] = [Darts(), PDarts(), PCDarts(portion=2)]
FORMULATIONS = [SingleTask(), MultiTask(), Interleaving(weight=10.0)]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """torchopt's Adam corrects its moments in the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def learner(name: str, classes: int, method: AbstractMethod, form: str) -> Learner:
    torch.manual_seed(classes)
    plain = Supernet(SPACE, 4, 3, classes, in_channels=1, mixed=method.mixed_operation)
    batches = [(torch.randn(3, 1, 8, 8), torch.arange(3) % classes) for _ in range(2)]
    net = in_form(plain, form)  # type: ignore[arg-type]
    method.begin_epoch(net, Progress(1, 0, 5))  # P-DARTS: the second stage, whose skip connections have dropout
    return Learner(name, net, batches[:1], batches[1:])


def searched(settings: SearchSettings, method: AbstractMethod, form: str) -> dict[str, Tensor]:
    """Return everything that a search has come to, by the names of the plain form."""
    single = isinstance(settings.formulation, SingleTask)
    learners = [learner(name, classes, method, form) for name, classes in (("a", 3), ("b", 5))[: 1 if single else 2]]
    drawn = {
        name: 100 * table.double() for name, table in method.initial(SPACE, torch.Generator().manual_seed(3)).items()
    }
    engine = mlo.Engine(build_graph(learners, drawn, settings), look_ahead=looks_ahead(settings))
    torch.manual_seed(11)  # of dropout
    for _ in engine.run(3):
        pass
    found = {name: value.detach() for name, value in engine.export(ARCHITECTURE).items()}
    for name in engine.graph.names:
        net = engine.export(name)
        if isinstance(net, nn.Module):
            state = plain_state(net) if isinstance(net, BatchedSupernet) else net.state_dict()
            found |= {f"{name} {key}": value.double() for key, value in state.items()}
    return found


# Every formulation meets every rule and every method once; so do rules and methods.
CASES = [
    (formulation, rule, METHODS[(row + column) % 3])
    for row, formulation in enumerate(FORMULATIONS)
    for column, rule in enumerate(ROUNDING)
]


@pytest.mark.parametrize(("formulation", "rule", "method"), CASES)
def test_three_steps_of_a_search(formulation: Formulation, rule: str, method: AbstractMethod) -> None:
    """Clip, decay and proximal step take the same entries, in whichever tensors they lie."""
    settings = replace(setup(formulation, rule, clip=1.0, decay=0.01), method=method)
    plain, batched = (searched(settings, method, form) for form in ("plain", "batched"))
    assert set(plain) == set(batched)
    for name, value in plain.items():
        size = max(1.0, float(value.abs().max()))
        assert float((batched[name] - value).abs().max()) <= ROUNDING[rule] * size, name
