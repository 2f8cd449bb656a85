"""The rows on how Betty behaves, and all rows on Betty."""

from typing import Any

import torch
from betty.optim import patch_optimizer
from betty.problems import IterativeProblem
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, SequentialLR

from benchmarks.peers.record import Value, numbers
from benchmarks.peers.run_betty import NUMBERS, Holder, answer, bilevel, engine, follow, problem, upper


def reinforce() -> Value:
    return bilevel(upper(), problem("w", 1.0, follow, type="reinforce"))


def accelerate() -> Value:
    return bilevel(upper(), problem("w", 1.0, follow), strategy="accelerate")


def stepped(module: nn.Module, optimizer: Any) -> tuple[Tensor, ...]:
    """Return what a differentiable step of `optimizer` makes of the first parameter's gradient."""
    params = list(module.parameters())
    for param in params:
        param.grad = torch.zeros_like(param)
    optimizer.step()  # as IterativeProblem does, to make the optimizer's state
    patched = patch_optimizer(optimizer, module)
    for param in params[1:]:
        param.grad = None
    params[0].grad = params[0].detach() - 1
    return patched.step(params)


def adamw() -> Value:
    module = Holder(0.0)
    moved = stepped(module, AdamW(module.parameters(), lr=0.1, eps=1.0))
    return f"{len(moved)} of 1 parameters"


def idle_parameter() -> Value:
    module = Holder(0.0, 1.0)
    return f"{len(stepped(module, SGD(module.parameters(), lr=0.1)))} of 2 parameters"


def paths(depth: int) -> Value:
    """Count the paths through `depth` layers of two problems."""
    x = problem("x", 0.0, lambda p: torch.zeros(()))
    layers = [[problem(f"p{d}_{i}", 0.0, lambda p: torch.zeros(())) for i in "ab"] for d in range(depth)]
    l2u = {low: above for above, layer in zip([[x], *layers[:-1]], layers, strict=True) for low in layer}
    engine([x, *(p for layer in layers for p in layer)], {x: layers[-1]}, l2u)
    return float(len(x.paths))


def residue() -> Value:
    torch.manual_seed(0)
    net, inputs = nn.Linear(10, 1), torch.ones(2, 10)
    before = [p.detach().clone() for p in net.parameters()]
    w = problem("w", net, lambda p: ((p.module(inputs) - p.x().float()) ** 2).mean(), rate=0.0)
    x = problem("x", 1.0, lambda p: p.w.module(inputs).sum(), rate=0.0)
    bilevel(x, w, 5)
    return max(float((p - b).abs().max()) for p, b in zip(net.parameters(), before, strict=True))


def groups() -> Value:
    def optimizer(params: Any) -> SGD:
        first, second = params
        return SGD([{"params": [first], "lr": 0.5}, {"params": [second]}], lr=0.1)

    module = Holder(0.0, 0.0)
    w = problem("w", module, lambda p: p.module.held[0] + p.module.held[1], optimizer=optimizer)
    bilevel(upper(), w)
    return numbers(p.detach() for p in module.parameters())


def schedule() -> Value:
    def halving(optimizer: SGD) -> LRScheduler:
        parts = [LambdaLR(optimizer, lambda step, start=start: 0.5 ** (start + step)) for start in (0, 2)]
        return SequentialLR(optimizer, parts, milestones=[2])

    w = problem("w", 0.0, follow, rate=0.5, schedule=halving, unroll_steps=3)
    bilevel(upper(), w, 3)
    return float(w().detach())


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.line = nn.BatchNorm1d(2).double(), nn.Linear(2, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.line(self.norm(x))


def batch_norm() -> Value:
    net, inputs = Normed(), torch.randn(8, 2, dtype=torch.float64)
    w = problem("w", net, lambda p: ((p.module(inputs) - p.x()) ** 2).mean(), unroll_steps=5)
    bilevel(problem("x", 1.0, lambda p: p.w.module(inputs).mean(), rate=0.0), w, 5)
    return float(net.norm.num_batches_tracked)


def frozen() -> Value:
    module = Holder(1.0, 0.0)
    module.held[1].requires_grad_(False)
    return bilevel(upper(), problem("w", module, follow))


def below_itself() -> Value:
    a, b = (problem(name, 1.0, lambda p: p() ** 2) for name in "ab")
    engine([a, b], {a: [b], b: [a]}, {b: [a], a: [b]}, 3).run()
    return f"accepted, {a.count + b.count} of 3 steps made"


def mutual() -> Value:
    a = problem("a", 1.0, lambda p: 0.5 * (p.b() - 3) ** 2, rate=0.0)
    b = problem("b", 0.0, lambda p: 0.5 * (p() - p.a()) ** 2 + 0.5 * p.c() ** 2, rate=0.5)
    c = problem("c", 0.0, lambda p: 0.5 * (p() - p.b()) ** 2, rate=1.0)
    engine([a, b, c], {a: [b], b: [c], c: [b]}, {c: [b], b: [a, c]}).run()
    return answer(a)


def undeclared() -> Value:
    x, w = upper(), problem("w", 1.0, follow)
    engine([x, w], {}, {w: [x]}).run()
    return f"accepted, gradient {answer(x)}"


def no_settings() -> Value:
    return bilevel(upper(config=None), problem("w", 1.0, follow, config=None))


def direct_term() -> Value:
    x = problem("x", 1.0, lambda p: 0.5 * (p.w() - 3) ** 2 + 0.5 * p() ** 2, rate=0.0)
    return bilevel(x, problem("w", 1.0, follow, rate=1.0))


def iterative() -> Value:
    x = problem("x", 1.0, lambda p: p.w())
    return bilevel(x, problem("w", 0.0, follow, kind=IterativeProblem, unroll_steps=5), 5)


THEIRS = {
    **NUMBERS,
    "B8": reinforce,
    "B8b": accelerate,
    "B9": adamw,
    "B9b": idle_parameter,
    "B10": lambda: tuple(paths(depth) for depth in (2, 4, 8, 12)),
    "B11": residue,
    "B12": groups,
    "B13": schedule,
    "B14": batch_norm,
    "B15": frozen,
    "B16": below_itself,
    "B16b": mutual,
    "B17": undeclared,
    "B18": no_settings,
    "B19": direct_term,
    "B20": iterative,
}
