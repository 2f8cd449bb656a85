"""A torch.optim optimizer taken apart: its class, its settings by name of parameter, and the state it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mlo.errors import GraphError

Slots = dict[str, Any]
"""The state of one parameter: tensors, and the number of steps made as a float."""

Settings = dict[str, Any]

DIFFERENTIABLE: frozenset[type[Optimizer]] = frozenset(
    getattr(torch.optim, name)
    for name in ["Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"]
)
_NEVER = {
    "LBFGS": "its step calls the loss itself, again and again: use torch.optim.SGD or Adam",
    "SparseAdam": "it works on sparse gradients only: use torch.optim.Adam",
}
_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
# `step` may hold a scheduler's wrapper, which counts the calls of the user's own optimizer.
_NOT_KEPT = {"defaults", "state", "param_groups", "step", "_opt_called", "_zero_grad_profile_name"}


@dataclass(frozen=True)
class Recipe:
    """What makes an optimizer.

    Attributes:
        kind: Its class.
        defaults: Its default settings.
        names: The names of the parameters, group by group.
        settings: The settings of each group.
        state: The state that it holds, by name of parameter; a parameter without state is absent.
        extra: Its other attributes.
    """

    kind: type[Optimizer]
    defaults: Settings
    names: tuple[tuple[str, ...], ...]
    settings: tuple[Settings, ...]
    state: dict[str, Slots]
    extra: dict[str, Any]

    @property
    def differentiable(self) -> bool:
        """Whether torch can differentiate its step."""
        known = next((kind for kind in self.kind.__mro__ if kind in DIFFERENTIABLE), None)
        return known is not None and _step(self.kind) is _step(known)


def _step(kind: type[Optimizer]) -> Any:
    # Torch wraps the step of each class that it makes an instance of, once.
    found = kind.step
    return getattr(found, "__wrapped__", found)


def taken_apart(
    owner: str,
    optimizer: Optimizer,
    tensors: Mapping[str, Tensor],
    frozen: Iterable[Tensor] = (),
    *,
    learned: bool = False,
) -> Recipe:
    """Match an optimizer's parameters with `tensors`, by identity, and copy what makes it.

    Args:
        owner: The problem's name.
        optimizer: The optimizer; it is not changed.
        tensors: The tensors of the problem's variable, by name.
        frozen: Tensors that it may hold besides, and passes over, as they never have a gradient.
        learned: Whether its settings keep their history.

    Raises:
        GraphError: If it does not move exactly these tensors, or cannot be called as a function.
    """
    kind = type(optimizer)
    what = f"problem {owner!r}: {kind.__name__}"
    if kind.__name__ in _NEVER and kind.__module__.startswith("torch.optim"):
        raise GraphError(f"{what} cannot be an update: {_NEVER[kind.__name__]}")
    if any(getattr(optimizer, hooks, None) for hooks in _HOOKS):
        raise GraphError(f"{what} has step hooks, which would act on other tensors: remove them")
    names, passed = {id(value): name for name, value in tensors.items()}, {id(value) for value in frozen}
    groups, settings = [], []
    for place, group in enumerate(optimizer.param_groups):
        for index, value in enumerate(group["params"]):
            if id(value) not in names and id(value) not in passed:
                where = f"holds a tensor of shape {tuple(value.shape)} (group {place}, place {index})"
                cure = "give it the very tensors that the problem declares as its variable"
                raise GraphError(f"{what} {where} that is none of its variable: {cure}")
        groups.append(tuple(names[id(value)] for value in group["params"] if id(value) in names))
        own = {key: value for key, value in group.items() if key not in ("params", "param_names")}
        settings.append({key: _copied(value, learned) for key, value in own.items()})
    covered = {name for group in groups for name in group}
    missing = [name for name in tensors if name not in covered]
    if missing:
        cure = "add them to a group, or freeze them by requires_grad_(False)"
        raise GraphError(f"{what} does not hold {', '.join(map(repr, missing))} of its variable: {cure}")
    state = {names[id(p)]: _slots(slots, p) for p, slots in optimizer.state.items() if id(p) in names and slots}
    extra = {key: value for key, value in optimizer.__dict__.items() if is_kept(key)}
    defaults = {key: _copied(value, learned) for key, value in optimizer.defaults.items()}
    return Recipe(kind, defaults, tuple(groups), tuple(settings), state, extra)


def is_kept(attribute: str) -> bool:
    """Tell whether an attribute of an optimizer is part of what makes another one like it."""
    return attribute not in _NOT_KEPT and not attribute.endswith("_hooks")


def _copied(value: Any, learned: bool) -> Any:
    if not isinstance(value, Tensor):
        return tuple(_copied(part, learned) for part in value) if isinstance(value, tuple) else value
    return value if learned else value.detach().clone()


def _slots(slots: Mapping[str, Any], at: Tensor) -> Slots:
    return packed({key: _copied(value, False) for key, value in slots.items()}, at)


def packed(slots: Mapping[str, Any], at: Tensor) -> Slots:
    """Return the state of one parameter with its number of steps as a float and all tensors as precise as it.

    Torch counts steps, and keeps products of settings, in tensors of the default type, which is float32 for a float64
    parameter as well: bias corrections would then be exact to 1e-8 only.
    """
    result: Slots = {}
    for key, value in slots.items():
        if isinstance(value, Tensor) and key == "step":
            result[key] = float(value)
        elif isinstance(value, Tensor) and value.is_floating_point():
            result[key] = value.to(torch.promote_types(value.dtype, at.dtype))
        else:
            result[key] = value
    return result
