"""Rows on Betty that are about what it accepts, loses or leaves behind."""

from typing import Any

import torch
import torchopt
from torch import Tensor, nn
from torchopt.base import GradientTransformation

import mlo
from benchmarks.peers.problems import bilevel, pull_to, scalar, total
from benchmarks.peers.record import Defect, Value, happens, numbers, refused
from mlo.gradient import make_context
from mlo.solve import total_gradient


def unknown_method() -> Value:
    return refused(lambda: bilevel(pull_to(3), pull_to("x"), response="reinforce"), "w")


def unknown_strategy() -> Value:
    graph = bilevel(pull_to(3), pull_to("x"))
    return happens(lambda: mlo.Engine(graph, strategy="accelerate")).split(":")[0]


def adamw() -> Value:
    update = torchopt.adamw(0.1, eps=1.0, weight_decay=0.01)
    return total(bilevel(lambda v, _: v.w, pull_to("x"), update=update))


def idle_parameter() -> Value:
    def lower(v: mlo.View, _: object) -> Tensor:
        return 0.5 * (v.w["used"] - v.x) ** 2

    engine = mlo.Engine(bilevel(lambda v, _: v.w["used"], lower, w={"used": scalar(0), "idle": scalar(1)}))
    engine.step()
    return f"{len(engine.values['w'])} of 2 parameters"


def layered(depth: int) -> mlo.ProblemGraph:
    """Layers of two problems, each of which reads both of the layer below; the deepest ones read the top."""

    def loss(name: str, below: list[str]) -> Any:
        return lambda v, _: 0.5 * (v[name] - sum(v[read] for read in below) / 2) ** 2

    layers = [[f"p{d}_{i}" for i in "ab"] for d in range(depth)]
    top = mlo.Problem(
        "x", lambda v, _: v[layers[0][0]] + v[layers[0][1]], scalar(1), reads=layers[0], update=torchopt.sgd(0.1)
    )
    problems = [top]
    for names, below in zip(layers, [*layers[1:], ["x"]], strict=True):
        how = {"reads": below, "update": torchopt.sgd(1.0)}
        problems += [mlo.Problem(name, loss(name, below), scalar(0), **how) for name in names]
    return mlo.ProblemGraph(problems)


def pullbacks(depth: int) -> float:
    context = make_context(layered(depth), {}, {})
    total_gradient(context, "x", ("x",))
    return float(context.tally.pullbacks)


def residue() -> Value:
    torch.manual_seed(0)
    net, inputs = nn.Linear(10, 1), torch.ones(2, 10)

    def lower(v: mlo.View, _: object) -> Tensor:
        return ((v.w(inputs) - v.x.float()) ** 2).mean()

    rule = mlo.Unroll(product=mlo.FiniteDifference())
    graph = bilevel(lambda v, _: v.w(inputs).sum() + v.x, lower, w=net, rate=0.0, response=rule)
    engine = mlo.Engine(graph)
    before = engine.values["w"]
    list(engine.run(5))
    return max(float((value - before[name]).abs().max()) for name, value in engine.values["w"].items())


def by_rates(**rates: float) -> GradientTransformation:
    """A user's own update: one learning rate for each tensor."""

    def update(updates: Any, state: Any, *, params: Any = None, inplace: bool = True) -> Any:
        return {name: -rates[name] * value for name, value in updates.items()}, state

    return GradientTransformation(lambda params: (), update)


def groups() -> Value:
    w = {"a": scalar(0), "b": scalar(0)}

    def lower(v: mlo.View, _: object) -> Tensor:
        return v.w["a"] + v.w["b"]

    update = by_rates(a=0.5, b=0.1)
    engine = mlo.Engine(bilevel(lambda v, _: v.w["a"] + v.x, lower, w=w, reads=[], update=update))
    engine.step()
    return numbers(engine.values["w"].values())


def schedule() -> Value:
    update = torchopt.sgd(lambda count: 0.5 * 0.5 ** int(count))
    engine = mlo.Engine(bilevel(pull_to(3), pull_to("x"), still=True, update=update, steps=3))
    engine.step()
    return float(engine.values["w"])


def batch_norm() -> Value:
    net, inputs = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1)).double(), torch.randn(8, 2, dtype=torch.float64)

    def lower(v: mlo.View, _: object) -> Tensor:
        return ((v.w(inputs) - v.x) ** 2).mean()

    rule = mlo.Unroll(product=mlo.FiniteDifference())
    engine = mlo.Engine(bilevel(lambda v, _: v.w(inputs).mean(), lower, w=net, steps=5, response=rule))
    engine.step()
    return float(engine.export("w")[0].num_batches_tracked)


