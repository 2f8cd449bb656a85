"""Named studies: the sweeps that together answer one question about interleaving, at any scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from applications.nas.presets.scales import Scale
from applications.nas.settings import Formulation, Interleaving, MultiTask, SearchSettings, SingleTask
from applications.nas.sweep.plan import Axis
from applications.nas.sweep.study import Part, StudySettings
from applications.nas.tasks import task_names
from mlo import ConfigError

LAMBDAS = (0.0, 1.0, 10.0, 20.0, 100.0, 1000.0)
"""Strengths that are compared."""
_LARGEST_STABLE = 2.0  # c = 2 lr lambda, from which on equation 7 as written diverges


@dataclass(frozen=True)
class Study:
    """A question, and the sweeps that answer it.

    Attributes:
        about: The question, in a sentence.
        parts: The sweeps, at a scale.
        random: Whether random cells are trained beside them.
    """

    about: str
    parts: Callable[[Scale], tuple[Part, ...]]
    random: bool = False


def make_study(name: str, scale: Scale, label: str) -> StudySettings:
    """Return a study at a scale.

    Args:
        name: One of `STUDIES`.
        scale: Its scale.
        label: What the scale is called.

    Raises:
        ConfigError: If the scale has fewer than two tasks: nothing can be interleaved.
    """
    if len(task_names(scale.search.data)) < 2:
        raise ConfigError("study: interleaving needs two tasks or more: name them, such as --data.roots A B")
    study = STUDIES[name]
    random = scale.random if study.random else 0
    return StudySettings(name, label, study.about, study.parts(scale), scale.seeds, scale.retrain, random)


def _methods(scale: Scale) -> dict[str, SearchSettings]:
    """Return what each method searches with, under its name in tables."""
    base = scale.search
    stages = replace(base.supernet, layers=scale.pdarts_layers)
    return {
        "DARTS-1st": _with_rule(base, "first"),
        "DARTS-2nd": base,
        "P-DARTS": replace(base, method=scale.pdarts, supernet=stages, epochs=scale.pdarts_epochs),
        "PC-DARTS": replace(base, method=scale.pcdarts),
    }


def _with_rule(search: SearchSettings, rule: str) -> SearchSettings:
    return replace(search, gradient=replace(search.gradient, rule=rule))  # type: ignore[arg-type]  # checked there


def _as(search: SearchSettings, formulation: Formulation) -> SearchSettings:
    return replace(search, formulation=formulation)


def _table(scale: Scale) -> tuple[Part, ...]:
    parts = []
    for name, search in _methods(scale).items():
        tasks = Axis("formulation.task", task_names(search.data))
        parts.append(Part(f"{name} single", _as(search, SingleTask()), (tasks,)))
        parts.append(Part(f"{name} multi", _as(search, MultiTask()), reference=f"{name} single"))
        parts.append(Part(f"{name} interleaving", search, reference=f"{name} multi"))
    return tuple(parts)


def _lambda(scale: Scale) -> tuple[Part, ...]:
    search = _methods(scale)["DARTS-1st"]
    form = _interleaving(search)
    stable = [weight for weight in LAMBDAS if weight > 0 and 2 * search.weights.lr * weight < _LARGEST_STABLE]
    implicit = Part("implicit", _as(search, replace(form, form="implicit")), (_weights(LAMBDAS),))
    written = _as(search, replace(form, form="explicit"))
    # At a large learning rate equation 7 as written is stable with none of them.
    return (implicit, Part("explicit", written, (_weights(stable),), "implicit")) if stable else (implicit,)


def _rounds(scale: Scale) -> tuple[Part, ...]:
    return (Part("rounds", _methods(scale)["DARTS-1st"], (Axis("formulation.rounds", ("1", "2", "3")),)),)


def _order(scale: Scale) -> tuple[Part, ...]:
    names = task_names(scale.search.data)
    orders = Axis("formulation.order", (",".join(names), ",".join(reversed(names))))
    return (Part("order", _methods(scale)["DARTS-1st"], (orders,)),)


def _start(scale: Scale) -> tuple[Part, ...]:
    search = _methods(scale)["DARTS-1st"]
    # With a single update a stage that begins at the one before finds nothing to hold: lambda would have no say.
    several = _as(search, replace(_interleaving(search), updates=3))
    return (Part("start", several, (Axis("formulation.start", ("persistent", "previous")),)),)


def _rule(scale: Scale) -> tuple[Part, ...]:
    search = scale.search
    single = _as(search, SingleTask(task_names(search.data)[0]))
    parts = []
    for name, one in {"single": single, "interleaving": search}.items():
        parts.append(Part(name, _with_rule(one, "exact"), (Axis("gradient.rule", ("exact", "first")),)))
        epsilons = Axis("gradient.epsilon", ("0.01", "0.1", "1"))
        parts.append(Part(f"{name} difference", _with_rule(one, "difference"), (epsilons,), name))
    return tuple(parts)


def _interleaving(search: SearchSettings) -> Interleaving:
    assert isinstance(search.formulation, Interleaving)  # a scale has no other
    return search.formulation


def _weights(values: tuple[float, ...] | list[float]) -> Axis:
    return Axis("formulation.weight", tuple(f"{value:g}" for value in values))


STUDIES: dict[str, Study] = {
    "evidence-table": Study(
        "Does interleaving find better cells than single-task and multi-task search, with each of four methods, and do "
        "any of them find better cells than chance?",
        _table,
        random=True,
    ),
    "evidence-lambda": Study("How does the strength of interleaving, lambda, change what is found?", _lambda),
    "evidence-rounds": Study("Are two rounds better than one, and three than two?", _rounds),
    "evidence-order": Study("Does it matter which task comes first?", _order),
    "evidence-start": Study(
        "Should a stage keep weights of its own, or begin at those that the stage before has just trained?", _start
    ),
    "evidence-rule": Study("Does the rule of the architecture's gradient change the cell that is found?", _rule),
}
