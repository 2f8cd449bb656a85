"""Can a classifier of handwritten digits be trained to withstand the worst change of its inputs?

A min-max problem. The adversary moves each training image by its own delta, and pays for the distance:

    min_w  F(w, delta*(w))      with  delta*(w) = argmin_delta  -F(w, delta)
    F(w, delta) = mean over images of  loss(w, x + delta) - price * |delta|^2

`mlo` knows only argmin, so the adversary minimizes the negated objective. Which rule? At the adversary's optimum
dF/d(delta) = 0, so that its answer's movement adds nothing (Danskin's theorem) and `FirstOrder()` is exact there. That
is checked against central differences first.

Claim: against an attack within a radius (projected gradient ascent, which training did not see), the accuracy on test
digits is higher than that of plain training and of training on noise of the same length, by 10 points or more.

Source: Certifying Some Distributional Robustness with Principled Adversarial Training (Sinha, Namkoong, Duchi, 2018).
"""

import argparse

import torch
import torchopt
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import mlo

PRICE = 0.5
RADIUS = 0.8  # length of the attack; an image has length 3 to 5


def load():
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    return (x[:600], y[:600]), (x[1000:], y[1000:])


def problems(train, rule, steps):
    """Return the graph of the game; both players see the same objective, one of them with the sign turned."""
    x, y = train

    def objective(v, _):
        return cross_entropy(v.net(x + v.delta), y) - PRICE * (v.delta**2).sum(dim=1).mean()

    def negated(v, _):
        return -len(x) * objective(v, None)  # the sum over images: each delta is moved by the gradient of its own image

    net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10)).to(x.dtype)
    trained = mlo.Problem("net", objective, net, reads=["delta"], update=torchopt.adam(0.01))
    adversary = mlo.Problem(
        "delta", negated, torch.zeros_like(x), reads=["net"], update=torchopt.sgd(0.4), steps=steps, response=rule
    )
    return mlo.ProblemGraph([trained, adversary])
