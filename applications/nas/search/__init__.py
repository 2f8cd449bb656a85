"""One architecture search, from settings to a genotype in a run folder."""

from applications.nas.search.begun import can_resume
from applications.nas.search.request import begin, check_ranks, chosen_tasks, complete, stage_gradients
from applications.nas.search.run import SearchOutcome, resume, search

__all__ = [
    "SearchOutcome",
    "begin",
    "can_resume",
    "check_ranks",
    "chosen_tasks",
    "complete",
    "resume",
    "search",
    "stage_gradients",
]
