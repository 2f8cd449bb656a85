"""The pictures and the printed graph on the page about levels are those of its own examples."""

import re
from pathlib import Path

import mlo

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "levels.md").read_text(encoding="utf-8")


def fences(kind):
    return re.findall(rf"^```{kind}\n(.*?)\n```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_what_the_page_shows_is_what_its_graphs_give():
    namespace = {}
    for block in fences("python"):
        exec(block, namespace)
    graphs = [value for value in namespace.values() if isinstance(value, mlo.ProblemGraph)]
    pictures = fences("mermaid")
    assert len(pictures) >= 6
    assert set(pictures) <= {graph.to_mermaid() for graph in graphs}
    assert set(fences("text")) <= {graph.describe() for graph in graphs}
