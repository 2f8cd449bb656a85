"""Cells as text, files and Python values: read back equal, or refused by place."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from applications.nas.networks.network import Network
from applications.nas.run_folder import read_genotype
from applications.nas.space.genotype import Cell, Edge, Genotype
from applications.nas.space.zoo import ZOO
from tests.fuzz.harness import attempt, cases, scratch
from tests.fuzz.junk import broken_bytes, json_values, mutated, python_values

CELLS = st.sampled_from(sorted(ZOO))
DIGITS = st.sampled_from(["0", "1", "2", "-1", "9", "1e3", "99999999999999999999", "None", "'x'"])


def as_python(cell: Genotype) -> str:
    """The text that older programs write: Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=[2, 3], ...)."""
    parts = []
    for name in ("normal", "reduction"):
        one = getattr(cell, name)
        edges = [(edge.operation, edge.predecessor) for edge in one.edges]
        parts.append(f"{name}={edges}, {name}_concat={list(one.concat)}")
    return f"Genotype({', '.join(parts)})"


@cases("genotypes", 0.5)
@given(st.data())
def test_json_with_values_that_do_not_belong(data: st.DataObject) -> None:
    plain = ZOO[data.draw(CELLS)].to_plain()
    text = json.dumps(data.draw(mutated(json.loads(json.dumps(plain)))))
    found, refused = attempt("genotypes", lambda: Genotype.from_json(text))
    if refused is None:
        assert Genotype.from_json(found.to_json()) == found
        assert str(found)
        if data.draw(st.integers(0, 19)) == 0 and found.normal.nodes < 20:
            attempt("genotypes", lambda: _builds(found))


@cases("genotypes", 0.25)
@given(st.data())
def test_files(data: st.DataObject) -> None:
    cell = ZOO[data.draw(CELLS)]
    text = data.draw(st.sampled_from([cell.to_json(), as_python(cell), str(cell), repr(cell)]))
    if data.draw(st.booleans()):
        text = text.replace(data.draw(st.sampled_from(["0", "1", "2", "sep", ", "])), data.draw(DIGITS), 2)
    with scratch():
        Path("cell.json").write_bytes(data.draw(broken_bytes(text)) if data.draw(st.booleans()) else text.encode())
        attempt("genotypes", lambda: read_genotype("cell.json"))


@cases("genotypes", 0.25)
@given(st.data())
def test_values_in_python(data: st.DataObject) -> None:
    junk = python_values | json_values
    edges = data.draw(
        st.lists(st.builds(lambda *pair: pair, st.just("skip_connect") | junk, st.integers(0, 2) | junk), max_size=4)
    )
    concat = data.draw(st.lists(st.integers(0, 4) | junk, max_size=3))

    def make() -> str:
        cell = Cell(tuple(Edge(*pair) for pair in edges), tuple(concat))
        return str(Genotype(cell, cell))

    attempt("genotypes", make)


def _builds(cell: Genotype) -> None:
    with torch.device("meta"):
        Network(cell, 2, 3, 2, in_channels=1)
