"""Peak memory and time of one hypergradient through T steps, for each choice of what `Unroll` keeps of them.

    python benchmarks/unroll_memory.py                        some ten minutes on one core
    python benchmarks/unroll_memory.py --device cuda --width 1024 --batch 256
    python benchmarks/memory_page.py unroll_memory.json      puts the result into docs/memory.md

The lower problem trains a network by SGD with momentum on one batch; the upper variable is a log-decay for each layer.

Memory. On the CPU: bytes of all tensors alive at once (`mlo/meter.py`), less those alive before. That counts what
autograd holds and what dicts hold alike, and is the same number in every run. The size of a process does neither: it
holds what the allocator keeps. As a cross-check the cells of the bound are run once more, each in a process of its own,
for the growth of its largest size (on Linux). On CUDA: `max_memory_allocated`.

Time. In every round each method runs once, in turn, so that a change of the machine's load hits all of them; the table
gives the median over rounds of the ratio to Record in the same round, with lowest and highest. On the CPU it is the
time that the process computed, on one thread.

The network's size. All that is counted is either as large as the weights or as the activations of a batch, in every
column, so that ratios of memory change little with width once tensors are larger than what Python keeps beside them; at
the default (101k weights, 128 examples) 1,000 recorded steps take 2.4 GB, which a laptop has. Ratios of time count
passes through the network; for much smaller batches they count updates of the weights and calls from Python.

Exit code 1 unless, at T = 1000, Recompute's peak is at most 3 times Record's at T = 30, and its time at most 1.5 times
Record's at T = 1000.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torchopt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mlo
from benchmarks.reversal import start_error
from mlo.meter import LiveBytes

LENGTHS = (10, 30, 100, 300, 1000)
KEPT = 30
METHODS = {
    "Record": mlo.Unroll(),
    "Recompute": mlo.Unroll(memory=mlo.Recompute()),
    "Forward": mlo.Unroll(memory=mlo.Forward()),
    f"truncate={KEPT}": mlo.Unroll(truncate=KEPT),
}
MEMORY_BOUND, TIME_BOUND = 3.0, 1.5
LR, BETA = 0.02, 0.9


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9, help="for T up to 100; above, half as many and one")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("unroll_memory.json"))
    parser.add_argument("--cell", nargs=2, metavar=("METHOD", "T"), help="print how much a process grows by one cell")
    return parser.parse_args()


def data(options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    x = torch.randn(options.batch, options.width // 2, generator=torch.Generator().manual_seed(1))
    return x.to(options.device), (torch.arange(options.batch) % 10).to(options.device)


def network(options: argparse.Namespace) -> nn.Module:
    torch.manual_seed(0)
    width = options.width
    layers = nn.Linear(width // 2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10)
    return nn.Sequential(*layers).to(options.device)


def graph(response: mlo.Unroll, steps: int, options: argparse.Namespace) -> mlo.ProblemGraph:
    x, y = data(options)

    def fit(v: mlo.View, _: object) -> Tensor:
        matrices = [value for value in v.weights.params.values() if value.dim() == 2]
        decay = sum(rate.exp() * (value**2).sum() for rate, value in zip(v.decay, matrices, strict=True))
        return cross_entropy(v.weights(x), y) + decay

    def validate(v: mlo.View, _: object) -> Tensor:
        return cross_entropy(v.weights(x.flip(1)), y)

    lower = {"update": torchopt.sgd(LR, momentum=BETA), "steps": steps, "response": response}
    start = torch.full((3,), -6.0, device=options.device)
    decay = mlo.Problem("decay", validate, start, reads=["weights"], update=torchopt.sgd(0.1))
    return mlo.ProblemGraph([decay, mlo.Problem("weights", fit, network(options), reads=["decay"], **lower)])


def peak(method: str, steps: int, options: argparse.Namespace) -> tuple[int, Tensor]:
    """Return the peak of live bytes above those before, and the hypergradient."""
    problems = graph(METHODS[method], steps, options)
    if options.device == "cpu":
        with LiveBytes() as meter:
            found = mlo.hypergradient(problems, of="decay")
        return meter.peak, found
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = mlo.hypergradient(problems, of="decay")
    return torch.cuda.max_memory_allocated() - before, found


def growth(method: str, steps: int, options: argparse.Namespace) -> int:
    """Return how many bytes a process of its own grows by, beyond what two steps take."""
    sizes = ["--width", str(options.width), "--batch", str(options.batch), "--cell", method, str(steps)]
    return int(subprocess.run([sys.executable, __file__, *sizes], check=True, capture_output=True, text=True).stdout)


def cell(method: str, steps: int, options: argparse.Namespace) -> int:
    """Measure in this process what `growth` returns."""
    sizes = []
    for count in (2, steps):
        mlo.hypergradient(graph(METHODS[method], count, options), of="decay")
        # Not ru_maxrss: a process takes that over from the one that started it.
        status = Path("/proc/self/status").read_text()
        sizes.append(1024 * int(status.split("VmHWM:")[1].split()[0]))
    return sizes[1] - sizes[0]


def seconds(problems: mlo.ProblemGraph, options: argparse.Namespace) -> float:
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    started = clock()
    mlo.hypergradient(problems, of="decay")
    if options.device != "cpu":
        torch.cuda.synchronize()
    return clock() - started


def measure(steps: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return peak, error and times of every method at one number of steps."""
    rows, truth = {}, None
    for method in METHODS:
        size, found = peak(method, steps, options)
        truth = found if truth is None else truth
        rows[method] = {"peak": size, "difference": float((found - truth).norm() / truth.norm())}
    problems = {method: graph(rule, steps, options) for method, rule in METHODS.items()}
    rounds = options.rounds if steps <= 100 else options.rounds // 2 + 1
    times = [{method: seconds(drawn, options) for method, drawn in problems.items()} for _ in range(rounds)]
    for method, row in rows.items():
        ratios = [found[method] / found["Record"] for found in times]
        row |= {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
        row["seconds"] = statistics.median(found[method] for found in times)
    return rows


def reversal(steps: int, options: argparse.Namespace) -> float:
    """Return how wrong the start is when all steps are undone, in float64."""
    net, (x, y) = network(options).double(), data(options)
    names, shapes = zip(*((name, value.shape) for name, value in net.named_parameters()), strict=True)

    def gradient(flat: Tensor) -> Tensor:
        leaf = flat.detach().requires_grad_()
        pieces = torch.split(leaf, [shape.numel() for shape in shapes])
        params = {name: piece.view(shape) for name, piece, shape in zip(names, pieces, shapes, strict=True)}
        loss = cross_entropy(torch.func.functional_call(net, params, (x.double(),)), y)
        return torch.autograd.grad(loss, leaf)[0]

    start = torch.cat([value.detach().reshape(-1) for value in net.parameters()])
    return start_error(gradient, start, steps=steps, lr=LR, beta=BETA)


def show(steps: int, rows: dict[str, dict[str, float]], lost: float, unit: float) -> None:
    for method, row in rows.items():
        spread = f"{row['ratio']:8.2f}{row['low']:8.2f}{row['high']:8.2f}{row['seconds']:10.3f}"
        memory = f"{row['peak'] / 1e6:11.1f}{row['peak'] / unit:10.2f}"
        print(f"{steps:6} {method:14}{memory}{spread}{row['difference']:12.1e}", flush=True)
    print(f"{steps:6} undone, float64: start off by {lost:.1e} of the way", flush=True)


def bounds(table: dict[int, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Return what the two bounds are about, as far as it was measured."""
    if not {30, 1000} <= set(table):
        return {}
    far = table[1000]["Recompute"]
    return {"memory": far["peak"] / table[30]["Record"]["peak"], "time": far["ratio"]}


def main() -> int:
    options = parse()
    torch.set_num_threads(1)
    if options.cell:
        print(cell(options.cell[0], int(options.cell[1]), options))
        return 0
    where = torch.cuda.get_device_name() if options.device != "cpu" else "CPU"
    weights = sum(value.numel() for value in network(options).parameters())
    print(f"{where}, torch {torch.__version__}, {weights} weights, batch {options.batch}")
    titles = f"{'time':>8}{'low':>8}{'high':>8}{'s':>10}{'difference':>12}"
    print(f"{'T':>6} {'method':14}{'peak MB':>11}{'of R.30':>10}{titles}")
    for method in METHODS:
        seconds(graph(METHODS[method], 3, options), options)
    unit = peak("Record", 30, options)[0]
    table, lost = {}, {}
    for steps in options.lengths:
        table[steps], lost[steps] = measure(steps, options), reversal(steps, options)
        show(steps, table[steps], lost[steps], unit)
    found: dict[str, object] = {"device": where, "torch": torch.__version__, "weights": weights, "batch": options.batch}
    found |= {"table": table, "reversal": lost, "bounds": bounds(table)}
    if options.device == "cpu" and bounds(table) and Path("/proc/self/status").exists():
        cells = [("Record", 30), ("Record", 1000), ("Recompute", 1000)]
        found["process"] = {f"{method} {steps}": growth(method, steps, options) for method, steps in cells}
        print("a process grows by, MB:", {name: round(size / 1e6, 1) for name, size in found["process"].items()})
    options.out.write_text(json.dumps(found, indent=2))
    print({name: round(value, 3) for name, value in bounds(table).items()}, "->", options.out)
    kept = bounds(table)
    return int(bool(kept) and (kept["memory"] > MEMORY_BOUND or kept["time"] > TIME_BOUND))


if __name__ == "__main__":
    sys.exit(main())
