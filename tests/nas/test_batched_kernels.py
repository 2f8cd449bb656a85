"""The parts of the batched supernet that are computed in another way: derivatives of depthwise convolutions, and norms.

All are compared with torch's own in float64, where both differ by rounding alone.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import grad, gradcheck, gradgradcheck
from torch.nn.functional import batch_norm, conv2d

from applications.nas.networks.batched.depthwise import depthwise
from applications.nas.networks.batched.kernels import Form, convolve
from applications.nas.networks.batched.normed import normed

FORMS = [Form(3), Form(5), Form(7), Form(3, 2), Form(5, 2), Form(7, 2), Form(3, 1, 2), Form(5, 1, 2)]
SIZES = [(8, 8), (7, 9), (6, 4), (2, 2), (1, 1)]


def draw(*shape: int) -> Tensor:
    values = torch.randn(*shape, dtype=torch.float64)
    return (values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values).requires_grad_()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_derivatives_of_first_and_second_order(form: Form, size: tuple[int, int]) -> None:
    """Second order: of a product with the first derivatives, in input, weight and the gradient of the output."""
    torch.manual_seed(0)
    x, weight = draw(2, 3, *size), draw(3, 1, form.kernel, form.kernel)
    outs = [depthwise(x, weight, form), convolve(x, weight, form)]
    seed, along = draw(*outs[0].shape), (draw(*x.shape).detach(), draw(*weight.shape).detach())
    first = [grad(out, (x, weight), seed, create_graph=True) for out in outs]
    second = [grad(pair, (x, weight, seed), along) for pair in first]
    for ours, theirs in zip(*([out, *a, *b] for out, a, b in zip(outs, first, second, strict=True)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_derivatives_under_function_transforms() -> None:
    """`vmap` of `grad` agrees with a loop."""
    torch.manual_seed(0)
    form, weight, images = Form(5, 1, 2), draw(3, 1, 5, 5).detach(), draw(4, 3, 8, 8).detach()

    def energy(weight: Tensor, image: Tensor) -> Tensor:
        return depthwise(image[None], weight, form).square().sum()

    together = torch.vmap(torch.func.grad(energy), in_dims=(None, 0))(weight, images)
    for image, found in zip(images, together, strict=True):
        torch.testing.assert_close(found, torch.func.grad(energy)(weight, image), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_normed_convolution(training: bool, scaled: bool) -> None:
    torch.manual_seed(0)
    x, weight, scale = draw(3, 6, 4, 5), draw(6, 2, 1, 1), draw(6) if scaled else None
    inputs = [one for one in (x, weight, scale) if one is not None]
    remembered = [[torch.full((6,), 0.5, dtype=torch.float64) for _ in range(2)] for _ in range(2)]
    outs = [
        normed(x, weight, scale, *remembered[0], training=training),
        batch_norm(conv2d(x, weight, groups=3), *remembered[1], scale, None, training, 0.1, 1e-5),
    ]
    seed, along = draw(*outs[0].shape), [draw(*one.shape).detach() for one in inputs]
    first = [grad(out, inputs, seed, create_graph=True) for out in outs]
    second = [grad(part, [*inputs, seed], along) for part in first]
    pairs = ([out, *a, *b, *r] for out, a, b, r in zip(outs, first, second, remembered, strict=True))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_only_what_a_derivative_needs_is_kept() -> None:
    """With fixed weights, as in a gradient in the architecture, a depthwise convolution keeps no image."""
    kept: list[Tensor] = []
    x, weight = draw(1, 3, 8, 8), draw(3, 1, 3, 3).detach()
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        depthwise(x * 1, weight, Form(3))
    assert [one.shape for one in kept] == [weight.shape]


@pytest.mark.parametrize("scaled", [True, False])
def test_normed_convolution_by_differences(scaled: bool) -> None:
    """Both orders, with one input that needs a gradient or all; also where nothing depends on the result."""
    torch.manual_seed(0)
    inputs = [draw(2, 4, 2, 3), draw(4, 2, 1, 1), *([draw(4)] if scaled else [])]

    def found(x: Tensor, weight: Tensor, scale: Tensor | None = None) -> Tensor:
        return normed(x, weight, scale, x.new_zeros(4), x.new_ones(4), training=True)

    assert gradcheck(found, inputs)
    for only in (None, *range(len(inputs))):
        chosen = [one if only in (None, place) else one.detach() for place, one in enumerate(inputs)]
        assert gradgradcheck(found, chosen, atol=1e-4)
