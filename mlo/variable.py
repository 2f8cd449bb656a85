"""What a problem optimizes: an `nn.Module`, a dict of tensors, or one tensor, behind one interface.

Inside the library a variable is `Params`. Outside, in a loss, it is the same kind of thing that the user declared.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlo.errors import GraphError
from mlo.flat import Flat
from mlo.module import BoundModule
from mlo.refusals import check_tensors, check_variable
from mlo.vector import Params, apart, clone, named

SINGLE = "value"
"""The name that the only tensor of a one-tensor variable has inside the library."""


class Variable(ABC):
    """A kind of variable: how it becomes `Params`, and what a loss sees of it."""

    @abstractmethod
    def initial(self) -> Params:
        """Return copies of the trainable tensors."""

    @abstractmethod
    def present(self, params: Params, buffers: dict[str, Tensor]) -> Any:
        """Return what a loss sees: the same kind of thing as was declared.

        Args:
            params: The values.
            buffers: Copies for this call alone: a module may write to them, or put others in their places.
        """

    @abstractmethod
    def parse(self, owner: str, value: Any) -> tuple[Params, Params]:
        """Turn a user's value into (params, buffers); buffers not given are the initial ones."""

    @abstractmethod
    def structure(self, params: Params) -> Any:
        """Return copies of `params` in the structure of the variable: a dict of tensors, or one tensor."""

    @abstractmethod
    def export(self, params: Params, buffers: Params) -> Any:
        """Return an independent object of the declared kind that holds these values."""

    def buffers(self) -> Params:
        """Return copies of the tensors that are state but not trained (none unless the variable is a module)."""
        return Flat.of({})


def _matched(owner: str, value: Mapping[str, Any], example: Mapping[str, Tensor]) -> Params:
    """Check names, shapes and types of `value` against `example`; return copies."""
    unknown = [name for name in value if name not in example]
    missing = [name for name in example if name not in value]
    if unknown or missing:
        cure = "give each tensor of its variable under its name there"
        raise GraphError(f"value of problem {owner!r}: unknown entries {unknown}, missing entries {missing}: {cure}")
    check_tensors(owner, value.values())
    result: dict[str, Tensor] = {}
    for name, at in example.items():
        given = value[name]
        if not isinstance(given, Tensor) or given.shape != at.shape or given.is_complex():
            got = f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            where = repr(owner) if name == SINGLE else f"{owner!r}, entry {name!r}"
            raise GraphError(f"value of problem {where}: expected a real tensor of shape {tuple(at.shape)}, got {got}")
        result[name] = given.detach().to(dtype=at.dtype, device=at.device, copy=True)
    return Flat.of(result)


