"""The main job, small enough for a laptop: search three ways, retrain, compare, draw."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from applications.nas.draw import draw_genotype
from applications.nas.formulations import gradients_per_step
from applications.nas.jobs import Job, run_jobs
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.report.spread import MARGIN, counting_error
from applications.nas.retrain import Training, retrain_seeds
from applications.nas.retrain.build import check_fit
from applications.nas.run_folder import new_folder, write_config, write_json, write_text
from applications.nas.search import SearchOutcome, begin, chosen_tasks, complete, search
from applications.nas.search.stage import prepare
from applications.nas.settings import Interleaving, RetrainSettings, SearchSettings, SingleTask
from applications.nas.space.genotype import Genotype, random_genotype
from applications.nas.summary import Contender, as_json, as_markdown, as_table
from applications.nas.tasks import load_tasks
from applications.nas.typed import check_types
from mlo import ConfigError

INTERLEAVING, SINGLE, RANDOM = "interleaving", "single-task", "random"


@dataclass(frozen=True)
class DemoSettings:
    """An interleaving search on two small tasks, compared with a single-task search and a random cell."""

    out: Path | None = None
    """Folder of the run; left out: runs/demo-N."""
    workers: int = 2
    """Processes at a time, of one thread each."""
    search: SearchSettings = SEARCH["digits"][1]
    """The interleaving search; its seed is that of the other search and of the random cell too."""
    retrain: RetrainSettings = RETRAIN["digits"][1]
    """The retraining of all three cells."""

    def __post_init__(self) -> None:
        """Check what the comparison needs."""
        check_types("demo", self)
        if self.workers < 1:
            raise ConfigError(f"demo: workers must be at least 1, got {self.workers}")
        if not isinstance(self.search.formulation, Interleaving):
            raise ConfigError("demo: it compares interleaving with others: leave search.formulation:interleaving")


def demo(settings: DemoSettings, console: Console) -> Path:
    """Run the demo.

    Interleaving and single-task search take the same number of gradients; the random cell takes none. All three cells
    are trained from scratch in the same way on both tasks.

    Args:
        settings: Its settings.
        console: Where progress and summary go.

    Returns:
        The folder of the run.
    """
    space = settings.search.supernet.space
    drawn = random_genotype(space, torch.Generator().manual_seed(settings.search.seed))
    for task in load_tasks(settings.search.data, settings.search.seed):
        check_fit(drawn, task, settings.retrain)
    plans = _plans(settings)
    for plan in plans.values():  # what a search would refuse is refused before there is a folder
        whole = complete(plan)
        prepare(begin(whole, chosen_tasks(whole)), 0, whole.supernet.space)
    with new_folder(settings.out, Path("runs"), "demo") as folder:
        console.print(f"run folder: {folder}", highlight=False, soft_wrap=True)
        outcomes = _search(plans, folder, console, settings.workers)
        write_config(folder, settings)
        genotypes = {name: outcome.genotype for name, outcome in outcomes.items()}
        genotypes[RANDOM] = drawn
        trainings = _retrain(genotypes, settings, folder, console)
        contenders = [
            Contender(name, cell, outcomes[name].gradients if name in outcomes else 0, trainings[name])
            for name, cell in genotypes.items()
        ]
        _conclude(settings, contenders, folder, console)
    return folder


def _plans(settings: DemoSettings) -> dict[str, SearchSettings]:
    """Return the searches, of equal cost in gradients."""
    mine = settings.search
    tasks = len(load_tasks(mine.data, mine.seed))
    single = replace(mine, formulation=SingleTask())
    ratio = gradients_per_step(mine.formulation, mine.rule, tasks) / gradients_per_step(
        single.formulation, single.rule, 1
    )
    return {INTERLEAVING: mine, SINGLE: replace(single, epochs=round(mine.epochs * ratio))}


def _search(
    plans: Mapping[str, SearchSettings], folder: Path, console: Console, workers: int
) -> dict[str, SearchOutcome]:
    started = time.monotonic()
    jobs = []
    for name, plan in plans.items():
        jobs.append(Job(f"search, {name}", search, (plan, folder / name)))
    outcomes = run_jobs(jobs, console, workers=workers)
    console.print(f"searched in {time.monotonic() - started:.0f} s", highlight=False)
    return dict(zip(plans, outcomes, strict=True))


def _retrain(
    genotypes: Mapping[str, Genotype], settings: DemoSettings, folder: Path, console: Console
) -> dict[str, tuple[Training, ...]]:
    started = time.monotonic()
    data, seed = settings.search.data, settings.search.seed
    tasks = [task.name for task in load_tasks(data, seed)]
    jobs = []
    for name, genotype in genotypes.items():
        place = folder / "retrain" / name
        place.mkdir(parents=True)
        for task in tasks:
            arguments = (genotype, data, seed, task, settings.retrain, place)
            jobs.append(Job(f"retrain, {name} on {task}", retrain_seeds, arguments))
    found = run_jobs(jobs, console, workers=settings.workers)
    console.print(f"retrained in {time.monotonic() - started:.0f} s", highlight=False)
    size = len(tasks)
    each = [sum(found[i * size : (i + 1) * size], start=()) for i in range(len(genotypes))]
    return dict(zip(genotypes, each, strict=True))


def _conclude(settings: DemoSettings, contenders: Sequence[Contender], folder: Path, console: Console) -> None:
    """Write and print what came out."""
    write_json(folder / "results.json", as_json(contenders))
    for one in contenders:
        write_text(folder / f"{one.name}.json", one.genotype.to_json())
        draw_genotype(one.genotype, folder / f"cell-{one.name}")
    notes = _notes(settings, contenders)
    write_text(folder / "README.md", _report(contenders, notes))
    console.print()
    console.print("The cell that interleaving found:", highlight=False)
    console.print(str(contenders[0].genotype), highlight=False)
    console.print(as_table(contenders))
    for note in notes:
        console.print(f"- {note}", highlight=False)
    where = f"Everything is in {folder}: start with README.md; the cell is cell-{INTERLEAVING}.png."
    console.print(where, highlight=False, soft_wrap=True)


def _notes(settings: DemoSettings, contenders: Sequence[Contender]) -> list[str]:
    """Say what was compared, and read the verdict off the numbers."""
    net, count = settings.search.supernet, len(settings.retrain.seeds)
    seeds = f"{count} seeds" if count > 1 else "one seed"
    tasks = list(dict.fromkeys(training.task for training in contenders[0].trainings))
    return [
        "Errors are on test images that neither search nor retraining saw.",
        f"A small space: {net.nodes} nodes (DARTS has 4), {len(net.primitives)} operations (8), {net.layers} cells "
        f"(8), C = {net.channels} (16), small images. It shows how a search works, not how good a method is.",
        f"One search of each kind (seed {settings.search.seed}), with equally many gradients but for the rounding to "
        f"whole epochs. Each cell was retrained from scratch on each task with {seeds}, for equally many epochs: "
        "the spread is over these, not over searches. The margin is twice the larger of that spread and of the "
        "counting error on the test images.",
        f"The single-task search saw {tasks[0]} alone, in {_steps(settings)}; the random cell took no search.",
        *[_verdict(task, contenders) for task in tasks],
    ]


def _steps(settings: DemoSettings) -> str:
    """Say how the gradients of the two searches were spent."""
    plans = _plans(settings)
    return f"{plans[SINGLE].epochs} epochs against {plans[INTERLEAVING].epochs}"


def _verdict(task: str, contenders: Sequence[Contender]) -> str:
    """Rank the contenders on a task, and say which of them the spread does not tell from the best."""
    errors = {one.name: one.errors(task) for one in contenders}
    means = {name: statistics.mean(errors[name]) for name in sorted(errors, key=lambda n: statistics.mean(errors[n]))}
    order = ", then ".join(f"{name} {mean:.2f}" for name, mean in means.items())
    if min(map(len, errors.values())) < 2:
        return f"{task}: mean error {order}; one retraining each has no spread, so no difference is shown."
    best, *others = means
    tested = next(training.tested for training in contenders[0].trainings if training.task == task)
    margin = MARGIN * max(counting_error(means[best], tested), *map(statistics.stdev, errors.values()))
    close = [name for name in others if means[name] - means[best] <= margin]
    verdict = f"{best} is ahead of all by more than that"
    if close:
        verdict = f"{best} and {' and '.join(close)} are not told apart"
    if close == others:
        verdict = "all are within that, so no difference is shown"
    return f"{task} ({tested} test images): mean error {order}; margin {margin:.2f}: {verdict}."


def _report(contenders: Sequence[Contender], notes: Sequence[str]) -> str:
    lines = ["# Interleaving, single-task and random cells", "", as_markdown(contenders)]
    lines += [f"- {note}" for note in notes]
    lines += ["", f"![the cell that interleaving found](cell-{INTERLEAVING}.svg)", ""]
    lines += [
        "| file or folder | what it is |",
        "|---|---|",
        f"| {INTERLEAVING}/, {SINGLE}/ | the two searches, each with a README.md of its own |",
        "| retrain/ | loss by epoch and final weights of each retraining |",
        "| cell-*.svg, cell-*.png, *.json | the three cells |",
        "| results.json | every number of the table |",
        "| config.json, environment.json | settings and versions |",
    ]
    return "\n".join(lines) + "\n"
