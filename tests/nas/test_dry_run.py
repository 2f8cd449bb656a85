"""The dry run: what it says is what the search then does, and it does nothing itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import mlo
from applications.nas.cli import main
from applications.nas.data import Images
from applications.nas.dry_run import Plan, describe, make_plan, saved_bytes, time_step
from applications.nas.dry_run.blank import blank_tasks
from applications.nas.formulations import looks_ahead
from applications.nas.methods import AbstractMethod, Darts, PCDarts, PDarts, Progress
from applications.nas.presets import SEARCH
from applications.nas.search import begin, chosen_tasks, search
from applications.nas.search import record as module
from applications.nas.search.stage import prepare
from applications.nas.settings import (
    CifarData,
    FashionData,
    FolderData,
    Formulation,
    GradientSettings,
    ImageNetData,
    Interleaving,
    MultiTask,
    SearchSettings,
    SingleTask,
    SupernetSettings,
    WatchSettings,
)
from applications.nas.watch import first_batch
from mlo.meter import LiveBytes
from tests.nas.test_search import SETTINGS

SMALL = replace(
    SETTINGS,
    supernet=SupernetSettings(nodes=1, primitives=("none", "skip_connect", "sep_conv_3x3"), channels=4, layers=3),
    batch=32,
)


def lines(plan: Plan) -> list[str]:
    return [line.strip() for line in describe(plan).splitlines()]


def measured_peak(settings: SearchSettings) -> int:
    """The most bytes of tensors that are alive while the first step of a search is prepared and made."""
    course = begin(replace(settings.resolved(), watch=WatchSettings(gap=False)), chosen_tasks(settings))
    with LiveBytes() as meter:
        prepared = prepare(course, 0, settings.supernet.space)
        engine = mlo.Engine(prepared.graph, look_ahead=looks_ahead(settings))
        engine.step()
    return meter.peak


@pytest.mark.parametrize(
    ("rule", "form"),
    [
        ("first", MultiTask()),
        ("difference", Interleaving(weight=20.0)),
        ("exact", SingleTask()),
        ("exact", Interleaving(weight=20.0)),
        ("exact", Interleaving(weight=20.0, rounds=1, start="previous", updates=2)),
    ],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_memory_is_what_a_search_takes(rule: str, form: Formulation) -> None:
    """The estimate knows what is saved for backward passes, not what they hold in passing: some percent more."""
    settings = replace(SMALL, formulation=form, gradient=GradientSettings(rule))  # type: ignore[arg-type]
    estimate = make_plan(settings).stages[0].memory
    assert estimate.total == pytest.approx(measured_peak(settings), rel=0.15)
    assert estimate.activations > 5 * estimate.weights, "so that activations are what is tested"


def test_memory_of_several_updates() -> None:
    form = Interleaving(weight=20.0, rounds=1, start="previous", updates=3)
    settings = replace(SMALL, formulation=form, gradient=GradientSettings("difference"))
    assert make_plan(settings).stages[0].memory.total == pytest.approx(measured_peak(settings), rel=0.15)


@pytest.mark.parametrize("method", [PCDarts(portion=2), PDarts(dropout=(0.5,), kept=(1.0,), deeper=(0,))], ids=str)
def test_memory_of_other_methods(method: AbstractMethod) -> None:
    settings = replace(SMALL, method=method)
    assert make_plan(settings).stages[0].memory.total == pytest.approx(measured_peak(settings), rel=0.15)


def test_saved_bytes_by_hand() -> None:
    """x * y saves both factors once, however often they are used; weights that are known do not count."""
    x, y = (torch.ones(10, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert saved_bytes(lambda: x * y) == 160
    assert saved_bytes(lambda: (x * y, x * y, x[:5] * y[:5])) == 160
    assert saved_bytes(lambda: x * y, known=[y]) == 80
    assert saved_bytes(lambda: x + y) == 0
    layer = nn.Linear(3, 4, device="meta")
    batch = torch.empty(5, 3, device="meta")
    assert saved_bytes(lambda: layer(batch).exp(), known=[*layer.parameters(), batch]) == 5 * 4 * 4


def test_the_hessian_takes_memory_of_its_own() -> None:
    settings = replace(SMALL, formulation=MultiTask())
    plain = make_plan(settings).stages[0].memory
    watched = make_plan(replace(settings, watch=WatchSettings(eigenvalue=1))).stages[0].memory
    assert watched.activations > plain.activations
    assert watched.graphs == "2 differentiable gradients, for the Hessian"


@pytest.mark.parametrize(
    ("method", "form"),
    [
        (Darts(warm_up=0.5), Interleaving()),
        (PDarts(deeper=(0, 1), kept=(1.0, 0.7), dropout=(0.0, 0.1)), SingleTask()),
    ],
    ids=lambda part: type(part).__name__,
)
def test_the_cost_is_what_the_search_reports(
    method: AbstractMethod, form: Formulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "draw_search", lambda *_: ([], []))
    settings = replace(SETTINGS, method=method, formulation=form, epochs=2)
    plan = make_plan(settings)
    outcome = search(settings, tmp_path)
    assert sum(one.gradients for one in plan.stages) == outcome.gradients
    assert sum(one.steps * one.stage.epochs for one in plan.stages) == outcome.steps
    assert [one.stage for one in plan.stages] == list(settings.stages())
    rates = [row.split(",")[3] for row in (tmp_path / "metrics.csv").read_text().splitlines()[1:]]
    assert plan.stages[-1].rates == (float(rates[-2 * plan.stages[-1].steps]), float(rates[-1]))
    taken = json.loads((tmp_path / "results.json").read_text())
    assert f"in all: {taken['gradients']:,}" in lines(plan)


def test_multiply_adds(multiply_adds: Callable[[nn.Module, Callable[[], object]], int]) -> None:
    """Against a count by hooks on the layers of a real network."""
    network = replace(SMALL.supernet, form="plain")  # whose convolutions are layers
    settings = replace(SMALL, formulation=MultiTask(), supernet=network).resolved()
    prepared = prepare(begin(settings, chosen_tasks(settings)), 0, settings.supernet.space)
    tables = Darts().relax(Darts().initial(prepared.space, torch.Generator()), Progress(0, 0, 1))
    found = make_plan(settings).stages[0].tasks
    for learner in prepared.learners:
        network, x = learner.network, first_batch(learner.train)[0]
        counted = multiply_adds(network, lambda network=network, x=x: network(x, tables))  # type: ignore[misc]
        assert found[learner.name].multiply_adds == counted // len(x)
        assert found[learner.name].weights == sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize("preset", ["darts-2nd-original", "darts-2nd-paper"])
def test_published_sizes_stand_in_for_cifar(preset: str, tmp_path: Path) -> None:
    settings = replace(SEARCH[preset][1], supernet=SMALL.supernet, batch=64)
    plan = make_plan(replace(settings, data=replace(settings.data, root=tmp_path)))
    text = describe(plan)
    assert "cifar10: 25000 images to train on, 25000 to validate on, 3x32x32" in text
    assert f"the search itself would fail: {tmp_path}/cifar-10" in text
    assert plan.stages[0].steps == 391
    assert plan.data == (25_000 * 2 * (3 * 32 * 32 + 8)) * len(plan.tasks)
    assert {task.train.pixels.untyped_storage().nbytes() for task in plan.tasks} == {1}, "blank images take no memory"
    # Of 60,000 images 45 % each, and of 1,281,167 images 10 % and 2.5 %.
    fashion, imagenet = FashionData(root=tmp_path, split="ablation"), ImageNetData(root=tmp_path, side=32)
    for data, sizes in ((fashion, (27_000, 27_000)), (imagenet, (128_117, 32_029))):
        (task,) = blank_tasks(data)
        assert (len(task.train), len(task.valid)) == sizes
    assert blank_tasks(FolderData()) == ()
    few = make_plan(
        replace(settings, data=CifarData(root=tmp_path, classes=(10,), subset=640), formulation=SingleTask())
    )
    assert few.stages[0].steps == 10


def test_what_is_told_of_an_interleaving() -> None:
    plan = make_plan(replace(SMALL, formulation=Interleaving(rounds=2, weight=20.0), epochs=3))
    told = lines(plan)
    assert "2 rounds, 4 stages; lambda = 20, implicit, anchor none, start persistent, 1 update each" in told
    assert "first epoch: lr = 0.025, c = 2 lr lambda = 1, rho = 0.5" in told
    shares = "digits@1 12.5 %, loops@1 12.5 %, digits@2 25 %, loops@2 50 %"
    assert f"influence of each stage on the last one: {shares}" in told
    last = 0.001 + 0.024 * (1 + torch.cos(torch.tensor(torch.pi * 2 / 3)).item()) / 2
    assert (
        f"last epoch: lr = {last:.3g}, c = 2 lr lambda = {40 * last:.3g}, rho = {40 * last / (1 + 40 * last):.3g}"
        in told
    )
    assert plan.graph.describe().splitlines()[0] in told
    handed = lines(make_plan(replace(SMALL, formulation=Interleaving(start="previous", updates=2, weight=20.0))))
    assert "2 rounds, 4 stages; lambda = 20, implicit, anchor none, start previous, 2 updates each" in handed
    assert not any(line.startswith("influence") for line in handed), "it is that of stages that keep their weights"
    assert "Interleaving" not in lines(make_plan(SMALL))


def test_later_stages_keep_what_takes_most() -> None:
    method = PDarts(deeper=(0, 1), kept=(1.0, 0.5), dropout=(0.0, 0.0))
    net = replace(SMALL.supernet, primitives=("none", "sep_conv_3x3", "skip_connect", "dil_conv_3x3"))
    plan = make_plan(replace(SMALL, method=method, supernet=net, epochs=2))
    kept = {edge for cell in plan.stages[1].space.choices.values() for edge in cell}
    assert kept == {("sep_conv_3x3", "dil_conv_3x3")}
    assert any(line.startswith("stage 2: at most") for line in lines(plan))


def test_time_is_measured_where_it_is_asked_for() -> None:
    plan = make_plan(replace(SETTINGS, method=Darts(warm_up=0.5), epochs=4))
    seconds = time_step(plan, 0)
    assert seconds > 0
    text = describe(plan, [100.0])
    assert "stage 1: 100 s a step, measured on one step" in text
    # Two epochs of 3 steps at 100 s, and two in which the architecture rests at one gradient of two.
    assert "in all: about 15.0 minutes" in text
    assert "Time" not in describe(plan).split()


def test_the_plan_touches_no_generator_and_no_data() -> None:
    before = torch.get_rng_state()
    make_plan(SETTINGS)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(chosen_tasks(SETTINGS)[0].train, Images)


# ---------------------------------------------------------------- the command


WORDS = ["search", "digits", "--supernet.nodes", "1", "--supernet.channels", "2", "--batch", "150", "--dry-run"]


def test_the_command_prints_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(WORDS) == 0
    shown = capsys.readouterr().out
    for heading in ("Dry run", "Problems", "Interleaving", "Schedule", "Cost", "Memory"):
        assert re.search(rf"^{heading}", shown, flags=re.MULTILINE), heading
    assert "\nTime" not in shown
    assert main([*WORDS, "--time"]) == 0
    assert "measured on one step" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["search", "digits", "--time"], "--time tells how long a search would take: give --dry-run with it"),
        ([*WORDS, "--batch", "5000"], "a batch of 5000 images"),
        ([*WORDS, "--formulation.form", "explicit", "--formulation.weight", "100"], "c = 2*eta*lambda"),
        (["search", "folders", "--dry-run"], "no task is named"),
        (["search", "folders", "--dry-run", "--data.roots", "/nowhere"], "/nowhere: no such folder"),
    ],
)
def test_what_a_search_refuses_the_dry_run_refuses(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
