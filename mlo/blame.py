"""What is raised for numbers that are not finite, and which numbers are watched besides those of a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mlo.context import Context
from mlo.errors import DivergenceError
from mlo.flat import Flat
from mlo.hypergradient.base import Trace
from mlo.look import Look, stacked
from mlo.solved import Solved
from mlo.update import State, split_state
from mlo.vector import Params, detach, norm, not_finite


def blame_loss(of: str, solved: Solved) -> None:
    """Raise: the loss of problem `of` is not finite."""
    what = f"the loss of problem {of!r} is {float(solved.seen.loss)}"
    raise DivergenceError(what, "check its batch and step sizes", problem=of)


def blame_gradient(of: str, gradient: Params, solved: Solved) -> None:
    """Raise if the derivative of problem `of` is not finite."""
    culprit = not_finite(gradient)
    if culprit is not None:
        raise DivergenceError(*_explain(of, culprit, list(solved.traces)), problem=of)


def _explain(of: str, key: str, through: list[str]) -> tuple[str, str]:
    """Return what is wrong, and what gives it."""
    way = f" through the answers of {', '.join(map(repr, through))}" if through else ""
    cause = (
        "a square root or a norm in a loss at zero gives this, and so do the Adam family, RMSprop and Adagrad, of "
        "torchopt and of torch.optim, where a gradient is exactly zero (torchopt.adam: give eps_root=1e-8; else use "
        "SGD, Adadelta or another update without a bare root)"
    )
    return f"the hypergradient of problem {of!r}, entry {key!r}, is not finite{way}, though every loss is", cause


def watch_kept(context: Context, name: str, trace: Trace, look: Look) -> None:
    """Let `look` raise if a solve left an optimizer state, a buffer or a value that is not finite, and was before.

    These can be spoilt while every loss and every answer is finite: a second moment of Adam that overflows makes the
    steps zero, and a BatchNorm may have statistics of an output that the loss does not read.
    """
    watch_state(context, name, trace.end.state, look)
    watch_buffers(context, name, trace.end.buffers, look)
    if not _same(trace.end.params, trace.answer):  # SingleLoop answers with where it stood, and keeps where it went
        watch_value(name, trace.end.params, look)


def watch_value(name: str, params: Params, look: Look) -> None:
    """Let `look` raise if the new value of a problem is not finite."""

    def blame() -> None:
        key = not_finite(params)
        if key is not None:
            cure = "lower its step size (with Adam's family, or a step size that is learned, look at that first)"
            raise DivergenceError(f"problem {name!r}: {key!r} is not finite after its update", cure, problem=name)

    look.finite(norm(detach(params)), blame)


def _same(left: Params, right: Params) -> bool:
    """Return whether two values lie in the same memory."""
    pairs = zip(Flat.of(left).roots, Flat.of(right).roots, strict=False)
    return left is right or all(one.data_ptr() == other.data_ptr() for one, other in pairs)


def watch_state(context: Context, name: str, state: State, look: Look) -> None:
    """Let `look` raise if the new optimizer state of a problem is not finite, and the present one is."""
    after = split_state(state)[0]

    def blame() -> None:
        before = split_state(context.states.get(name))[0]
        if _spoilt(before, after):
            what = f"problem {name!r}: the state of its optimizer is not finite after its update, though its value is"
            cure = "its gradient, or the square of it, is too large for this type of number: clip it, or scale its loss"
            raise DivergenceError(what, cure, problem=name)

    _add(after, blame, look)


def watch_buffers(context: Context, name: str, buffers: Params, look: Look) -> None:
    """Let `look` raise if the new buffers of a problem's module are not finite, and the present ones are."""

    def blame() -> None:
        before = context.buffers[name]
        for key, value in buffers.items():
            if value.is_floating_point() and _spoilt([before[key]] if key in before else [], [value]):
                what = f"problem {name!r}: buffer {key!r} of its module is not finite, though its loss is"
                raise DivergenceError(what, "check its batch, and what else its loss runs the module on", problem=name)

    _add([value for value in Flat.of(buffers).vectors if value.is_floating_point()], blame, look)


def _spoilt(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    """Return whether there is an entry that is not finite and was: a mask, or a best value, may begin infinite."""
    before, after = ([value.to_dense() for value in values] for values in (before, after))
    masks = [~torch.isfinite(value) for value in after]
    fits = len(before) == len(after) and all(old.shape == new.shape for old, new in zip(before, after, strict=True))
    if fits:
        masks = [mask & torch.isfinite(old) for mask, old in zip(masks, before, strict=True)]
    return any(bool(mask.any()) for mask in masks)


def _add(values: Sequence[Tensor], blame: Callable[[], None], look: Look) -> None:
    """Let `look` call `blame` if a norm is not finite; squares may overflow where nothing is wrong."""
    sizes = [torch.linalg.vector_norm(_stored(value.detach())) for value in values]
    if sizes:
        look.finite(sizes[0] if len(sizes) == 1 else stacked(sizes).sum(), blame)


def _stored(value: Tensor) -> Tensor:
    """Return the entries of a tensor; of a sparse one, those that it holds."""
    if value.layout == torch.strided:
        return value
    return (value.coalesce() if value.layout == torch.sparse_coo else value).values()
