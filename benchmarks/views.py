"""What one vector with named views costs, and what it saves, on 1,400 small tensors.

    python benchmarks/views.py            counts and times, into benchmarks/results/views.json
    python benchmarks/views.py --rounds 0     counts alone, and nothing is stored

A gradient, with the loss reading (a) tensors that are leaves, views of one vector made where nothing is recorded, or
(b) a differentiable split of one leaf vector; each gives the gradient as one vector. The same for a gradient and one
second-order product. And an update by SGD with momentum: ours, which moves the vector; the same transformation tensor
by tensor; torch's own optimizer, with its operations on lists and tensor by tensor.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
import torchopt
from torch import Tensor

from benchmarks import floor_problems
from benchmarks.counting import counted
from benchmarks.rounds import interleaved, over, store
from mlo.autodiff import named_vjp
from mlo.flat import Flat
from mlo.update import as_update
from mlo.vector import ravel

Act = Callable[[], Any]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of timing; 0 leaves times out")
    return parser.parse_args()


def reading(task: floor_problems.Task, by: str, *, twice: bool) -> Act:
    """Return a gradient in the weights, and one product if `twice`, with the loss reading leaves or a split."""
    start = Flat.of({str(index): value for index, value in enumerate(task.start)})
    vector = Flat(start.layout, vectors=start.vectors)

    def act() -> Tensor:
        at = vector.cut(differentiable=False)
        if by == "split":
            assert at.vectors  # makes the vectors the leaves
        loss = task.fit(list(at.pieces.values()), task.upper)
        one = [torch.ones_like(loss)]
        gradient = Flat.of(named_vjp([loss], {"w": at}, one, differentiable=twice)["w"])
        if not twice:
            return ravel(gradient)
        v = Flat(vector.layout, vectors=vector.vectors).in_roots_of(gradient)
        return ravel(named_vjp(gradient.roots, {"w": at}, v)["w"])

    return act


def updates(task: floor_problems.Task) -> dict[str, Act]:
    """Return one update of SGD with momentum in four ways."""
    start = {str(index): value for index, value in enumerate(task.start)}
    whole = Flat(Flat.of(start).layout, vectors=Flat.of(start).vectors)
    make = torchopt.sgd(0.1, momentum=0.9)
    rule = as_update("w", make)
    state, apart = rule.init(whole), make.init(start)

    def alone() -> Any:
        return torchopt.apply_updates(start, make.update(start, apart, params=start, inplace=False)[0], inplace=False)

    def torch_step(*, foreach: bool) -> Act:
        own = [value.clone().requires_grad_() for value in task.start]
        for value in own:
            value.grad = torch.zeros_like(value)
        return torch.optim.SGD(own, lr=0.1, momentum=0.9, foreach=foreach).step

    return {
        "vector": lambda: rule.apply(whole, whole, state, {}),
        "tensor by tensor": alone,
        "torch on lists": torch_step(foreach=True),
        "torch tensor by tensor": torch_step(foreach=False),
    }


def measured(actions: dict[str, Act], rounds: int) -> dict[str, Any]:
    """Return the counts of each action, and its time over that of the first."""
    first = next(iter(actions))
    found: dict[str, Any] = {"counts": {}}
    for name, act in actions.items():
        act()
        counts = counted(act, memory=True)[1].as_dict()
        found["counts"][name if name == first else f"rival: {name}"] = counts
    if rounds:
        seconds = interleaved({name: _often(act) for name, act in actions.items()}, rounds)
        found["times"] = {f"{name} / {first}": over(seconds[name], seconds[first]) for name in list(actions)[1:]}
    return found


def _often(act: Act) -> Act:
    def acting() -> None:
        for _ in range(5):
            act()

    return acting


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    task = floor_problems.wide()
    cases = {
        "gradient": {by: reading(task, by, twice=False) for by in ("leaves", "split")},
        "gradient and product": {by: reading(task, by, twice=True) for by in ("split", "leaves")},
        "update": updates(task),
    }
    for name, actions in cases.items():
        found = measured(actions, options.rounds)
        if options.rounds:
            store("views", name, found)
        for who, counts in found["counts"].items():
            print(f"{name:22}{who:32}{counts['operations']:8,} operations{counts['with_views']:8,} with views")
        for pair, ratio in found.get("times", {}).items():
            print(f"{name:22}{pair:48}{ratio['median']:6.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})")


if __name__ == "__main__":
    main()
