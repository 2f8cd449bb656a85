"""The rows on Betty: https://github.com/leopard-ai/betty."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from betty.configs import Config, EngineConfig
from betty.engine import Engine
from betty.problems import ImplicitProblem
from torch import Tensor, nn
from torch.nn.functional import dropout

from benchmarks.peers.problems import H2, H3, linear_system
from benchmarks.peers.record import Value, numbers

logging.disable(logging.INFO)
Loss = Callable[[Any], Tensor]
ONES = torch.ones(20, dtype=torch.float64)


class Holder(nn.Module):
    """A module that holds one tensor, or several, and returns the first."""

    def __init__(self, *values: Any) -> None:
        super().__init__()
        self.held = nn.ParameterList([torch.as_tensor(value, dtype=torch.float64) for value in values])

    def forward(self) -> Tensor:
        return self.held[0]


def problem(name: str, start: Any, loss: Loss, kind: type = ImplicitProblem, **how: Any) -> Any:
    """Return a problem; `loss` sees it as `p`, and the others as `p.<name>`."""
    module = start if isinstance(start, nn.Module) else Holder(start)
    make = how.pop("optimizer", lambda params: torch.optim.SGD(params, lr=how.pop("rate", 0.1)))
    optimizer, schedule = make(module.parameters()), how.pop("schedule", None)
    config = how.pop("config") if "config" in how else Config(**how)
    methods = {"training_step": lambda p, batch: loss(p), "get_batch": lambda p: ()}
    methods["grad_callback"] = lambda p: setattr(p, "seen", [q.grad for q in p.module.parameters()])
    made = type(name, (kind,), methods)
    return made(name, config, module, optimizer, schedule(optimizer) if schedule else None)


def engine(problems: list[Any], u2l: dict[Any, Any], l2u: dict[Any, Any], steps: int = 1, **how: Any) -> Engine:
    config = EngineConfig(train_iters=steps, **{"strategy": "cpu", **how})
    return Engine(problems=problems, config=config, dependencies={"u2l": u2l, "l2u": l2u})


def answer(made: Any) -> Any:
    """Return the hypergradient that a problem got last."""
    (first, *_) = made.seen
    return first if first is None else float(first) if first.numel() == 1 else numbers(first.flatten())


def upper(target: float = 3, **how: Any) -> Any:
    how = {"rate": 0.0, **how}
    return problem("x", 1.0, lambda p: 0.5 * ((p.w() - target) ** 2).sum(), **how)


def bilevel(x: Any, w: Any, steps: int = 1, **how: Any) -> Value:
    engine([x, w], {x: [w]}, {w: [x]}, steps, **how).run()
    return answer(x)


def follow(p: Any) -> Tensor:
    return 0.5 * (p() - p.x()) ** 2


def cascade() -> Value:
    u = problem("u", 1.0, lambda p: 0.5 * (p.low() - 3) ** 2, rate=0.0)
    m = problem("m", 1.0, lambda p: 0.5 * (p() - p.u()) ** 2, rate=1.0)
    low = problem("low", 1.0, lambda p: 0.5 * (p() - p.m()) ** 2, rate=1.0)
    # Betty's leaf is solved first and pulls the rest: the problem that depends on nothing solved comes first.
    engine([u, m, low], {u: [m]}, {m: [low], low: [u]}).run()
    return answer(u)


def missing_path() -> Value:
    u = problem("u", 1.0, lambda p: 0.5 * (p.m() - 3) ** 2 + 0.5 * (p.low() - 3) ** 2, rate=0.0)
    m = problem("m", 1.0, lambda p: 0.5 * (p() - p.u()) ** 2, rate=1.0)
    low = problem("low", 1.0, lambda p: 0.5 * (p() - p.m()) ** 2, rate=1.0)
    engine([u, m, low], {u: [m], m: [low]}, {low: [m, u], m: [u]}).run()
    return answer(u)


def nested() -> Value:
    u = problem("u", 1.0, lambda p: 0.5 * (p.m() - 3) ** 2, rate=0.0, retain_graph=True)
    m = problem("m", 0.0, lambda p: 0.5 * p() ** 2 + 0.5 * (p.low() - 1) ** 2, rate=0.5, retain_graph=True)
    low = problem("low", 1.0, lambda p: 0.5 * (p() - p.m() - p.u()) ** 2, rate=1.0)
    engine([u, m, low], {u: [low], m: [low]}, {low: [m], m: [u]}).run()
    return answer(u)


def curved(curvature: float, rate: float = 0.1) -> Any:
    x = upper()
    return bilevel(x, problem("w", 1.0, lambda p: 0.5 * curvature * (p() - p.x()) ** 2, rate=rate))


def where() -> Value:
    return bilevel(upper(0), problem("w", 2.0, lambda p: 0.5 * p.x() * p() ** 2))


def masks() -> Value:
    def loss(p: Any) -> Tensor:
        return 0.5 * (p() - p.x()) ** 2 + dropout(ONES, 0.5).mean() * p.x()

    found = []
    for seed in range(12):
        torch.manual_seed(seed)
        found.append(bilevel(upper(), problem("w", 1.0, loss, rate=1.0)))
    values = torch.tensor(found, dtype=torch.float64)
    return float(values.mean()), float(values.std())


def conjugate(h: Tensor, iterations: int, alpha: float = 1.0) -> Value:
    start, minimum, _ = linear_system(h)
    x = problem("x", start, lambda p: 0.5 * ((p.w() - 3) ** 2).sum(), rate=0.0)
    how = {"type": "cg", "cg_iterations": iterations, "cg_alpha": alpha}
    return bilevel(x, problem("w", minimum, lambda p: 0.5 * p() @ h @ p() - p() @ p.x(), rate=0.0, **how))


def roll_back() -> Value:
    x, w = upper(), problem("w", 0.0, follow, unroll_steps=5)
    bilevel(x, w, 5, roll_back=True)
    return float(w().detach())


def early_stopping() -> Value:
    scores = iter([3.0, 2.0, 2.0, 2.0, 1.0])
    x, w = upper(), problem("w", 0.0, follow)
    how = {"early_stopping": True, "early_stopping_tolerance": 2, "valid_step": 1}
    made = engine([x, w], {x: [w]}, {w: [x]}, 5, **how)
    made.validation = lambda: {"loss": next(scores)}
    made.run()
    return float(made.global_step)


NUMBERS = {
    "B0": cascade,
    "B1": missing_path,
    "B2": nested,
    "B3": lambda: tuple(curved(h) for h in (0.1, 1.0, 10.0)),
    "B3b": lambda: tuple(curved(1.0, rate) for rate in (0.1, 0.01)),
    "B3c": where,
    "B4": masks,
    "B5": lambda: conjugate(H2, 2, alpha=0.1),
    "B5b": lambda: conjugate(H2[:1, :1], 3),
    "B5c": lambda: conjugate(H3, 3),
    "B6": roll_back,
    "B7": early_stopping,
}
