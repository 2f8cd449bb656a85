"""What a search would do, told before anything runs: problems, schedule, cost and memory."""

from applications.nas.dry_run.memory import Memory, saved_bytes
from applications.nas.dry_run.plan import Plan, StagePlan, make_plan
from applications.nas.dry_run.report import describe
from applications.nas.dry_run.timing import time_step

__all__ = ["Memory", "Plan", "StagePlan", "describe", "make_plan", "saved_bytes", "time_step"]
