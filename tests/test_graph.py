"""Who responds to whom, what an answer depends on, and in which order problems are solved."""

from __future__ import annotations

import copy

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

import mlo

SGD = torchopt.sgd(0.1)


def make(reads, response=None):
    """A graph from {name: what it reads}, outermost first; a name is a letter, so reads can be a string."""

    def problem(name, others):
        def loss(v, batch):
            return sum((v[name] - v[other]) ** 2 for other in others) + v[name] ** 2

        start = torch.tensor(0.5, dtype=torch.float64)
        return mlo.Problem(name, loss, start, reads=list(others), update=SGD, response=response or mlo.Unroll())

    return mlo.ProblemGraph([problem(name, others) for name, others in reads.items()])


# name: (reads, levels, {problem: its responders in solving order}, {problem: its inputs})
SHAPES = {
    "single": ({"a": ""}, 1, {"a": ""}, {"a": ""}),
    "bilevel": ({"a": "w", "w": "a"}, 2, {"a": "w", "w": ""}, {"a": "", "w": "a"}),
    "no response": ({"a": "w", "w": ""}, 2, {"a": "", "w": ""}, {"a": "w", "w": ""}),
    "nested": (
        {"u": "m", "m": "l", "l": "mu"},
        3,
        {"u": "ml", "m": "l", "l": ""},
        {"u": "", "m": "u", "l": "mu"},
    ),
    "cascade": (
        {"u": "m", "m": "l", "l": "u"},
        3,
        {"u": "lm", "m": "", "l": ""},
        {"u": "", "m": "l", "l": "u"},
    ),
    "diamond": (
        {"u": "pq", "p": "r", "q": "r", "r": "u"},
        3,
        {"u": "rpq", "p": "", "q": "", "r": ""},
        {"u": "", "p": "r", "q": "r", "r": "u"},
    ),
    "siblings": (
        {"u": "pq", "p": "u", "q": "u"},
        2,
        {"u": "pq", "p": "", "q": ""},
        {"u": "", "p": "u", "q": "u"},
    ),
    "chain": (
        {"u": "dc", "d": "uc", "c": "ub", "b": "ua", "a": "u"},
        5,
        {"u": "abcd", "d": "", "c": "", "b": "", "a": ""},
        {"u": "", "d": "uc", "c": "ub", "b": "ua", "a": "u"},
    ),
    "nested, and only the deepest is read": (
        # b answers a through c alone, and is solved inside a's step, as c is inside b's: three levels.
        {"a": "c", "b": "c", "c": "ab"},
        3,
        {"a": "bc", "b": "c", "c": ""},
        {"a": "", "b": "a", "c": "ab"},
    ),
    "a shared reader": (
        # d responds to b and to c, but neither reads it: b and c do not wait for each other.
        {"a": "", "b": "a", "c": "a", "d": "abc"},
        3,
        {"a": "bcd", "b": "d", "c": "d", "d": ""},
        {"a": "", "b": "a", "c": "a", "d": "abc"},
    ),
    "a shared answer": (
        # Here they read it: c responds to b through d, and is solved inside b's step.
        {"a": "bc", "b": "d", "c": "d", "d": "bc"},
        4,
        {"a": "", "b": "cd", "c": "d", "d": ""},
        {"a": "bc", "b": "", "c": "b", "d": "bc"},
    ),
    "response through an outer problem only": (
        # b reads a, which is outside: b does not respond to c, and c's answer is an input of a alone.
        {"a": "c", "b": "a", "c": ""},
        2,
        {"a": "b", "b": "", "c": ""},
        {"a": "c", "b": "a", "c": ""},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape):
    reads, levels, responders, inputs = SHAPES[shape]
    graph = make(reads)
    assert graph.levels == levels
    assert type(graph.levels) is int
    assert graph.names == tuple(reads)
    for name in reads:
        assert graph.responders(name) == tuple(responders[name])
        assert set(graph.inputs(name)) == set(inputs[name])


@pytest.mark.parametrize("shape", SHAPES)
def test_deeper_problems_either_respond_or_are_solved_before(shape):
    graph = make(SHAPES[shape][0])
    for place, name in enumerate(graph.names):
        before, responders = graph.solved_before(name), graph.responders(name)
        assert sorted([*before, *responders]) == sorted(graph.names[place + 1 :])


@st.composite
def random_reads(draw):
    names = "abcdefg"[: draw(st.integers(1, 7))]
    return {n: "".join(sorted(draw(st.sets(st.sampled_from(names))) - {n})) for n in names}


@settings(max_examples=200)
@given(random_reads())
def test_an_order_exists_and_each_problem_comes_after_its_inputs(reads):
    graph = make(reads)
    for name in graph.names:
        for order in (graph.responders(name), graph.solved_before(name), graph.order(reversed(graph.names))):
            for place, q in enumerate(order):
                assert not set(graph.inputs(q)) & set(order[place:])
    assert graph.order(graph.names) == graph.order(reversed(graph.names))
    assert 1 <= graph.levels <= len(graph.names)


@settings(max_examples=200)
@given(random_reads())
def test_responders_and_inputs_are_as_defined(reads):
    graph, depth = make(reads), {name: place for place, name in enumerate(reads)}

    def chain(q, p, seen=()):
        """Whether reads lead from q to p through problems that are all deeper than p."""
        return p in reads[q] or any(chain(r, p, (*seen, q)) for r in reads[q] if depth[r] > depth[p] and r not in seen)

    def reached(p, q, seen=()):
        """Whether reads lead from p to q through problems that are deeper than the p we began with."""
        first = seen[0] if seen else p
        onward = [r for r in reads[p] if depth[r] > depth[first] and r not in seen]
        return q in onward or any(reached(r, q, (*seen, p)) for r in onward)

    for p in reads:
        responders = {q for q in reads if depth[q] > depth[p] and chain(q, p)}
        assert set(graph.responders(p)) == responders
        inside = {p, *(q for q in responders if reached(p, q))}
        assert set(graph.inputs(p)) == {read for q in inside for read in reads[q]} - inside


@settings(max_examples=15)
@given(random_reads())
def test_any_graph_can_be_trained(reads):
    # A FirstOrder response keeps deep nests cheap; what matters here is that every value is there when it is read.
    if len(reads) <= 4:
        mlo.Engine(make(reads, mlo.FirstOrder())).step()


def test_a_read_of_an_update_counts():
    def learner(name):
        return mlo.Problem(name, lambda v, b: (v[name] ** 2).sum(), torch.zeros(2), update=SGD)

    proximal = mlo.Proximal(1.0, step_size=0.1)
    stages = mlo.interleave([learner("p"), learner("q")], rounds=2, proximal=proximal, shared="value")
    graph = mlo.ProblemGraph(stages)
    assert graph.names == ("q@2", "p@2", "q@1", "p@1")
    assert graph["q@2"].dependencies == ("p@2",)
    assert graph.inputs("q@2") == ("p@2",)
    assert graph.order(graph.names) == ("p@1", "q@1", "p@2", "q@2")


def test_describe():
    text = make(SHAPES["nested"][0]).describe().splitlines()
    assert text[0] == "3 problems, 3 levels, outermost first"
    assert text[1].startswith("u: reads m; solves inside its step: m, l; outermost")
    assert text[3].startswith("l: reads m, u; solves inside its step: nothing")
    assert len(text) == 4


def test_mermaid():
    lines = make(SHAPES["nested"][0]).to_mermaid().splitlines()
    assert lines[0] == "flowchart TB"
    assert [line.strip() for line in lines[1:]] == [
        'p0["u<br/>outermost, 1 step"]',
        'p1["m<br/>Unroll, 1 step"]',
        'p2["l<br/>Unroll, 1 step"]',
        "p0 ~~~ p1 ~~~ p2",
        "p1 --> p0",
        "p2 --> p1",
        "p1 -.-> p2",
        "p0 -.-> p2",
    ]


def test_looking_up():
    graph = make(SHAPES["bilevel"][0])
    assert graph["w"] is graph.problems[1]
    assert repr(graph) == "ProblemGraph(a, w)"
    for use in (graph.__getitem__, graph.responders, graph.inputs, graph.solved_before, lambda n: graph.order([n])):
        with pytest.raises(mlo.GraphError, match="no problem is called 'zz'; the problems are 'a', 'w'"):
            use("zz")


def test_the_list_that_was_given_is_left_alone():
    problems = list(make(SHAPES["bilevel"][0]).problems)
    given_list = copy.copy(problems)
    graph = mlo.ProblemGraph(given_list)
    assert given_list == problems
    given_list.clear()
    assert graph.names == ("a", "w")
    assert mlo.ProblemGraph(problem for problem in problems).names == ("a", "w")


def test_of_several_that_cannot_respond_the_first_in_solving_order_is_named():
    """On every rank the same, whatever the seed of its hashes."""

    def lower(name):
        return mlo.Problem(name, loss, torch.ones(2), reads=["x"], response=mlo.Implicit(), **settings)

    def loss(v, _):
        return v.x.sum()

    settings = {"update": torchopt.sgd(0.1, weight_decay=0.1), "steps": 1}
    names = [f"y{index}" for index in range(8)]
    top = mlo.Problem("x", loss, torch.ones(2), reads=names, update=torchopt.sgd(0.1))
    with pytest.raises(mlo.GraphError, match="'y0' cannot respond by Implicit"):
        mlo.ProblemGraph([top, *map(lower, names)])
