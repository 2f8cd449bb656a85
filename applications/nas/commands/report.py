"""`mlo-nas report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from applications.nas.commands.tyro_call import read_words
from applications.nas.report.claims import CLAIMS, read_claims
from applications.nas.report.csv_file import as_csv
from applications.nas.report.evidence import weigh
from applications.nas.report.evidence_csv import comparisons_csv, verdicts_csv
from applications.nas.report.evidence_sheets import sheets
from applications.nas.report.quoted import PUBLISHED, read_quoted
from applications.nas.report.read import Found, find_runs
from applications.nas.report.sheet import print_sheet
from applications.nas.report.table import make_tables
from applications.nas.report.writers import as_latex, as_markdown, print_table
from applications.nas.run_folder import write_text
from applications.nas.run_folder.page import Picture
from applications.nas.sweep.folder import SWEEP
from applications.nas.sweep.pictures import draw_sweep
from mlo import ConfigError, DataError


@dataclass(frozen=True)
class ReportCommand:
    """Print and write a table for each task: what runs measured, beside published figures that are marked as quoted.

    Below them: how methods compare, paired by seed and with random cells of their size, and what that says of claims.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of searches, retrainings, sweeps and demos; what is below them is found."""
    out: Path = Path("report")
    """Folder for report.md, .csv and .tex, comparisons.csv, verdicts.csv, and figures of sweeps; files of these names
    are replaced."""
    quoted: Path | None = None
    """A CSV file with more published rows, with the columns of the one that ships (report/quoted.csv)."""
    published: bool = True
    """Show the published rows that ship."""
    claims: Path | None = None
    """A CSV file with the claims to judge in place of those that ship (report/claims.csv), in the same columns."""


def run(words: list[str], console: Console) -> None:
    """Run `mlo-nas report` with the words behind it."""
    command = read_words(ReportCommand, words, "mlo-nas report")
    if not command.runs:
        raise ConfigError("report: no run is named: give the folders of searches, retrainings, sweeps or demos")
    if command.out.exists() and not command.out.is_dir():
        raise ConfigError(f"{command.out} is no folder: name another with --out")
    quoted = read_quoted(PUBLISHED) if command.published else []
    quoted += read_quoted(command.quoted) if command.quoted is not None else []
    claims = read_claims(command.claims or CLAIMS)
    found = find_runs(command.runs)
    left_out = _left_out(found)
    if not found.retrained:
        raise DataError(f"report: there is no finished retraining to report; left out: {'; '.join(left_out)}")
    tables = make_tables(found.retrained, quoted)
    evidence = weigh(tables, claims)
    worked_out = sheets(evidence)
    command.out.mkdir(parents=True, exist_ok=True)
    pictures = _draw(command.runs, command.out, left_out)
    write_text(command.out / "report.md", as_markdown(tables, left_out, worked_out, pictures))
    write_text(command.out / "report.csv", as_csv(tables))
    write_text(command.out / "report.tex", as_latex(tables, left_out, worked_out))
    write_text(command.out / "comparisons.csv", comparisons_csv(evidence))
    write_text(command.out / "verdicts.csv", verdicts_csv(evidence))
    for table in tables:
        print_table(table, console)
        for note in table.notes:
            console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)
    for sheet in worked_out:
        print_sheet(sheet, console)
    for line in left_out:
        console.print(f"left out: {line}", highlight=False, markup=False, soft_wrap=True)
    files = ["report.md, report.csv, report.tex, comparisons.csv, verdicts.csv", *(one.file for one in pictures)]
    console.print(f"written: {command.out}/{', '.join(files)}", highlight=False, soft_wrap=True)


def _draw(runs: Sequence[Path], into: Path, left_out: list[str]) -> list[Picture]:
    """Draw the figures of all sweeps in and below some folders; add what cannot be drawn to what is left out.

    Of several sweeps, each has a number in the names of its files, and its folder in their captions.
    """
    found = [file.parent for run in runs for file in sorted(run.rglob(SWEEP))]
    sweeps = list({folder.resolve(): folder for folder in found}.values())
    drawn: list[Picture] = []
    for number, folder in enumerate(sweeps, 1):
        try:
            pictures = draw_sweep(folder, into, "" if len(sweeps) == 1 else f"{number}-")
        except (ConfigError, DataError) as error:
            left_out.append(f"{folder}: no figures: {error}")
            continue
        where = "" if len(sweeps) == 1 else f"{folder}: "
        drawn += [Picture(one.file, f"{where}{one.caption}") for one in pictures]
    return drawn


def _left_out(found: Found) -> list[str]:
    """Say what is in no table, and why."""
    used = {run.search.folder.resolve() for run in found.retrained if run.search is not None}
    lines = [f"{folder}: {reason}" for folder, reason in found.left_out]
    for search in found.searched:
        if search.folder.resolve() not in used:
            lines.append(f"{search.folder}: the cell of this search was not retrained (mlo-nas retrain)")
    for run in found.retrained:
        if run.lost:
            lines.append(f"the search of {run.folder}, which is in the tables as {run.cell!r}: {run.lost}")
    return lines
