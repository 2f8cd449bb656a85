"""Errors of several architectures side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from applications.nas.console_table import console_table
from applications.nas.retrain import Training
from applications.nas.run_folder import page
from applications.nas.space.genotype import Genotype


@dataclass(frozen=True)
class Contender:
    """An architecture and what became of it.

    Attributes:
        name: How it was found.
        genotype: The architecture.
        gradients: Gradients of one task's loss that the search took, 0 if there was none, None if that is not known.
        trainings: Its retrainings, over tasks and seeds.
    """

    name: str
    genotype: Genotype
    gradients: int | None
    trainings: tuple[Training, ...]

    @property
    def parameters(self) -> int:
        """Weights of the network on the first task."""
        return self.trainings[0].parameters

    @property
    def skips(self) -> int:
        """Skip connections in both cells."""
        return self.genotype.count("skip_connect")

    def errors(self, task: str) -> list[float]:
        """Return the test errors on one task in percent, one for each seed."""
        return [training.error for training in self.trainings if training.task == task]


def mean_and_spread(values: Sequence[float]) -> str:
    """Return "mean ± standard deviation (n)", or the value alone if there is one."""
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else "-"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} (n={len(values)})"


def rows(contenders: Sequence[Contender]) -> list[list[str]]:
    """Return a header and one row for each contender."""
    tasks = list(dict.fromkeys(training.task for training in contenders[0].trainings))
    errors = [f"{task}: error %" for task in tasks]
    header = ["cell", *errors, f"{tasks[0]}: parameters", "skips", "search gradients"]
    found = [header]
    for one in contenders:
        errors = [mean_and_spread(one.errors(task)) for task in tasks]
        cost = "-" if one.gradients is None else f"{one.gradients:,}"
        found.append([one.name, *errors, f"{one.parameters:,}", str(one.skips), cost])
    return found


def as_table(contenders: Sequence[Contender]) -> Table:
    """Return the rows as a table for a console."""
    header, *body = rows(contenders)
    return console_table(header, body)


def as_markdown(contenders: Sequence[Contender]) -> str:
    """Return the rows as a Markdown table."""
    header, *body = rows(contenders)
    return page.Table(header, body).markdown() + "\n"


def as_json(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """Return everything as plain data."""
    return [
        {
            "cell": one.name,
            "search_gradients": one.gradients,
            "skips": one.skips,
            "trainings": [asdict(training) for training in one.trainings],
        }
        for one in contenders
    ]
