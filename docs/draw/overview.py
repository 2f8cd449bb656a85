"""The picture on the first page: three problem graphs, from two levels to interleaving."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from style import BLUE, GREY, ORANGE, write

ANSWER = {"color": ORANGE, "lw": 1.8}
CONSTANT = {"color": GREY, "lw": 1, "ls": (0, (3, 2))}


@dataclass(frozen=True)
class Node:
    """A problem: where it stands, its name, and what it minimizes."""

    x: float
    y: float
    name: str
    objective: str


@dataclass(frozen=True)
class Read:
    """That one problem reads another; `answer` if the other is deeper, so that what is read moves."""

    reader: int
    read: int
    answer: bool = True
    bend: float = 0.0


def bilevel() -> tuple[list[Node], list[Read]]:
    """Two levels."""
    nodes = [Node(0, 1, "decay", r"min $F(A, w^*)$"), Node(0, 0, "weights", r"min $f(A, w)$")]
    return nodes, [Read(0, 1, bend=0.25), Read(1, 0, answer=False, bend=0.25)]


def trilevel() -> tuple[list[Node], list[Read]]:
    """Three levels, of which the lowest reads both others."""
    nodes = [
        Node(0, 2, "u", r"min $F(m^*)$"),
        Node(0, 1, "m", r"min $g(m, l^*)$"),
        Node(0, 0, "l", r"min $f(l, m, u)$"),
    ]
    reads = [Read(0, 1), Read(1, 2, bend=0.25), Read(2, 1, answer=False, bend=0.25)]
    return nodes, [*reads, Read(2, 0, answer=False, bend=-0.75)]


def interleaving() -> tuple[list[Node], list[Read]]:
    """Two learners in two rounds below an architecture."""
    stages = [(f"{learner}@{turn}", f"min $f_{learner}(A, w)$") for turn in (1, 2) for learner in "ab"]
    nodes = [Node(2.25, 2, "architecture", r"min $F_a(A, a^*) + F_b(A, b^*)$")]
    nodes += [Node(1.5 * place, 0.2, *stage) for place, stage in enumerate(stages)]
    chain = [Read(place + 1, place) for place in (1, 2, 3)]
    constants = [Read(place, 0, answer=False, bend=0.06) for place in (1, 2, 3, 4)]
    return nodes, [*chain, Read(0, 3, bend=0.12), Read(0, 4, bend=0.3), *constants]


def draw(axes: Axes, nodes: list[Node], reads: list[Read], title: str) -> None:
    """Draw one graph."""
    axes.set_title(title, fontsize=10)
    box = {"boxstyle": "round,pad=0.45", "fc": "white", "ec": BLUE, "lw": 1.3}
    texts = [
        axes.text(node.x, node.y, f"{node.name}\n{node.objective}", ha="center", va="center", bbox=box, fontsize=8.5)
        for node in nodes
    ]
    for read in reads:
        ends = {"patchA": texts[read.read].get_bbox_patch(), "patchB": texts[read.reader].get_bbox_patch()}
        look = ANSWER if read.answer else CONSTANT
        bend = f"arc3,rad={read.bend}"
        arrow = {"arrowstyle": "-|>", "shrinkA": 1, "shrinkB": 1, "connectionstyle": bend, **ends, **look}
        source, target = nodes[read.read], nodes[read.reader]
        axes.annotate("", (target.x, target.y), (source.x, source.y), arrowprops=arrow)
    across, up = [node.x for node in nodes], [node.y for node in nodes]
    axes.set(xlim=(min(across) - 0.75, max(across) + 0.75), ylim=(min(up) - 0.3, max(up) + 0.3))
    axes.axis("off")


def overview() -> Figure:
    """Draw the three graphs side by side, with the words for their arrows."""
    figure, panels = pyplot.subplots(1, 3, figsize=(10, 3.6), width_ratios=[1, 1.15, 3])
    draw(panels[0], *bilevel(), "two levels")
    draw(panels[1], *trilevel(), "three levels, nested")
    draw(panels[2], *interleaving(), "interleaving: two learners, two rounds")
    answer = Line2D([], [], **ANSWER, label="an answer: it moves, and hypergradients pass back along it")
    constant = Line2D([], [], **CONSTANT, label="a constant")
    figure.legend(handles=[answer, constant], loc="outside lower center", ncols=2, frameon=False)
    return figure


if __name__ == "__main__":
    print(write(overview(), "overview"))
