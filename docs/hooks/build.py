"""What mkdocs calls while it builds the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from documented import undocumented
from formulas import typeset
from mermaid import picture
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]


@event_priority(-100)
def on_config(config: Any) -> Any:
    """Draw Mermaid fences, and search without a server or a network."""
    # The plugin `offline`, which runs before this, would load such a script from another host.
    config.extra["polyfills"] = ["assets/worker.js"]
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "mermaid", "class": "graph", "format": picture}]
    return config


def on_pre_build(**_: Any) -> None:
    """Refuse to build while a public name has no docstring or no entry in the reference.

    Raises:
        PluginError: If there is one; the message names each, and the fix.
    """
    lacking = undocumented()
    if lacking:
        raise PluginError("\n".join(["documentation is missing:", *lacking]))


def on_files(files: Any, config: Any) -> Any:
    """Take in the pages that stand at the top of the repository."""
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](").replace("](CHANGELOG", "](changelog")
        files.append(File.generated(config, name.lower(), content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Typeset the formulas of a page."""
    return typeset(html)
