"""One architecture search, from settings to a genotype in a run folder."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

from applications.nas.data import check_splits, split_records
from applications.nas.draw import sketch_graph, write_sketch
from applications.nas.files import read_object, tidy
from applications.nas.launch import Ranks
from applications.nas.progress import Tick, silent
from applications.nas.run_folder import (
    CONFIG,
    RESULTS,
    SPLITS,
    RunLog,
    read_genotype,
    read_results,
    read_search_settings,
    write_config,
    write_json,
    write_text,
)
from applications.nas.run_folder.folder import failing
from applications.nas.run_folder.held import held
from applications.nas.run_folder.place import is_finished
from applications.nas.search.begun import (
    check_unchanged,
    digests,
    has_checkpoint,
    has_run,
    mark_begun,
    mark_finished,
    take_up,
)
from applications.nas.search.epoch import Epoch
from applications.nas.search.keeper import Keeper, latest
from applications.nas.search.record import AbstractRecord, Bystander, Record, write_outcome
from applications.nas.search.request import begin, chosen_tasks, complete
from applications.nas.search.stage import Course, Prepared, metric_columns, prepare, run_stage
from applications.nas.search.standing import Standing, recorded
from applications.nas.search.words import strength_label
from applications.nas.seeded import seeded
from applications.nas.settings import SearchSettings
from applications.nas.space.genotype import Genotype
from applications.nas.stopping import Stopper
from applications.nas.watch import Alarms
from mlo import DataError, deterministic


@dataclass(frozen=True)
class SearchOutcome:
    """What a search found and what it took.

    Attributes:
        genotype: The cell.
        steps: Outer steps.
        gradients: Gradients of one task's loss, a double backward counted as two.
        seconds: Wall time.
    """

    genotype: Genotype
    steps: int
    gradients: int
    seconds: float


def search(
    settings: SearchSettings,
    folder: Path,
    tick: Tick = silent,
    ranks: Ranks = Ranks(),
    stopper: Stopper | None = None,
) -> SearchOutcome:
    """Search a cell and write everything about it into a folder.

    Args:
        settings: What to search, and how.
        folder: An empty folder; made, once the request has proved sound, if it does not exist.
        tick: Told how far it is.
        ranks: Who shares the search; all of them make this call with the same folder, and the first writes.
        stopper: Asked after each step whether to stop; None to be asked by nobody.

    Returns:
        The outcome.

    Raises:
        MLOError: If the settings, the data or the numbers do not allow it; what was measured until then is in the
            folder, and `resume` goes on from the last checkpoint.
        Stopped: If `stopper` was asked to stop.
    """
    settings = complete(settings)
    with deterministic(on=settings.deterministic):
        course = begin(settings, chosen_tasks(settings), ranks)
        first = prepare(course, 0, settings.supernet.space)  # whatever does not fit shows before anything is written
        if ranks.first:
            folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, ranks):
            return _begin(course, first, folder, tick, ranks, stopper or Stopper())


def resume(folder: Path, tick: Tick = silent, ranks: Ranks = Ranks(), stopper: Stopper | None = None) -> SearchOutcome:
    """Go on with a search that was stopped, from its newest checkpoint that is whole, as if it had not been stopped.

    Args:
        folder: Of the search.
        tick: Told how far it is.
        ranks: As many as there were; all of them make this call.
        stopper: As for `search`.

    Returns:
        The outcome; of a search that has finished, that of then.

    Raises:
        DataError: If there is no checkpoint that can be read, or settings or data are not what they were.
        MLOError: As `search`.
    """
    if not (folder / CONFIG).is_file():
        raise DataError(f"{folder / CONFIG} does not exist: give the folder of a search")
    if is_finished(folder):
        return _outcome(folder)
    with _alone(folder, ranks):
        if has_checkpoint(folder) or has_run(folder):
            return _go_on(folder, tick, ranks, stopper or Stopper())
        settings = read_search_settings(folder)  # it was stopped before its first checkpoint: nothing is lost
        with deterministic(on=settings.deterministic):
            course = begin(settings, chosen_tasks(settings), ranks)
            first = prepare(course, 0, settings.supernet.space)
            return _begin(course, first, folder, tick, ranks, stopper or Stopper())


def _begin(course: Course, first: Prepared, folder: Path, tick: Tick, ranks: Ranks, stopper: Stopper) -> SearchOutcome:
    """Run a search from its beginning."""
    if ranks.first:
        tidy(folder)
        _write_request(course, first, folder)
    return _go(course, first, folder, tick, ranks, stopper)


def _go_on(folder: Path, tick: Tick, ranks: Ranks, stopper: Stopper) -> SearchOutcome:
    """Run a search from where it stood."""
    found = latest(folder, ranks)
    check_unchanged(folder, recorded(found))
    settings = read_search_settings(folder)
    at = Standing.of(found, settings.supernet.space)
    with deterministic(on=settings.deterministic), ExitStack() as stack:
        course = begin(settings, chosen_tasks(settings), ranks)
        check_splits(course.tasks, read_object(folder / SPLITS, "search again"))
        prepared = prepare(course, at.stage, at.space)
        if ranks.first:
            take_up(folder, at.record["steps"])
            stack.enter_context(failing(folder))
        return _go(course, prepared, folder, tick, ranks, stopper, at)


def _go(
    course: Course,
    prepared: Prepared,
    folder: Path,
    tick: Tick,
    ranks: Ranks,
    stopper: Stopper,
    at: Standing | None = None,
) -> SearchOutcome:
    """Run a search from its beginning, or from where it stood."""
    settings, before = course.settings, None if at is None else at.record
    # What methods draw, such as masks of dropout; batches, initial weights and variables have generators of their own.
    with seeded(course.parallel.seed(1000 * settings.seed + 9), course.device), ExitStack() as open_files:
        if ranks.first:
            kept = None if before is None else int(before["steps"])
            log = open_files.enter_context(RunLog(folder, metric_columns(prepared.graph), kept=kept))
            record: AbstractRecord = Record(
                folder, log, tick, course.total_steps, Alarms(settings.watch), digests(folder), before
            )
        else:
            record = Bystander(before)
        keeper = Keeper(folder, settings.checkpoint, ranks, stopper, record)
        found = _run(course, prepared, record, keeper, at)
    if isinstance(record, Record):
        write_outcome(folder, settings, [task.name for task in course.tasks], found, record, ranks.world)
        mark_finished(folder)  # before its checkpoints go: one that is killed between the two is done
        keeper.clear()
    return SearchOutcome(found.genotype, record.steps, record.gradients, record.seconds)


def _outcome(folder: Path) -> SearchOutcome:
    """Return the outcome of a search that has finished."""
    read_search_settings(folder)  # which refuses the folder of something else
    found, genotype = read_results(folder), read_genotype(folder)
    if found.get("kind", "search") != "search":
        raise DataError(f"{folder} holds a {found['kind']}, and no search: give the folder of a search")
    try:
        return SearchOutcome(genotype, int(found["steps"]), int(found["gradients"]), float(found["seconds"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"{folder / RESULTS} is not what a search writes"
        raise DataError(f"{what}: search again, `mlo-nas search --config {folder} --out NEW`") from error


def _alone(folder: Path, ranks: Ranks) -> AbstractContextManager[None]:
    """Keep other processes out of the folder."""
    return held(folder) if ranks.first else nullcontext()


def _write_request(course: Course, first: Prepared, folder: Path) -> None:
    """Write down what is asked for."""
    settings = course.settings
    mark_begun(folder)
    write_config(folder, settings)
    write_json(folder / SPLITS, split_records(course.tasks))
    write_text(folder / "graph.mmd", first.graph.to_mermaid() + "\n")
    strength = strength_label(settings.formulation, settings.weights.lr)
    write_sketch(folder, sketch_graph(first.graph, strength=strength))


def _run(course: Course, prepared: Prepared, record: AbstractRecord, keeper: Keeper, at: Standing | None) -> Epoch:
    """Run all stages that are left; each begins anew, in the space that the one before has left."""
    method, stages = course.settings.method, course.settings.stages()
    last = run_stage(course, prepared, record, keeper, at)
    for number, stage in enumerate(stages[prepared.number + 1 :], start=prepared.number + 1):
        prepared = prepare(course, number, method.narrow(last.variables, prepared.space, stage.operations))
        last = run_stage(course, prepared, record, keeper)
    return last
