"""torch.optim's optimizers as update rules: pure functions of (variable, gradient, state)."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from mlo.errors import GraphError
from mlo.flat import Flat
from mlo.update.base import WEIGHT_DECAY, State, UpdateRule
from mlo.update.grouped import Grouped
from mlo.update.modes import Stepping
from mlo.update.recipe import Recipe, Settings, Slots, is_kept, packed
from mlo.update.scalar import closed, has_derivative
from mlo.update.schedule import Schedule
from mlo.vector import Params, Values, detach


@dataclass(frozen=True, eq=False)
class OptimizerUpdate(UpdateRule):
    """One step of a torch.optim optimizer, on copies.

    Every step makes an optimizer of the user's class anew (it is a small thing), gives it copies of the variable and of
    the state, and takes the results. Where autograd records, the step is differentiable; elsewhere it is the plain one.
    The state is (updates made, state by name of parameter).

    Attributes:
        owner: The problem's name.
        recipe: What makes the optimizer.
        schedule: Its settings by number of updates made, None if they are constant.
    """

    owner: str
    recipe: Recipe
    schedule: Schedule | None = None
    _shapes: Grouped | None = field(default=None, init=False, repr=False)

    def init(self, params: Params) -> State:
        """Return the state that the user's optimizer holds; for a parameter without one, what torch starts from."""
        settings = self._settings(0)
        shown = self._shape(params).shown(detach(params))
        tensors = {name: value.detach() for name, value in shown.items()}
        gradient = {name: value.detach() for name, value in shown.items()}  # only shapes and types are looked at
        held = self._shape(params).packed(self.recipe.state) or {}
        optimizer = self._optimizer(params, tensors, gradient, held, settings, recording=False)
        _start(optimizer)
        copied = {name: _cloned(optimizer.state[value]) for name, value in tensors.items()}
        return (0, {name: packed(slots, shown[name]) for name, slots in copied.items()})

    def apply(self, params: Params, gradient: Params, state: State, others: Values) -> tuple[Params, State]:
        """Make one step."""
        count, slots = state
        settings = self._settings(count)
        recording = torch.is_grad_enabled()
        shape = self._shape(params)
        shown = shape.shown(params)
        tensors = {name: value.clone() for name, value in shown.items()}
        optimizer = self._optimizer(params, tensors, shape.shown(gradient), slots, settings, recording=recording)
        with Stepping():
            optimizer.step()
        for value in tensors.values():
            value.grad = None  # what is returned keeps no gradient alive
        if not self.recipe.differentiable:
            self._check_pure(optimizer, settings)
        moved = {name: packed(optimizer.state.get(value, {}), shown[name]) for name, value in tensors.items()}
        return shape.taken(tensors), (count + 1, moved)

    def _shape(self, params: Params) -> Grouped:
        """Return what the optimizer is shown: whole vectors, if it is known to move each entry alike."""
        layout = Flat.of(params).layout
        if self._shapes is None or self._shapes.layout != layout:
            names = self.recipe.names
            shape = Grouped(layout, names, whole=self.recipe.differentiable)
            unclear = shape.packed(self.recipe.state) is None
            object.__setattr__(self, "_shapes", Grouped(layout, names, whole=False) if unclear else shape)
        return cast(Grouped, self._shapes)

    def _settings(self, count: int) -> Sequence[Settings]:
        return self.recipe.settings if self.schedule is None else self.schedule.at(count)

    def _optimizer(
        self,
        params: Params,
        tensors: dict[str, Tensor],
        gradient: dict[str, Tensor],
        slots: Mapping[str, Slots],
        settings: Sequence[Settings],
        *,
        recording: bool,
    ) -> Optimizer:
        """Return an optimizer of the user's class that holds `tensors` and copies of `slots`."""
        recipe = self.recipe
        optimizer: Optimizer = object.__new__(recipe.kind)
        optimizer.__dict__.update(recipe.extra)
        # One loop over the parameters is what torch can differentiate; it also takes settings that are tensors.
        loop = recording or _learned(settings)
        plain = {"differentiable": loop, "fused": False, "capturable": False} | ({"foreach": False} if loop else {})
        groups = [
            {key: closed(plain.get(key, value)) for key, value in own.items()} | {"params": [tensors[n] for n in names]}
            for names, own in zip(self._shape(params).names, settings, strict=True)
        ]
        defaults = {key: closed(value) for key, value in recipe.defaults.items()} | {"differentiable": recording}
        state: defaultdict[Tensor, Slots] = defaultdict(dict)
        for name, value in tensors.items():
            value.grad = gradient[name]
            if slots.get(name):
                state[value] = _cloned(_unpacked(slots[name], value))
        # Not the class's own: it would make a float32 tensor of each number of steps.
        Optimizer.__setstate__(optimizer, {"defaults": defaults, "state": state, "param_groups": groups})
        return optimizer

    def _check_pure(self, optimizer: Optimizer, settings: Sequence[Settings]) -> None:
        """Refuse an optimizer of an unknown class that remembers something elsewhere than in its state."""
        kept = {key: value for key, value in optimizer.__dict__.items() if is_kept(key)}
        changed = [key for key, value in kept.items() if self.recipe.extra.get(key) is not value]
        for own, group in zip(settings, optimizer.param_groups, strict=True):
            differ = (key for key in group if key not in _SWITCHES and group[key] is not own.get(key))
            changed += [f"param_groups[...][{key!r}]" for key in differ if group[key] != own.get(key)]
        if changed:
            where = f"keeps what it remembers in {changed[0]}, which a step on copies loses"
            cure = "keep it in self.state, or use an optimizer of torch.optim"
            raise GraphError(f"problem {self.owner!r}: {type(optimizer).__name__} {where}: {cure}")

    def ingredients(self) -> set[str]:
        """Return the name of the class, and "weight_decay" if a group has one."""
        # ASGD pulls towards zero by a setting of another name.
        names = [WEIGHT_DECAY, *(["lambd"] if issubclass(self.recipe.kind, torch.optim.ASGD) else [])]
        decays = any(bool(group.get(name, 0)) for group in self.recipe.settings for name in names)
        return {self.recipe.kind.__name__} | ({WEIGHT_DECAY} if decays else set())

    def undifferentiable(self) -> str | None:
        """Return why torch cannot differentiate the optimizer's step, None if it can."""
        if self.recipe.differentiable:
            return None
        name = self.recipe.kind.__name__
        return f"torch does not differentiate a step of {name}: use SGD, Adam or another that it does (docs/optimizers)"


