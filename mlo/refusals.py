"""Modules and tensors that cannot be a variable, because what a step makes of them would be wrong or fail."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

from mlo.errors import GraphError

_PLAIN = "give the plain module"


def check_variable(owner: str, content: Any) -> None:
    """Refuse what was wrapped for training on several devices or is spread over them, is sparse, or is not made yet.

    Args:
        owner: The name of the problem.
        content: What is to be its variable.

    Raises:
        GraphError: If it, or a part of it, is refused; the message gives the reason and what to do.
    """
    if isinstance(content, nn.Module):
        _check_module(owner, content)
    elif isinstance(content, Tensor | Mapping):
        tensors = [content] if isinstance(content, Tensor) else list(content.values())
        check_tensors(owner, tensors)
        _check_dense(owner, tensors)


def _check_module(owner: str, module: nn.Module) -> None:
    sharded = _classes("torch.distributed.fsdp", "FSDPModule", "FullyShardedDataParallel")
    for name, part in module.named_modules():
        where = f"problem {owner!r}: its module" + (f", part {name!r}," if name else "")
        if isinstance(part, DistributedDataParallel):
            reason = "autograd.grad passes over the hooks that average, so each rank would get another hypergradient"
            cure = f"{_PLAIN}, its .module: under torchrun mlo.Engine averages by itself (mlo.Parallel)"
            raise GraphError(f"{where} is wrapped in DistributedDataParallel: {reason}: {cure}")
        if isinstance(part, sharded):
            reason = "its weights are freed after a pass, where a second derivative needs them again, and fails"
            raise GraphError(f"{where} is sharded ({type(part).__name__}): {reason}: {_CURE}")
        if isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.sparse and part.weight.requires_grad:
            raise GraphError(f"{where} asks for sparse gradients, of which there is no second one: give sparse=False")
    tensors = [*module.parameters(), *module.buffers()]
    if any(is_lazy(tensor) for tensor in tensors):
        raise GraphError(f"problem {owner!r}: its module has lazy layers: call it once on a batch before")
    check_tensors(owner, tensors)
    _check_dense(owner, [value for value in module.parameters() if value.requires_grad])


def _check_dense(owner: str, tensors: Iterable[Any]) -> None:
    """Refuse what is to be trained and is sparse; a buffer, or a frozen parameter, may be."""
    for value in tensors:
        if isinstance(value, Tensor) and value.layout != torch.strided:
            cure = "give its values as a dense tensor, and make it sparse in the loss"
            raise GraphError(f"problem {owner!r}: its variable has a sparse tensor ({value.layout}): {cure}")


def check_tensors(owner: str, tensors: Iterable[Any]) -> None:
    """Refuse tensors that are spread over devices.

    Raises:
        GraphError: If one is.
    """
    spread = _classes("torch.distributed.tensor", "DTensor")
    for value in tensors:
        if isinstance(value, spread):
            reason = "its parts lie with several ranks, and a variable is one vector on one device"
            raise GraphError(f"problem {owner!r}: its variable has a {type(value).__name__}: {reason}: {_CURE}")


_CURE = f"{_PLAIN} on one device; if it does not fit, take a smaller batch, mlo.Recompute or a lower precision"


def _classes(module: str, *names: str) -> tuple[type, ...]:
    """Return classes of a module, none if it was never imported: then there is no instance of one."""
    found = sys.modules.get(module)
    classes = [getattr(found, name, None) for name in names]
    return tuple(kind for kind in classes if isinstance(kind, type))
