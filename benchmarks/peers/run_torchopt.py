"""The rows on TorchOpt: https://github.com/metaopt/torchopt."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
import torchopt
from torch import Tensor, nn
from torch.func import grad
from torchopt.diff.implicit import custom_root

from benchmarks.peers.problems import H2, linear_system, scalar, vector
from benchmarks.peers.record import Value, numbers
from benchmarks.peers.torchopt_rows import STEP, history

Loss = Callable[..., Tensor]


def implicit(loss: Loss, answer: Callable[..., Any], solve: Any = None) -> Callable[..., Any]:
    """Return `answer(start, x)` as the root in its first argument of the loss's gradient."""
    solve = {} if solve is None else {"solve": solve}
    return custom_root(grad(loss, argnums=0), argnums=1, **solve)(lambda w, x: answer(x.detach()))


def squared_answer(**how: Any) -> Callable[..., Tensor]:
    return implicit(lambda w, x: (0.5 * (w - x**2) ** 2).sum(), lambda x: x**2, **how)


def derivative(function: Callable[[Tensor], Tensor], at: Tensor) -> Value:
    x = at.clone().requires_grad_()
    found = torch.autograd.grad(function(x), x)[0]
    return float(found) if found.numel() == 1 else numbers(found)


def second_derivative(power: int) -> Value:
    answer, m = squared_answer(), vector(2).requires_grad_()
    (first,) = torch.autograd.grad((answer(torch.zeros_like(m), m) ** power).sum(), m, create_graph=True)
    return float(torch.autograd.grad(first.sum(), m)[0])


def two_steps() -> Value:
    class Middle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.m = nn.Parameter(vector(2))

    answer, middle, u = squared_answer(), Middle(), vector(32).requires_grad_()
    optimizer = torchopt.MetaSGD(middle, lr=STEP)
    for _ in range(2):
        w = answer(torch.zeros_like(middle.m), middle.m)
        optimizer.step((w**2 - u * middle.m).sum())
    return float(torch.autograd.grad(middle.m.sum(), u)[0])


def implicit_over_implicit() -> Value:
    bottom = implicit(lambda w, m: (0.5 * (w - m) ** 2).sum(), lambda m: m)

    def middle(m: Tensor, u: Tensor) -> Tensor:
        return (0.5 * m**2 + 0.5 * (bottom(torch.zeros_like(m), m) - u) ** 2).sum()

    answer = implicit(middle, lambda u: u / 2)
    return derivative(lambda u: (0.5 * (answer(torch.zeros_like(u), u) - 3) ** 2).sum(), vector(1))


def scalars(**how: Any) -> Value:
    answer = squared_answer(**how)
    return derivative(lambda x: answer(torch.zeros_like(x), x) ** 2, scalar(1))


class Single(nn.Module):
    def __init__(self, start: float) -> None:
        super().__init__()
        self.w = nn.Parameter(scalar(start))

    def follow(self, x: Tensor) -> Tensor:
        return 0.5 * (self.w - x) ** 2


def kept_history() -> Value:
    net, x = Single(0), scalar(1).requires_grad_()
    optimizer = torchopt.MetaAdam(net, lr=0.1)
    for _ in range(30):
        optimizer.step(net.follow(x))
    return history([net.w])


def at_rest(optimizer: type) -> float:
    net, x = Single(1), scalar(1).requires_grad_()
    optimizer(net, lr=0.1).step(net.follow(x))
    return float(torch.autograd.grad(net.w, x)[0])


