"""Data folders in any state: a task and its batches, or an error that names the file or the folder."""

from __future__ import annotations

import gzip
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from applications.nas.settings import CifarData, Data, FashionData, FolderData, ImageNetData
from applications.nas.tasks import load_tasks
from tests.fuzz.harness import attempt, cases, scratch
from tests.fuzz.image_trees import build, trees

RAW = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def read_all(data: Data) -> int:
    """Load the tasks, and read all batches of all parts."""
    count = 0
    for task in load_tasks(data, 0):
        assert task.split_record()
        for part in ("train", "valid", "test"):
            stream = task.stream(part, size=2, seed=0, device="cpu", training=part != "test", workers=0)
            count += sum(len(x) for x, _ in stream)
    return count


@cases("data folders", 0.5)
@given(st.data())
def test_folders_in_memory(data: st.DataObject) -> None:
    files = data.draw(trees(("train", "test")))
    side = data.draw(st.sampled_from([None, 8, 1]))
    split = data.draw(st.sampled_from(["halves", "halves", "ablation"]))
    subset = data.draw(st.sampled_from([None, None, 2, 1, 10**9]))
    with scratch() as folder:
        build(folder / "root", files)
        asked = FolderData((folder / "root",), side=side, split=split, subset=subset)
        found, _ = attempt("data folders", lambda: read_all(asked))
        assert found is None or found > 0


@cases("data folders", 0.35)
@given(st.data())
def test_files_that_are_decoded_when_needed(data: st.DataObject) -> None:
    large = data.draw(st.booleans())
    files = data.draw(trees(("train", "val" if large else "test")))
    with scratch() as folder:
        build(folder / "root", files)
        asked: Any = FolderData((folder / "root",), side=8, lazy=True)
        if large:
            asked = ImageNetData(folder / "root", side=8, train_share=0.5, valid_share=0.5, workers=0)
        attempt("data folders", lambda: read_all(asked))


@cases("data folders", 0.15)
@given(st.data())
def test_original_files_that_are_not_what_they_should_be(data: st.DataObject) -> None:
    """Only the authors' own files pass: torchvision compares checksums, and sizes are compared here."""
    with scratch() as folder:
        kind = data.draw(st.sampled_from(["cifar", "mnist"]))
        names = {"cifar": ["cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/batches.meta"], "mnist": []}[kind]
        names += [f"FashionMNIST/raw/{name}" for name in RAW if kind == "mnist"]
        for name in names:
            content = data.draw(
                st.binary(max_size=40) | st.just(b"\x80\x04\x95") | st.just(b"\0\0\x08\x03" + bytes(12))
            )
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            if data.draw(st.integers(0, 4)) == 0:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content)[: data.draw(st.integers(0, 60))])
        asked: Any = CifarData(folder) if kind == "cifar" else FashionData(folder)
        _, refused = attempt("data folders", lambda: read_all(asked))
        assert refused is not None
