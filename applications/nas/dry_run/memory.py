"""How much memory a search takes, measured on shapes alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, autograd
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from applications.nas.learner import Learner
from applications.nas.methods import Rule
from applications.nas.settings import Formulation, Interleaving
from applications.nas.watch import first_batch


@dataclass(frozen=True)
class Footprint:
    """What one task takes; in bytes, where nothing else is said.

    Attributes:
        images: In a batch.
        multiply_adds: Of one image, forward, in convolutions and linear layers.
        weights: How many weights the network has.
        parameters: One set of them.
        buffers: Their statistics.
        train: Saved for the backward pass of a training loss.
        valid: Saved for the backward pass of a validation loss, which goes to the weights too if the order is second.
        twice: Saved by a gradient of a training loss that can be differentiated again; 0 if the rule takes none.
        curved: Saved by a gradient in the architecture that can be differentiated again; 0 if no Hessian is watched.
        batch: The images and targets of a training and of a validation batch.
    """

    images: int
    multiply_adds: int
    weights: int
    parameters: int
    buffers: int
    train: int
    valid: int
    twice: int
    curved: int
    batch: int


@dataclass(frozen=True)
class Memory:
    """An estimate of what a stage holds at its peak, in bytes.

    Attributes:
        sets: How many sets of network weights there are, one for each task and round.
        weights: All of them, with momentum, statistics, initial values, and the new values of a step.
        graphs: How many saved passes are alive at once, in words.
        activations: What they hold.
        batches: The images of one step.
    """

    sets: int
    weights: int
    graphs: str
    activations: int
    batches: int

    @property
    def total(self) -> int:
        """Everything but the data set."""
        return self.weights + self.activations + self.batches


def saved_bytes(run: Callable[[], object], known: Iterable[Tensor] = ()) -> int:
    """Return how many bytes autograd saves while something runs, each storage counted once.

    Args:
        run: What is done; on the meta device it costs no memory and next to no time.
        known: Tensors whose storages do not count, such as weights.
    """
    outside = {id(tensor.untyped_storage()) for tensor in known}
    found: dict[int, torch.UntypedStorage] = {}  # held, so that no number is given twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[id(storage)] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storage.nbytes() for key, storage in found.items() if key not in outside)


def footprint(learner: Learner, tables: Mapping[str, Tensor], rule: Rule, *, hessian: bool = False) -> Footprint:
    """Measure what one task takes.

    Args:
        learner: The task; its network is copied to the meta device.
        tables: Mixing weights that fit it, as `relax` makes them.
        rule: How the architecture's gradient is taken.
        hessian: Whether the eigenvalue of the Hessian is watched.
    """
    network = copy.deepcopy(learner.network).to("meta")
    weights = {name: table.detach().to("meta") for name, table in tables.items()}
    x, y = (part.to("meta") for part in first_batch(learner.train))
    parameters, architecture = list(network.parameters()), list(weights.values())
    known = [*parameters, *network.buffers(), *architecture, x, y]

    def loss() -> Tensor:
        return learner.loss(network(x, weights), y)

    def saved(of: Sequence[Tensor], *, again: Sequence[Tensor] | None = None) -> int:
        """Measure the loss, differentiable in some tensors, or its gradient in others."""
        for tensor in (*parameters, *architecture):
            tensor.requires_grad_(any(tensor is one for one in of))
        if again is None:
            return saved_bytes(loss, known)
        return saved_bytes(lambda: autograd.grad(loss(), again, create_graph=True, materialize_grads=True), known)

    with FlopCounterMode(display=False) as counter:
        valid = saved(architecture if rule == "first" else [*parameters, *architecture])
    return Footprint(
        images=len(x),
        # A multiplication and an addition count as two there.
        multiply_adds=counter.get_total_flops() // 2 // len(x),
        weights=sum(value.numel() for value in parameters),
        parameters=size(parameters),
        buffers=size(network.buffers()),
        train=saved(parameters) if rule == "first" else valid,  # of the same pass, with fewer derivatives, no more
        valid=valid,
        twice=saved([*parameters, *architecture], again=parameters) if rule == "exact" else 0,
        curved=saved(architecture, again=architecture) if hessian else 0,
        batch=2 * size([x, y]),
    )


def estimate(tasks: Sequence[Footprint], formulation: Formulation, rule: Rule, *, chunks: int = 1) -> Memory:
    """Add up what is alive at once at the peak of a step, in float32.

    A gradient of a stage, or of a task's validation loss, is taken and let go before the next one; but exact
    second-order products keep the graph of every stage until then.

    Args:
        tasks: What each takes.
        formulation: How many sets of weights each task has.
        rule: How the architecture's gradient is taken.
        chunks: Into how many parts each batch is cut; each is differentiated by itself.
    """
    rounds, updates = (formulation.rounds, formulation.updates) if isinstance(formulation, Interleaving) else (1, 1)
    sets, count = rounds * len(tasks), len(tasks)
    part = "" if chunks == 1 else f" of 1/{chunks} of a batch"
    passes = f"1 validation pass{part}"
    train = (max(task.train for task in tasks) // chunks, f"1 training pass{part}")
    valid = (max(task.valid for task in tasks) // chunks, passes)
    hessian = (sum(task.curved for task in tasks), f"{_count(count, 'differentiable gradient')}, for the Hessian")
    if rule == "exact":
        kept = rounds * updates * sum(task.twice for task in tasks)
        valid = (kept + valid[0], f"{_count(sets * updates, 'differentiable gradient')} and {passes}")
    activations, graphs = max(valid, train, hessian, key=lambda pair: pair[0])
    # Of each task: the network as made. Of each stage: its initial values, its values and momentum, and both anew;
    # where several updates are differentiated, both after each of them, and its gradient; and a start handed over.
    made = sum(task.parameters + task.buffers for task in tasks)
    further = 3 * updates if updates > 1 and rule != "first" else 0
    handed = int(isinstance(formulation, Interleaving) and formulation.start == "previous")
    stages = rounds * sum((5 + further + handed) * task.parameters + 3 * task.buffers for task in tasks)
    return Memory(sets, made + stages, graphs, activations, sum(task.batch for task in tasks) * rounds)


def size(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors that share nothing."""
    return sum(tensor.nbytes for tensor in tensors)


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"
