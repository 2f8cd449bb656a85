"""Single task, multi-task and interleaving as problem graphs.

A formulation is a function from learners to a problem graph. All three put one problem on top, the architecture, which
reads trained weights; they differ in which weights are trained, and in what holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

import mlo
from applications.nas.learner import Call, Learner, caller
from applications.nas.methods import Progress, Rule, Stage
from applications.nas.optimizers import adam, cosine, sgd
from applications.nas.settings import Formulation, GradientSettings, Interleaving, MultiTask, SearchSettings
from applications.nas.space.mixed import total
from applications.nas.together import Together

ARCHITECTURE = "architecture"
"""Name of the outermost problem."""

Relax = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


class Clock:
    """What the losses know of time: the place of the search, which whoever runs it sets before each epoch.

    Attributes:
        now: The present place.
    """

    def __init__(self, stage: int, epochs: int) -> None:
        """Begin at the first epoch of a stage."""
        self.now = Progress(stage, 0, epochs)


@dataclass(frozen=True, eq=False)
class ValidationLoss:
    """What the architecture minimizes: the weighted sum of the validation losses of all tasks.

    Attributes:
        learners: The tasks.
        answers: By task, the name of the problem that trains the network which is validated.
        shares: What multiplies each task's loss.
    """

    learners: tuple[Learner, ...]
    answers: Mapping[str, str]
    shares: tuple[float, ...]

    def __call__(
        self,
        networks: mlo.View | Mapping[str, nn.Module],
        weights: Mapping[str, Tensor],
        batches: Sequence[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """Return the loss of networks, by name of their problem, at mixing weights, on one batch of each task."""
        losses = [
            share * one.loss(networks[self.answers[one.name]](x, weights), y)
            for one, share, (x, y) in zip(self.learners, self.shares, batches, strict=True)
        ]
        return total(losses)

    def terms(self, relax: Relax, call: Call) -> mlo.Sum:
        """Return the same as a sum of losses that are differentiated one by one, each with mixing weights of its own.

        Args:
            relax: Returns the mixing weights at architecture variables.
            call: Returns the output of a network on a batch at mixing weights.
        """
        return mlo.Sum(
            [self._term(one, share, relax, call) for one, share in zip(self.learners, self.shares, strict=True)],
            names=[one.name for one in self.learners],
        )

    def _term(self, learner: Learner, share: float, relax: Relax, call: Call) -> Callable[[mlo.View, Any], Tensor]:
        name, loss = self.answers[learner.name], learner.loss

        def term(view: mlo.View, batch: tuple[Tensor, Tensor]) -> Tensor:
            x, y = batch
            return share * loss(call(view[name], x, relax(view[ARCHITECTURE])), y)

        return term


def validation_of(learners: Sequence[Learner], form: Formulation) -> ValidationLoss:
    """Return what the architecture minimizes in a formulation; interleaving validates the last round.

    Raises:
        ConfigError: If there is not one share for each task.
    """
    return ValidationLoss(tuple(learners), _answers(form, learners), _shares(form, learners))


def build_graph(
    learners: Sequence[Learner],
    variables: Mapping[str, Tensor],
    settings: SearchSettings,
    *,
    stage: Stage | None = None,
    clock: Clock | None = None,
) -> mlo.ProblemGraph:
    """Return the problem graph of one stage of a search.

    Args:
        learners: The tasks, in order; for a single-task search, one.
        variables: Initial architecture variables.
        settings: Method, formulation, gradient and optimizers.
        stage: The stage; None for the first.
        clock: Tells the relaxation how far the search is; None for one that stands at the beginning.

    Returns:
        The graph, with the problem `ARCHITECTURE` outermost.

    Raises:
        ConfigError: If a task is called like the outermost problem.
        StabilityError: If an explicit interleaving would diverge.

    Source: equations 5 (interleaving) and 10 (multi-task) of Interleaving Learning, with Application to Neural
    Architecture Search (Ban, Xie, 2021); for one task, equations 3 and 4 of DARTS: Differentiable Architecture Search
    (Liu, Simonyan, Yang, 2019).
    """
    if any(learner.name == ARCHITECTURE for learner in learners):
        raise mlo.ConfigError(f"no task can be called {ARCHITECTURE!r}, as the outermost problem is: rename its folder")
    epochs = (stage or settings.stages()[0]).epochs
    clock, method = clock or Clock(0, epochs), settings.method
    form = settings.formulation
    updates = form.updates if isinstance(form, Interleaving) else 1
    each_epoch = len(learners[0].train) * updates
    rate = cosine(settings.weights, epochs, each_epoch)
    update, response = sgd(settings.weights, rate), _response(settings.rule, settings.gradient)
    call = caller(compiled=settings.supernet.compile)
    lower = [_weights(learner, update, response, settings, clock, call) for learner in learners]
    if isinstance(form, Interleaving):
        lower = [replace(one, steps=updates) for one in lower]
        proximal = mlo.Proximal(
            form.weight, step_size=rate, form=form.form, anchor=form.anchor, allow_unstable=form.allow_unstable
        )
        for epoch in range(epochs):  # a warm-up raises the rate: refuse now what would fail then
            proximal.strength(epoch * each_epoch)
        lower = mlo.interleave(lower, rounds=form.rounds, proximal=proximal, shared="encoder.", start=form.start)
    validation = validation_of(learners, form)
    top = mlo.Problem(
        ARCHITECTURE,
        validation.terms(lambda table: method.relax(table, clock.now), call),
        dict(variables),
        reads=list(validation.answers.values()),
        update=adam(settings.architecture),
        batches=Together([learner.valid for learner in learners]),
        accumulate=settings.accumulate,  # in float32: its gradient is a small sum of large numbers
    )
    return mlo.ProblemGraph([top, *lower])


def looks_ahead(settings: SearchSettings) -> bool:
    """Tell whether answers are virtual, as in DARTS, or kept.

    Second-order single-task and multi-task search look one step ahead and then train for real. Interleaving keeps the
    answers of its stages (W <- W'), and first order has nothing to look ahead for.
    """
    return settings.rule != "first" and not isinstance(settings.formulation, Interleaving)


def gradients_per_step(formulation: Formulation, rule: Rule, tasks: int, *, frozen: bool = False) -> int:
    """Return the gradients of one task's loss that one outer step takes; a double backward counts as two.

    Args:
        formulation: The formulation.
        rule: How the architecture's gradient is taken.
        tasks: K, the number of learners that take part.
        frozen: Whether the architecture rests in this step.
    """
    stages = tasks * (formulation.rounds * formulation.updates if isinstance(formulation, Interleaving) else 1)
    if frozen:
        return stages
    if rule == "first":
        return stages + tasks
    real = 0 if isinstance(formulation, Interleaving) else stages
    return 3 * stages + tasks + real


def _response(rule: Rule, gradient: GradientSettings) -> Any:
    if rule == "first":
        return mlo.FirstOrder()
    return mlo.Unroll(product=mlo.Exact() if rule == "exact" else mlo.FiniteDifference(gradient.epsilon))


def _weights(
    learner: Learner, update: Any, response: Any, settings: SearchSettings, clock: Clock, call: Call
) -> mlo.Problem:
    name, loss, method = learner.name, learner.loss, settings.method

    def train_loss(view: mlo.View, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return loss(call(view[name], x, method.relax_for_weights(view[ARCHITECTURE], clock.now)), y)

    return mlo.Problem(
        name,
        train_loss,
        learner.network,
        reads=[ARCHITECTURE],
        update=update,
        response=response,
        batches=learner.train,
        accumulate=settings.accumulate,
        precision=settings.autocast,
    )


def _shares(form: Formulation, learners: Sequence[Learner]) -> tuple[float, ...]:
    """Return what multiplies the validation loss of each learner."""
    own = tuple(learner.weight for learner in learners)
    if not isinstance(form, MultiTask) or not form.shares:
        return own
    if len(form.shares) != len(learners):
        names = ", ".join(learner.name for learner in learners)
        raise mlo.ConfigError(f"formulation: {len(form.shares)} shares for the tasks {names}: give one for each")
    return tuple(share * weight for share, weight in zip(form.shares, own, strict=True))


def _answers(form: Formulation, learners: Sequence[Learner]) -> dict[str, str]:
    """Return, for each learner, the name of the problem whose answer the architecture reads: that of the last round."""
    last = f"@{form.rounds}" if isinstance(form, Interleaving) else ""
    return {learner.name: learner.name + last for learner in learners}
