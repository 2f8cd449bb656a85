"""A plan in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mlo
from applications.nas.dry_run.plan import Plan
from applications.nas.search.record import formulation_name
from applications.nas.search.words import strength
from applications.nas.settings import Interleaving

_GIB, _MIB = 2**30, 2**20


def describe(plan: Plan, seconds: Sequence[float] = ()) -> str:
    """Return what a search would do, as text.

    Args:
        plan: Of the search.
        seconds: How long a step of each stage takes, if that was measured.
    """
    title = f"{plan.settings.method.titled(plan.settings.rule)}, {formulation_name(plan.settings)}"
    parts = {
        f"Dry run of a search: {title}. Nothing has been trained and nothing written.": list(_data(plan)),
        "Problems": plan.graph.describe().splitlines(),
        "Interleaving": list(_interleaving(plan)),
        "Schedule": list(_schedule(plan)),
        "Cost": list(_cost(plan)),
        "Time": list(_time(plan, seconds)),
        "Memory (estimated from shapes)": list(_memory(plan)),
    }
    return "\n\n".join("\n  ".join([title, *lines]) for title, lines in parts.items() if lines) + "\n"


def _data(plan: Plan) -> Iterator[str]:
    for task in plan.tasks:
        size = "x".join(map(str, task.train.shape))
        yield f"{task.name}: {len(task.train)} images to train on, {len(task.valid)} to validate on, {size}"
    if plan.missing:
        yield f"These are the published sizes; the search itself would fail: {plan.missing}"


def _interleaving(plan: Plan) -> Iterator[str]:
    form = plan.settings.formulation
    if not isinstance(form, Interleaving):
        return
    order = [f"{task.name}@{number}" for number in range(1, form.rounds + 1) for task in plan.tasks]
    yield (
        f"{form.rounds} rounds, {len(order)} stages; lambda = {form.weight:g}, {form.form}, anchor {form.anchor}, "
        f"start {form.start}, {form.updates} update{'' if form.updates == 1 else 's'} each"
    )
    for when, lr in zip(("first", "last"), plan.stages[0].rates, strict=True):
        proximal = mlo.Proximal(form.weight, step_size=lr, form=form.form, allow_unstable=True)
        c, rho = strength(form, lr)
        yield f"{when} epoch: lr = {lr:.3g}, c = 2 lr lambda = {c:.3g}, rho = {rho:.3g}"
        if form.start == "previous":
            continue  # there each stage weighs alike, but for what the others make of it
        shares = zip(order, mlo.influence(proximal, len(order)), strict=True)
        told = ", ".join(f"{name} {100 * share:.3g} %" for name, share in shares)
        yield f"  influence of each stage on the last one: {told}"


def _schedule(plan: Plan) -> Iterator[str]:
    for number, one in enumerate(plan.stages, start=1):
        stage = one.stage
        edges = f"{one.space.edges} edges of {stage.operations} operations"
        yield f"stage {number}: {stage.layers} cells, C = {stage.channels}, {edges}"
        rests = f"; the architecture rests in the first {stage.warm_up}" if stage.warm_up else ""
        rates = f"lr {one.rates[0]:.3g} in the first, {one.rates[1]:.3g} in the last"
        yield f"  {stage.epochs} epochs of {one.steps} steps; {rates}{rests}"


def _cost(plan: Plan) -> Iterator[str]:
    yield f"gradients of one task's loss ({plan.settings.rule}; a double backward counts as two):"
    for number, one in enumerate(plan.stages, start=1):
        rest = f", {one.resting} where the architecture rests" if one.stage.warm_up else ""
        yield f"  stage {number}: {one.moving} a step{rest}; {one.gradients:,} together"
    yield f"  in all: {sum(one.gradients for one in plan.stages):,}"
    yield "multiply-adds of one image, forward, in convolutions and linear layers; weights of the network:"
    for number, one in enumerate(plan.stages, start=1):
        for name, task in one.tasks.items():
            count = f"{task.weights:,} weights"
            yield f"  stage {number}, {name}: {_at_most(number)}{task.multiply_adds / 1e6:,.4g} M; {count}"
    if plan.settings.watch.eigenvalue:
        yield f"the eigenvalue of the Hessian, every {plan.settings.watch.eigenvalue} epochs, comes on top"
    whole = sum(one.multiply_adds for one in plan.stages)
    yield f"multiply-adds of the search, a gradient taken as three forward passes: about {whole:.2g}"


def _time(plan: Plan, seconds: Sequence[float]) -> Iterator[str]:
    whole = 0.0
    for number, (one, step) in enumerate(zip(plan.stages, seconds, strict=False), start=1):
        resting, moving = one.stage.warm_up * one.steps, (one.stage.epochs - one.stage.warm_up) * one.steps
        whole += step * (moving + resting * one.resting / one.moving)
        yield f"stage {number}: {step:.3g} s a step, measured on one step"
    if seconds:
        yield f"in all: about {_duration(whole)}; steps in which the architecture rests by their share of gradients"
        if plan.missing:
            yield "the images were blank, which changes the numbers and not the time"


def _memory(plan: Plan) -> Iterator[str]:
    for number, one in enumerate(plan.stages, start=1):
        memory = one.memory
        sets = f"{memory.sets} set{'s' if memory.sets > 1 else ''} of weights"
        yield f"stage {number}: {_at_most(number)}{_bytes(memory.total)} at the peak of a step"
        yield f"  {_bytes(memory.weights)}: {sets}, with momentum, statistics, initial and new values"
        yield f"  {_bytes(memory.activations)}: saved for backward passes; alive at once: {memory.graphs}"
        yield f"  {_bytes(memory.batches)}: images of a step"
    if plan.data:
        yield f"{_bytes(plan.data)}: images of all tasks, on top"
    yield "not in it: what torch itself takes, work space of convolutions, and what an allocator keeps"


def _at_most(number: int) -> str:
    """Say that the operations of a later stage are a guess."""
    return "" if number == 1 else "at most "


def _bytes(count: int) -> str:
    return f"{count / _GIB:.2f} GiB" if count >= _GIB else f"{count / _MIB:.1f} MiB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
