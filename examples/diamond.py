"""Which pixels should an encoder reconstruct, if two tasks are to be learned from its codes?

A custom graph with a diamond: both heads read the encoder, the top reads both heads (and the encoder).

    min_a  L_digit(e*, d*) + L_slant(e*, s*)       on validation images
    d*(e) = argmin_d  L_digit(e, d)                10 classes
    s*(e) = argmin_s  L_slant(e, s)                a regression
    e*(a) = argmin_e  mean over images, sum over pixels i of  2 sigmoid(a_i) * (decode(encode(x))_i - x_i)^2

The encoder sees no labels and has 8 numbers for an image; two columns of each image are noise.

Claims: the hypergradient is that of central differences. It comes from one sweep that goes through each answer once,
however many paths lead to it: one more task adds the steps of its head, not those of the encoder again. Against equal
pixels the slant is found better by 10 % or more on test images, digits no worse, and noise has less weight.
"""

import argparse

import torch
import torchopt
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy, mse_loss

import mlo

TASKS = {"digit": 10, "slant": 1}
CODES, STEPS = 8, 10


def data(seed):
    """Return images and targets by task, for training, validation and test; two columns of the images are noise."""
    draw = torch.Generator().manual_seed(seed)
    x, digit = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    image, place = x.view(-1, 8, 8) / 16, torch.arange(8.0) - 3.5
    slant = (image * place.outer(place)).sum((1, 2)) / (image * place[:, None] ** 2).sum((1, 2))
    image[:, :, [0, 7]] = torch.rand(len(x), 8, 2, generator=draw, dtype=x.dtype)
    order = torch.randperm(len(x), generator=draw)
    image, slant = image - image.mean(dim=0), (slant - slant.mean()) / slant.std()
    x, parts = image.flatten(1), order.split((300, 400, 1097))
    return [(x[part], {"digit": digit[part], "slant": slant[part, None]}) for part in parts]


def task_loss(v, task, data):
    x, targets = data
    found = v[task](x @ v.encoder)
    return cross_entropy(found, targets[task]) if task == "digit" else mse_loss(found, targets[task])


def problems(train, valid, tasks=TASKS):
    def top(v, _):
        return sum(task_loss(v, task, valid) for task in tasks)

    def head(task):
        def loss(v, _):
            return task_loss(v, task, train)

        net = torch.nn.Linear(CODES, TASKS[task])
        return mlo.Problem(task, loss, net, reads=["encoder"], update=torchopt.sgd(0.1, momentum=0.9), steps=STEPS)

    def reconstruct(v, _):
        code = train[0] @ v.encoder
        wrong = (code @ v.encoder.T - train[0]) ** 2
        return (2 * torch.sigmoid(v.pixels) * wrong).sum(dim=1).mean()

    pixels = mlo.Problem("pixels", top, torch.zeros(64), reads=[*tasks, "encoder"], update=torchopt.adam(0.15))
    start = 0.1 * torch.randn(64, CODES, generator=torch.Generator().manual_seed(0))
    encoder = mlo.Problem("encoder", reconstruct, start, reads=["pixels"], update=torchopt.sgd(0.02), steps=STEPS)
    return mlo.ProblemGraph([pixels, *(head(task) for task in tasks), encoder])


def trained(graph, *, frozen):
    """Return the engine after a warm-up of the answers, and a training of all, or of the answers alone."""
    engine = mlo.Engine(graph)
    list(engine.run(30, frozen=True))
    for report in engine.run(80, frozen=frozen):
        if report.step % 40 == 30 and not frozen:
            print(f"step {report.step}: validation loss {report.losses['pixels']:.3f}")
    return engine


def scores(engine, test):
    """Return the accuracy on digits and the error of the slant (1: nothing is known)."""
    heads, codes = {task: engine.export(task) for task in TASKS}, test[0] @ engine.values["encoder"]
    hit = heads["digit"](codes).argmax(dim=1) == test[1]["digit"]
    return float(hit.double().mean()), float(mse_loss(heads["slant"](codes), test[1]["slant"]).detach())


def main() -> None:
    parser = argparse.ArgumentParser(description="learn which pixels an encoder is to reconstruct for two tasks")
    parser.add_argument("--figure", help="where to draw the learned weights (.svg or .png)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    train, valid, test = data(arguments.seed)
    print(problems(train, valid).describe())
    mlo.testing.check_hypergradient(problems(train, valid), of="pixels", directions=1)  # raises if it is wrong
    products = [mlo.Engine(problems(train, valid, tasks)).step().products for tasks in (["digit"], TASKS)]
    print(f"second-order products of a hypergradient: {products[0]} with one task, {products[1]} with {len(TASKS)}")
    plain, learned = (trained(problems(train, valid), frozen=frozen) for frozen in (True, False))
    (plain_hits, plain_error), (hits, error) = scores(plain, test), scores(learned, test)
    weights = 2 * torch.sigmoid(learned.values["pixels"]).view(8, 8)
    noise, inner = float(weights[:, [0, 7]].mean()), float(weights[:, 1:7].mean())
    print(f"equal pixels: accuracy {plain_hits:.3f}, error of the slant {plain_error:.3f}")
    print(f"learned pixels: accuracy {hits:.3f}, error of the slant {error:.3f}")
    print(f"mean weight: {noise:.2f} in the columns of noise, {inner:.2f} elsewhere")
    if products != [2 * STEPS, (len(TASKS) + 1) * STEPS]:
        raise SystemExit(f"each answer should be gone through once: {products}")
    if hits < plain_hits - 0.01 or error > 0.9 * plain_error or noise > 0.8 * inner:
        raise SystemExit("the learned pixels should serve the tasks better, and leave out the noise")
    if arguments.figure:
        axes = (figure := Figure(figsize=(3.4, 2.8), layout="constrained")).subplots()
        figure.colorbar(axes.imshow(weights.numpy(), cmap="viridis", vmin=0, vmax=2), label="weight of the pixel")
        axes.set(xlabel="columns 0 and 7 are noise", xticks=range(8), yticks=[])
        figure.savefig(arguments.figure)


if __name__ == "__main__":
    main()
