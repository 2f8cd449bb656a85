"""Where a command line stops in these tests: right before something would be trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from applications.nas import demo as demo_module
from applications.nas.commands import retrain as retrain_command
from applications.nas.commands import search as search_command
from applications.nas.commands import sweep as sweep_command
from applications.nas.data import Task
from applications.nas.search import begin, chosen_tasks, complete
from applications.nas.settings import SearchSettings
from mlo import MLOError


class Reached(MLOError):
    """The request was sound as far as it was looked at."""


def begins(settings: SearchSettings, *_: Any) -> None:
    """Do what a search does before it builds networks."""
    whole = complete(settings)
    tasks: tuple[Task, ...] = chosen_tasks(whole)
    begin(whole, tasks)
    raise Reached("the search would begin now: this is as far as the test goes")


def stop(*_: Any, **__: Any) -> None:
    """Do nothing more."""
    raise Reached("the work would begin now: this is as far as the test goes")


@pytest.fixture
def stopped() -> Iterator[None]:
    """Let searches, retrainings, sweeps and demos end before they begin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_command, "search", begins)
        patch.setattr(search_command, "make_plan", begins)
        patch.setattr(retrain_command, "retrain_run", stop)
        patch.setattr(sweep_command, "sweep", stop)
        patch.setattr(demo_module, "new_folder", stop)
        yield
