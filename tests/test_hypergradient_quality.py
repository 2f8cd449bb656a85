"""The study of hypergradients measures what it says: against the library, closed forms, and counts by hand."""

import importlib
import sys

import matplotlib
import pytest
import torch
import torchopt
from torch import nn

import mlo
from applications.nas.methods import Darts, Progress
from benchmarks.quality import page
from benchmarks.quality.cases import Case, points
from benchmarks.quality.implicit import OPEN, against_implicit
from benchmarks.quality.judge import compared, judged
from benchmarks.quality.kinks import Shape, Shaped, crossed, pattern
from benchmarks.quality.point import Point, flattened, gradient
from benchmarks.quality.record import ROOT, far
from benchmarks.quality.rules import Ahead, curvature, estimates
from benchmarks.quality.tables import implicit, larger

F64 = torch.float64


class Small(nn.Module):
    """Two layers with a ReLU, mixed by both tables."""

    def __init__(self, smooth=False):
        super().__init__()
        self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 4)
        self.smooth = smooth

    def forward(self, x, weights):
        hidden = self.first(x)
        hidden = torch.tanh(hidden) if self.smooth else torch.relu(hidden)
        return self.second(hidden * weights["normal"].flatten()) * weights["reduction"].flatten()[:4]


def point(smooth=True, rate=0.1):
    torch.manual_seed(0)
    net = Small(smooth)
    tables = {"normal": torch.randn(3, 2), "reduction": torch.randn(3, 2)}
    batches = tuple((torch.randn(8, 3), torch.randint(0, 4, (8,))) for _ in range(2))
    weights, alphas = flattened(list(net.parameters())), flattened(list(tables.values()))
    loss = nn.functional.cross_entropy
    return Point(net, tables, weights, alphas, batches, Darts(), Progress(0, 0, 1), rate, loss).to(F64)


def library(at, product):
    """Return the hypergradient of one plain step by the library."""
    train = mlo.Problem(
        "w", lambda v, _: at.train(v.w, v.a), at.weights, reads=["a"], update=torchopt.sgd(at.rate),
        response=mlo.Unroll(product=product),
    )  # fmt: skip
    top = mlo.Problem("a", lambda v, _: at.valid(v.w, v.a), at.alphas, reads=["w"], update=torchopt.sgd(0.1))
    return mlo.hypergradient(mlo.ProblemGraph([top, train]), of="a")


def test_exact_and_central_differences_are_the_librarys():
    at = point(smooth=False)
    found = dict(estimates(Ahead.of(at)))
    assert torch.allclose(found["exact"], library(at, mlo.Exact()), rtol=1e-12, atol=1e-14)
    for length in (0.1, 1e-4):  # a difference magnifies rounding by 1 / length
        other = library(at, mlo.FiniteDifference(length))
        assert torch.allclose(found[f"central {length:g}"], other, rtol=1e-9, atol=1e-11)


def test_a_smooth_loss_has_errors_of_second_and_first_order():
    ahead = Ahead.of(point())
    found, exact = dict(estimates(ahead)), ahead.hypergradient(ahead.exact())

    def error(name):
        return float((found[name] - exact).norm())

    # The next order of truncation is 1e-2 of it at these lengths.
    assert error("central 0.1") / error("central 0.01") == pytest.approx(100, rel=0.05)
    assert error("one-sided 0.01") / error("one-sided 0.001") == pytest.approx(10, rel=0.05)


def test_a_smooth_judge_finds_the_exact_rule_right_and_a_turned_one_wrong():
    at = point()
    found = dict(estimates(Ahead.of(at)))
    rules = {"exact": found["exact"], "turned": -found["exact"]}
    rows = judged(at, at, {**rules, "first": rules["turned"]})["0.0003"]
    own, rows = rows["own"], rows["rules"]
    assert rows["exact"]["error"] < 1e-5  # the odd part of what is left is of third order in the step
    assert rows["exact"]["slope"] == pytest.approx(1, abs=1e-4)
    assert own["exact"]["own"] < 0 < own["first"]["own"]
    assert own["exact"]["elsewhere"] == own["exact"]["own"]  # as the same batches are there
    assert rows["turned"] == {"error": 2.0, "slope": -1.0, "correlation": -1.0}