def two_tensors() -> Value:
    start, minimum, _ = linear_system(H2)

    def loss(w: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        both = torch.cat(w)
        return 0.5 * both @ H2 @ both - both @ x

    solve = torchopt.linear_solve.solve_inv(ns=False)
    answer = implicit(loss, lambda x: (minimum[:1].clone(), minimum[1:].clone()), solve)
    zeros = (torch.zeros_like(minimum[:1]), torch.zeros_like(minimum[1:]))
    return derivative(lambda x: (0.5 * (torch.cat(answer(zeros, x)) - 3) ** 2).sum(), start)


def diverging() -> Value:
    solve = torchopt.linear_solve.solve_inv(ns=True, maxiter=100)
    answer = implicit(lambda w, x: (1.5 * w**2 - w * x).sum(), lambda x: x / 3, solve)
    return derivative(lambda x: (0.5 * (answer(torch.zeros_like(x), x) - 3) ** 2).sum(), vector(1, -2))


def clipped() -> Value:
    update = torchopt.chain(torchopt.clip.clip_grad_norm(1.0), torchopt.sgd(1.0))

    def moved(x: Tensor) -> Tensor:
        w = {"w": torch.zeros_like(x).requires_grad_()}
        found = {"w": torch.autograd.grad(0.5 * ((w["w"] - x) ** 2).sum(), w["w"], create_graph=True)[0]}
        updates, _ = update.update(found, update.init(w), params=w, inplace=False)
        return torchopt.apply_updates(w, updates, inplace=False)["w"][0]

    return derivative(moved, vector(3, 4))


def dictionary() -> Value:
    answer = implicit(lambda w, x: (0.5 * (w["a"] - x) ** 2).sum(), lambda x: {"a": x.clone()})
    return derivative(lambda x: (0.5 * (answer({"a": torch.zeros_like(x)}, x)["a"] - 3) ** 2).sum(), vector(1))


def defaults() -> Value:
    update = torchopt.sgd(0.1)

    def moved(x: Tensor) -> Tensor:
        w = {"w": scalar(1).requires_grad_()}
        found = {"w": torch.autograd.grad(0.5 * (w["w"] - x) ** 2, w["w"], create_graph=True)[0]}
        updates, _ = update.update(found, update.init(w))
        return 0.5 * (torchopt.apply_updates(w, updates)["w"] - 3) ** 2

    return derivative(moved, scalar(1))


def tasks() -> Value:
    answer = implicit(lambda w, x: (0.5 * (w - x) ** 2).sum(), lambda x: x.clone())

    def one(x: Tensor) -> Tensor:
        return (0.5 * (answer(torch.zeros_like(x), x) - 3) ** 2).sum()

    return numbers(torch.vmap(grad(one))(vector(1, 2, 3)[:, None]).flatten())


def batch_norm() -> Value:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1)).double()
    inputs, x = torch.randn(8, 2, dtype=torch.float64), scalar(1).requires_grad_()
    optimizer = torchopt.MetaSGD(net, lr=0.1)
    state = torchopt.extract_state_dict(net, by="reference")
    optimizer.step(((net(inputs) - x) ** 2).mean())
    torch.autograd.grad(net(inputs).mean(), x)
    torchopt.recover_state_dict(net, state)
    return float(net[0].num_batches_tracked)


def accelerated() -> Value:
    try:
        importlib.import_module("torchopt._C")
        loaded = "loaded"
    except ImportError:
        loaded = "not loaded"
    said = torchopt.accelerated_op_available()
    torchopt.adam(0.1, use_accelerated_op=True)
    return f"accepted, says available: {said}, kernels {loaded}"


THEIRS = {
    "T1": lambda: second_derivative(2),
    "T1b": two_steps,
    "T1d": lambda: second_derivative(1),
    "T1c": implicit_over_implicit,
    "T2": scalars,
    "T2b": lambda: scalars(solve=torchopt.linear_solve.solve_inv()),
    "T3": kept_history,
    "T4": lambda: at_rest(torchopt.MetaAdam),
    "T4b": lambda: (at_rest(torchopt.MetaRMSProp), at_rest(torchopt.MetaAdaGrad)),
    "T6": two_tensors,
    "T7": diverging,
    "T8": clipped,
    "T9": dictionary,
    "T10": defaults,
    "T11": tasks,
    "T12": batch_norm,
    "T13": accelerated,
}
