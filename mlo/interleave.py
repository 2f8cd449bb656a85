"""Interleaving learning: K learners, M rounds, written out as K*M ordinary problems."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from torch import Tensor

from mlo.checks import check_count
from mlo.errors import ConfigError, GraphError
from mlo.hand_over import HandOver
from mlo.pieces import Loss, Sum
from mlo.problem import Problem
from mlo.proximal import Proximal
from mlo.proximal_update import ProximalUpdate
from mlo.vector import Params
from mlo.view import View

log = logging.getLogger("mlo")

Shared = Callable[[str], bool] | str


Start = Literal["persistent", "previous", "fresh"]


def interleave(
    learners: Sequence[Problem], *, rounds: int, proximal: Proximal, shared: Shared, start: Start = "persistent"
) -> list[Problem]:
    """Return the stages of an interleaving, outermost (last) first.

    Stage l = 1 .. K*M trains learner ((l-1) mod K) + 1 in round ((l-1) div K) + 1, with weights of its own, held near
    the answer of stage l-1 on the shared parameters. So learner 1 of round m follows learner K of round m-1, and the
    first stage follows nothing (unless `proximal.anchor` is "cyclic"). What is not shared (heads) is free.

    The stages are problems like any other: put them after the problem that reads them, `graph = ProblemGraph([upper,
    *interleave(...)])`; the answers of the last round are those of the first K problems of the list.

    Args:
        learners: One problem each, in order 1 .. K; each needs an update.
        rounds: M >= 1.
        proximal: How strongly and by which step a stage is held.
        shared: Which parameters are held: a predicate on parameter names, or the prefix of their names, such as
            "encoder." (of a variable that is one tensor, the name is "value"; "" is a prefix of all).
        start: Where the steps of a stage begin. "persistent", as in the equations of the source: where those of this
            stage ended in the outer step before. "previous", as in its prose: at the shared parameters that the stage
            before has just trained (the first stage: at those that the last one had before the outer step, a constant),
            and at its own other ones. "fresh": at the declared values, with a new optimizer state
            (`Problem.warm_start=False`).

    Returns:
        K*M problems called "learner@round", rounds from 1. In a stage's loss the learner's own variable keeps the
        learner's name.

    Raises:
        GraphError: If the learners do not fit together; the message names the learner and the parameter.
        ConfigError: If `rounds` is below 1, or `start` is something else.

    Source: Interleaving Learning, with Application to Neural Architecture Search (Ban, Xie, 2021), equation 5.

    Examples:
        >>> import mlo, torch, torchopt
        >>> nets = {name: torch.nn.ModuleDict({"body": torch.nn.Linear(2, 2)}) for name in ("a", "b")}
        >>> learners = [mlo.Problem(n, lambda v, _: 0.0, net, update=torchopt.sgd(0.1)) for n, net in nets.items()]
        >>> stages = mlo.interleave(learners, rounds=2, proximal=mlo.Proximal(1.0, step_size=0.1), shared="body")
        >>> [stage.name for stage in stages]
        ['b@2', 'a@2', 'b@1', 'a@1']
    """
    check_count("interleave", "rounds", rounds)
    _check_arguments(learners, proximal, shared, start)
    held = _shared_names(learners, shared)
    stages: list[Problem] = []
    order = [f"{learner.name}@{number}" for number in range(1, rounds + 1) for learner in learners]
    for index, name in enumerate(order):
        learner, before = learners[index % len(learners)], order[index - 1]  # the first follows the last
        update = learner.update
        if index > 0 or (proximal.anchor == "cyclic" and len(order) > 1):
            update = ProximalUpdate(_rule(learner), proximal, before, held, stored=index == 0)
        stage = replace(learner, name=name, loss=_renamed(learner.loss, learner.name, name), update=update)
        if start == "previous" and len(order) > 1:
            stage = replace(stage, start=HandOver(before, held, stored=index == 0))
        stages.append(stage if start != "fresh" else replace(stage, warm_start=False))
    if start == "previous":
        _warn_of_an_idle_term(proximal, learners, len(order))
    else:
        _warn_of_a_dominant_start(proximal, order)
    return stages[::-1]


def _check_arguments(learners: Any, proximal: Any, shared: Any, start: Any) -> None:
    """Check the kinds of the arguments."""
    if not isinstance(learners, Sequence) or not all(isinstance(learner, Problem) for learner in learners):
        raise GraphError(f"interleave: learners must be a list of mlo.Problem, got {learners!r}")
    if not isinstance(proximal, Proximal):
        example = "mlo.Proximal(1.0, step_size=0.1)"
        raise ConfigError(f"interleave: proximal must be an mlo.Proximal, such as {example}, got {proximal!r}")
    if not isinstance(shared, str) and not callable(shared):
        raise ConfigError(f"interleave: shared must be a prefix of parameter names or a predicate, got {shared!r}")
    if start not in get_args(Start):
        raise ConfigError(f"interleave: start must be 'persistent', 'previous' or 'fresh', got {start!r}")
    if start == "fresh" and proximal.anchor == "cyclic":
        raise ConfigError("interleave: start='fresh' leaves nothing of the step before for anchor='cyclic': use 'none'")
    for learner in learners:
        if start != "persistent" and learner.start is not None:
            what = f"learner {learner.name!r} has a start of its own, and start={start!r}"
            raise GraphError(f"interleave: {what}: leave it out, or take start='persistent'")


def influence(proximal: Proximal, stages: int) -> list[float]:
    """Return how much the gradient of each stage weighs in the answer of the last one.

    Stage l weighs b_l * rho_{l+1} * ... * rho_L, where W'_l = a_l W_l - b_l eta g_l + rho_l W'_{l-1}. In the implicit
    form the weights sum to 1.

    Args:
        proximal: The term; its strength is taken at the first update.
        stages: L, the number of stages.

    Raises:
        ConfigError: If the weight of the term is learned.

    Examples:
        >>> import mlo
        >>> shares = mlo.influence(mlo.Proximal(20.0, step_size=0.025), stages=4)
        >>> [round(share, 3) for share in shares]
        [0.125, 0.125, 0.25, 0.5]
    """
    _, b, rho = proximal.coefficients(0)
    weights = [b * rho ** (stages - 1 - index) for index in range(stages)]
    weights[0] = rho ** (stages - 1)
    return weights


def _renamed(loss: Loss, learner: str, stage: str) -> Loss:
    if isinstance(loss, Sum):
        return Sum([_renamed(term, learner, stage) for term in loss.terms], loss.names)

    def stage_loss(view: View, batch: Any) -> Tensor:
        return loss(view.renamed({learner: stage}), batch)

    return stage_loss


def _rule(learner: Problem) -> Any:
    if learner.rule is None:
        raise GraphError(f"interleave: learner {learner.name!r} has no update: give it one, e.g. torchopt.sgd(0.025)")
    return learner.rule


def _shared_names(learners: Sequence[Problem], shared: Shared) -> frozenset[str]:
    """Return the names of the shared parameters, checked to be the same in all learners."""
    if not learners:
        raise GraphError("interleave: needs at least one learner")
    found: list[dict[str, Tensor]] = []
    for learner in learners:
        _rule(learner)
        params = learner.kind.initial()
        chosen = {n: v for n, v in params.items() if (n.startswith(shared) if isinstance(shared, str) else shared(n))}
        if not chosen:
            known = ", ".join(list(params)[:5]) + (", ..." if len(params) > 5 else "")
            what = f"begins with {shared!r}" if isinstance(shared, str) else "the predicate selects"
            raise GraphError(f"interleave: learner {learner.name!r} has no parameter that {what}: give one of {known}")
        found.append(chosen)
    first = found[0]
    for learner, chosen in zip(learners[1:], found[1:], strict=True):
        for name in [*first, *chosen]:
            left, right = _shape(first, name), _shape(chosen, name)
            if left != right:
                raise GraphError(
                    f"interleave: shared parameter {name!r} has shape {left} in learner {learners[0].name!r} and "
                    f"{right} in learner {learner.name!r}: share only what is alike, or make it so"
                )
    return frozenset(first)


def _shape(params: Params, name: str) -> tuple[int, ...] | None:
    return tuple(params[name].shape) if name in params else None


def _warn_of_a_dominant_start(proximal: Proximal, order: Sequence[str]) -> None:
    if proximal.reads:
        return  # lambda is learned: it has no value yet
    weights = influence(proximal, len(order))
    share = weights[0] / sum(weights)
    if len(order) > 1 and proximal.anchor == "none" and share > 0.5:
        log.warning(
            "interleave: the first stage %r has %.0f %% of the influence on the last one, so its learner dominates "
            "(c = 2*eta*lambda = %.3g): consider a smaller weight or anchor='cyclic'",
            order[0],
            100 * share,
            proximal.strength(0),
        )


def _warn_of_an_idle_term(proximal: Proximal, learners: Sequence[Problem], stages: int) -> None:
    """Warn if the proximal term is taken where it is zero, at the one step of a stage that begins at its anchor."""
    once = [learner.name for learner in learners if learner.steps == 1]
    if not once or stages == 1 or (not proximal.reads and proximal.weight == 0):
        return
    names, gap = ", ".join(map(repr, once)), "begin where they are held, and make one step"
    if proximal.form == "explicit":
        log.warning("interleave: the stages of %s %s: lambda has no effect; give them more steps", names, gap)
    else:
        log.warning(
            "interleave: the stages of %s %s: lambda only divides it by 1 + c; give them more steps", names, gap
        )
