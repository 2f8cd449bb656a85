"""One architecture search, from settings to a genotype in a run folder."""

from applications.nas.search.run import (
    SearchOutcome,
    begin,
    chosen_tasks,
    complete,
    search,
    stage_gradients,
)

__all__ = ["SearchOutcome", "begin", "chosen_tasks", "complete", "search", "stage_gradients"]
