"""The picture of a problem graph: what it is made of, where its lines run, and that it can be kept with a run."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

import mlo
from applications.nas.draw import GraphSketch, Stage, draw_chain, read_sketch, sketch_graph, write_sketch
from applications.nas.draw.wires import ANSWER, HEIGHT, NEAR, VALUE, WIDTH, wires_of
from applications.nas.formulations import build_graph
from applications.nas.settings import Formulation, Interleaving, MultiTask, SingleTask
from mlo import DataError
from tests.nas.tiny import ALPHAS, learner, setup

LABEL = "c = 1, \N{GREEK SMALL LETTER RHO} = 0.5"


def graph(form: Formulation, tasks: int) -> mlo.ProblemGraph:
    return build_graph([learner(f"task {index}", 2 + index) for index in range(tasks)], ALPHAS, setup(form))


def chain(learners: int, rounds: int, *, cyclic: bool) -> GraphSketch:
    """Write down what interleaving makes, without networks."""
    names = [f"t{k}@{m}" for m in range(1, rounds + 1) for k in range(learners)]
    before = [names[-1] if cyclic else "", *names[:-1]]
    stages = [
        Stage(name, "note", ("top",), near, LABEL, remembered=not index)
        for index, (name, near) in enumerate(zip(names, before, strict=True))
    ]
    return GraphSketch(Stage("top", "outermost", tuple(names[-learners:])), tuple(stages))


SHAPES = [(k, m, cyclic) for k in (1, 2, 3) for m in (1, 2, 3) for cyclic in (False, True) if k * m > 1 or not cyclic]


def test_an_interleaving_in_solving_order() -> None:
    found = sketch_graph(graph(Interleaving(rounds=2, weight=20.0), 2), strength=LABEL)
    assert found.top == Stage("architecture", "outermost", ("task 0@2", "task 1@2"))
    assert [stage.name for stage in found.stages] == ["task 0@1", "task 1@1", "task 0@2", "task 1@2"]
    assert [stage.near for stage in found.stages] == ["", "task 0@1", "task 1@1", "task 0@2"]
    assert [stage.strength for stage in found.stages] == ["", LABEL, LABEL, LABEL]
    assert {stage.reads for stage in found.stages} == {("architecture",)}
    assert not any(stage.remembered for stage in found.stages)
    assert found.places() == {"task 0@1": (0, 0), "task 1@1": (0, 1), "task 0@2": (1, 0), "task 1@2": (1, 1)}


def test_a_cyclic_anchor_is_remembered() -> None:
    first, *others = sketch_graph(graph(Interleaving(rounds=2, weight=20.0, anchor="cyclic"), 1)).stages
    assert (first.near, first.remembered) == ("task 0@2", True)
    assert not any(stage.remembered for stage in others)


@pytest.mark.parametrize(("form", "tasks"), [(SingleTask(), 1), (MultiTask(), 3)])
def test_without_interleaving_nothing_is_held(form: Formulation, tasks: int) -> None:
    found = sketch_graph(graph(form, tasks), notes={"task 0": "the first", "architecture": "Adam"}, strength=LABEL)
    assert (found.top.note, found.stages[0].note) == ("Adam", "the first")
    assert not any(stage.near or stage.strength for stage in found.stages)
    assert found.places() == {f"task {index}": (0, index) for index in range(tasks)}
    _, _, wires = wires_of(found)
    assert sorted(wire.kind for wire in wires) == [ANSWER] * tasks + [VALUE] * tasks


def test_names_that_only_look_like_stages_are_in_one_row() -> None:
    stages = tuple(Stage(name) for name in ("dogs@home", "cats@1"))
    assert GraphSketch(Stage("top"), stages).places() == {"dogs@home": (0, 0), "cats@1": (0, 1)}
    stages = tuple(Stage(name) for name in ("dogs@home@1", "dogs@home@2"))
    assert GraphSketch(Stage("top"), stages).places() == {"dogs@home@1": (0, 0), "dogs@home@2": (1, 0)}


@pytest.mark.parametrize(("learners", "rounds", "cyclic"), SHAPES)
def test_lines_run_beside_the_boxes(learners: int, rounds: int, cyclic: bool) -> None:
    centers, _, wires = wires_of(chain(learners, rounds, cyclic=cyclic))
    stages = learners * rounds
    assert sum(wire.kind == NEAR for wire in wires) == stages - 1 + cyclic
    assert sum(wire.kind == VALUE for wire in wires) == stages
    assert sum(wire.kind == ANSWER for wire in wires) == learners
    for wire in wires:
        for (x, y), (u, v) in pairwise(wire.points):
            assert x == u or y == v, "straight pieces only"
            for name, (across, up) in centers.items():
                inside_x = min(x, u) < across + WIDTH / 2 - 1e-9 and max(x, u) > across - WIDTH / 2 + 1e-9
                inside_y = min(y, v) < up + HEIGHT / 2 - 1e-9 and max(y, v) > up - HEIGHT / 2 + 1e-9
                assert not (inside_x and inside_y), f"{wire} runs through {name}"


@pytest.mark.parametrize(("learners", "rounds", "cyclic"), SHAPES)
def test_no_two_lines_lie_on_each_other(learners: int, rounds: int, cyclic: bool) -> None:
    _, _, wires = wires_of(chain(learners, rounds, cyclic=cyclic))
    # Values share the line down from the outermost problem, as do answers the line up to it.
    pieces = [(wire.kind, *piece) for wire in wires for piece in pairwise(wire.points)]
    for index, (kind, (x, y), (u, v)) in enumerate(pieces):
        for other, (p, q), (r, s) in pieces[:index]:
            upright = x == u == p == r and min(max(y, v), max(q, s)) > max(min(y, v), min(q, s)) + 1e-9
            flat = y == v == q == s and min(max(x, u), max(p, r)) > max(min(x, u), min(p, r)) + 1e-9
            assert kind == other == VALUE or not (upright or flat)


@pytest.mark.parametrize(("learners", "rounds"), [(1, 1), (3, 3)])
def test_it_is_drawn(learners: int, rounds: int, tmp_path: Path) -> None:
    svg, png = draw_chain(chain(learners, rounds, cyclic=rounds > 1), tmp_path / "graph")
    text = svg.read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    count = learners * rounds
    held = count if count > 1 else 0
    assert [text.count(f"<!-- {label} -->") for label in ("top", "note", LABEL)] == [1, count, held]
    assert png.stat().st_size > 5_000


def test_long_names_keep_their_round(tmp_path: Path) -> None:
    stages = (Stage("a name of more than twenty letters@12", "$n_o$ f$"),)
    text = draw_chain(GraphSketch(Stage("top"), stages), tmp_path / "graph")[0].read_text()
    assert "<!-- a name of more th…s@12 -->" in text
    assert "<!-- $n_o$ f$ -->" in text, "no formula"


def test_it_is_kept_with_a_run(tmp_path: Path) -> None:
    sketch = chain(2, 2, cyclic=True)
    write_sketch(tmp_path, sketch)
    assert read_sketch(tmp_path) == sketch


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"top": 1, "stages": []}', '{"top": {"name": "x"}}'])
def test_a_graph_that_cannot_be_read(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "graph.json").write_text(text)
    with pytest.raises(DataError, match=r"graph\.json"):
        read_sketch(tmp_path)


def test_a_graph_of_another_version(tmp_path: Path) -> None:
    write_sketch(tmp_path, chain(1, 1, cyclic=False))
    content = json.loads((tmp_path / "graph.json").read_text())
    content["stages"][0]["color"] = "red"
    (tmp_path / "graph.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="no problem graph that this version wrote"):
        read_sketch(tmp_path)
