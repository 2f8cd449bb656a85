"""What a picture of a problem graph shows, as plain values that can be kept with a run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlo
from applications.nas.files import read_json, write_text
from mlo import DataError

GRAPH = "graph.json"
_STAGE = re.compile(r"(.+)@([1-9][0-9]*)")


@dataclass(frozen=True)
class Stage:
    """One problem.

    Attributes:
        name: Its name.
        note: What is said about it below its name.
        reads: The problems whose values or answers its loss reads.
        near: The problem whose answer a proximal term holds it near; empty if there is none.
        strength: What is said about that term.
        remembered: Whether that answer is the one of the outer step before, a constant.
    """

    name: str
    note: str = ""
    reads: tuple[str, ...] = ()
    near: str = ""
    strength: str = ""
    remembered: bool = False


@dataclass(frozen=True)
class GraphSketch:
    """The outermost problem, and the others in the order in which they are solved."""

    top: Stage
    stages: tuple[Stage, ...]

    def places(self) -> dict[str, tuple[int, int]]:
        """Return row and column of each stage: by round and learner if all are "learner@round", else in one row."""
        matches = [_STAGE.fullmatch(stage.name) for stage in self.stages]
        found = [match for match in matches if match is not None]
        if len(found) < len(matches):
            return {stage.name: (0, column) for column, stage in enumerate(self.stages)}
        learners = list(dict.fromkeys(match[1] for match in found))
        rounds = sorted({int(match[2]) for match in found})
        return {match[0]: (rounds.index(int(match[2])), learners.index(match[1])) for match in found}


def sketch_graph(graph: mlo.ProblemGraph, *, notes: Mapping[str, str] | None = None, strength: str = "") -> GraphSketch:
    """Take from a problem graph what a picture shows.

    Args:
        graph: The graph.
        notes: By problem, what to say about it; left out: its response rule and its steps.
        strength: What to say about the proximal terms, such as "c = 1, ρ = 0.5".

    Returns:
        The sketch.
    """
    outermost = graph.problems[0]
    order = graph.responders(outermost.name)
    rest = [name for name in reversed(graph.names[1:]) if name not in order]
    said = dict(notes or {})
    stages = [_stage(graph[name], said.get(name), strength) for name in (*rest, *order)]
    top = Stage(outermost.name, said.get(outermost.name, "outermost"), tuple(outermost.dependencies))
    return GraphSketch(top, tuple(stages))


def _stage(problem: mlo.Problem, note: str | None, strength: str) -> Stage:
    steps = "1 step" if problem.steps == 1 else f"{problem.steps} steps"
    begin = "" if problem.start is None else f", from {problem.start.source}"
    said = note if note is not None else f"{type(problem.response).__name__}, {steps}{begin}"
    plain = Stage(problem.name, said, tuple(problem.reads))
    # What only the update depends on is what a proximal term holds the problem near.
    held = [] if problem.rule is None else [name for name in problem.rule.reads if name not in problem.reads]
    kept = [] if problem.rule is None else list(problem.rule.remembers)
    if held:
        return replace(plain, near=held[0], strength=strength)
    return replace(plain, near=kept[0], strength=strength, remembered=True) if kept else plain


def write_sketch(folder: Path, sketch: GraphSketch) -> None:
    """Keep a sketch in the folder of a run."""
    content = {"top": asdict(sketch.top), "stages": [asdict(stage) for stage in sketch.stages]}
    write_text(folder / GRAPH, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_sketch(folder: Path) -> GraphSketch:
    """Read what `write_sketch` wrote.

    Raises:
        DataError: If it is not there, cut off, or something else.
    """
    file = folder / GRAPH
    content = read_json(file, "it is cut off or no problem graph; run the search again")
    try:
        return GraphSketch(_read(content["top"]), tuple(_read(stage) for stage in content["stages"]))
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: no problem graph that this version wrote ({error}): run the search again") from error


def _read(entry: Mapping[str, Any]) -> Stage:
    return Stage(**{**entry, "reads": tuple(entry["reads"])})
