"""Damaged and hostile files of tensors in the folders of runs: none that was changed is taken, and none runs code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from applications.nas.retrain.weights_file import load_weights, save_weights
from applications.nas.sealed import _comment, read_sealed, write_sealed
from mlo import DamagedError, DataError, MLOError
from tests.damage import Watch, damaged, flipped_at, headers
from tests.hostile import bombs, hostile_files, torch_zip

FIX = "begin again"
STATE = {
    "step": 3,
    "rows": [{"loss": 0.5, "step": 1.0}, {"loss": float("nan")}],
    "network": {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(2)},
    "half": torch.ones(3, dtype=torch.bfloat16),
    "names": ("a", None, True, 2**70),
}
NETWORK = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def one_line(error: MLOError, file: Path) -> None:
    message = str(error)
    assert "\n" not in message
    assert file.name in message or file.parent.name in message, message


# ---------------------------------------------------------------- files of tensors, with a checksum


def refused(watch: Watch, file: Path) -> None:
    with watch.reading(), pytest.raises(DamagedError) as caught:
        read_sealed(file, FIX)
    one_line(caught.value, file)
    assert str(caught.value).endswith(FIX)


def test_a_damaged_file_of_tensors(tmp_path: Path) -> None:
    file, watch = tmp_path / "state.pt", Watch()
    write_sealed(file, STATE)
    content = file.read_bytes()
    other = tmp_path / "other.pt"
    torch.save(STATE, other)
    for changed in damaged(content, 0, 1500, [other.read_bytes(), *hostile_files().values(), *bombs().values()]):
        file.write_bytes(changed)
        if b"mlo-nas 1 " not in changed[-100:]:  # of another format it may be, and then says so
            refused(watch, file)
            continue
        with watch.reading(), pytest.raises(DamagedError):
            read_sealed(file, FIX)
    for changed in flipped_at(content, [*headers(content), *range(len(content) - 100, len(content))]):
        file.write_bytes(changed)
        refused(watch, file)
    watch.check(least=2000)


def sealed(content: bytes) -> bytes:
    """Return a file with a right checksum, as somebody makes it who wants it to be taken."""
    comment = _comment(content, b"1")
    return content[:-2] + len(comment).to_bytes(2, "little") + comment


def test_a_forged_file_of_tensors(tmp_path: Path) -> None:
    """With a right checksum, nothing is run, and nothing asks for more memory than the file has bytes."""
    file, watch = tmp_path / "state.pt", Watch()
    read_sealed_once(file)
    for content in [*hostile_files().values(), *bombs().values()]:
        file.write_bytes(sealed(content))
        refused(watch, file)
    watch.check(least=140)


def read_sealed_once(file: Path) -> bytes:
    """Write a good file and read it, so that all modules that this takes are imported; return its content."""
    write_sealed(file, STATE)
    read_sealed(file, FIX)
    content = file.read_bytes()
    size = len(content) - content.rfind(b"mlo-nas ")
    return content[: len(content) - size - 2] + b"\0\0"


def test_forged_damage(tmp_path: Path) -> None:
    """Any damage under a right checksum: an error, or tensors and plain data."""
    file, watch, taken = tmp_path / "state.pt", Watch(), 0
    plain = read_sealed_once(file)
    far = torch_zip(b"\x80\x02K\x01r\xff\xff\xff\x7f.")  # a number that is to be remembered at place two billion
    for changed in [
        far,
        *damaged(plain, 1, 700),
        *flipped_at(plain, headers(plain)),
        *flipped_at(plain, range(0, 600), 4),
    ]:
        file.write_bytes(sealed(changed))
        with watch.reading():
            try:
                read_sealed(file, FIX)
                taken += 1
            except DataError as error:
                one_line(error, file)
    watch.check(least=1700)
    assert taken > 20


@pytest.mark.parametrize("state", [{1, 2}, Path("a"), b"bytes", torch.ones(1).expand(5), torch.eye(2).to_sparse()])
def test_what_could_not_be_read_is_not_written(tmp_path: Path, state: Any) -> None:
    with pytest.raises(DataError, match=r"state\.pt: what it was to hold could not be read again"):
        write_sealed(tmp_path / "state.pt", {"a": state})
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(DataError, match=r"more than 64 levels|more parts than bytes"):
        write_sealed(tmp_path / "state.pt", circle)
    assert list(tmp_path.iterdir()) == []


def test_weights(tmp_path: Path) -> None:
    """Of a network: torch reads them without us, and what is damaged is refused and changes nothing."""
    file, watch = tmp_path / "digits-0.pt", Watch()
    save_weights(NETWORK, file)
    content, before = file.read_bytes(), {name: value.clone() for name, value in NETWORK.state_dict().items()}
    plain = torch.load(file, weights_only=True)
    assert all(torch.equal(plain[name], value) for name, value in before.items())
    load_weights(NETWORK, file)
    for changed in damaged(content, 2, 400, hostile_files().values()):
        file.write_bytes(changed)
        with watch.reading(), pytest.raises(DamagedError) as caught:
            load_weights(NETWORK, file)
        one_line(caught.value, file)
    for state in (
        {},
        [1],
        {"0.weight": 1},
        {"0.weight": torch.ones(2)},
        {**before, "more": torch.ones(1)},
        {1: before},
    ):
        write_sealed(file, state)
        with pytest.raises(DataError, match="holds the weights of another network"):
            load_weights(NETWORK, file)
    assert all(torch.equal(NETWORK.state_dict()[name], value) for name, value in before.items())
    watch.check(least=400)
