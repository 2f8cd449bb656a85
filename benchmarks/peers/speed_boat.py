"""The rows of the comparison of speed by BOAT."""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import boat_torch
import torch
from torch import Tensor, nn

from benchmarks.floor_by_hand import EPSILON
from benchmarks.floor_problems import LR, MOMENTUM, Task
from benchmarks.peers.run_boat import SETTINGS
from benchmarks.peers.speed import STEPS, Contender, Weights

FOLDER = tempfile.TemporaryDirectory()


def lower_loss(feed: dict[str, Task], upper: nn.Module, lower: Any, **how: Any) -> Tensor:
    return feed["task"].fit(lower(**how), upper()[0])


def upper_loss(feed: dict[str, Task], upper: nn.Module, lower: Any, **how: Any) -> Tensor:
    return feed["task"].validate(lower(**how), upper()[0])


def contender(task: Task, rule: str, operations: list[str], solver_steps: int) -> Contender:
    upper, lower = Weights([task.upper]), Weights(task.start)
    losses = {
        f"{level}_level_loss": {"function": f"{__name__}.{level}_loss", "params": {}} for level in ("lower", "upper")
    }
    own = {
        "gm_op": ["NGD"],
        "na_op": operations,
        "lower_level_model": lower,
        "upper_level_model": upper,
        "lower_level_var": list(lower.parameters()),
        "upper_level_var": list(upper.parameters()),
        "lower_level_opt": torch.optim.SGD(lower.parameters(), lr=LR, momentum=MOMENTUM),
        "upper_level_opt": torch.optim.SGD(upper.parameters(), lr=0.1),
        "lower_iters": STEPS[rule],
        "loss_log_path": str(Path(FOLDER.name) / "losses.json"),
        "CG": {"k": solver_steps, "tolerance": 0.0},
        "NS": {"k": solver_steps, "tolerance": 0.0},
        "FD": {"r": EPSILON},
    }
    problem = boat_torch.Problem(SETTINGS | own, losses)
    problem.build_ll_solver()
    problem.build_ul_solver()

    def act() -> Tensor:
        upper.p0.grad = None
        with contextlib.redirect_stdout(io.StringIO()):
            (found,), _ = problem.run_iter({"task": task}, {"task": task}, current_iter=0)
        return found

    return Contender(rule, "+".join(operations), act, lambda found: found)


def contenders(task: Task, solver_steps: int) -> list[Contender]:
    return [
        contender(task, "difference", ["FD"], solver_steps),
        contender(task, "cg", ["CG"], solver_steps),
        contender(task, "neumann", ["NS"], solver_steps),
        contender(task, "unroll", ["RAD"], solver_steps),
    ]
