"""The hypergradient's two parts, each clipped to its own length: against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torchopt

import mlo

RATE = 0.5
Z = torch.tensor([3.0, 4.0], dtype=torch.float64)


def engine(clip, *, reads=True, direct=True, learn=1.0):
    """One step of SGD on |w - z|^2 / 2 from 0 gives w = RATE z.

    With F = <z, d> + <w, e> the direct part is d and the response part RATE e.
    """
    d, e = torch.tensor([0.0, 2.0], dtype=torch.float64), torch.tensor([6.0, 8.0], dtype=torch.float64)

    def upper(v, _):
        own = (v.z * d).sum() if direct else 0.0 * v.z.sum().detach()
        return own + ((v.w * e).sum() if reads else 0.0)

    lower = mlo.Problem(
        "w", lambda v, _: ((v.w - v.z) ** 2).sum() / 2, torch.zeros(2).double(), reads=["z"], update=torchopt.sgd(RATE)
    )
    top = mlo.Problem("z", upper, Z, reads=["w"] if reads else [], update=torchopt.sgd(learn))
    return mlo.Engine(mlo.ProblemGraph([top, lower] if reads else [top]), clip=clip)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (None, [3.0, 6.0]),  # d + RATE e
        (mlo.ClipParts(direct=1.0), [3.0, 5.0]),
        (mlo.ClipParts(response=1.0), [0.6, 2.8]),
        (mlo.ClipParts(direct=1e-9, response=2.5), [1.5, 2.0 + 1e-9]),
        (mlo.ClipParts(direct=2.0, response=5.0), [3.0, 6.0]),  # at the limit
        (mlo.ClipParts(direct=10.0, response=50.0), [3.0, 6.0]),
    ],
)
def test_each_part_is_clipped_to_its_length(clip, expected):
    one = engine(clip)
    report = one.step()
    torch.testing.assert_close(Z - one.values["z"], torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=1e-14)
    assert report.norms["z"] == pytest.approx(math.hypot(*expected), rel=1e-14)
    if clip is None:
        assert report.parts is None
    else:
        assert report.parts == pytest.approx((2.0, 5.0), rel=1e-14)


def test_a_part_that_is_not_there_is_zero():
    one = engine(mlo.ClipParts(direct=1.0), reads=False)
    assert one.step().parts == (2.0, 0.0)
    torch.testing.assert_close(Z - one.values["z"], torch.tensor([0.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-14)
    other = engine(mlo.ClipParts(response=1.0), direct=False)
    assert other.step().parts == pytest.approx((0.0, 5.0), rel=1e-14)
    torch.testing.assert_close(Z - other.values["z"], torch.tensor([0.6, 0.8], dtype=torch.float64), rtol=0, atol=1e-14)


def test_a_part_of_length_zero_stays_so():
    x = torch.zeros(2, dtype=torch.float64)
    top = mlo.Problem("x", lambda v, _: (v.x**2).sum(), x, update=torchopt.sgd(1.0))
    one = mlo.Engine(mlo.ProblemGraph([top]), clip=mlo.ClipParts(direct=1.0))
    assert one.step().parts == (0.0, 0.0)
    assert torch.equal(one.values["x"], x)


def test_frozen_steps_have_no_parts():
    assert engine(mlo.ClipParts(direct=1.0)).step(frozen=True).parts is None


def test_what_clips_nothing_is_refused():
    with pytest.raises(mlo.ConfigError, match="ClipParts: nothing is clipped"):
        mlo.ClipParts()
    for wrong in (0.0, -1.0, math.nan, math.inf, "1"):
        with pytest.raises(mlo.ConfigError, match="ClipParts: response must be positive and finite"):
            mlo.ClipParts(response=wrong)
    with pytest.raises(mlo.ConfigError, match=r"Engine: clip must be an mlo.ClipParts"):
        engine(1.0)
