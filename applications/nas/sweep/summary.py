"""What came out of a sweep: a table over the varied values, figures with error bars, and a page that explains them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from applications.nas.files import write_text
from applications.nas.run_folder.index import INDEX, README, write_index, write_readme
from applications.nas.run_folder.page import AbstractBlock, Code, Picture, Section, Text, fact_table
from applications.nas.run_folder.page import Table as PageTable
from applications.nas.search.words import strength
from applications.nas.settings import Interleaving
from applications.nas.settings_table import settings_table
from applications.nas.sweep.collect import collect
from applications.nas.sweep.folder import SWEEP
from applications.nas.sweep.launch.place import JOBS
from applications.nas.sweep.line import Line
from applications.nas.sweep.pictures import draw_part
from applications.nas.sweep.plan import Axis, Point, SweepSettings, axes_without_seed

_TITLE = "A sweep"
FILES = {
    INDEX: "the page of this sweep: start here",
    README: "the same, short, as text",
    SWEEP: "what is swept: every setting, and the varied fields",
    "table.csv": "the table, with every digit",
    f"{JOBS}/": "the jobs of a scheduler: what each printed is in logs/, claim.json of a point names its job",
}


def summarize(
    settings: SweepSettings, plan: Sequence[Point], failed: Mapping[str, str], folder: Path, console: Console
) -> None:
    """Print the table of a sweep; write table.csv, a figure for each varied field, and the pages of its folder."""
    axes = axes_without_seed(settings)
    lines = collect(axes, plan, folder)
    columns = list(dict.fromkeys(name for line in lines for name in line.results))
    pictures = draw_part("", axes, lines, columns, folder)
    rows = as_rows(axes, lines, columns)
    write_text(folder / "table.csv", as_csv(axes, lines, columns))
    _explain(settings, plan, failed, rows, pictures, folder)
    console.print(as_table(rows))
    console.print(f"start with {folder / INDEX}", highlight=False, soft_wrap=True)


def as_rows(axes: Sequence[Axis], lines: Sequence[Line], columns: Sequence[str]) -> list[list[str]]:
    """Return the table as text, its header first."""
    rows = [[*(axis.field for axis in axes), *columns, "over"]]
    for line in lines:
        bases = dict.fromkeys(line.results[name].basis for name in columns if name in line.results)
        shown = [str(line.results[name]) if name in line.results else "-" for name in columns]
        rows.append([*line.words.values(), *shown, "; ".join(bases) or "nothing finished"])
    return rows


def as_table(rows: Sequence[Sequence[str]]) -> Table:
    """Return the table for a terminal."""
    table = Table()
    for name in rows[0]:
        table.add_column(escape(name), justify="left" if name == "over" else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table


def as_csv(axes: Sequence[Axis], lines: Sequence[Line], columns: Sequence[str]) -> str:
    """Return the table with every digit."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    header = [part for name in columns for part in (f"{name} mean", f"{name} std", f"{name} n", f"{name} over")]
    writer.writerow([*(axis.field for axis in axes), *header])
    for line in lines:
        row: list[object] = list(line.words.values())
        for name in columns:
            one = line.results.get(name)
            row += ["", "", "", ""] if one is None else [one.mean, one.deviation, one.count, one.over]
        writer.writerow(row)
    return file.getvalue()


def _explain(
    settings: SweepSettings,
    plan: Sequence[Point],
    failed: Mapping[str, str],
    rows: Sequence[Sequence[str]],
    pictures: Sequence[Picture],
    folder: Path,
) -> None:
    """Write the pages of the folder."""
    varied = {axis.field: ", ".join(axis.values) for axis in settings.axes}
    summary = [Text(f"{len(plan)} searches: one for each combination of the values of {' and '.join(varied)}.")]
    table: list[AbstractBlock] = [
        PageTable(rows[0], rows[1:], numbers=True),
        Text(about_spread(retrained=settings.retrain is not None)),
        *about_strength(plan),
    ]
    alarms = [f"{name} failed, and is not in the table: {error}" for name, error in failed.items()]
    again: list[AbstractBlock] = [Text("To run what is missing, and compare with what was published:")]
    again += [Code("mlo-nas sweep --resume .\nmlo-nas report .")]
    sections = [Section("Results", [*table, *pictures]), Section("How to go on", again)]
    sections.append(Section("What was not varied", [settings_table(settings.search)]))
    if settings.retrain is not None:
        sections.append(Section("How the cells were trained", [settings_table(settings.retrain)]))
    files = FILES | {picture.file: picture.caption for picture in pictures}
    files |= {f"{point.name}/": "a search" for point in plan}
    texts = [one.text for one in summary]
    write_index(folder, _TITLE, summary=texts, facts=varied, sections=sections, files=files, warnings=alarms)
    warned = [Text(f"**Warning:** {alarm}") for alarm in alarms]
    write_readme(folder, _TITLE, [*summary, fact_table(varied), *table, *warned, *pictures, *again], files)


def about_spread(*, retrained: bool) -> str:
    """Say what the deviations of a table are."""
    if not retrained:
        return "No cell was retrained, so there is no test error: the table counts skip connections of the found cells."
    return (
        "Mean ± standard deviation (divided by n - 1). Over searches, each search counts with the mean of its "
        "retrainings; over retrainings, one cell was trained several times. A difference within the deviations shows "
        "nothing."
    )


def about_strength(plan: Sequence[Point]) -> list[Text]:
    """Say what each lambda of the sweep comes to, as strength and influence of the stage before."""
    told: dict[str, None] = {}
    for settings in (point.settings for point in plan):
        form, lr = settings.formulation, settings.weights.lr
        if isinstance(form, Interleaving):
            c, rho = strength(form, lr)
            told[f"lambda = {form.weight:g} at lr = {lr:g}, {form.form}: c = {c:.3g}, rho = {rho:.3g}"] = None
    head = (
        "How strongly a stage is held near the one before (formulation.weight is lambda, c = 2 lr lambda), at the start"
    )
    return [Text(f"{head}: {'; '.join(told)}.")] if told else []
