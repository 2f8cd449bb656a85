"""Images and targets as tensors: a label out of range, a shape or a type that does not fit, a number that is none."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from applications.nas.data import Augment, Images, Task
from applications.nas.data.two_sets import memory_task
from tests.fuzz.harness import attempt, cases
from tests.fuzz.junk import python_values

TYPES = [
    torch.uint8,
    torch.int64,
    torch.float32,
    torch.float64,
    torch.int32,
    torch.bool,
    torch.float16,
    torch.complex64,
]


@st.composite
def pixels(draw: st.DrawFn) -> Any:
    shape = draw(
        st.sampled_from([(6, 3, 8, 8), (6, 1, 8, 8), (4, 3, 8, 8), (6, 3, 8), (0, 3, 8, 8), (6, 3, 0, 8), (6,), ()])
    )
    made: Tensor = torch.full(shape, draw(st.sampled_from([0, 1, 200]))).to(draw(st.sampled_from(TYPES)))
    if made.is_floating_point() and made.numel() and draw(st.booleans()):
        made.view(-1)[-1] = draw(st.sampled_from([torch.nan, torch.inf, 1e38]))
    return made


@st.composite
def labels(draw: st.DrawFn) -> Any:
    listed = draw(st.lists(st.sampled_from([0, 1, 0, 1, 2, -1, 7, 2**40]), min_size=6, max_size=6))
    length = draw(st.sampled_from([6, 6, 6, 5, 1, 0]))
    return torch.tensor(listed[:length]).to(draw(st.sampled_from([torch.int64] * 4 + TYPES)))


def likely(one: Any, other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 3).flatmap(lambda way: other if way == 0 else st.just(one))


GOOD = torch.arange(6 * 3 * 8 * 8, dtype=torch.float32).view(6, 3, 8, 8)


@cases("arrays", 0.6)
@given(st.data())
def test_sets_of_images(data: st.DataObject) -> None:
    shown = data.draw(likely(GOOD, pixels()))
    targets = data.draw(likely(torch.arange(6) % 2, labels()))
    classes = data.draw(st.sampled_from([("a", "b"), ("a", "b", "c"), ("a",), ()]))
    mean, std = data.draw(st.sampled_from([((0.5,) * 3, (1.0,) * 3), ((0.5,), (1.0,)), ((0.5,) * 3, (0.0,) * 3)]))
    size = data.draw(st.sampled_from([2, 3, 6, 7, 1, 0, -1, 10**12]))

    def read() -> list[tuple[Tensor, Tensor]]:
        images = Images(shown, targets)
        task = Task("t", classes, images, images, images, mean, std, data.draw(st.sampled_from([None, Augment()])))
        return list(task.stream("train", size=size, seed=0, device="cpu", training=True))

    found, _ = attempt("arrays", read)
    assert found is None or all(len(x) == len(y) for x, y in found)


@cases("arrays", 0.4)
@given(st.data())
def test_two_sets_that_are_cut(data: st.DataObject) -> None:
    split = data.draw(st.sampled_from(["halves", "ablation", "file"]) | python_values)
    subset = data.draw(st.sampled_from([None, 1, 2, 3, 10**15, 0, -1]))

    def read() -> Task:
        targets = data.draw(likely(torch.arange(6) % 2, labels()))
        train = Images(GOOD, targets)
        test = Images(data.draw(likely(GOOD, pixels())), torch.arange(6) % 2)
        return memory_task("t", ("a", "b"), train, test, seed=0, split=split, subset=subset)

    attempt("arrays", read)
