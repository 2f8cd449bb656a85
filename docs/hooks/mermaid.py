"""Mermaid graphs become SVG while the site is built, so that a page needs no script from elsewhere to show them."""

from __future__ import annotations

import hashlib
from typing import Any

import mermaidx
from mkdocs.exceptions import PluginError


def picture(source: str, language: str, css_class: str, options: dict[str, Any], md: Any, **kwargs: Any) -> str:
    """Return the graph as SVG: what pymdownx.superfences calls for a fence ``mermaid``.

    Raises:
        PluginError: If the source is not Mermaid; the message quotes it.
    """
    try:
        drawn = mermaidx.Diagram(source, theme="neutral").svg()
    except RuntimeError as error:
        raise PluginError(f"mermaid: {error}\n{source}") from error
    # Several graphs on a page: their styles and arrow heads go by this identity.
    name = f"graph-{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    return f'<div class="graph">{drawn.replace("my-svg", name)}</div>'
