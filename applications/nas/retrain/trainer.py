"""A final network with all that trains it: optimizer, moving average, and the ranks that share its batches."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from applications.nas.launch import Ranks
from applications.nas.networks.network import EvaluationNetwork, Prediction
from applications.nas.objective import AbstractObjective
from applications.nas.retrain.chance import generator_states, restore_generators
from applications.nas.retrain.checkpoint import TrainingState
from applications.nas.retrain.own import Own, own_part
from applications.nas.retrain.parallel import average_statistics, distribute
from applications.nas.settings import RetrainSettings


def loss_of(prediction: Prediction, y: Tensor, objective: AbstractObjective, auxiliary_weight: float) -> Tensor:
    """Return the loss of a batch, with that of the auxiliary head if there is one."""
    loss = objective.loss(prediction.logits, y)
    if prediction.auxiliary_logits is not None:
        loss = loss + auxiliary_weight * objective.loss(prediction.auxiliary_logits, y)
    return loss


@final
class Trainer:
    """SGD on a network, a step at a time.

    Args:
        network: From images to a `Prediction`; it is trained in place.
        shape: Channels, height and width of an image.
        objective: What is minimized.
        settings: How.
        ranks: The processes that train it; all of them must make the same calls.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, int, int],
        objective: AbstractObjective,
        settings: RetrainSettings,
        ranks: Ranks,
    ) -> None:
        """Prepare the first epoch."""
        self.network, self.objective, self.settings, self.ranks = network, objective, settings, ranks
        self._shared = distribute(network, shape, ranks, synchronized=settings.sync_batch_norm)
        how, parameters = settings.weights, network.parameters()
        self.optimizer = torch.optim.SGD(parameters, how.lr, momentum=how.momentum, weight_decay=how.decay)
        self.average: AveragedModel | None = None
        if settings.ema is not None:
            blend = get_ema_multi_avg_fn(settings.ema)
            self.average = AveragedModel(network, multi_avg_fn=blend, use_buffers=True)
        device = next(network.parameters()).device
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)  # of an epoch, on this rank
        self._images: float = 0

    def begin(self, epoch: int) -> float:
        """Set what changes by epoch, and return the learning rate."""
        settings = self.settings
        rate = settings.schedule.lr(epoch, settings.epochs, settings.weights.lr)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if isinstance(self.network, EvaluationNetwork):
            self.network.drop_path = settings.drop_path * epoch / settings.epochs
        return rate

    def step(self, x: Tensor, y: Tensor, size: int) -> None:
        """Make a step.

        Args:
            x: The images of the batch that are this rank's.
            y: Their targets.
            size: How many images the batch has in all ranks together.
        """
        self.optimizer.zero_grad()
        self._sums += self._gradient(x, y, size)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.weights.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self._images += len(y)

    def end(self, count: int) -> tuple[float, float]:
        """End an epoch: all ranks have the same again.

        Args:
            count: How many images it had, in all ranks together.

        Returns:
            The mean loss and the mean penalty of the images of all ranks.
        """
        self.ranks.add(self._sums)
        for module in self._modules():
            average_statistics(module, self._images / count, self.ranks)
        loss, penalty = (self._sums / count).tolist()  # the only wait for a GPU in an epoch
        self._sums.zero_()
        self._images = 0
        return loss, penalty

    def own(self) -> Own:
        """Return what this rank has for itself."""
        buffers: list[Tensor] = []
        if self.ranks.world > 1:
            buffers = [value.cpu() for module in self._modules() for value in module.buffers()]
        return Own(self._sums.cpu(), self._images, buffers, generator_states(self._sums.device))

    def sound(self) -> bool:
        """Return whether the weights are finite; this waits for a GPU."""
        return bool(torch.stack([value.isfinite().all() for value in self.network.parameters()]).all())

    def state(
        self, rows: list[dict[str, float]], done: int, batches: dict[str, Tensor], each: list[Own]
    ) -> TrainingState:
        """Return what `load` takes, with what others know of the training."""
        average = None if self.average is None else self.average.state_dict()
        network, optimizer = self.network.state_dict(), self.optimizer.state_dict()
        return TrainingState(rows, done, batches, network, optimizer, average, each)

    def load(self, state: TrainingState, seed: int) -> None:
        """Go on from a state, of a training with the same network and settings; last of all, random numbers."""
        self.network.load_state_dict(state.network)
        self.optimizer.load_state_dict(state.optimizer)
        if self.average is not None:
            self.average.load_state_dict(state.average or {})
        mine = own_part(state.each, self.ranks.rank, self.ranks.world)
        self._sums.copy_(mine.sums)
        self._images = mine.images
        if mine.buffers:
            places = [value for module in self._modules() for value in module.buffers()]
            for place, value in zip(places, mine.buffers, strict=True):
                place.copy_(value)
        numbers = (seed, len(state.rows), state.done, self.ranks.rank)
        restore_generators(mine.chance, self._sums.device, *numbers)

    def _modules(self) -> list[nn.Module]:
        return [module for module in (self.network, self.average) if module is not None]

    def _gradient(self, x: Tensor, y: Tensor, size: int) -> Tensor:
        """Leave the gradient of the mean loss of a batch of `size` images; return this rank's sums."""
        if not len(y):
            self._nothing(x)
            return torch.zeros(2, dtype=torch.float64, device=x.device)
        sums = []
        pieces = max(1, min(self.settings.accumulate, len(y) // 2))  # one image alone has no batch statistics
        parts = list(zip(x.tensor_split(pieces), y.tensor_split(pieces), strict=True))
        for number, (part, target) in enumerate(parts, start=1):
            share = len(target) * self.ranks.world / size  # the ranks' gradients are averaged, not added
            with self._apart(last=number == pieces):
                prediction = self._shared(part)
                loss = loss_of(prediction, target, self.objective, self.settings.auxiliary_weight)
                (loss if share == 1 else loss * share).backward()
            penalty = self.objective.penalty(prediction.logits.detach(), target)
            sums.append(torch.stack([loss.detach().double() * len(target), penalty.double().sum()]))
        return torch.stack(sums).sum(dim=0)

    def _nothing(self, x: Tensor) -> None:
        """Take part in a step with no image: a gradient of zero."""
        prediction = self._shared(x)
        total = prediction.logits.sum()
        if prediction.auxiliary_logits is not None:
            total = total + prediction.auxiliary_logits.sum()
        (total * 0.0).backward()

    def _apart(self, *, last: bool) -> AbstractContextManager[None]:
        """Let the ranks exchange gradients at the last piece alone."""
        if last or not isinstance(self._shared, DistributedDataParallel):
            return nullcontext()
        apart: AbstractContextManager[None] = self._shared.no_sync()
        return apart
