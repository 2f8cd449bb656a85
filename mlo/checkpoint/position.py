"""Where a process is in its batches and random numbers, as plain data that JSON holds, and back."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy
import torch
from torch import Tensor

from mlo.checkpoint.storage import DTYPES
from mlo.errors import DataError
from mlo.position import FeedPosition, PassStart, Position
from mlo.rng import RandomState, preserved

_PHILOX = 4  # numbers that numpy's generator of that name makes at once


def encoded_position(position: Position) -> dict[str, Any]:
    """Return a position as plain data.

    Raises:
        DataError: If batches save what cannot be kept; the message names the problem.
    """
    feeds = {}
    for name, feed in position.feeds.items():
        where = f"problem {name!r}: the state_dict of its batches"
        start = None if feed.start is None else _start(feed.start, where)
        feeds[name] = {"passes": feed.passes, "drawn": feed.drawn, "start": start, "now": _start(feed.now, where)}
    return {"feeds": feeds, "chance": _chance(position.chance)}


def decoded_position(content: Any) -> Position:
    """Return the position that plain data stand for.

    Raises:
        ValueError: If they stand for none.
    """
    try:
        feeds = {name: _feed(item) for name, item in content["feeds"].items()}
        return Position(feeds, _random_state(content["chance"]))
    except (TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"no position: {error}") from error


def _start(start: PassStart, where: str) -> dict[str, Any]:
    return {
        "order": start.order,
        "saved": _plain(start.saved, where),
        "generators": [_bytes(state) for state in start.generators],
        "chance": None if start.chance is None else _chance(start.chance),
    }


def _feed(item: Any) -> FeedPosition:
    start = None if item["start"] is None else _pass_start(item["start"])
    return FeedPosition(_number(item["passes"]), _number(item["drawn"]), start, _pass_start(item["now"]))


def _pass_start(item: Any) -> PassStart:
    chance = None if item["chance"] is None else _random_state(item["chance"])
    states = tuple(map(_tensor, item["generators"]))
    for state in states:
        torch.Generator().set_state(state)
    return PassStart(_number(item["order"]), _unplain(item["saved"]), states, chance)


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number of batches")
    return value


def _chance(state: RandomState) -> dict[str, Any]:
    version, words, normal = state.python
    python = {"version": version, "words": _packed(numpy.array(words, dtype=numpy.uint32)), "normal": normal}
    inside = {name: _legacy(value) for name, value in state.numpy["state"].items()}
    rest = {name: _legacy(value) for name, value in state.numpy.items() if name != "state"}
    tensors = {"cpu": _bytes(state.cpu), "cuda": [_bytes(one) for one in state.cuda]}
    return {**tensors, "python": python, "numpy": {**rest, "state": inside}}


def _random_state(content: Any) -> RandomState:
    cpu, cuda = _tensor(content["cpu"]), tuple(map(_tensor, content["cuda"]))
    one = content["python"]
    words = tuple(numpy.frombuffer(_unpacked(one["words"]), dtype=numpy.uint32).tolist())
    inside = {name: _modern(value) for name, value in content["numpy"]["state"].items()}
    rest = {name: _modern(value) for name, value in content["numpy"].items() if name != "state"}
    state = RandomState(cpu, cuda, (one["version"], words, one["normal"]), {**rest, "state": inside})
    # numpy takes any place in its words, and reads there: outside of them it takes the process down.
    words_in = len(inside["key"]) if "pos" in inside else _PHILOX
    place = inside.get("pos", rest.get("buffer_pos", 0))
    if type(place) is not int or not 0 <= place <= words_in:
        raise ValueError(f"numpy's generator cannot be at {place!r}")
    with preserved():
        replace(state, cuda=()).restore()
    return state


def _legacy(value: Any) -> Any:
    if isinstance(value, numpy.ndarray):
        return {"words": _packed(value), "kind": str(value.dtype)}
    return value if isinstance(value, str | float) else int(value)


def _modern(value: Any) -> Any:
    return numpy.frombuffer(_unpacked(value["words"]), dtype=value["kind"]) if isinstance(value, dict) else value


def _bytes(value: Tensor) -> dict[str, Any]:
    flat = value.detach().cpu().contiguous()
    kind = str(flat.dtype).removeprefix("torch.")
    content = flat.reshape(-1).view(torch.uint8).numpy() if flat.numel() else numpy.empty(0, dtype=numpy.uint8)
    return {"dtype": kind, "shape": list(flat.shape), "bytes": _packed(content)}


def _tensor(content: Any) -> Tensor:
    kind = DTYPES[content["dtype"]]
    raw = bytearray(_unpacked(content["bytes"]))
    flat = torch.frombuffer(raw, dtype=kind) if raw else torch.empty(0, dtype=kind)
    return flat.reshape(content["shape"]).clone()


def _packed(values: numpy.ndarray[Any, Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _unpacked(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _plain(value: Any, where: str) -> Any:
    """Return what a state dict holds as plain data, with a mark for what JSON has no form for."""

    def inner(part: Any) -> Any:
        return _plain(part, where)

    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, Tensor):
        return {"tensor": _bytes(value)}
    if isinstance(value, bytes):
        return {"raw": base64.b64encode(value).decode()}
    if type(value) is list:
        return list(map(inner, value))
    if type(value) is tuple:
        return {"tuple": list(map(inner, value))}
    if isinstance(value, dict):
        return {"dict": [[inner(key), inner(part)] for key, part in value.items()]}
    raise DataError(f"{where} holds a {type(value).__name__}, which cannot be kept: let it hold tensors and numbers")


def _unplain(content: Any) -> Any:
    if isinstance(content, list):
        return [_unplain(part) for part in content]
    if not isinstance(content, dict):
        return content
    ((kind, inside),) = content.items()
    read: dict[str, Callable[[Any], Any]] = {
        "float": float,
        "tensor": _tensor,
        "raw": _unpacked,
        "tuple": lambda parts: tuple(map(_unplain, parts)),
        "dict": lambda pairs: {_unplain(key): _unplain(part) for key, part in pairs},
    }
    return read[kind](inside)
