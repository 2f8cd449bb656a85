"""The rows on BOAT: https://github.com/callous-youth/BOAT."""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import boat_torch
import torch
from boat_torch.utils.op_utils import grad_unused_zero, list_tensor_norm
from torch import Tensor, nn

from benchmarks.peers.problems import Number, scalar
from benchmarks.peers.record import Value

SETTINGS: dict[str, Any] = {
    "fo_op": None,
    "device": "cpu",
    "return_grad": True,
    "accumulate_grad": False,
    "copy_last_param": False,
    "GDA": {"alpha_init": 0.0, "alpha_decay": 1.0},
    "RGT": {"truncate_iter": 0},
    "CG": {"k": 10, "tolerance": 1e-10},
    "NS": {"k": 50, "tolerance": 1e-10},
}


def lower_loss(_: Any, upper: nn.Module, lower: Any, **how: Any) -> Tensor:
    return 0.5 * (lower(**how) - upper()) ** 2


def upper_loss(_: Any, upper: nn.Module, lower: Any, **how: Any) -> Tensor:
    return 0.5 * (lower(**how) - 3) ** 2


def gradient(gm: list[str], na: list[str], w: float, steps: int = 5, rate: float = 0.1, **settings: Any) -> Value:
    upper, lower = Number(1), Number(w)
    losses = {
        f"{level}_level_loss": {"function": f"{__name__}.{level}_loss", "params": {}} for level in ("lower", "upper")
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        own = {
            "gm_op": gm,
            "na_op": na,
            "lower_level_model": lower,
            "upper_level_model": upper,
            "lower_level_var": list(lower.parameters()),
            "upper_level_var": list(upper.parameters()),
            "lower_level_opt": torch.optim.SGD(lower.parameters(), lr=rate),
            "upper_level_opt": torch.optim.SGD(upper.parameters(), lr=0.1),
            "lower_iters": steps,
            "loss_log_path": str(Path(folder) / "losses.json"),
        }
        problem = boat_torch.Problem(SETTINGS | own | settings, losses)
        problem.build_ll_solver()
        problem.build_ul_solver()
        (found,), _ = problem.run_iter({}, {}, current_iter=0)
    return float(found)


def nan_gradient() -> Value:
    x = scalar(1).requires_grad_()
    return float(grad_unused_zero(float("nan") * x, [x])[0])


THEIRS = {
    "O1": lambda: gradient(["NGD"], ["CG"], w=1.0),
    "O2": lambda: gradient(["NGD"], ["RGT", "RAD"], w=0.0, RGT={"truncate_iter": 3}),
    "O3": lambda: gradient(["ngd"], ["rad"], w=0.0),
    "O4": lambda: gradient(["NGD"], ["NS"], w=1.0),
    "O5": nan_gradient,
    "O7": lambda: float(list_tensor_norm([scalar(3), scalar(4)])),
}
