"""What came out of a study: a table over all its parts, figures, and a page that explains them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from applications.nas.files import write_text
from applications.nas.run_folder.index import INDEX, write_index, write_readme
from applications.nas.run_folder.page import AbstractBlock, Code, Picture, Section, Text, fact_table
from applications.nas.run_folder.page import Table as PageTable
from applications.nas.settings_table import settings_table
from applications.nas.sweep.alike import HEAD, alike_rows
from applications.nas.sweep.collect import collect
from applications.nas.sweep.line import Line
from applications.nas.sweep.pictures import draw_part
from applications.nas.sweep.plan import Axis, Point
from applications.nas.sweep.raw import points_csv
from applications.nas.sweep.study import RANDOM, StudySettings
from applications.nas.sweep.summary import FILES, about_spread, about_strength, as_csv, as_rows, as_table

_PART = Axis("part", ())
"""What the lines of the table differ in: a part, and the values that it varies."""
_ALIKE = (
    "Mean numbers of edges that two cells share: the same operation from the same state into the same node, in both "
    "types of cell. A setting that changes the cell leaves fewer edges at the same seed; what another seed alone "
    "leaves is in the last column."
)


def summarize_study(
    settings: StudySettings, plan: Sequence[Point], failed: Mapping[str, str], folder: Path, console: Console
) -> None:
    """Print the table of a study; write table.csv, figures for each part that varies a field, and the pages."""
    found = {part.name: collect(part.axes, _of(plan, part.name), folder) for part in settings.parts}
    if settings.random:
        found[RANDOM] = collect((), _of(plan, RANDOM), folder, over="cells")
    columns = list(dict.fromkeys(name for lines in found.values() for line in lines for name in line.results))
    drawn = [draw_part(part.name, part.axes, found[part.name], columns, folder) for part in settings.parts]
    pictures = [picture for pictures in drawn for picture in pictures]
    lines = [_labeled(name, line) for name, lines in found.items() for line in lines]
    rows = as_rows((_PART,), lines, columns)
    write_text(folder / "table.csv", as_csv((_PART,), lines, columns))
    write_text(folder / "points.csv", points_csv(plan, folder))
    _explain(settings, plan, failed, rows, pictures, folder)
    console.print(as_table(rows))
    console.print(f"start with {folder / INDEX}", highlight=False, soft_wrap=True)
    console.print(f"compare by `mlo-nas report {folder}`", highlight=False, soft_wrap=True)


def _of(plan: Sequence[Point], part: str) -> list[Point]:
    return [point for point in plan if point.part == part]


def _labeled(part: str, line: Line) -> Line:
    """Put a part and what it varies into one column."""
    words = [f"{field.rpartition('.')[2]} {word}" for field, word in line.words.items()]
    return Line({_PART.field: ", ".join([part, *words])}, line.point, line.results)


def _explain(
    settings: StudySettings,
    plan: Sequence[Point],
    failed: Mapping[str, str],
    rows: Sequence[Sequence[str]],
    pictures: Sequence[Picture],
    folder: Path,
) -> None:
    """Write the pages of the folder."""
    title = f"Study {settings.name}, scale {settings.scale}"
    cells = sum(point.cell is not None for point in plan)
    count = f"{len(plan) - cells} searches" + (f" and {cells} random cells" if cells else "")
    summary = [settings.about, f"{count}. The order is that of the seeds, so that an early end leaves all parts even."]
    facts = {"seeds": ", ".join(map(str, settings.seeds)), "parts": "; ".join(part.name for part in settings.parts)}
    table: list[AbstractBlock] = [
        PageTable(rows[0], rows[1:], numbers=True),
        Text(about_spread(retrained=True)),
        *about_strength([point for point in plan if point.cell is None]),
    ]
    alarms = [f"{name} failed, and is not in the table: {error}" for name, error in failed.items()]
    again: list[AbstractBlock] = [Text("To run what is missing, and to compare the methods seed by seed:")]
    again += [Code("mlo-nas sweep --resume .\nmlo-nas report .")]
    alike: list[AbstractBlock] = [Text(_ALIKE), PageTable(HEAD, alike_rows(settings, plan, folder), numbers=True)]
    sections = [Section("Results", [*table, *pictures]), Section("How alike the cells are", alike)]
    sections.append(Section("How to go on", again))
    sections += [Section(f"Part {part.name}", [settings_table(part.search)]) for part in settings.parts]
    sections.append(Section("How the cells were trained", [settings_table(settings.retrain)]))
    files = FILES | {"points.csv": "every trained network in a line: error, size, cost, cell"}
    files |= {picture.file: picture.caption for picture in pictures}
    files |= {f"{point.name}/": "a search" if point.cell is None else "a random cell" for point in plan}
    write_index(folder, title, summary=summary, facts=facts, sections=sections, files=files, warnings=alarms)
    warned = [Text(f"**Warning:** {alarm}") for alarm in alarms]
    texts = [Text(text) for text in summary]
    write_readme(folder, title, [*texts, fact_table(facts), *table, *warned, *pictures, *alike, *again], files)