@dataclass(frozen=True, eq=False)
class DictVariable(Variable):
    """A dict of floating-point tensors."""

    content: Mapping[str, Tensor]

    def initial(self) -> Params:
        """Return copies of the tensors."""
        return clone(self.content)

    def present(self, params: Params, buffers: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a dict of the tensors."""
        return named(params)

    def parse(self, owner: str, value: Any) -> tuple[Params, Params]:
        """Accept a dict with the same names and shapes."""
        if not isinstance(value, Mapping):
            raise GraphError(f"value of problem {owner!r}: expected a dict of tensors, got {type(value).__name__}")
        return _matched(owner, value, self.content), Flat.of({})

    def structure(self, params: Params) -> dict[str, Tensor]:
        """Return a dict of copies."""
        return apart(params)

    def export(self, params: Params, buffers: Params) -> dict[str, Tensor]:
        """Return copies."""
        return apart(params)


@dataclass(frozen=True, eq=False)
class TensorVariable(Variable):
    """One floating-point tensor."""

    content: Tensor

    def initial(self) -> Params:
        """Return a copy of the tensor."""
        return clone({SINGLE: self.content})

    def present(self, params: Params, buffers: dict[str, Tensor]) -> Tensor:
        """Return the tensor."""
        return params[SINGLE]

    def parse(self, owner: str, value: Any) -> tuple[Params, Params]:
        """Accept a tensor of the same shape."""
        return _matched(owner, {SINGLE: value}, {SINGLE: self.content}), Flat.of({})

    def structure(self, params: Params) -> Tensor:
        """Return a copy of the tensor."""
        return params[SINGLE].detach().clone()

    def export(self, params: Params, buffers: Params) -> Tensor:
        """Return a copy."""
        return params[SINGLE].detach().clone()


@dataclass(frozen=True, eq=False)
class ModuleVariable(Variable):
    """A module; its parameters that require a gradient are the variable, frozen ones are constants.

    The module itself lends its forward function (and whether it is in training mode); its weights are copied once.
    """

    module: nn.Module
    start: Params
    start_buffers: Params

    @staticmethod
    def of(module: nn.Module) -> ModuleVariable:
        """Copy the weights and buffers that `module` has now."""
        trained, _ = declared(module)
        return ModuleVariable(module, clone(trained), clone(dict(module.named_buffers())))

    def initial(self) -> Params:
        """Return copies of the parameters that require a gradient."""
        return clone(self.start)

    def buffers(self) -> Params:
        """Return copies of the buffers."""
        return clone(self.start_buffers)

    def present(self, params: Params, buffers: dict[str, Tensor]) -> BoundModule:
        """Return the module, callable with these weights."""
        return BoundModule(self.module, named(params), buffers)

    def parse(self, owner: str, value: Any) -> tuple[Params, Params]:
        """Accept a module of the same shape, its state dict, or a dict of its parameters, with or without buffers.

        What the variable does not hold, frozen parameters, must be as in the declared module.
        """
        example, buffers = self.initial(), self.buffers()
        if isinstance(value, nn.Module):
            value = dict(value.named_parameters()) | dict(value.named_buffers())
        if not isinstance(value, Mapping):
            raise GraphError(f"value of problem {owner!r}: expected a module or a dict, got {type(value).__name__}")
        held = {name: value[name] for name in self._not_trained() if name in value and name not in buffers}
        self._check_frozen(owner, held)
        given = {name: value[name] for name in buffers if name in value}
        rest = {name: value[name] for name in value if name not in given and name not in held}
        held_buffers = {**buffers, **_matched(owner, given, {name: buffers[name] for name in given})}
        return _matched(owner, rest, example), Flat.of(held_buffers)

    def _not_trained(self) -> dict[str, Tensor]:
        """Return all named tensors but the variable's: frozen ones, buffers, and further names of shared tensors."""
        module, trained = self.module, self.initial()
        named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        return {name: value for name, value in named if name not in trained}

    def _check_frozen(self, owner: str, held: Mapping[str, Any]) -> None:
        declared = self._not_trained()
        for name, value in held.items():
            at = declared[name]
            if isinstance(at, nn.Parameter) and not at.requires_grad and not _same(value, at):
                cure = "it is a constant, so declare the module with it, or leave it out of the value"
                where = f"value of problem {owner!r}: the frozen entry {name!r}"
                raise GraphError(f"{where} is another one than declared: {cure}")

    def structure(self, params: Params) -> dict[str, Tensor]:
        """Return a dict of copies of the parameters."""
        return apart(params)

    def export(self, params: Params, buffers: Params) -> nn.Module:
        """Return a copy of the module that holds these values."""
        module = copy.deepcopy(self.module)
        with torch.no_grad():
            named = dict(module.named_parameters()) | dict(module.named_buffers())
            for name, value in {**params, **buffers}.items():
                named[name].copy_(value)
        return module


def _same(value: Any, at: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == at.shape and torch.equal(value.to(at), at)


def as_variable(owner: str, content: Any) -> Variable:
    """Recognise what a user declared as the variable of problem `owner`.

    Raises:
        GraphError: If it is none of the three kinds, has nothing to train, is spread over devices, or holds tensors
            that are not floating or not initialized.
    """
    variable: Variable
    check_variable(owner, content)
    if isinstance(content, nn.Module):
        variable = ModuleVariable.of(content)
    elif isinstance(content, Tensor):
        variable = TensorVariable(content.detach().clone())
    elif isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values()):
        variable = DictVariable(clone(content))
    else:
        kinds = "an nn.Module, a dict of tensors, or one tensor"
        raise GraphError(f"problem {owner!r}: its variable must be {kinds}, got {type(content).__name__}")
    initial = variable.initial()
    if not initial:
        raise GraphError(f"problem {owner!r}: its variable has no trainable tensor (all frozen, or empty)")
    for name, value in initial.items():
        if not value.is_floating_point():
            raise GraphError(f"problem {owner!r}: {name!r} is {value.dtype}; only floats can be trained: convert it")
    return variable


def declared(variable: Any) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return the tensors that a user declared, by name, and those of a module that are constants."""
    if isinstance(variable, nn.Module):
        named = dict(variable.named_parameters())
        frozen: list[Tensor] = [value for value in named.values() if not value.requires_grad]
        return {name: value for name, value in named.items() if value.requires_grad}, frozen
    if isinstance(variable, Tensor):
        return {SINGLE: variable}, []
    return dict(variable), []
