"""Learned augmentation: how far should training images be turned, shifted and made noisy?

    min_s  L_valid(w*(s))    s.t.    w*(s) = argmin_w  E_e L(w; augment(X_train; s, e))

The 150 training digits are upright. Those for validation and test are turned by random angles (normal, 25 degrees), and
nothing else. The strengths are standard deviations of angle, shift and noise, each differentiable by bilinear sampling;
ten steps of the network are unrolled for each step of the strengths, with new random draws in each.

Claimed: the learned angle comes near the true one, and shift and noise shrink; a network trained anew with the learned
strengths is better on test data than without augmentation, and than with the strengths guessed at the start.

Source: the bilevel form is that of Optimizing Millions of Hyperparameters by Implicit Differentiation (Lorraine, Vicol,
Duvenaud, 2020), section 5.3; sampling: Spatial Transformer Networks (Jaderberg et al., 2015).
"""

import argparse

import torch
import torchopt
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

import mlo

TRUE = torch.tensor([25.0, 0.0, 0.0])  # degrees, pixels, gray level between 0 and 1
GUESS = torch.tensor([8.0, 1.0, 0.2])
NAMES = ["angle (degrees)", "shift (pixels)", "noise (gray level)"]


def augment(x, strength):
    """Return images (N x 64), each turned, shifted and made noisy by its own random amounts."""
    angle, shift = torch.deg2rad(strength[0] * torch.randn(len(x))), strength[1] / 4 * torch.randn(len(x), 2)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [torch.stack([cos, -sin, shift[:, 0]], dim=1), torch.stack([sin, cos, shift[:, 1]], dim=1)]
    images = x.reshape(-1, 1, 8, 8)
    grid = affine_grid(torch.stack(rows, dim=1), images.shape, align_corners=False)
    return grid_sample(images, grid, align_corners=False).reshape(x.shape) + strength[2] * torch.randn(x.shape)


def digits():
    """Return (images, labels) for training, upright, and for validation and test, turned."""
    x, y = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    order, turned = torch.randperm(len(x)), augment(x / 16, TRUE)
    train, valid, test = order.split([150, 400, len(x) - 550])
    return (x[train] / 16, y[train]), (turned[valid], y[valid]), (turned[test], y[test])


def network():
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 10))


def fit(v, batch):
    x, y = batch
    return cross_entropy(v.net(augment(x, v.log_strength.exp())), y)


def validate(v, batch):
    x, y = batch
    return cross_entropy(v.net(x), y)


def learn(train, valid, steps=60):
    """Return the strengths after each step."""
    update = torchopt.adam(0.1)
    outer = mlo.Problem("log_strength", validate, GUESS.log(), reads=["net"], update=update, batches=[valid])
    update = torchopt.sgd(0.1, momentum=0.9)
    inner = mlo.Problem("net", fit, network(), reads=["log_strength"], update=update, steps=10, batches=[train])
    engine, path = mlo.Engine(mlo.ProblemGraph([outer, inner])), [GUESS]
    for report in engine.run(steps):
        path.append(engine.values["log_strength"].exp())
        if report.step % 15 == 0:
            found = ", ".join(f"{name} {float(s):.2f}" for name, s in zip(NAMES, path[-1], strict=True))
            print(f"step {report.step}: {found}")
    return path


def accuracy(strength, train, test, steps=400):
    """Return the test accuracy of a network trained anew with these strengths."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(net(augment(train[0], strength)), train[1]).backward()
        optimizer.step()
    return float((net(test[0]).argmax(dim=1) == test[1]).double().mean())


def draw(path, strengths):
    figure = Figure(figsize=(6, 2.4), layout="constrained")
    for axes, name, true, values in zip(figure.subplots(1, 3), NAMES, TRUE, torch.stack(strengths).T, strict=True):
        axes.plot(values.numpy())
        axes.axhline(float(true), color="gray", linestyle="--")
        axes.set(title=name, xlabel="outer step", ylim=(-0.05 * float(values.max()), None))
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="learn how strongly to augment images")
    parser.add_argument("--figure", help="where to draw the strengths over time (.svg or .png)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(arguments.seed)
    train, valid, test = digits()

    path = learn(train, valid)
    none, guess, ours = (accuracy(strength, train, test) for strength in (torch.zeros(3), GUESS, path[-1]))
    print(f"test accuracy: no augmentation {none:.2f}, strengths as guessed {guess:.2f}, learned {ours:.2f}")
    if arguments.figure:
        draw(arguments.figure, path)
    angle, shift, noise = path[-1].tolist()
    if not (15 < angle < 45 and shift < 0.5 * GUESS[1] and noise < GUESS[2]):
        raise SystemExit(f"the strengths are far off: angle {angle:.1f}, shift {shift:.2f}, noise {noise:.2f}")
    if not ours > max(none, guess) + 0.05:
        raise SystemExit(f"the learned strengths did not help: {ours:.3f} against {none:.3f} and {guess:.3f}")


if __name__ == "__main__":
    main()
