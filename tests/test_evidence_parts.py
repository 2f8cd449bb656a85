"""The page of results, written from a study whose numbers are known: seeds 0 to 2 are whole, and seed 3 is not."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from applications.nas.config_file import to_json
from applications.nas.presets.scales import SCALES
from applications.nas.settings import Interleaving, MultiTask
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Genotype, random_genotype
from applications.nas.space.zoo import ZOO
from applications.nas.sweep.plan import Point
from applications.nas.sweep.studies import make_study
from applications.nas.sweep.study import StudySettings, swept_points
from benchmarks.evidence.chance import baselines
from benchmarks.evidence.parts import PARTS
from benchmarks.evidence.publish import reported
from benchmarks.evidence.rows import OFF_LINE, plain
from benchmarks.evidence.short import against_chance, overall, short
from benchmarks.evidence.study import Kept, keep_whole, read_kept
from mlo import DataError
from tests.nas.made_runs import made_retraining
from tests.nas.made_studies import TASKS
from tests.nas.test_report_studies import searched

NOISE = (0.0, 0.3, -0.3, 50.0)
"""Of an interleaved cell, by seed; the last must not be seen."""
HALF = 4.302653 * 0.3 / 3**0.5
"""Half of the interval of a difference with this noise: Student's 97.5 % point at two degrees of freedom."""
SIZES = {"DARTS-1st": 5.1e6, "DARTS-2nd": 5.2e6, "P-DARTS": 5.3e6, "PC-DARTS": 20e6}


def settings() -> StudySettings:
    return make_study("evidence-table", replace(SCALES["cpu"][1], seeds=(0, 1, 2, 3)), "mine")


def error(point: Point) -> float:
    """Interleaving wins by 2 points over one task, and by half of that over multi-task; P-DARTS is 3 points worse."""
    if point.cell is not None:
        return 40 - point.cell + (0.1 if point.cell % 2 else -0.1)  # the larger, the better
    form, base = point.settings.formulation, point.settings.method.titled(point.settings.rule)
    if isinstance(form, Interleaving):
        return 30 - NOISE[point.settings.seed] + (5.0 if base == "P-DARTS" else 0.0)
    return 31.0 if isinstance(form, MultiTask) else 32.0


def drawn(cell: int) -> Genotype:
    return random_genotype(CellSpace(), torch.Generator().manual_seed(cell))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Kept]:
    folder = tmp_path_factory.mktemp("runs") / "evidence-table"
    folder.mkdir()
    (folder / "sweep.json").write_text(to_json(settings()))
    for point in swept_points(settings()):
        if point.name == "random-11":  # of seed 3
            continue
        search, size = None, (1 + (point.cell or 0)) * 1e6
        if point.cell is None:
            search = searched(folder, point)
            (search / "genotype.json").write_text(ZOO["DARTS_V2"].to_json())
            method = point.settings.method.titled(point.settings.rule)
            size = SIZES[method] * (0.5 if isinstance(point.settings.formulation, Interleaving) else 1.0)
        about = {"commit": "0123456789abcdef0123, changed since", "started": "2026-01-02T03", "torch": "9"}
        made_retraining(
            folder / point.name / "retrain",
            {task: [error(point)] for task in TASKS},
            search=search,
            cell="random" if search is None else "mine",
            settings=point.retrain,  # type: ignore[arg-type]  # a study has retrainings
            genotype=(ZOO["DARTS_V2"] if search else drawn(point.cell or 0)).to_json(),
            parameters=int(size),
            seconds=1800.0,
        )
        (folder / point.name / "retrain" / "environment.json").write_text(json.dumps(about))
    (folder / "darts-1st-multi,seed=0" / "taken-from.txt").write_text("other/multi\n")
    keep_whole(folder)
    report = tmp_path_factory.mktemp("report")
    reported("evidence-table", folder, report)
    return report, read_kept("evidence-table", folder, report)


