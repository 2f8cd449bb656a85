"""What lower precision, parts of batches and a sum of losses do to a search's hypergradient and its memory.

    PYTHONPATH=. python benchmarks/precision.py            ten minutes on one CPU core

A supernet of C = 8, L = 4 on 16 x 16 digits, batches of 16, is trained on one batch for some steps; then hypergradients
in lower precision are compared with that of float32, by 1 - cosine. Memory is the peak of live tensors in one step.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import interpolate

import mlo
from applications.nas.formulations import ARCHITECTURE, build_graph, looks_ahead
from applications.nas.learner import Learner
from applications.nas.methods.base import initial_alphas
from applications.nas.networks.batched import BatchedSupernet, plain_state
from applications.nas.networks.supernet import Supernet
from applications.nas.settings import Interleaving, SearchSettings, SingleTask
from applications.nas.settings.search import GradientSettings
from applications.nas.space.cell import CellSpace
from benchmarks.counting import peak_of
from benchmarks.rounds import store
from mlo.evaluate import loss_gradient
from mlo.gradient import prepared
from mlo.hypergradient.second_order import AbstractProduct
from mlo.solve import ProblemNode

BATCH, SIDE = 16, 16
LOWER = {"bfloat16": mlo.Autocast(torch.bfloat16), "float16": mlo.Autocast(torch.float16)}
Batch = tuple[Tensor, Tensor]


def digits() -> tuple[Batch, Batch]:
    """Return a training and a validation batch."""
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None]
    x = interpolate((x - x.mean()) / x.std(), size=(SIDE, SIDE), mode="bilinear")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    y = torch.tensor(data.target)
    first, second = order[:BATCH], order[-BATCH:]
    return (x[first], y[first]), (x[second], y[second])


def tables() -> dict[str, Tensor]:
    return initial_alphas(CellSpace(), torch.Generator().manual_seed(0))


def network() -> Supernet:
    torch.manual_seed(0)
    return Supernet(CellSpace(), 8, 4, 10, in_channels=1)


def settings_of(rule: str, formulation: Any = None, epsilon: float = 0.01, **more: Any) -> SearchSettings:
    form = formulation or SingleTask()
    gradient = GradientSettings(rule, epsilon=epsilon)  # type: ignore[arg-type]
    return SearchSettings(formulation=form, gradient=gradient, batch=BATCH, **more)


def single(net: nn.Module, rule: str, epsilon: float = 0.01) -> mlo.ProblemGraph:
    train, valid = digits()
    return build_graph([Learner("task", net, [train], [valid])], tables(), settings_of(rule, epsilon=epsilon))


def trained(steps: int) -> Iterator[tuple[int, dict[str, nn.Module]]]:
    """Yield both forms with the weights after 0 steps, and after every `steps` more."""
    engine, made = mlo.Engine(single(BatchedSupernet(network()), "first")), 0
    while True:
        batched, plain = engine.export("task"), network()
        plain.load_state_dict(plain_state(batched))
        yield made, {"batched": batched, "plain": plain}
        for _ in engine.run(steps, frozen=True):
            made += 1


def flat(gradient: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in gradient.values()]).double()


def hypergradient(graph: mlo.ProblemGraph, top: mlo.Autocast | None, lower: mlo.Autocast | None) -> Tensor:
    both = [replace(p, precision=q) for p, q in zip(graph.problems, (top, lower), strict=True)]
    return flat(mlo.hypergradient(mlo.ProblemGraph(both), of=ARCHITECTURE))


def gap(one: Tensor, other: Tensor) -> float:
    """Return 1 - cosine, to two figures."""
    return float(f"{max(0.0, 1 - float(one @ other / (one.norm() * other.norm()))):.1e}")


def shaken(net: nn.Module, noise: float) -> float:
    """Return how far float32 itself turns when each weight changes by a relative `noise`."""
    generator, graph = torch.Generator().manual_seed(1), single(net, "exact")
    weights = {n: p * (1 + noise * torch.randn(p.shape, generator=generator)) for n, p in net.named_parameters()}
    moved = mlo.hypergradient(graph, of=ARCHITECTURE, values={"task": {n: w.detach() for n, w in weights.items()}})
    return gap(flat(moved), hypergradient(graph, None, None))


def cosines(steps: int, rounds: int) -> None:
    for (made, forms), _ in zip(trained(steps), range(rounds), strict=False):
        found: dict[str, Any] = {
            "noise": {"2^-9": shaken(forms["batched"], 2**-9), "1e-6": shaken(forms["batched"], 1e-6)}
        }
        for form, net in forms.items():
            for rule in ("exact", "difference"):
                graph = single(net, rule)
                exact = hypergradient(graph, None, None)
                for name, kind in LOWER.items():
                    lower, both = (gap(hypergradient(graph, top, kind), exact) for top in (None, kind))
                    found[f"{form}, {rule}, {name}"] = {"training loss": lower, "both losses": both}
        found["product, bfloat16"] = products(forms["batched"])
        print(f"after {made} steps", *found.items(), sep="\n  ", flush=True)
        store("precision", f"after {made} steps", found)


def products(net: nn.Module) -> dict[str, Any]:
    """Return what bfloat16 does to one second-order product; differences are also taken in bfloat16 itself."""
    lower = LOWER["bfloat16"]
    exact = product(net, mlo.Exact(), None)
    found: dict[str, Any] = {"exact": gap(product(net, mlo.Exact(), lower), exact)}
    for epsilon in (0.01, 0.1):
        rule = mlo.FiniteDifference(epsilon)
        ours = product(net, rule, lower)
        with patch("mlo.hypergradient.second_order.full_precision", nullcontext):
            rounded = gap(product(net, rule, lower), ours)
        found[f"differences of {epsilon:g}"] = {"float32 to exact": gap(ours, exact), "bfloat16 to float32": rounded}
    return found


def product(net: nn.Module, rule: AbstractProduct, kind: mlo.Autocast | None) -> Tensor:
    """Return P(v) in the architecture, with v the gradient of the validation loss in the weights."""
    top, lower = single(net, "exact").problems
    context = prepared(mlo.ProblemGraph([top, replace(lower, precision=kind)]), ARCHITECTURE, {}, {})
    v = loss_gradient(context, ARCHITECTURE, {"task"}, differentiable=False, stationary=False).parts["task"]
    node = ProblemNode(context, "task")
    found = rule.linearize(node, node.start(), node.read()).product(v, (ARCHITECTURE,))
    return flat(dict(found[ARCHITECTURE]))


def peak(settings: SearchSettings, *, summed: bool = True) -> int:
    """Return the peak of one step of interleaving with K = M = 2, or of one task."""
    train, valid = digits()
    names = ("a", "b") if isinstance(settings.formulation, Interleaving) else ("a",)
    graph = build_graph([Learner(n, BatchedSupernet(network()), [train], [valid]) for n in names], tables(), settings)
    top, *rest = graph.problems
    if not summed:  # as one function, whose graphs live together
        top = replace(top, loss=lambda view, batch, loss=top.loss: loss(view, batch))
    engine = mlo.Engine(mlo.ProblemGraph([top, *rest]), look_ahead=looks_ahead(settings))
    engine.step()
    return peak_of(engine.step)


def memory() -> None:
    chain = settings_of("difference", Interleaving(rounds=2))
    found = {"one function": peak(chain, summed=False), "mlo.Sum": peak(chain)}
    for parts in (2, 4, 8):
        found[f"accumulate {parts}"] = peak(replace(chain, accumulate=parts))
    for name in LOWER:
        for rule in ("exact", "first"):
            found[f"{name}, {rule}"] = peak(settings_of(rule, precision=name))
            found[f"float32, {rule}"] = peak(settings_of(rule))
    print(*found.items(), sep="\n", flush=True)
    store("precision", "memory", found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=15, help="between measurements")
    parser.add_argument("--rounds", type=int, default=3, help="measurements")
    options = parser.parse_args()
    logging.getLogger("mlo").setLevel(logging.ERROR)
    memory()
    cosines(options.steps, options.rounds)


if __name__ == "__main__":
    main()