class Kinked:
    """A sum of ReLUs of linear functions, whose second derivative sits in its kinks alone."""

    def __init__(self):
        torch.manual_seed(3)
        self.a, self.b, self.e = torch.randn(400, 5).to(F64), torch.randn(400, 4).to(F64), torch.randn(400).to(F64)
        self.c, self.weights, self.alphas = torch.randn(400).to(F64), torch.randn(5).to(F64), torch.randn(4).to(F64)

    def inputs(self, weights, alphas):
        return self.a @ weights + self.b @ alphas + self.e

    def train(self, weights, alphas):
        return (self.c * torch.relu(self.inputs(weights, alphas))).sum()


def test_differences_and_moves_meet_the_same_kinks_in_different_widths():
    """The formula of the page: exact here, as the loss is piecewise linear."""
    at, v, d = Kinked(), torch.randn(5).to(F64), torch.randn(4).to(F64)
    z, along_v, along_d = at.inputs(at.weights, at.alphas), at.a @ v, at.b @ d

    def met(width):
        inside = z.abs() < width
        assert 0 < int(inside.sum()) < 400
        return float((at.c * along_v * along_d * inside / (2 * width)).sum())

    ahead = Ahead(at, v, v, d)
    assert float(ahead.central(0.3) @ d) == pytest.approx(met(0.3 * (along_v / v.norm()).abs()), rel=1e-9)
    ends = [gradient(at.train, at.weights, at.alphas + side * d, "w")[0] @ v for side in (1, -1)]
    assert float(ends[0] - ends[1]) / 2 == pytest.approx(met(along_d.abs()), rel=1e-9)
    assert float(curvature(at)(v)[1] @ d) == 0


def test_implicit_hypergradients_are_those_of_a_dense_solve():
    at = point(rate=0.05)
    ahead = Ahead.of(at)
    found = against_implicit(ahead, far)
    hessian = torch.autograd.functional.hessian(at.train, (at.weights, at.alphas))
    eye = torch.eye(len(at.weights), dtype=F64)
    right = ahead.direct - torch.linalg.solve(hessian[0][0] + eye / at.rate, ahead.v) @ hessian[0][1]
    step = ahead.direct - at.rate * ahead.v @ hessian[0][1]
    assert found["damping 1"]["one step"] == far(step, right)
    assert found["damping 1"]["residual"] < 1e-8
    assert found["open series against one step"]["1"] == [1.0, pytest.approx(0, abs=1e-12)]
    terms = ahead.v + (eye - at.rate * hessian[0][0]) @ ahead.v
    two = ahead.direct - at.rate * terms @ hessian[0][1]
    assert found["open series against one step"]["2"] == far(two, step)


def test_predictions_are_compared_as_by_hand():
    found = compared(torch.tensor([3.0, 4.0]), torch.tensor([6.0, 8.0]))
    assert found == {"error": 0.5, "slope": 2.0, "correlation": 1.0}


def test_kinks_are_counted_by_hand():
    x = torch.tensor([[[[1.0, -2.0], [3.0, -4.0]]]], dtype=F64)
    pool = nn.MaxPool2d(2)

    def loss(shift):
        moved = x + torch.tensor([[shift, 0.0], [0.0, 0.0]])
        return torch.relu(moved).sum() + nn.ReLU()(moved).sum() + pool(moved).sum()

    assert crossed(pattern(lambda: loss(0)), pattern(lambda: loss(0))) == {"relu": 0, "pool": 0, "relus": 4, "pools": 1}
    assert crossed(pattern(lambda: loss(0)), pattern(lambda: loss(-1.5)))["relu"] == 1
    assert crossed(pattern(lambda: loss(2 - 1e-14)), pattern(lambda: loss(2 + 1e-14)))["pool"] == 0
    assert crossed(pattern(lambda: loss(0)), pattern(lambda: loss(2.5)))["pool"] == 1