def cells(text: str, start: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_only_whole_seeds_count(study: tuple[Path, Kept]) -> None:
    kept = study[1]
    assert (kept.seeds, kept.planned) == ((0, 1, 2), (0, 1, 2, 3))
    assert (kept.searches, kept.random, kept.taken) == (48, 9, 1)
    assert kept.hours == pytest.approx((48 - 1) * 2.4 + (48 - 1 + 9) * 2 * 0.5), "a search and two trainings each"
    assert kept.commits == ("0123456789ab, changed since",)
    told = PARTS["runs"]([kept])
    assert "0, 1, 2 (begun, or to come: 3) | 48 (1 of them from another study) | 9 |" in told
    assert "Run 2026-01-02 with torch 9." in told


@pytest.mark.parametrize("task", TASKS)
def test_interleaving_beside_its_rivals(task: str, study: tuple[Path, Kept]) -> None:
    text = PARTS["interleaving"]([study[1]])
    found = cells(text, f"| {task} | IL-DARTS-2nd |")
    assert found[2] == f"**+2.00 [{2 - HALF:.2f}, {2 + HALF:.2f}]**"
    assert found[3] == f"**+1.00 [{1 - HALF:.2f}, {1 + HALF:.2f}]**"
    assert found[6].startswith("+50.00"), "half the size"
    worse = cells(text, f"| {task} | IL-P-DARTS |")
    assert worse[2] == f"**-3.00 [{-3 - HALF:.2f}, {-3 + HALF:.2f}]**"
    assert worse[3] == f"**-4.00 [{-4 - HALF:.2f}, {-4 + HALF:.2f}]**"


def test_random_cells_and_those_of_the_same_size(study: tuple[Path, Kept]) -> None:
    """Random cells have 1 to 9 million weights and 40 to 32 % error, on a line: 41 - size."""
    text = PARTS["chance"]([study[1]])
    found = cells(text, "| DARTS-1st |")
    assert found[1].strip("*").startswith("+3.99"), "35.99 % on average, against 32 %"
    assert found[2].strip("*").startswith("+3.89"), "35.89 % expected of 5.1 million weights"
    assert OFF_LINE not in "".join(found)
    large = cells(text, "| PC-DARTS |")
    assert large[2].endswith(OFF_LINE), "no random cell is as large"
    assert large[2].strip("* ").startswith("+0.97"), "the three largest have 32.97 % on average"


def test_how_far_chance_moves_errors(study: tuple[Path, Kept]) -> None:
    """Nine random cells, 40 to 32 % in turn 0.1 off, of 1 to 9 million weights; 2,500 test images."""
    found = cells(PARTS["levels"]([study[1]]), f"| {TASKS[1]} |")
    errors = [error(point) for point in swept_points(settings()) if point.cell is not None and point.cell < 9]
    spread = statistics.stdev(errors)
    ends = f"{min(29.7, *errors):.1f} to {max(errors):.1f}"
    assert found[1:4] == [ends, "90", f"{statistics.fmean(errors):.2f} ± {spread:.2f} (9)"]
    tested = int(study[1].points[0]["tested"])
    share = statistics.fmean(errors) / 100
    assert found[4] == f"± {100 * (share * (1 - share) / tested) ** 0.5:.2f}"
    assert found[5] == "-1.00", "the larger, the better"


def test_rows_beside_random_cells(study: tuple[Path, Kept]) -> None:
    rows, chance = baselines("evidence-table")([study[1]]), PARTS["chance"]([study[1]])
    for method in ("DARTS-1st", "MTL-P-DARTS", "IL-PC-DARTS"):
        assert cells(rows, f"| {method} |") == cells(chance, f"| {method} |")
    assert baselines("evidence-rule")([study[1]]) == "Not run yet."


def test_rows_are_named_in_plain_words() -> None:
    name = "IL-DARTS-1st (formulation.weight=20, c=2, rho=0.667, formulation.form=implicit)"
    assert plain(name) == "IL-DARTS-1st (lambda = 20, c=2, proximal step)"
    assert plain("DARTS-2nd (gradient.rule=difference, gradient.epsilon=0.1)") == "DARTS-2nd (difference of 0.1)"
    assert plain("DARTS-2nd (gradient.rule=exact, gradient.epsilon=0.01)") == "DARTS-2nd (exact)"


def test_the_verdict_on_the_claim_as_a_whole(study: tuple[Path, Kept]) -> None:
    for task in TASKS:
        told = overall(study[1], task)
        assert f"{task}: supported.**" in told
        assert "better than both rivals with DARTS-1st, DARTS-2nd, PC-DARTS, and then" in told
        assert "of its size with DARTS-1st, DARTS-2nd, PC-DARTS; " in told
        assert told.endswith("ruled out with P-DARTS.")


def test_three_methods_must_agree(study: tuple[Path, Kept]) -> None:
    def turned(id_part: str, verdict: str) -> Kept:
        rows = [{**row, "verdict": verdict} if id_part in row["id"] else row for row in study[1].verdicts]
        return replace(study[1], verdicts=rows)

    task = TASKS[0]
    assert "not decidable" in overall(turned("darts1st-multi", "not decidable at this scale"), task)
    assert "not decidable" in overall(turned("pcdarts-single", "refuted"), task), "two refute, and two support"
    both = turned("pcdarts-single", "refuted")
    both = replace(
        both,
        verdicts=[{**row, "verdict": "refuted"} if "darts1st-multi" in row["id"] else row for row in both.verdicts],
    )
    assert "refuted.**" in overall(both, task)
    small = [{**row, "low": "-1"} if row["rival"] == "random, of its size" else row for row in study[1].comparisons]
    assert "not decidable" in overall(replace(study[1], comparisons=small), task), "size explains it"


def test_what_is_said_in_short(study: tuple[Path, Kept]) -> None:
    told = short([study[1]])
    assert "(3 seeds of the 5 that the protocol asks for): 4 refuted, 12 supported. Decided: " in told
    assert "Of 16 comparisons in which nothing differs, 0.4 come out as supported on average" in told
    beside = cells(PARTS["chance"]([study[1]]), "| MTL-DARTS-1st |")[1]
    assert f"MTL-DARTS-1st itself against random cells there: {beside}." in told
    assert "not find larger cells" not in told, "the protocol does not name sizes"
    kept = replace(study[1], verdicts=[row for row in study[1].verdicts if row["verdict"] != "supported"])
    assert "nothing differs" not in short([kept])
    chance = against_chance(study[1])
    assert "of 24 comparisons (12 methods, each task), " in chance
    assert short([]) == "Not run yet."


def test_two_rows_for_one_cell_are_refused(study: tuple[Path, Kept]) -> None:
    doubled = replace(study[1], comparisons=[*study[1].comparisons, *study[1].comparisons])
    with pytest.raises(DataError, match="2 comparisons with DARTS-1st in error, where one should be"):
        PARTS["interleaving"]([doubled])
