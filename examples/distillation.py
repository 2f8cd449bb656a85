"""Dataset distillation: ten images, one for each digit, that a network learns from as if they were the whole data.

    min_X  E_{w_0} L_train(w_T(X))    s.t.    w_{t+1} = w_t - 0.5 grad L(w_t; X),  t = 0 .. T-1

X are ten images, w_0 a new random network each time. T = 20 steps of gradient descent on X are unrolled, and L_train is
the loss on 1000 real images. Each run starts anew, so the loop asks for `mlo.hypergradient`, which keeps no answers.

Claimed: networks with starts never seen, trained on the ten learned images, are far better on test data than networks
trained on ten real ones, and better than those trained on the mean image of each class. Those of the thousand are
printed beside.

Source: Dataset Distillation (Wang, Zhu, Torralba, Efros, 2018).
"""

import argparse

import torch
import torchopt
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import mlo

STEPS = 20
LABELS = torch.arange(10)


def digits(seed):
    """Return (images, labels) for training and test."""
    draw = torch.Generator().manual_seed(seed)
    x, y = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(len(x), generator=draw)
    return [(x[part] / 16, y[part]) for part in (order[:1000], order[1000:])]


def network():
    return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10))


def fit(v, batch):
    return cross_entropy(v.net(v.images), LABELS)


def judge(v, batch):
    x, y = batch
    return cross_entropy(v.net(x), y)


def distill(start, train, steps=50):
    """Return the learned images."""
    images = start.clone().requires_grad_()
    outer = mlo.Problem("images", judge, start, reads=["net"], batches=[train])
    inner = mlo.Problem("net", fit, network(), reads=["images"], update=torchopt.sgd(0.5), steps=STEPS)
    graph = mlo.ProblemGraph([outer, inner])
    optimizer = torch.optim.Adam([images], lr=0.03)
    for step in range(1, steps + 1):
        values = {"images": images.detach(), "net": network()}
        images.grad = mlo.hypergradient(graph, of="images", values=values)
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step}: norm of the hypergradient {float(images.grad.norm()):.3f}")
    return images.detach()


def accuracy(data, test, steps=STEPS, networks=10):
    """Return the mean test accuracy of new networks that are trained on `data`."""
    found = []
    for _ in range(networks):
        net = network()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        for _ in range(steps):
            optimizer.zero_grad()
            cross_entropy(net(data[0]), data[1]).backward()
            optimizer.step()
        found.append(float((net(test[0]).argmax(dim=1) == test[1]).double().mean()))
    return sum(found) / networks


def draw(path, rows):
    figure = Figure(figsize=(6, 2.2), layout="constrained")
    for row, (name, images) in enumerate(rows.items()):
        for column, image in enumerate(images):
            axes = figure.add_subplot(len(rows), 10, 10 * row + column + 1, xticks=[], yticks=[])
            axes.imshow(image.reshape(8, 8).numpy(), cmap="gray_r")
            if column == 0:
                axes.set_ylabel(name)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="learn ten images to train on")
    parser.add_argument("--figure", help="where to draw the images (.svg or .png)")
    parser.add_argument("--seed", type=int, default=0, help="of the data and of the networks")
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(arguments.seed)
    train, test = digits(arguments.seed)

    classes = [train[0][train[1] == label] for label in LABELS]
    real, mean = torch.stack([c[0] for c in classes]), torch.stack([c.mean(dim=0) for c in classes])
    learned = distill(real, train)
    some, means, ours = (accuracy((images, LABELS), test) for images in (real, mean, learned))
    print(f"test accuracy: ten real images {some:.2f}, ten mean images {means:.2f}, ten learned images {ours:.2f}")
    for steps in (STEPS, 5 * STEPS):
        print(f"test accuracy: the thousand, after {steps} steps {accuracy(train, test, steps):.2f}")
    if arguments.figure:
        draw(arguments.figure, {"real": real, "learned": learned})
    if not (ours > some + 0.1 and ours > means + 0.01):
        raise SystemExit(f"the learned images are no better: {ours:.3f} against {some:.3f} and {means:.3f}")


if __name__ == "__main__":
    main()
