"""What an engine holds, taken apart into plain data and named tensors, and put together again."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mlo.checkpoint.manifest import Block, Content, Entry, ProblemContent
from mlo.checkpoint.match import Sample, sample_like
from mlo.checkpoint.storage import fingerprints
from mlo.checkpoint.tree import Node, Tensors, check_dense, decoded, encoded, escaped, keep
from mlo.errors import DataError
from mlo.flat import Flat
from mlo.graph import ProblemGraph
from mlo.layout import Layout
from mlo.problem import Problem
from mlo.snapshot import Snapshot
from mlo.update import State
from mlo.vector import Params, Values


def packed(graph: ProblemGraph, held: Snapshot, places: list[Any], more: Any) -> tuple[Content, Tensors]:
    """Take a snapshot apart.

    Args:
        graph: The problems.
        held: Of an engine on them.
        places: Where each rank is, as plain data.
        more: What the user adds.

    Returns:
        The plain data, and the tensors by the keys in them, as they are: on their devices, and not copied.

    Raises:
        DataError: If it holds something that a checkpoint cannot; the message names what and where.
    """
    tensors: Tensors = {}
    problems: dict[str, ProblemContent] = {}
    for problem in graph.problems:
        name, path = problem.name, escaped(problem.name)
        values = _block(held.params[name], f"values/{path}", tensors)
        buffers = _block(held.buffers[name], f"buffers/{path}", tensors)
        state: Node | None = None
        if name in held.states:
            state = encoded(held.states[name], f"states/{path}", tensors)
            _check_restorable(problem, held.params, state, tensors)
        problems[name] = ProblemContent(values, buffers, fingerprints(frozen(problem)), state)
    adjoints = {name: keep(tensors, f"adjoints/{escaped(name)}", value) for name, value in held.adjoints.items()}
    warned = [[kind, name, times] for (kind, name), times in held.unconverged.items()]
    return Content(held.step_count, problems, adjoints, warned, places, encoded(more, "more", tensors)), tensors


def unpacked(graph: ProblemGraph, now: Snapshot, content: Content, tensors: Tensors) -> Snapshot:
    """Put a snapshot together.

    Args:
        graph: The problems.
        now: What an engine on them holds at present: each tensor goes where its counterpart is.
        content: The plain data; of the same problems.
        tensors: The tensors, on any device.

    Raises:
        DataError: If an optimizer state is none of the update that its problem has, or a solution of a linear solve
            is none of its value.
    """
    params: dict[str, Params] = {}
    buffers: dict[str, Params] = {}
    for name, kept in content.problems.items():
        params[name] = _unblocked(kept.values, tensors, now.params[name])
        buffers[name] = _unblocked(kept.buffers, tensors, now.buffers[name])
    states = {}
    for problem in graph.problems:
        node = content.problems[problem.name].state
        if node is not None:
            states[problem.name] = _state(problem, params, node, tensors)
    adjoints = {}
    for name, key in content.adjoints.items():
        if tensors[key].shape != (sum(value.numel() for value in params[name].values()),):
            raise DataError(f"problem {name!r}: its last linear solution is of another size than its value")
        device = Flat.of(params[name]).vectors[0].device
        adjoints[name] = tensors[key].to(device)
    unconverged = {(kind, name): times for kind, name, times in content.warned}
    return Snapshot(content.step, params, buffers, states, adjoints, unconverged)


def frozen(problem: Problem) -> dict[str, Tensor]:
    """Return the parameters of a problem's module that are not trained, by name."""
    if not isinstance(problem.variable, nn.Module):
        return {}
    trained = problem.kind.initial()
    return {name: value for name, value in problem.variable.named_parameters() if name not in trained}


def _sample(problem: Problem, values: Values, node: Node, tensors: Tensors) -> Sample | str:
    """Return a state of the update of a problem that has the form of `node`, or how they differ."""
    rule = problem.rule
    if rule is None:
        return "it has none now"
    others = {name: values[name] for name in (*rule.reads, *rule.remembers)}
    return sample_like(rule, values[problem.name], others, f"states/{escaped(problem.name)}", node, tensors)


def _check_restorable(problem: Problem, values: Values, node: Node, tensors: Tensors) -> None:
    """Refuse a state now that `restore` would refuse then."""
    found = _sample(problem, values, node, tensors)
    if isinstance(found, str):
        what = f"problem {problem.name!r}: the state of its update has another form after more steps ({found})"
        raise DataError(f"{what}, so it cannot be told from that of another update: let it keep the same things always")


def _state(problem: Problem, params: Values, node: Node, tensors: Tensors) -> State:
    found = _sample(problem, params, node, tensors)
    if isinstance(found, str):
        raise DataError(f"problem {problem.name!r}: its update is another one: {found}")
    return decoded(node, lambda key: tensors[key].to(found.tensors[key].device), found.records)


def _block(values: Params, path: str, tensors: Tensors) -> Block:
    flat = Flat.of(values)
    for name, piece in flat.pieces.items():
        check_dense(f"{path}/{name}", piece)
    layout = flat.layout
    keys = [
        keep(tensors, f"{path}/{index}", vector.reshape(-1)) for index, vector in enumerate(layout.join(flat.pieces))
    ]
    found = []
    for name, piece in flat.pieces.items():
        group, start = layout.starts[name]
        kind = str(piece.dtype).removeprefix("torch.")
        found.append(Entry(name, kind, tuple(piece.shape), keys[group], start))
    return Block(flat.joined, tuple(found))


def _unblocked(block: Block, tensors: Tensors, at: Params) -> Flat:
    pieces = {name: entry.of(tensors).to(at[name].device) for name, entry in block.names.items()}
    layout = Layout(pieces)
    if block.joined:
        return Flat(layout, vectors=layout.join(pieces))
    return Flat(layout, pieces={name: piece.clone() for name, piece in pieces.items()})