class Sum(nn.Module):
    """The sum of two numbers, of which one is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.Parameter(scalar(1))
        self.frozen = nn.Parameter(scalar(0), requires_grad=False)

    def forward(self) -> Tensor:
        return self.free + self.frozen


def frozen() -> Value:
    def pulled(target: float | None) -> Any:
        return lambda v, _: 0.5 * (v.w() - (v.x if target is None else target)) ** 2

    return total(bilevel(pulled(3), pulled(None), w=Sum(), response=mlo.Implicit()))


def below_itself() -> Value:
    return refused(lambda: bilevel(pull_to(3), pull_to("x"), reads=["x", "w"]), "w")


def mutual() -> Value:
    def middle(v: mlo.View, _: object) -> Tensor:
        return 0.5 * (v.b - v.a) ** 2 + 0.5 * v.c**2

    a = mlo.Problem("a", pull_to(3, "b"), scalar(1), reads=["b"], update=torchopt.sgd(0.1))
    b = mlo.Problem("b", middle, scalar(0), reads=["a", "c"], update=torchopt.sgd(0.5))
    c = mlo.Problem("c", pull_to("b", "c"), scalar(0), reads=["b"], update=torchopt.sgd(1.0))
    return total(mlo.ProblemGraph([a, b, c]), "a")


def undeclared() -> Value:
    return refused(lambda: total(bilevel(pull_to(3), pull_to("x"), reads=[])), "x")


def direct_term() -> Value:
    return total(bilevel(lambda v, _: 0.5 * (v.w - 3) ** 2 + 0.5 * v.x**2, pull_to("x"), w=1, rate=1.0))


DEFECTS = (
    Defect("B8", "an unknown method (theirs: the `reinforce` that it offers)", "refused, names 'w'", unknown_method),
    Defect(
        "B8b", "a strategy that is not there (theirs: `accelerate`, which it offers)", "TypeError", unknown_strategy
    ),
    Defect(
        "B9",
        "derivative of one AdamW step, step size 0.1, eps = 1, gradient -1",
        0.1 / 4,
        adamw,
        rel=1e-6,  # torchopt takes the bias correction in float32
        note="Its unrolled AdamW returns nothing; its default rules do not use it.",
    ),
    Defect(
        "B9b",
        "parameters after an unrolled step, when one of two has no gradient",
        "2 of 2 parameters",
        idle_parameter,
        note="Those behind the one that is dropped move up a place.",
    ),
    Defect(
        "B10",
        "pullbacks through 2, 4, 8, 12 layers of two problems",
        (4.0, 8.0, 16.0, 24.0),
        lambda: tuple(pullbacks(depth) for depth in (2, 4, 8, 12)),
        note="Theirs: paths, each of which it evaluates.",
    ),
    Defect(
        "B11",
        "largest change of the weights after five differences, float32, step size 0",
        0.0,
        residue,
        rel=0.0,
        note="It moves weights in place and back; an error in between leaves them moved.",
    ),
    Defect(
        "B12",
        "one step with step sizes 0.5 and 0.1, gradient 1",
        (-0.5, -0.1),
        groups,
        note="It makes the optimizer anew from its defaults; a `param_groups` method on the problem is its way out.",
    ),
    Defect(
        "B13",
        "w after three steps of size 0.5, 0.25, 0.125 (theirs: `SequentialLR`)",
        1 - 0.5 * 0.75 * 0.875,
        schedule,
        note="`OneCycleLR` and `ReduceLROnPlateau` too; `StepLR` works.",
    ),
    Defect(
        "B14",
        "BatchNorm updates in five inner steps and one outer step",
        5.0,
        batch_norm,
        rel=0.0,
        note="The upper loss and each difference run the lower module in training mode.",
    ),
    Defect("B15", "gradient where the lower module has a frozen parameter", -2.0, frozen),
    Defect(
        "B16",
        "a problem below itself",
        "refused, names 'w'",
        below_itself,
        note="Theirs: two problems, each below the other. Our list order rules that out.",
    ),
    Defect(
        "B16b",
        "two lower problems that read each other (theirs: declared so)",
        -1.25,
        mutual,
        note="Declared as one above the other it runs, without the inverse Hessian, as in B3.",
    ),
    Defect("B17", "a dependency that is not declared", "refused, names 'x'", undeclared),
    Defect(
        "B18",
        "settings left out, one step of size 1",
        -2.0,
        lambda: total(bilevel(pull_to(3), pull_to("x"), w=1, rate=1.0)),
        note="`None` is the default of its base class; `Config()` works.",
    ),
    Defect("B19", "an upper loss with a direct term, x²/2", -1.0, direct_term, note="`retain_graph=True` cures it."),
    Defect(
        "B20",
        "gradient through five unrolled steps (theirs: `IterativeProblem`)",
        1 - 0.9**5,
        lambda: total(bilevel(lambda v, _: v.w, pull_to("x"), steps=5)),
    ),
)
