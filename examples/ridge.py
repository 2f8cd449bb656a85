"""One ridge penalty for each feature: which columns of a table are worth having?

    min_d  L_valid(w*(d))    s.t.    w*(d) = argmin_w  L_train(w) + sum_i p_i w_i^2,    p_i = 3 sigmoid(d_i)

L is the mean squared error of x w. The table is scikit-learn's diabetes data (10 features of 442 patients) with 60
columns of noise beside them. A grid search can tune one penalty, not 70. The answer w* is a stationary point, so the
hypergradient needs one linear solve and no memory of the steps: `Implicit(CG())`.

Claimed: on test data the learned penalties beat the best shared penalty, which beats none; and the median penalty of
the noise columns is above that of the features.

Source: Gradient-Based Optimization of Hyperparameters (Bengio, 2000); the linear solve: Hyperparameter Optimization
with Approximate Gradient (Pedregosa, 2016).
"""

import argparse

import torch
import torchopt
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes
from torch.nn.functional import mse_loss

import mlo

NOISE_COLUMNS = 60


def table(seed):
    """Return (x, y) for training, validation and test: standardized features, then columns of noise."""
    draw = torch.Generator().manual_seed(seed)
    x, y = (torch.from_numpy(part) for part in load_diabetes(return_X_y=True, scaled=False))
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    x = torch.cat([x, torch.randn(len(x), NOISE_COLUMNS, generator=draw, dtype=x.dtype)], dim=1)
    order = torch.randperm(len(x), generator=draw)
    return [(x[part], y[part]) for part in (order[:100], order[100:250], order[250:])]


def penalties(logit):
    """Return penalties between 0 and 3: were they free to grow, gradient descent would need ever smaller steps."""
    return 3 * torch.sigmoid(logit)


def fit(v, batch):
    x, y = batch
    return mse_loss(x @ v.weights, y) + (penalties(v.logit) * v.weights**2).sum()


def validate(v, batch):
    x, y = batch
    return mse_loss(x @ v.weights, y)


def shared(data, log_penalty):
    """Return the weights with one penalty for all features, in closed form."""
    x, y = data
    return torch.linalg.solve(x.T @ x / len(x) + log_penalty.exp() * torch.eye(x.shape[1]), x.T @ y / len(x))


def error(weights, data):
    return float(mse_loss(data[0] @ weights, data[1]))


def learn(train, valid, steps=40):
    """Return the learned penalties and the weights that belong to them."""
    start = torch.full((train[0].shape[1],), -2.0)
    logit = mlo.Problem("logit", validate, start, reads=["weights"], update=torchopt.adam(0.4), batches=[valid])
    weights = mlo.Problem(
        "weights",
        fit,
        torch.zeros_like(start),
        reads=["logit"],
        update=torchopt.sgd(0.1),
        steps=300,
        tolerance=1e-3,
        batches=[train],
        response=mlo.Implicit(mlo.CG()),
    )
    engine = mlo.Engine(mlo.ProblemGraph([logit, weights]))
    for report in engine.run(steps):
        if report.step % 10 == 0:
            print(f"step {report.step}: validation error {report.losses['logit']:.3f}")
    return penalties(engine.values["logit"]), engine.values["weights"]


def draw(path, penalty):
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    colors = ["tab:blue"] * 10 + ["tab:gray"] * NOISE_COLUMNS
    axes.bar(range(len(penalty)), penalty.tolist(), color=colors)
    axes.set(yscale="log", xlabel="column (10 features, then noise)", ylabel="learned penalty")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="learn one ridge penalty for each feature")
    parser.add_argument("--figure", help="where to draw the learned penalties (.svg or .png)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    train, valid, test = table(arguments.seed)

    penalty, weights = learn(train, valid)
    grid = [shared(train, torch.tensor(log)) for log in torch.linspace(-8.0, 4.0, 50).tolist()]
    tuned = min(grid, key=lambda weights: error(weights, valid))
    none = error(shared(train, torch.tensor(-50.0)), test)
    one, each = error(tuned, test), error(weights, test)
    features, noise = penalty[:10].median(), penalty[10:].median()
    print(f"test error: no penalty {none:.3f}, one penalty by grid search {one:.3f}, one for each column {each:.3f}")
    print(f"median penalty: features {features:.3f}, noise {noise:.3f}")
    if arguments.figure:
        draw(arguments.figure, penalty)
    if not (each < one - 0.01 < none and noise > features):
        raise SystemExit(f"penalties for each column did not help: {each:.3f} against {one:.3f} and {none:.3f}")


if __name__ == "__main__":
    main()
