"""One architecture search, from settings to a genotype in a run folder."""

from applications.nas.search.run import (
    SearchOutcome,
    begin,
    check_ranks,
    chosen_tasks,
    complete,
    search,
    stage_gradients,
)

__all__ = ["SearchOutcome", "begin", "check_ranks", "chosen_tasks", "complete", "search", "stage_gradients"]
