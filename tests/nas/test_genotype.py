"""Genotypes: storing, reading strictly, and drawing at random."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from applications.nas.networks.network import Network
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Cell, Edge, Genotype, random_genotype
from applications.nas.space.operations import OPERATIONS, PRIMITIVES
from applications.nas.space.zoo import ZOO
from mlo import DataError


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    nodes = draw(st.integers(1, 6))
    names = draw(st.lists(st.sampled_from(OPERATIONS), min_size=2 * nodes, max_size=2 * nodes))
    edges = [Edge(name, draw(st.integers(0, 1 + index // 2))) for index, name in enumerate(names)]
    concat = draw(st.lists(st.integers(2, nodes + 1), min_size=1, unique=True))
    return Cell(tuple(edges), tuple(concat))


@given(normal=cells(), reduction=cells())
@settings(deadline=None, max_examples=50)
def test_round_trip(normal: Cell, reduction: Cell) -> None:
    genotype = Genotype(normal, reduction)
    again = Genotype.from_json(genotype.to_json())
    assert again == genotype
    assert hash(again) == hash(genotype)


@pytest.mark.parametrize("name", ZOO)
def test_published_round_trip(name: str) -> None:
    assert Genotype.from_json(ZOO[name].to_json()) == ZOO[name]


def test_text_shows_every_node() -> None:
    assert str(ZOO["DARTS_V2"]).splitlines() == [
        "normal:",
        "  2 = sep_conv_3x3(0) + sep_conv_3x3(1)",
        "  3 = sep_conv_3x3(0) + sep_conv_3x3(1)",
        "  4 = sep_conv_3x3(1) + skip_connect(0)",
        "  5 = skip_connect(0) + dil_conv_3x3(2)",
        "  output = 2, 3, 4, 5",
        "reduction:",
        "  2 = max_pool_3x3(0) + max_pool_3x3(1)",
        "  3 = skip_connect(2) + max_pool_3x3(1)",
        "  4 = max_pool_3x3(0) + skip_connect(2)",
        "  5 = skip_connect(2) + max_pool_3x3(1)",
        "  output = 2, 3, 4, 5",
    ]


# where in the tree of DARTS_V2, what to put there, and what the error must name
MALFORMED: list[tuple[tuple[str | int, ...], Any, str]] = [
    ((), [], r"genotype: must be an object"),
    (("normal",), None, r"genotype\.normal: must be an object"),
    (("extra",), 1, r"genotype: key 'extra' is unknown"),
    (("reduction", "width"), 1, r"genotype\.reduction: key 'width' is unknown"),
    (("normal", "edges"), "sep_conv_3x3", r"genotype\.normal\.edges: must be a list"),
    (("normal", "edges"), [], r"genotype\.normal\.edges: 0 given"),
    (("normal", "edges"), [["none", 0]] * 3, r"genotype\.normal\.edges: 3 given"),
    (("normal", "edges", 3), ["none"], r"genotype\.normal\.edges\[3\]: must be \[operation, predecessor\]"),
    (("normal", "edges", 3), [0, "none"], r"genotype\.normal\.edges\[3\]: must be \[operation, predecessor\]"),
    (("normal", "edges", 3), {"none": 0}, r"genotype\.normal\.edges\[3\]: must be a list"),
    (("reduction", "edges", 5, 0), "conv", r"genotype\.reduction\.edges\[5\]: operation 'conv' is unknown.*skip_conn"),
    (("reduction", "edges", 5, 1), 4, r"genotype\.reduction\.edges\[5\]: predecessor 4 .* node 4; use 0 to 3"),
    (("reduction", "edges", 0, 1), -1, r"genotype\.reduction\.edges\[0\]: predecessor -1"),
    (("normal", "edges", 0, 1), True, r"genotype\.normal\.edges\[0\] predecessor: must be an integer, got True"),
    (("normal", "edges", 0, 1), 1.0, r"genotype\.normal\.edges\[0\] predecessor: must be an integer, got 1\.0"),
    (("normal", "concat"), 2, r"genotype\.normal\.concat: must be a list"),
    (("normal", "concat"), [], r"genotype\.normal\.concat: empty"),
    (("normal", "concat"), [2, 2], r"genotype\.normal\.concat: node 2 appears twice"),
    (("normal", "concat"), [1], r"genotype\.normal\.concat: 1 is no node"),
    (("normal", "concat"), [6], r"genotype\.normal\.concat: 6 is no node"),
    (("normal", "concat"), ["2"], r"genotype\.normal\.concat: must be an integer, got '2'"),
]


@pytest.mark.parametrize(("path", "value", "message"), MALFORMED)
def test_malformed_json_names_the_culprit(path: tuple[str | int, ...], value: object, message: str) -> None:
    tree: Any = json.loads(ZOO["DARTS_V2"].to_json())
    if path:
        parent = tree
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
    else:
        tree = value
    with pytest.raises(DataError, match=f"^{message}"):
        Genotype.from_json(json.dumps(tree))


@pytest.mark.parametrize("path", [("normal",), ("reduction",), ("normal", "edges"), ("reduction", "concat")])
def test_missing_key(path: tuple[str, ...]) -> None:
    tree: Any = json.loads(ZOO["DARTS_V2"].to_json())
    parent = tree if len(path) == 1 else tree[path[0]]
    del parent[path[-1]]
    with pytest.raises(DataError, match=f"key '{path[-1]}' is missing"):
        Genotype.from_json(json.dumps(tree))


@pytest.mark.parametrize("text", ["", "{", "normal", "[" * 100_000])
def test_text_that_is_no_json(text: str) -> None:
    with pytest.raises(DataError, match="not valid JSON"):
        Genotype.from_json(text)


def test_repeated_key() -> None:
    with pytest.raises(DataError, match="key 'normal' appears twice"):
        Genotype.from_json('{"normal": 1, "normal": 2}')


@given(nodes=st.integers(1, 6), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=50)
def test_random_genotype_lies_in_its_space(nodes: int, seed: int) -> None:
    space = CellSpace(nodes=nodes)
    genotype = random_genotype(space, torch.Generator().manual_seed(seed))
    assert genotype == random_genotype(space, torch.Generator().manual_seed(seed))
    for cell in (genotype.normal, genotype.reduction):
        assert cell.nodes == nodes
        assert cell.concat == tuple(range(2, nodes + 2))
        pairs = zip(cell.edges[::2], cell.edges[1::2], strict=True)
        assert all(first.predecessor < second.predecessor for first, second in pairs)
        assert {edge.operation for edge in cell.edges} <= set(PRIMITIVES) - {"none"}


def test_random_genotype_is_uniform() -> None:
    generator = torch.Generator().manual_seed(0)
    space = CellSpace(nodes=2, primitives=("none", "skip_connect", "max_pool_3x3"))
    draws = 1500
    drawn = [random_genotype(space, generator).normal for _ in range(draws)]
    pairs = Counter((cell.edges[2].predecessor, cell.edges[3].predecessor) for cell in drawn)
    operations = Counter(tuple(edge.operation for edge in cell.edges[2:]) for cell in drawn)
    assert set(pairs) == {(0, 1), (0, 2), (1, 2)}
    for counts in (pairs, operations):
        share = 1 / len(counts)
        deviation = (draws * share * (1 - share)) ** 0.5
        assert all(abs(count - draws * share) < 4 * deviation for count in counts.values())
    assert len(operations) == 4


def test_random_genotype_can_be_built() -> None:
    genotype = random_genotype(CellSpace(nodes=3), torch.Generator().manual_seed(1))
    net = Network(genotype, 4, 3, 5, in_channels=1)
    assert net(torch.randn(2, 1, 8, 8)).logits.shape == (2, 5)
