"""What a user may give as an update, and the rule that it stands for."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchopt.base import GradientTransformation

from mlo.autodiff import cut
from mlo.errors import GraphError
from mlo.update.base import UpdateRule
from mlo.update.optimizer import OptimizerUpdate
from mlo.update.recipe import taken_apart
from mlo.update.schedule import Schedule
from mlo.update.transformation import TorchOptUpdate, with_scalars
from mlo.variable import declared

_HINT = (
    "a torchopt transformation such as torchopt.adam(1e-3), a torch.optim optimizer or scheduler of its variable, a "
    "function that makes one of a list of tensors such as functools.partial(torch.optim.SGD, lr=0.1), mlo.Clipped or "
    "mlo.Learned"
)


def as_update(owner: str, update: Any, variable: Any = None, *, learned: bool = False) -> UpdateRule:
    """Recognise what a user gave as an update.

    Args:
        owner: The problem's name.
        update: A torchopt transformation, a torch.optim optimizer or scheduler, a function that makes one of a list of
            tensors, or an update rule.
        variable: What the user declared as the problem's variable; needed for what belongs to torch.optim.
        learned: Whether settings that are tensors keep their derivatives; then the update must be of nobody else.

    Raises:
        GraphError: If it is nothing of these, or does not belong to the variable.
    """
    if isinstance(update, UpdateRule):
        return update.placed(owner, variable, partial(as_update, learned=learned))
    if isinstance(update, GradientTransformation):
        return TorchOptUpdate(with_scalars(update) if learned else update)
    if isinstance(update, Optimizer | LRScheduler):
        tensors, frozen = declared(variable)
        return _optimizer_update(owner, update, tensors, frozen)
    if callable(update) and (not isinstance(update, type) or issubclass(update, Optimizer)):
        tensors = cut(declared(variable)[0], differentiable=False).pieces
        return _optimizer_update(owner, _made(owner, update, tensors), tensors, [], learned=learned)
    raise GraphError(f"problem {owner!r}: update must be {_HINT}; got {_kind(update)}")


def _optimizer_update(
    owner: str, given: Any, tensors: dict[str, Tensor], frozen: list[Tensor], *, learned: bool = False
) -> UpdateRule:
    if not isinstance(given, LRScheduler):
        return OptimizerUpdate(owner, taken_apart(owner, given, tensors, frozen, learned=learned))
    if learned:
        what = f"problem {owner!r}: mlo.Learned made {_kind(given)}, which writes over what is learned"
        raise GraphError(f"{what}: make the optimizer alone, or use torchopt with a schedule")
    return OptimizerUpdate(owner, taken_apart(owner, given.optimizer, tensors, frozen), Schedule(owner, given))


def _made(owner: str, factory: Any, tensors: dict[str, Tensor]) -> Any:
    """Let a factory make an optimizer of tensors that nobody else has."""
    try:
        made = factory(list(tensors.values()))
    except Exception as error:
        error.add_note(f"raised by the function that makes the update of problem {owner!r}")
        raise
    if not isinstance(made, Optimizer | LRScheduler):
        cure = "return an optimizer of the tensors that it is given, such as torch.optim.SGD(tensors, lr=0.1)"
        raise GraphError(f"problem {owner!r}: its update is a function that makes {_kind(made)}: {cure}")
    return made


def _kind(value: Any) -> str:
    return type(value).__name__
