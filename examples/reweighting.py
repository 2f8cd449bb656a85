"""A weight for each training example: learn which labels to trust.

    min_h  L_valid(w*(h))    s.t.    w*(h) = argmin_w  mean_i s_h(loss_i(w)) loss_i(w)

Four labels in ten are wrong; 100 examples have been checked by hand. A small network h gives each training example a
weight between 0 and 1 from its present loss alone, and is trained so that the classifier w does well on the checked
examples. Five steps of w are unrolled for each step of h, and kept: w is trained along the way.

Claimed: wrong labels end with less than a fifth of the mean weight of right ones, and test accuracy is above that of
uniform weights and of training on the checked examples alone. The best step of uniform weights is printed beside them:
an early stop that was chosen by the test data.

Source: Meta-Weight-Net: Learning an Explicit Mapping for Sample Weighting (Shu et al., 2019).
"""

import argparse
import copy

import torch
import torchopt
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import mlo

TRAIN, CHECKED, WRONG = 1000, 100, 0.4


def digits(seed):
    """Return (images, labels) for training, checked and test, and which training labels are wrong."""
    draw = torch.Generator().manual_seed(seed)
    x, y = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(len(x), generator=draw)
    train, checked, test = ((x[part] / 16, y[part]) for part in order.split([TRAIN, CHECKED, len(x) - TRAIN - CHECKED]))
    wrong = torch.rand(TRAIN, generator=draw) < WRONG
    other = (train[1] + torch.randint(1, 10, (TRAIN,), generator=draw)) % 10
    return (train[0], torch.where(wrong, other, train[1])), checked, test, wrong


def weights(weigh, losses):
    """Return a weight between 0 and 1 for each example; no loss is lowered by way of its weight."""
    return torch.sigmoid(weigh(losses.detach()[:, None]))[:, 0]


def fit(v, batch):
    x, y = batch
    losses = cross_entropy(v.net(x), y, reduction="none")
    return (weights(v.weigh, losses) * losses).mean()


def validate(v, batch):
    x, y = batch
    return cross_entropy(v.net(x), y)


def learn(net, train, checked, steps=60):
    """Return the trained weighting network and classifier."""
    start = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    weigh = mlo.Problem("weigh", validate, start, reads=["net"], update=torchopt.adam(0.03), batches=[checked])
    sgd = torchopt.sgd(0.5, momentum=0.9)
    classifier = mlo.Problem("net", fit, net, reads=["weigh"], update=sgd, steps=5, batches=[train])
    engine = mlo.Engine(mlo.ProblemGraph([weigh, classifier]))
    for report in engine.run(steps):
        if report.step % 15 == 0:
            print(f"step {report.step}: loss on the checked examples {report.losses['weigh']:.2f}")
    return engine.export("weigh"), engine.export("net")


def accuracy(net, data):
    with torch.no_grad():
        return float((net(data[0]).argmax(dim=1) == data[1]).double().mean())


def uniform(net, data, test, steps=300):
    """Return the test accuracy of training with equal weights, after each of the steps."""
    net, found = copy.deepcopy(net), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(net(data[0]), data[1]).backward()
        optimizer.step()
        found.append(accuracy(net, test))
    return found


def draw(path, weight, wrong):
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.hist([weight[~wrong], weight[wrong]], bins=20, label=["right label", "wrong label"], stacked=True)
    axes.set(xlabel="learned weight of a training example", ylabel="examples")
    axes.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="learn which training labels to trust")
    parser.add_argument("--figure", help="where to draw the learned weights (.svg or .png)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(arguments.seed)
    train, checked, test, wrong = digits(arguments.seed)
    net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10))

    weigh, learned = learn(net, train, checked)
    with torch.no_grad():
        weight = weights(weigh, cross_entropy(learned(train[0]), train[1], reduction="none"))
    right, false = float(weight[~wrong].mean()), float(weight[wrong].mean())
    equal, few, ours = uniform(net, train, test), uniform(net, checked, test)[-1], accuracy(learned, test)
    print(f"mean weight: right labels {right:.2f}, wrong labels {false:.2f}")
    print(f"test accuracy: uniform {equal[-1]:.2f} (best step {max(equal):.2f}), checked {few:.2f}, learned {ours:.2f}")
    if arguments.figure:
        draw(arguments.figure, weight.numpy(), wrong.numpy())
    if not (right > 5 * false and ours > equal[-1] + 0.1 and ours > few + 0.02):
        raise SystemExit(f"learned weights did not help: {ours:.3f} against {equal[-1]:.3f} and {few:.3f}")


if __name__ == "__main__":
    main()
