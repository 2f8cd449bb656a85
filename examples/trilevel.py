"""How much weight decay does a regression need whose training targets an attacker may shift?

Three levels, each solved inside the one before; V is the error on validation data (diabetes, and columns of noise):

    min_d  V(w*(d, p*(d)))
    p*(d)    = argmin_p  -V(w*(d, p)) + price * |p|^2 / n      a shift p of the targets costs its square
    w*(d, p) = argmin_w  |X w - (y + p)|^2 / n  +  exp(d) |w|^2

`partial=True`, the approximation of other libraries, differentiates p* with w held where it is. But the attacker feels
the decay through the fit alone, so that partial takes him for one who does not react to it.

Claims: the exact hypergradient is the slope of the objective with all answers solved anew, to 0.1 %; the partial one is
not. Where a descent along it comes to rest, the decay is too small by a fifth or more, and the error higher.

Source of the kind of problem: A Gradient Method for Multilevel Optimization (Sato, Tanaka, Takeda, 2021).
"""

import argparse
import math

import torch
import torchopt
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes
from torch.nn.functional import mse_loss

import mlo

PRICE, START, STEP = 1.2, 2.0, 0.01
NAMES, COLORS = ("differences", "exact", "partial"), ("tab:gray", "tab:blue", "tab:red")


def data(seed):
    """Return (x, y) for training and for validation: standardized features, then columns of noise."""
    draw = torch.Generator().manual_seed(seed)
    x, y = (torch.from_numpy(part) for part in load_diabetes(return_X_y=True, scaled=False))
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    x = torch.cat([x, torch.randn(len(x), 20, generator=draw, dtype=x.dtype)], dim=1)
    return [(x[part], y[part]) for part in torch.randperm(len(x), generator=draw)[:120].split(60)]


def problems(train, valid, decay):
    x, y = train
    # Coordinates in which the curvature of `fit` is 1 (at this decay): one gradient step nearly solves it.
    curvature = 2 * (x.T @ x / len(x) + math.exp(decay) * torch.eye(x.shape[1]))
    scale = torch.linalg.inv(torch.linalg.cholesky(curvature)).T

    def error(v, _):
        return mse_loss(valid[0] @ scale @ v.weights, valid[1])

    def attack(v, _):
        return -error(v, None) + PRICE * (v.shift**2).mean()

    def fit(v, _):
        weights = scale @ v.weights
        return mse_loss(x @ weights, y + v.shift) + v.decay.exp() * (weights**2).sum()

    rest = {"steps": 500, "tolerance": 1e-6, "response": mlo.Implicit(mlo.CG(tol=1e-6), strict=True)}
    top = mlo.Problem("decay", error, torch.tensor(decay), reads=["weights"], update=torchopt.sgd(3.0))
    middle = mlo.Problem("shift", attack, torch.zeros(60), reads=["weights"], update=torchopt.sgd(18 / PRICE), **rest)
    lowest = mlo.Problem("weights", fit, torch.zeros(30), reads=["decay", "shift"], update=torchopt.sgd(1.0), **rest)
    return mlo.ProblemGraph([top, middle, lowest])


def under_attack(train, valid, decay):  # the objective with all answers solved anew
    return mlo.Engine(problems(train, valid, decay), partial=True).step().losses["decay"]


def slopes(train, valid, decay):  # by central differences, by the exact and by the partial hypergradient
    above, below = (under_attack(train, valid, decay + step) for step in (STEP, -STEP))
    found = [float(mlo.hypergradient(problems(train, valid, decay), of="decay", partial=p)) for p in (False, True)]
    return (above - below) / (2 * STEP), *found


def descend(train, valid, *, partial):  # where a descent along one of the two hypergradients ends
    decay = START
    for _ in range(3):  # the coordinates are made anew now and then
        engine = mlo.Engine(problems(train, valid, decay), partial=partial)
        for _ in engine.run(5):
            decay = float(engine.values["decay"])
    return decay


def main() -> None:
    parser = argparse.ArgumentParser(description="weight decay against an attacker: exact and partial hypergradients")
    parser.add_argument("--figure", help="where to draw the objective and its slopes (.svg or .png)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    train, valid = data(arguments.seed)
    rows = [(decay, *slopes(train, valid, decay)) for decay in (0.8, 1.2, 1.6, 2.0)]
    for row in rows:
        print("log decay {:.1f}: slope {:.4f} by differences, {:.4f} exact, {:.4f} partial".format(*row))
        if abs(row[2] - row[1]) > 1e-3 * abs(row[1]) + 1e-5 or abs(row[3] - row[1]) < 5e-3:
            raise SystemExit(f"the exact slope should be that of the differences, the partial one not: {row}")
    ends = [descend(train, valid, partial=partial) for partial in (False, True)]
    errors = [under_attack(train, valid, end) for end in ends]
    for name, end, error in zip(NAMES[1:], ends, errors, strict=True):
        print(f"{name}: rests at a decay of {math.exp(end):.2f}, where the error under attack is {error:.3f}")
    if not (ends[1] < ends[0] + math.log(0.8) and errors[1] > 1.005 * errors[0]):
        raise SystemExit(f"the partial gradient should end worse: log decays {ends}, errors {errors}")
    if arguments.figure:
        figure = Figure(figsize=(7, 2.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        line = torch.linspace(min(ends) - 0.1, START, 8).tolist()
        left.plot(line, [under_attack(train, valid, decay) for decay in line], color="tab:gray")
        decays, *found = zip(*rows, strict=True)
        for name, color, style, values in zip(NAMES, COLORS, ("o", "-", "-"), found, strict=True):
            right.plot(decays, values, style, color=color, label=name)
        for name, color, decay in zip(NAMES[1:], COLORS[1:], ends, strict=True):
            left.plot(decay, under_attack(train, valid, decay), "o", color=color, label=f"rest, {name}")
        for axes, label in ((left, "error under attack"), (right, "slope")):
            axes.set(xlabel="logarithm of the decay", ylabel=label)
            axes.legend()
        figure.savefig(arguments.figure)


if __name__ == "__main__":
    main()
