"""How long one outer step of a search takes, as a ratio to one gradient of one task's loss in the same run.

    python benchmarks/search_step.py                                     small, on a CPU
    python benchmarks/search_step.py --channels 16 --layers 8 --batch 64 --device cuda

Images are random. Every round times each formulation once, in turn, so that a change of the machine's load hits all of
them; the table gives the median ratio over rounds and the lowest and highest.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

import mlo
from applications.nas.data import Batches, Images
from applications.nas.formulations import Learner, build_graph, gradients_per_step, looks_ahead
from applications.nas.methods.base import initial_alphas, softmax_tables
from applications.nas.networks.supernet import Supernet
from applications.nas.settings import GradientSettings, Interleaving, MultiTask, SearchSettings, SingleTask
from applications.nas.space.cell import CellSpace

FORMULATIONS = (SingleTask(), MultiTask(), Interleaving())
GRADIENTS = ("first", "difference", "exact")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def learner(name: str, classes: int, options: argparse.Namespace) -> Learner:
    pixels = torch.randn(4 * options.batch, 3, options.side, options.side)
    labels = torch.arange(len(pixels)) % classes
    images = Images(pixels.to(options.device), labels.to(options.device))
    network = Supernet(CellSpace(), options.channels, options.layers, classes).to(options.device)
    train, valid = (Batches(images, size=options.batch, seed=s, mean=(0, 0, 0), std=(1, 1, 1)) for s in (0, 1))
    return Learner(name, network, train, valid)


def one_gradient(first: Learner, alphas: dict[str, torch.Tensor]) -> None:
    """The unit: a plain gradient of one task's loss in weights and architecture."""
    x, y = next(iter(first.train))
    leaves = [table.clone().requires_grad_() for table in alphas.values()]
    weights = softmax_tables(dict(zip(alphas, leaves, strict=True)))
    torch.autograd.grad(cross_entropy(first.network(x, weights), y), [*leaves, *first.network.parameters()])


def seconds(action: Callable[[], object], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    started = time.perf_counter()
    action()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    options = parse()
    torch.manual_seed(0)
    learners = [learner("first", 100, options), learner("second", 10, options)]
    drawn = initial_alphas(CellSpace(), torch.Generator().manual_seed(0))
    alphas = {name: table.to(options.device) for name, table in drawn.items()}
    actions: dict[str, tuple[int, Callable[[], object]]] = {}
    actions["one gradient"] = (1, lambda: one_gradient(learners[0], alphas))
    for form in FORMULATIONS:
        for kind in GRADIENTS:
            settings = SearchSettings(formulation=form, gradient=GradientSettings(kind), batch=options.batch)
            chosen = learners[:1] if isinstance(form, SingleTask) else learners
            engine = mlo.Engine(build_graph(chosen, alphas, settings), look_ahead=looks_ahead(settings))
            count = gradients_per_step(form, settings.rule, len(chosen))
            actions[f"{type(form).__name__}, {kind}"] = (count, engine.step)
    for _, action in actions.values():
        action()
    times = {name: [] for name in actions}
    for _ in range(options.rounds):
        for name, (_, action) in actions.items():
            times[name].append(seconds(action, options.device))
    unit = times["one gradient"]
    print(f"{torch.cuda.get_device_name() if options.device != 'cpu' else 'CPU'}, torch {torch.__version__}, {options}")
    print(f"{'step':32}{'gradients':>10}{'ratio':>8}{'low':>8}{'high':>8}{'median s':>11}")
    for name, (count, _) in actions.items():
        ratios = [t / u for t, u in zip(times[name], unit, strict=True)]
        spread = f"{statistics.median(ratios):8.1f}{min(ratios):8.1f}{max(ratios):8.1f}"
        print(f"{name:32}{count:10}{spread}{statistics.median(times[name]):11.4f}")


if __name__ == "__main__":
    main()
