"""The state of an optimizer as plain data and named tensors, and back.

A node is a JSON object of one entry, by kind: {"tensor": key}, {"value": null, true, 3 or "text"}, {"float": "0.5"},
{"tuple": nodes}, {"list": nodes}, {"dict": [key, node] pairs}, {"record": class, "fields": [name, node] pairs}.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mlo.errors import DataError

_DEPTH = 64  # of nodes inside each other: far from the limit of Python's recursion

Node = dict[str, Any]
Tensors = dict[str, Tensor]

NOTHING: Node = {"value": None}
"""The node of None."""

_KINDS: dict[str, tuple[type, ...]] = {
    "tensor": (str,),
    "value": (type(None), bool, int, str),
    "float": (str,),
    "tuple": (list,),
    "list": (list,),
    "dict": (list,),
    "ordered": (list,),
    "record": (str,),
}
_FORMS = [[kind] for kind in _KINDS if kind != "record"] + [["fields", "record"]]


def escaped(name: object) -> str:
    """Return a name as one part of a path."""
    return str(name).replace("%", "%25").replace("/", "%2F")


def keep(tensors: Tensors, key: str, value: Tensor) -> str:
    """Add a tensor under a key of its own; return the key.

    Raises:
        DataError: If the key is taken, or the tensor is not a plain block of numbers.
    """
    if key in tensors:
        raise DataError(f"{key}: two names of one problem read the same, such as 0 and '0': rename one")
    check_dense(key, value)
    tensors[key] = value.detach()
    return key


def check_dense(key: str, value: Tensor) -> None:
    """Raise unless a tensor is a plain block of numbers."""
    if value.layout != torch.strided or value.is_quantized:
        kind = "quantized" if value.is_quantized else str(value.layout).removeprefix("torch.")
        raise DataError(f"{key}: a {kind} tensor cannot be kept in a checkpoint: hold a dense one")


def encoded(value: Any, path: str, tensors: Tensors) -> Node:
    """Return a state as a node.

    Args:
        value: The state.
        path: Where it belongs; the keys of its tensors start so.
        tensors: Gets its tensors.

    Raises:
        DataError: If it holds something that is neither a tensor nor a number, nor a tuple, list or dict of such.
    """
    if path.count("/") > _DEPTH:
        raise DataError(f"{path[:80]}...: a state of more than {_DEPTH} levels cannot be kept: let it be flatter")
    if isinstance(value, Tensor):
        return {"tensor": keep(tensors, path, value)}
    if isinstance(value, float):
        return {"float": repr(float(value))}  # exact, and has a form for nan and inf
    if value is None or isinstance(value, bool | int | str):
        return {"value": value}
    if _is_record(type(value)):
        fields = [[name, encoded(part, f"{path}/{escaped(name)}", tensors)] for name, part in _fields(value)]
        return {"record": _address(type(value)), "fields": fields}
    if type(value) in (tuple, list):
        nodes = [encoded(part, f"{path}/{index}", tensors) for index, part in enumerate(value)]
        return {type(value).__name__: nodes}
    if type(value) in (dict, OrderedDict) and all(type(key) in (str, int) for key in value):
        pairs = [[key, encoded(part, f"{path}/{escaped(key)}", tensors)] for key, part in value.items()]
        return {"dict" if type(value) is dict else "ordered": pairs}
    cure = "let the update keep tensors, numbers, and tuples, lists or dicts of them"
    raise DataError(f"{path}: a state with a {type(value).__name__} in it cannot be kept in a checkpoint: {cure}")


def decoded(node: Node, place: Callable[[str], Tensor], records: Mapping[str, type]) -> Any:
    """Return the state that a node stands for.

    Args:
        node: What `encoded` returned.
        place: Returns the tensor of a key.
        records: Classes of named tuples that are known, by address; others are looked for in loaded modules.

    Raises:
        DataError: If the class of a named tuple is not found.
    """

    def inner(part: Node) -> Any:
        return decoded(part, place, records)

    kind, content = next(iter(node.items()))
    if kind == "tensor":
        return place(content)
    if kind == "value":
        return content
    if kind == "float":
        return float(content)
    if kind == "record":
        fields = [(name, inner(part)) for name, part in node["fields"]]
        return _record(content, [name for name, _ in fields], [part for _, part in fields], records)
    if kind in ("tuple", "list"):
        return tuple(map(inner, content)) if kind == "tuple" else [inner(part) for part in content]
    pairs = [(key, inner(part)) for key, part in content]
    return dict(pairs) if kind == "dict" else OrderedDict(pairs)


def keys(node: Any, depth: int = 0) -> Iterator[str]:
    """Yield the keys of the tensors in a node.

    Args:
        node: The node.
        depth: In how many others it lies.

    Raises:
        ValueError: If it is no node, of the form and the depth that `encoded` gives it.
    """
    if type(node) is not dict or sorted(node) not in _FORMS or depth > _DEPTH:
        raise ValueError("no part of a state, or one too deep inside of others")
    kind, content = ("record", node["record"]) if "record" in node else next(iter(node.items()))
    if type(content) not in _KINDS[kind]:
        raise ValueError(f"{kind!r} cannot be a {type(content).__name__}")
    if kind == "tensor":
        yield content
    elif kind == "float":
        float(content)
    elif kind in ("tuple", "list"):
        for part in content:
            yield from keys(part, depth + 1)
    elif kind != "value":
        for name, part in node["fields"] if kind == "record" else content:
            if type(name) not in (str, int):
                raise ValueError(f"{name!r} is no name of a part of a state")
            yield from keys(part, depth + 1)


def records(value: Any) -> dict[str, type]:
    """Return the classes of the named tuples in a state, by address."""
    found = {_address(type(value)): type(value)} if _is_record(type(value)) else {}
    for part in _parts(value):
        found |= records(part)
    return found


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        yield from value
    elif isinstance(value, Mapping):
        yield from value.values()


def _record(address: str, names: list[str], values: list[Any], known: Mapping[str, type]) -> Any:
    """Make a named tuple, without a call of anything that its class defines."""
    kind = known.get(address) or _looked_up(address)
    if kind is None or list(getattr(kind, "_fields", ())) != names:
        cure = "import the module that defines it before, as the program that saved it did"
        raise DataError(f"{address}: no such named tuple with fields {', '.join(names) or 'none'}: {cure}")
    return tuple.__new__(kind, values)


def _looked_up(address: str) -> type | None:
    """Return a class of named tuples in a module that is loaded; none is loaded for the sake of a file."""
    module, _, name = address.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found if isinstance(found, type) and _is_record(found) else None


def _is_record(kind: type) -> bool:
    return issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple)


def _fields(value: Any) -> list[tuple[str, Any]]:
    return list(zip(type(value)._fields, value, strict=True))


def _address(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"
