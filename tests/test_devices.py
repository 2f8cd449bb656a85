"""The same numbers on every device that the machine has: the CPU, and a GPU where there is one."""

import pytest
import torch
import torchopt

import mlo

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
RULES = [
    mlo.Unroll(),
    mlo.Unroll(product=mlo.FiniteDifference()),
    mlo.Implicit(mlo.CG()),
    mlo.Implicit(mlo.Dense()),
    mlo.Implicit(mlo.CG(), product=mlo.FiniteDifference()),
]


def bilevel(device, rule, steps=200):
    """min_a |w* - 1|^2 + |a|^2 with w* = argmin w.Hw/2 - w.Ba, so that w* = H^-1 B a."""
    generator = torch.Generator().manual_seed(0)
    root, b, a = (torch.randn(n, generator=generator, dtype=torch.float64) for n in ((4, 4), (4, 3), (3,)))
    h = root @ root.T + torch.eye(4, dtype=torch.float64)
    w = torch.linalg.solve(h, b @ a)
    truth = torch.linalg.solve(h, b).T @ (2 * (w - 1)) + 2 * a
    h, b = h.to(device), b.to(device)
    rate = 1.0 / float(torch.linalg.matrix_norm(h, 2))
    upper = mlo.Problem(
        "a", lambda v, _: ((v.w - 1) ** 2).sum() + (v.a**2).sum(), a.to(device), reads=["w"], update=torchopt.adam(0.1)
    )
    lower = mlo.Problem(
        "w",
        lambda v, _: 0.5 * v.w @ h @ v.w - v.w @ b @ v.a,
        torch.zeros(4, dtype=torch.float64, device=device),
        reads=["a"],
        update=torchopt.sgd(rate),
        steps=steps,
        response=rule,
    )
    return mlo.ProblemGraph([upper, lower]), truth


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_hypergradient(device, rule):
    graph, truth = bilevel(device, rule, steps=2000)
    found = mlo.hypergradient(graph, of="a")
    assert found.device.type == device
    # 2000 steps contract by at least (1 - 1/condition) each, to rounding; differences are good to about 1e-9.
    assert (found.cpu() - truth).norm() <= 1e-7 * truth.norm()


@pytest.mark.parametrize("device", DEVICES)
def test_a_chain_with_dropout_and_batchnorm_keeps_the_generators(device):
    def learner(name):
        net = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1)
        )
        return mlo.Problem(
            name,
            lambda v, batch: (v.scale.exp() * (v[name](batch) ** 2)).mean(),
            net.double().to(device),
            reads=["scale"],
            update=torchopt.sgd(0.1, momentum=0.9),
            response=mlo.Unroll(product=mlo.FiniteDifference()),
            batches=[torch.ones(8, 3, dtype=torch.float64, device=device)],
        )

    proximal = mlo.Proximal(5.0, step_size=0.1)
    stages = mlo.interleave([learner("l"), learner("r")], rounds=2, proximal=proximal, shared="0.")
    scale = torch.zeros((), dtype=torch.float64, device=device)
    x = torch.randn(8, 3, dtype=torch.float64, device=device)
    top = mlo.Problem("scale", lambda v, _: (v["r@2"](x) ** 2).mean(), scale, reads=["r@2"], update=torchopt.sgd(0.1))
    graph = mlo.ProblemGraph([top, *stages])
    before = [torch.get_rng_state()] + ([torch.cuda.get_rng_state()] if device == "cuda" else [])
    first, second = mlo.hypergradient(graph, of="scale"), mlo.hypergradient(graph, of="scale")
    after = [torch.get_rng_state()] + ([torch.cuda.get_rng_state()] if device == "cuda" else [])
    assert torch.equal(first, second)
    assert all(torch.equal(left, right) for left, right in zip(before, after, strict=True))
    reports = list(mlo.Engine(graph).run(3))
    assert all(torch.isfinite(torch.tensor(report.losses["scale"])) for report in reports)