_SWITCHES = {"params", "differentiable", "foreach", "fused", "capturable"}


def _learned(settings: Sequence[Settings]) -> bool:
    """Tell whether a setting has a derivative."""
    return any(has_derivative(value) for group in settings for value in group.values())


def _cloned(slots: Slots) -> Slots:
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in slots.items()}


def _unpacked(slots: Slots, at: Tensor) -> Slots:
    """Undo `packed` as far as torch needs it: a number of steps is a tensor there."""
    dtype = torch.float64 if at.dtype == torch.float64 else torch.float32
    return {key: torch.tensor(value, dtype=dtype) if key == "step" else value for key, value in slots.items()}


def _start(optimizer: Optimizer) -> None:
    """Let an optimizer make the state that it starts from."""
    make = getattr(optimizer, "_init_group", None)
    if make is None:
        return
    lists = len(inspect.signature(make).parameters) - 1
    started = set(optimizer.state)
    with Stepping():
        for group in optimizer.param_groups:
            make(group, *([] for _ in range(lists)))
            for value in group["params"]:
                if value not in started and "eta" in optimizer.state[value]:
                    # ASGD's first step size, which torch rounds to float32.
                    optimizer.state[value]["eta"] = torch.as_tensor(group["lr"], dtype=value.dtype)
