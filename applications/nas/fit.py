"""The training loop of a final network."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from applications.nas.build import training_objective
from applications.nas.data import Task
from applications.nas.network import EvaluationNetwork, Prediction
from applications.nas.objective import AbstractObjective
from applications.nas.progress import Tick
from applications.nas.run_folder import MetricsFile
from applications.nas.settings import RetrainSettings
from mlo import DivergenceError


def fit(
    network: nn.Module, task: Task, settings: RetrainSettings, seed: int, metrics: MetricsFile, tick: Tick
) -> nn.Module:
    """Train a network with SGD on a task's train and valid parts.

    Args:
        network: From images to a `Prediction`; it is trained in place.
        task: What to learn.
        settings: How.
        seed: Of the batches.
        metrics: Gains a row after each epoch: epoch, learning rate, mean loss, and the task's metric on the training
            images, as they were augmented and with drop path.
        tick: Told how far it is.

    Returns:
        The network to test: the same one, or with `settings.ema` a copy with averaged weights. The running statistics
        of BatchNorm are averaged in the same way, since they go with the weights.

    Raises:
        DivergenceError: If the loss is not finite.
    """
    example = next(network.parameters())
    batches = task.stream("all", size=settings.batch, seed=seed, device=example.device, training=True)
    trainer = _Trainer(network, training_objective(task, settings), settings)
    network.train()
    tick(0, settings.epochs, "")
    for epoch in range(settings.epochs):
        rate = trainer.begin(epoch)
        loss, penalty = trainer.run((x.to(example.dtype), y) for x, y in batches)
        if not loss < float("inf"):
            where = f"task {task.name!r}, seed {seed}, epoch {epoch + 1}"
            raise DivergenceError(f"retraining diverged ({where}): lower weights.lr or weights.clip")
        error = task.objective.score(penalty)
        metrics.write({"epoch": epoch + 1, "lr": rate, "loss": loss, "train_error": error})
        tick(epoch + 1, settings.epochs, f"loss {loss:.3f}")
    return network if trainer.average is None else trainer.average.module


def loss_of(prediction: Prediction, y: Tensor, objective: AbstractObjective, auxiliary_weight: float) -> Tensor:
    """Return the loss of a batch, with that of the auxiliary head if there is one."""
    loss = objective.loss(prediction.logits, y)
    if prediction.auxiliary_logits is not None:
        loss = loss + auxiliary_weight * objective.loss(prediction.auxiliary_logits, y)
    return loss


class _Trainer:
    """A network with all that trains it."""

    def __init__(self, network: nn.Module, objective: AbstractObjective, settings: RetrainSettings) -> None:
        self.network, self.objective, self.settings = network, objective, settings
        how, parameters = settings.weights, network.parameters()
        self.optimizer = torch.optim.SGD(parameters, how.lr, momentum=how.momentum, weight_decay=how.decay)
        self.average: AveragedModel | None = None
        if settings.ema is not None:
            blend = get_ema_multi_avg_fn(settings.ema)
            self.average = AveragedModel(network, multi_avg_fn=blend, use_buffers=True)

    def begin(self, epoch: int) -> float:
        """Set what changes by epoch, and return the learning rate."""
        settings = self.settings
        rate = settings.schedule.lr(epoch, settings.epochs, settings.weights.lr)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if isinstance(self.network, EvaluationNetwork):
            self.network.drop_path = settings.drop_path * epoch / settings.epochs
        return rate

    def run(self, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
        """Train for an epoch; return the mean loss and the mean penalty of its images."""
        total = torch.zeros(2, dtype=torch.float64, device=next(self.network.parameters()).device)
        images = 0
        for x, y in batches:
            self.optimizer.zero_grad()
            total += self._gradient(x, y)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.weights.clip)
            self.optimizer.step()
            if self.average is not None:
                self.average.update_parameters(self.network)
            images += len(y)
        loss, penalty = (total / images).tolist()  # the only wait for a GPU in an epoch
        return loss, penalty

    def _gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Leave the gradient of a batch's mean loss; return the sums of loss and penalty."""
        sums = []
        pieces = max(1, min(self.settings.accumulate, len(y) // 2))  # one image alone has no batch statistics
        for part, target in zip(x.tensor_split(pieces), y.tensor_split(pieces), strict=True):
            prediction = self.network(part)
            loss = loss_of(prediction, target, self.objective, self.settings.auxiliary_weight)
            (loss if pieces == 1 else loss * (len(target) / len(y))).backward()
            penalty = self.objective.penalty(prediction.logits.detach(), target)
            sums.append(torch.stack([loss.detach().double() * len(target), penalty.double().sum()]))
        return torch.stack(sums).sum(dim=0)