def test_another_shape_is_computed():
    x = torch.randn(1, 1, 4, 4, dtype=F64)
    with Shaped(Shape(5.0, True)):
        relus = [torch.relu(x), nn.ReLU()(x), torch.relu_(x.clone())]
        pool = nn.MaxPool2d(3, 1, padding=1)(x)
    assert all(torch.equal(one, nn.functional.softplus(x, 5.0, 40.0)) for one in relus)
    assert torch.equal(pool, nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


def test_a_point_is_where_the_search_stands():
    """The search's own state gives the same losses twice, dropout included, in float32 as in float64."""
    ((step, at, other),) = points(Case("P-DARTS", 4, 3, 0), None, 2, {1})
    assert step == 1
    assert not torch.equal(at.batches[0][0], other.batches[0][0])
    wide = at.to(F64)
    one, two = (at.train(at.weights, at.alphas) for _ in range(2))
    assert torch.equal(one, two)
    assert float(one.detach()) == pytest.approx(float(wide.train(wide.weights, wide.alphas).detach()), rel=1e-4)
    assert float(at.alphas.abs().max()) > 0.005  # one step of Adam has moved them from 0.001 N(0, 1)


def test_larger_networks_stand_beside_the_smallest_at_the_same_points():
    def row(channels, seed, steps, error):
        rules = {name: [1.0, error] for name in ("first", "central 0.1", "central 0.01")}
        size = {"method": "DARTS", "channels": channels, "layers": 3, "shape": "ReLU, max pools"}
        return {**size, "seed": seed, "steps": steps, "float64": rules, "judge": {}}

    rows = [row(4, 0, 0, 0.1), row(4, 0, 100, 0.2), row(4, 1, 0, 0.3), row(8, 0, 0, 0.4), row(8, 2, 0, 0.5)]
    lines = larger(rows).splitlines()
    assert lines[0] == "| point | rule | DARTS, C = 4, L = 3 | DARTS, C = 8, L = 3 |"
    assert lines[2:] == [
        f"| seed 0, 0 steps | {name} | 0.1 | 0.4 |" for name in ("first", "central 0.1", "central 0.01")
    ]


def test_implicit_errors_are_told_by_the_steps_before():
    def row(steps, error):
        return {
            "implicit": {OPEN: {"2": [0.5, error]}, "damping 1": {"CG 3": [0.25, error], "products": 9}},
            "steps": steps,
        }

    lines = implicit([row(100, 0.75), row(0, 0.5), row(0, 0.25)]).splitlines()
    assert lines[0].endswith(
        "| cosine, 0 steps (2) | error, 0 steps (2) | cosine, 100 steps (1) | error, 100 steps (1) |"
    )
    assert lines[2] == "| damping 1 | CG 3 | 0.25 (0.25 to 0.25) | 0.38 (0.25 to 0.5) | 0.25 | 0.75 |"
    assert lines[3].startswith("| none | 2 terms against one step | 0.5 (0.5 to 0.5) |")
    assert len(lines) == 4


def test_the_page_shows_what_is_stored():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.generated(text) == text, "run python benchmarks/quality/page.py"


@pytest.mark.parametrize("name", ["hypergradient_error", "hypergradient_judge"])
def test_a_picture_is_what_its_script_draws(name, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "docs" / "draw")
    with matplotlib.rc_context():  # `style` sets how all figures of a process look
        for module in ("style", "hypergradients"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        script = importlib.import_module("hypergradients")
        drawn = script.write(getattr(script, name)(), name, tmp_path)
    for module in ("style", "hypergradients"):
        sys.modules.pop(module, None)
    stored = ROOT / "docs" / "figures" / f"{name}.svg"
    assert drawn.read_bytes() == stored.read_bytes(), "run python docs/draw/hypergradients.py"
