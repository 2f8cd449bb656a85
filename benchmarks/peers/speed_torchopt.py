"""The rows of the comparison of speed by TorchOpt."""

from collections.abc import Callable
from typing import Any

import torch
import torchopt
from torch import Tensor
from torch.func import grad
from torchopt.diff.implicit import custom_root

from benchmarks.floor_problems import LR, MOMENTUM, Task
from benchmarks.peers.speed import STEPS, Contender, Weights


def implicit(task: Task, solve: Any) -> Callable[[], Tensor]:
    def stationary(w: tuple[Tensor, ...], x: Tensor) -> tuple[Tensor, ...]:
        return grad(task.fit)(w, x)

    @custom_root(stationary, argnums=1, solve=solve)
    def answer(w: tuple[Tensor, ...], x: Tensor) -> tuple[Tensor, ...]:
        leaves = [value.detach().requires_grad_() for value in w]
        with torch.enable_grad():
            found = torch.autograd.grad(task.fit(leaves, x.detach()), leaves)
        update = torchopt.sgd(LR, momentum=MOMENTUM)
        moves, _ = update.update(tuple(found), update.init(tuple(leaves)), params=tuple(leaves), inplace=False)
        return torchopt.apply_updates(tuple(leaves), moves, inplace=False)

    def act() -> Tensor:
        x = task.upper.clone().requires_grad_()
        return torch.autograd.grad(task.validate(answer(tuple(task.start), x), x), x)[0]

    return act


def meta(task: Task) -> Callable[[], Tensor]:
    net = Weights(task.start)

    def act() -> Tensor:
        x = task.upper.clone().requires_grad_()
        before, optimizer = torchopt.extract_state_dict(net), torchopt.MetaSGD(net, lr=LR, momentum=MOMENTUM)
        for _ in range(STEPS["unroll"]):
            optimizer.step(task.fit(net(), x))
        (found,) = torch.autograd.grad(task.validate(net(), x), x)
        torchopt.recover_state_dict(net, before)
        return found

    return act


def functional(task: Task) -> Callable[[], Tensor]:
    def act() -> Tensor:
        x, update = task.upper.clone().requires_grad_(), torchopt.sgd(LR, momentum=MOMENTUM)
        w: Any = tuple(value.detach().requires_grad_() for value in task.start)
        state = update.init(w)
        for _ in range(STEPS["unroll"]):
            found = torch.autograd.grad(task.fit(w, x), w, create_graph=True)
            moves, state = update.update(found, state, params=w, inplace=False)
            w = torchopt.apply_updates(w, moves, inplace=False)
        return torch.autograd.grad(task.validate(w, x), x)[0]

    return act


def contenders(task: Task, solver_steps: int) -> list[Contender]:
    solvers = {
        ("cg", "solve_cg"): torchopt.linear_solve.solve_cg(maxiter=solver_steps, rtol=0.0, atol=0.0),
        ("cg", "solve_normal_cg"): torchopt.linear_solve.solve_normal_cg(maxiter=solver_steps, rtol=0.0, atol=0.0),
        ("neumann", "solve_inv(ns=True)"): torchopt.linear_solve.solve_inv(ns=True, maxiter=solver_steps, alpha=LR),
    }
    found = [Contender(*names, implicit(task, solve), lambda value: value) for names, solve in solvers.items()]
    unrolled = {"MetaSGD": meta(task), "sgd, functional": functional(task)}
    return found + [Contender("unroll", label, act, lambda value: value) for label, act in unrolled.items()]
