"""`index.html` and `README.md`: the pages by which a run explains itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from applications.nas.files import write_text
from applications.nas.run_folder.page import AbstractBlock, Section, Table, Text, fact_table, link

INDEX, README = "index.html", "README.md"

# Colors follow the reader's setting; pictures are drawn on white and keep it.
_STYLE = """\
:root { color-scheme: light dark; --ink: #1f2933; --faint: #616e7c; --line: #cbd2d9; --paper: #fff; --box: #f1f4f7;
  --alarm: #fdf0d5; --link: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --faint: #9aa5b1; --line: #3e4c59; --paper: #14181d; --box: #1f262e; --alarm: #4a3610;
    --link: #7cb8f2; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
a { color: var(--link); } code, pre { font: 0.9rem/1.45 ui-monospace, monospace; }
pre { background: var(--box); padding: 0.8rem 1rem; overflow-x: auto; border-radius: 6px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.93rem; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 1.2rem 0.25rem 0;
  border-bottom: 1px solid var(--line); }
td { overflow-wrap: anywhere; } td:first-child { overflow-wrap: normal; }
.numbers td + td, .numbers th + th { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.2rem 0; } figcaption { color: var(--faint); font-size: 0.9rem; margin-top: 0.4rem; }
img { max-width: 100%; background: #fff; border-radius: 6px; padding: 0.5rem; box-sizing: border-box; }
.warning { background: var(--alarm); padding: 0.6rem 1rem; border-radius: 6px; margin: 0.5rem 0; }
"""


def write_index(
    folder: Path,
    title: str,
    *,
    summary: Sequence[str],
    facts: Mapping[str, str],
    sections: Sequence[Section],
    files: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> Path:
    """Write the page by which a run explains itself: one file without scripts, that needs no network.

    Everything given is escaped, so that names and settings are shown as they are.

    Args:
        folder: Folder of the run; links are relative to it.
        title: The page's title.
        summary: Paragraphs of what was done and what came out.
        facts: What was run, by name.
        sections: Everything else, in order.
        files: Name and meaning of what is in the folder; what does not exist is left out. A name that ends with / is a
            folder's.
        warnings: What the reader should know before believing the outcome.

    Returns:
        Path of the page.

    Raises:
        DataError: If it cannot be written.
    """
    alarms = "\n".join(f'<p class="warning">Warning: {escape(text)}</p>' for text in warnings)
    first: list[AbstractBlock] = [*(Text(text) for text in summary)]
    parts = [_blocks(first, folder), alarms, _blocks([fact_table(facts)] if facts else [], folder)]
    parts += [f"<h2>{escape(section.title)}</h2>\n{_blocks(section.blocks, folder)}" for section in sections]
    parts.append(f"<h2>Files</h2>\n{_files(folder, files)}")
    body = "\n".join(part for part in parts if part)
    page = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>
{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""
    write_text(folder / INDEX, page)
    return folder / INDEX


def write_readme(folder: Path, title: str, blocks: Sequence[AbstractBlock], files: Mapping[str, str]) -> Path:
    """Write the short page in Markdown, for a terminal or a repository.

    Args:
        folder: Folder of the run.
        title: The page's title.
        blocks: What it says.
        files: As in `write_index`.

    Returns:
        Path of the page.

    Raises:
        DataError: If it cannot be written.
    """
    table = Table(("file", "what it is"), list(_existing(folder, files, README).items()))
    parts = [f"# {title}", *(block.markdown() for block in blocks), table.markdown()]
    write_text(folder / README, "\n\n".join(parts) + "\n")
    return folder / README


def _blocks(blocks: Sequence[AbstractBlock], folder: Path) -> str:
    return "\n".join(block.html(folder) for block in blocks)


def _files(folder: Path, files: Mapping[str, str]) -> str:
    rows = [
        f'<tr><td><a href="{link(name)}">{escape(name)}</a></td><td>{escape(meaning)}</td></tr>'
        for name, meaning in _existing(folder, files, INDEX).items()
    ]
    return '<div class="wide"><table>' + "\n".join(rows) + "</table></div>"


def _existing(folder: Path, files: Mapping[str, str], page: str) -> dict[str, str]:
    """Return those files that there are, without the page that lists them."""
    found = (name for name in files if (folder / name).exists() or name in (INDEX, README))
    return {name: files[name] for name in found if name != page}
