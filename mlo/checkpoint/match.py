"""Whether a state that was saved is one that an update rule keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mlo.checkpoint.tree import Node, Tensors, encoded, records
from mlo.errors import MLOError
from mlo.gradient import recording
from mlo.rng import preserved
from mlo.update import State, UpdateRule, detach_state
from mlo.vector import Params, Values, detach, zeros_like

_UPDATES = 2


@dataclass(frozen=True, eq=False)
class Sample:
    """A state that a rule keeps, as an example of a form.

    Attributes:
        node: The form.
        tensors: Its tensors, by key.
        records: The classes of its named tuples, by address.
    """

    node: Node
    tensors: Tensors
    records: dict[str, type]


def sample_like(
    rule: UpdateRule, params: Params, others: Values, path: str, node: Node, tensors: Tensors
) -> Sample | str:
    """Return a state of a rule that has the form of a given one, or how they differ.

    What a rule keeps is found by trying: its state before the first update, and after one and two by a gradient of
    zero, for an update may add what was not there before, such as a momentum. Only a state that has the very numbers of
    the first counts as one from before the first update.

    Args:
        rule: The rule.
        params: The value of its problem.
        others: The values that it needs besides.
        path: What the keys of the tensors start with.
        node: The form.
        tensors: Its tensors, by key.
    """
    found: str | None = ""
    with preserved(), recording():
        for updates, state in enumerate(_states(rule, params, others)):
            made: Tensors = {}
            sample = Sample(encoded(state, path, made), made, records(state))
            found = next(_differences(path, node, sample.node, tensors, made, exact=updates == 0), None)
            if found is None:
                return sample
    return found or f"{path} is of no known form"


def _states(rule: UpdateRule, params: Params, others: Values) -> Iterator[State]:
    """Yield the states of a rule in its first updates."""
    still, state = zeros_like(params), rule.init(params)
    yield state
    for _ in range(_UPDATES):
        try:
            moved, state = rule.apply(params, still, state, others)
        except MLOError:  # such as of a schedule that ends here
            return
        params, state = detach(moved), detach_state(state)
        yield state


def _differences(path: str, there: Node, here: Node, saved: Tensors, made: Tensors, *, exact: bool) -> Iterator[str]:
    """Yield how a saved node differs from one of this rule; numbers count where `exact`."""
    kind = next(iter(there), None)
    if kind != next(iter(here), None):
        yield f"{path} was {_name(there)}, and is {_name(here)} now"
    elif kind == "tensor":
        yield from _tensor_differences(path, saved[there["tensor"]], made[here["tensor"]])
    elif kind in ("value", "float"):
        if type(there[kind]) is not type(here[kind]) or (exact and there != here):
            yield f"{path} was {there[kind]!r}, and is {here[kind]!r} now"
    elif kind == "record" and there["record"] != here["record"]:
        yield f"{path} was {_name(there)}, and is {_name(here)} now"
    else:
        before, now = _parts(there), _parts(here)
        for name in [*before, *(name for name in now if name not in before)]:
            if name in before and name in now:
                yield from _differences(f"{path}/{name}", before[name], now[name], saved, made, exact=exact)
            else:
                yield f"{path}/{name} {'was there, and is not now' if name in before else 'is there now, and was not'}"


def _tensor_differences(path: str, there: Tensor, here: Tensor) -> Iterator[str]:
    if (there.shape, there.dtype) != (here.shape, here.dtype):
        yield f"{path} was {_kind(there)}, and is {_kind(here)} now"


def _kind(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def _name(node: Node) -> str:
    kind = next(iter(node), "nothing")
    shown = node[kind].partition(":")[2] if kind == "record" else {"value": "a constant", "float": "a number"}.get(kind)
    return str(shown or f"a {kind}")


def _parts(node: Node) -> dict[Any, Node]:
    """Return the nodes inside a node, by name."""
    if "record" in node:
        return {name: part for name, part in node["fields"]}
    kind, content = next(iter(node.items()))
    return dict(enumerate(content)) if kind in ("tuple", "list") else {key: part for key, part in content}
