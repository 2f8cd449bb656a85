"""What this machine has no room for is refused before it is made, and told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from applications.nas.cli import main
from applications.nas.networks import room, supernet
from applications.nas.networks.supernet import Supernet
from applications.nas.refusal import as_line, is_refusal
from applications.nas.space.cell import CellSpace
from mlo import ConfigError, DataError

SPACE = CellSpace(nodes=1, primitives=("skip_connect", "sep_conv_3x3"))


def test_weights_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supernet, "_MANY", 0)
    before = torch.get_rng_state()
    plain = Supernet(SPACE, 4, 3, 2)
    drawn = torch.get_rng_state()
    monkeypatch.setattr(supernet, "_MANY", 2**60)
    torch.set_rng_state(before)
    same = Supernet(SPACE, 4, 3, 2)
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), same.parameters(), strict=True))
    assert torch.equal(drawn, torch.get_rng_state()), "the check draws nothing"

    monkeypatch.setattr(supernet, "_MANY", 0)
    monkeypatch.setattr(room, "machine_memory", lambda: 1000.0)
    with pytest.raises(ConfigError, match=r"network: its weights take .* this machine has 0 GB: take fewer channels"):
        Supernet(SPACE, 4, 3, 2)


def test_a_retraining_without_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "retrain digits --cell PDARTS data:digits --channels 90000 --out there"
    assert main(words.split()) == 2
    assert "network: its weights take" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_memory_of_the_machine() -> None:
    assert 1e8 < room.machine_memory() < 1e15


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "memory: there is too little"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes\nmore"), "--batch"),
        (FileNotFoundError(2, "No such file or directory", "a\nb"), r"a\nb: No such file or directory: see that"),
        (DataError("x" * 5000 + ": mend it"), "x ... x"),
    ],
)
def test_errors_of_one_line(error: Exception, told: str) -> None:
    assert is_refusal(error)
    line = as_line(error)
    assert told in line
    assert len(line) < 720
    assert line.isprintable()


def test_a_defect_is_no_refusal() -> None:
    assert not is_refusal(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
