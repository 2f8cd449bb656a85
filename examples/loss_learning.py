"""Which loss should a regression be trained with when a third of its targets are wrong, and in one direction?

The loss itself is learned: training with it should do well, by the squared error, on a few rows that are known to be
clean.

    min_s  |X_clean w*(s) - y_clean|^2 / n    s.t.    w*(s) = argmin_w  mean_i rho_s(x_i w - y_i)
    rho_s(r) = a^2 log(1 + (r / a)^2) / 2,    a = exp(s_1) if r < 0, exp(s_2) if not

A large a makes a half of the squared error of one side of rho, a small one ignores what is far away on it. Data:
scikit-learn's diabetes, 200 rows for training, of which 70 have targets that are too high, and 25 clean rows.

Claim: on test data it beats the squared error and Huber's loss (its scale chosen on the clean rows) by 10 % or more.
Shown, not claimed: the squared error on the clean rows alone.

Source of the kind of problem: Meta Learning via Learned Loss (Bechtle et al., 2019).
"""

import argparse

import torch
import torchopt
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes
from torch.nn import HuberLoss
from torch.nn.functional import mse_loss

import mlo


def table(seed):
    """Return (x, y) for training, a third of the targets too high, and clean for validation and test."""
    draw = torch.Generator().manual_seed(seed)
    x, y = (torch.from_numpy(part) for part in load_diabetes(return_X_y=True, scaled=False))
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    order = torch.randperm(len(x), generator=draw)
    train, clean, test = ((x[part], y[part]) for part in (order[:200], order[200:225], order[225:]))
    train[1][:70] += 2 + 2 * torch.rand(70, generator=draw, dtype=x.dtype)
    return train, clean, test


def rho(scales, residual):
    """Return the learned loss of residuals."""
    a = torch.where(residual < 0, scales[0], scales[1]).exp()
    return a**2 * torch.log1p((residual / a) ** 2) / 2


def learn(train, clean):
    """Return the learned scales and the weights that belong to them."""

    def validate(v, _):
        return mse_loss(clean[0] @ v.weights, clean[1])

    def fit(v, _):
        return rho(v.scales, train[0] @ v.weights - train[1]).mean()

    rest = {"steps": 1000, "tolerance": 1e-3, "response": mlo.Implicit(mlo.CG())}
    momentum = torchopt.sgd(0.1, momentum=0.9)
    scales = mlo.Problem("scales", validate, torch.ones(2), reads=["weights"], update=torchopt.adam(0.1))
    weights = mlo.Problem("weights", fit, torch.zeros(11), reads=["scales"], update=momentum, **rest)
    engine = mlo.Engine(mlo.ProblemGraph([scales, weights]))
    for report in engine.run(60):
        if report.step % 20 == 0:
            print(f"step {report.step}: error on the clean rows {report.losses['scales']:.3f}")
    return engine.values["scales"], engine.values["weights"]


def fitted(data, loss=mse_loss):
    """Return the weights that minimize a loss of predictions and targets."""
    weights = torch.zeros(11, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=0.1, momentum=0.9)
    for _ in range(600):
        optimizer.zero_grad()
        loss(data[0] @ weights, data[1]).backward()
        optimizer.step()
    return weights.detach()


def error(weights, data):
    return float(mse_loss(data[0] @ weights, data[1]))


def draw(path, scales, residuals):
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    line = torch.linspace(-6, 3, 200)
    axes.hist(residuals, bins=40, density=True, color="lightgray", label="residuals in training")
    axes.plot(line, rho(scales, line), label="learned loss")
    axes.plot(line, line**2 / 2, "--", label="half of the squared error")
    axes.set(ylim=(0, 4), xlabel="prediction - target")
    axes.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="learn the loss of a regression with wrong targets")
    parser.add_argument("--figure", help="where to draw the learned loss (.svg or .png)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    train, clean, test = table(arguments.seed)

    scales, weights = learn(train, clean)
    print("learned scales: {:.2f} for targets that are too high, {:.2f} for the others".format(*scales.exp()))
    huber = [fitted(train, HuberLoss(delta=delta)) for delta in (0.03, 0.1, 0.3, 1.0)]
    huber = error(min(huber, key=lambda weights: error(weights, clean)), test)
    learned, squared, alone = (error(found, test) for found in (weights, fitted(train), fitted(clean)))
    print(f"test error: learned loss {learned:.3f}, squared error {squared:.3f}, best Huber loss {huber:.3f}")
    print(f"test error: squared error on the clean rows alone {alone:.3f}")
    if learned > 0.9 * min(squared, huber):
        raise SystemExit(f"the learned loss should be better by 10 %: {learned} against {squared} and {huber}")
    if arguments.figure:
        draw(arguments.figure, scales, train[0] @ weights - train[1])


if __name__ == "__main__":
    main()
