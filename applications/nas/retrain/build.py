"""From a cell and settings to the final network of a task, and to what that network costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from applications.nas.data import Task
from applications.nas.networks.hand_made import HandMadeNetwork, check_runs
from applications.nas.networks.imagenet import ImageNetNetwork
from applications.nas.networks.network import Network
from applications.nas.networks.room import check_room
from applications.nas.objective import AbstractObjective, Classification
from applications.nas.settings import CifarForm, RetrainSettings, TorchvisionForm
from applications.nas.space.genotype import Genotype
from mlo import ConfigError


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: Weights, without the auxiliary head, as papers count them.
        multiply_adds: Of one image in all convolutions, linear layers and products of matrices, without the auxiliary
            head; normalizations, activations, pools and sums are not counted.
    """

    parameters: int
    multiply_adds: int


def build_network(genotype: Genotype | None, task: Task, settings: RetrainSettings) -> nn.Module:
    """Build the network of a task, with random initial values.

    Args:
        genotype: The architecture; None for a network of torchvision, which the settings name.
        task: Its objective gives the head, its images the number of channels.
        settings: Their `network` gives the form.

    Returns:
        A module from images to a `Prediction`.

    Raises:
        ConfigError: A setting is out of range, or does not go with the task.
    """
    form, objective, channels = settings.network, task.objective, task.train.shape[0]
    if isinstance(form, TorchvisionForm):
        if genotype is not None:
            raise ConfigError("network: one of torchvision has no cell, but a cell was given: leave one of them out")
        return HandMadeNetwork(form.model, objective, channels, form.stem)
    if genotype is None:
        raise ConfigError("network: it is made of cells, and no cell was given: name one")
    sizes = (genotype, form.channels, form.layers, objective)
    if isinstance(form, CifarForm):
        multiplier = form.stem_multiplier
        return Network(*sizes, stem_multiplier=multiplier, auxiliary=form.auxiliary, in_channels=channels)
    norm = form.auxiliary_norm
    return ImageNetNetwork(*sizes, auxiliary=form.auxiliary, auxiliary_norm=norm, in_channels=channels)


def training_objective(task: Task, settings: RetrainSettings) -> AbstractObjective:
    """Return what is minimized in training: the task's objective, with label smoothing if that is set.

    Raises:
        ConfigError: Smoothing is wanted where there are no labels.
    """
    if not settings.smoothing:
        return task.objective
    if not isinstance(task.objective, Classification):
        name = type(task.objective).__name__
        raise ConfigError(f"smoothing={settings.smoothing}: task {task.name!r} is a {name}, without labels; use 0")
    return replace(task.objective, smoothing=settings.smoothing)


def check_fit(genotype: Genotype | None, task: Task, settings: RetrainSettings) -> None:
    """Refuse, before anything is trained, images and tasks that the network cannot take.

    Raises:
        ConfigError: The message says which setting does not go with what.
    """
    training_objective(task, settings)
    with torch.device("meta"), torch.no_grad():  # shapes alone, no numbers
        network = build_network(genotype, task, settings)
        check_room(network)
        if isinstance(network, HandMadeNetwork):
            check_runs(network, task.train.shape)
        else:
            network(torch.zeros(2, *task.train.shape))


def measure(network: nn.Module, shape: tuple[int, int, int]) -> Cost:
    """Measure what a network costs.

    Args:
        network: On the meta device, or on another.
        shape: Channels, height and width of an image.

    Returns:
        Its cost; the mode of the network (training or not) is left as it was.
    """
    named = network.named_parameters()
    parameters = sum(value.numel() for name, value in named if not name.startswith("auxiliary"))
    example = next(network.parameters(), torch.empty(0))  # an operation may have none
    image = torch.zeros(1, *shape, dtype=example.dtype, device=example.device)
    training = network.training
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    network.train(training)
    return Cost(parameters, counter.get_total_flops() // 2)  # a multiplication and an addition count as two there


def measure_on(genotype: Genotype | None, task: Task, settings: RetrainSettings) -> Cost:
    """Return the cost of the network of a task, without computing with it."""
    with torch.device("meta"):
        return measure(build_network(genotype, task, settings), task.train.shape)
