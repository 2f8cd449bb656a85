"""A search in words: what is optimized, how strongly stages are held together, what it cost."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from applications.nas.settings import (
    DigitsData,
    FolderData,
    Formulation,
    ImageNetData,
    Interleaving,
    MultiTask,
    SearchSettings,
)

_DAY = 86400.0
RHO = "\N{GREEK SMALL LETTER RHO}"


def strength(form: Interleaving, lr: float) -> tuple[float, float]:
    """Return c = 2 * lr * lambda of the proximal term, and the share rho of the stage before in a stage's answer.

    Args:
        form: The formulation.
        lr: Learning rate of the weights at that time.
    """
    c = 2 * lr * form.weight
    return c, c / (1 + c) if form.form == "implicit" else c


def strength_label(form: Formulation, lr: float) -> str:
    """Return c and rho for the picture of the problem graph; nothing where no stage is held."""
    if not isinstance(form, Interleaving):
        return ""
    c, rho = strength(form, lr)
    return f"c = {c:.3g}, {RHO} = {rho:.3g}"


def describe_formulation(settings: SearchSettings, tasks: Sequence[str]) -> str:
    """Say what the formulation is, with lambda, c and rho where stages are held together.

    Args:
        settings: The search.
        tasks: Names of the tasks that take part, in order.
    """
    form, names = settings.formulation, ", ".join(tasks)
    if isinstance(form, Interleaving):
        (c, rho), (low, share) = (strength(form, lr) for lr in (settings.weights.lr, settings.weights.min_lr))
        when = "after the warm-up" if settings.weights.warm_up else "at the start"
        held = {"none": "the first stage is held near nothing", "cyclic": "the first stage is held near the last one"}
        return (
            f"Interleaving of {len(tasks)} task{'' if len(tasks) == 1 else 's'} ({names}) over {form.rounds} "
            f"round{'' if form.rounds == 1 else 's'}: lambda = {form.weight:g}, so c = 2 lr lambda = {c:.3g} and rho = "
            f"{rho:.3g} {when}, falling with the learning rate towards c = {low:.3g} and rho = {share:.3g}; "
            f"{form.form} proximal step; {held[form.anchor]}{_stages(form)}."
        )
    if isinstance(form, MultiTask):
        return f"Multi-task: weights of their own for {names}, and one architecture for the sum of their losses."
    return f"Single task: {names}."


def _stages(form: Interleaving) -> str:
    """Say where stages begin and how many updates they make, if that is not what the source does."""
    handed = "; each stage begins at the encoder that the one before has just trained"
    begin = handed if form.start == "previous" else ""
    return begin if form.updates == 1 else f"{begin}; {form.updates} updates of a stage on each batch"


def describe_cost(results: Mapping[str, Any]) -> str:
    """Say what a search took; days of a GPU are called so only if there was one.

    Args:
        results: What `results.json` holds; what it lacks is left out.
    """
    parts = ["The search has finished", *(f"{results[key]} {key}" for key in ("steps", "gradients") if key in results)]
    if "seconds" in results:
        devices, device = int(results.get("devices", 1)), str(results.get("device", "cpu"))
        days = float(results["seconds"]) * devices / _DAY
        kind = "CPU" if device == "cpu" else "GPU"
        machines = device if devices == 1 else f"{devices} x {device}"
        parts.append(f"{show_seconds(float(results['seconds']))} on {machines}, that is {days:.2g} {kind} days")
    return f"{parts[0]}: {', '.join(parts[1:])}." if parts[1:] else f"{parts[0]}."


def describe_ranks(settings: SearchSettings, results: Mapping[str, Any]) -> str:
    """Say how ranks shared a search; nothing if there was one.

    Args:
        settings: The search.
        results: What `results.json` holds.
    """
    ranks, stages = int(results.get("devices", 1)), settings.parallel.stages
    if ranks == 1:
        return ""
    if ranks == stages:
        return f"{ranks} ranks shared the stages."
    whole = "the whole batch" if settings.parallel.sync_batch_norm else "the share of its own rank"
    more = "" if stages == 1 else f" in {ranks // stages} parts, and the stages in {stages}"
    return f"{ranks} ranks shared each batch{more}; BatchNorm saw {whole}."


def next_command(settings: SearchSettings, folder: Path) -> str:
    """Return the command that trains the cell of a search from scratch, at the size that goes with its data.

    Args:
        settings: The search.
        folder: Its folder, as the command shall name it.
    """
    presets = {DigitsData: "digits", FolderData: "folders", ImageNetData: "imagenet"}
    return f"mlo-nas retrain {presets.get(type(settings.data), 'cifar')} --run {shlex.quote(str(folder))}"


def show_seconds(seconds: float) -> str:
    """Return a time that is easy to read, such as "5 min 3 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
