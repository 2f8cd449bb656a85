"""The door to torchvision: it opens under any torch, and stands back where nothing is to be done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from applications.nas.data import _vision
from applications.nas.data._vision import declare_missing_operators, load_torchvision
from mlo import ConfigError

FRESH = """
import sys
import applications.nas.data as data
data.digits_tasks(0)
assert not any(name.split(".")[0] in ("torchvision", "matplotlib") for name in sys.modules), "imported too early"
from applications.nas.data._vision import load_torchvision
vision = load_torchvision()
import torch
assert hasattr(torch.ops.torchvision, "nms")
assert vision.datasets.CIFAR10 and vision.transforms.functional.hflip(torch.ones(3, 2, 2)).shape == (3, 2, 2)
"""


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Schemas that would be declared, with torch's registry left as it is."""
    schemas: list[str] = []

    class Recorder:
        def __init__(self, namespace: str, kind: str) -> None:
            assert (namespace, kind) == ("torchvision", "FRAGMENT")

        def define(self, schema: str) -> None:
            schemas.append(schema)

    monkeypatch.setattr(torch.library, "Library", Recorder)
    monkeypatch.setattr(_vision, "_KEPT", [])
    return schemas


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "_C.so").touch()
    return tmp_path


def fail(path: str) -> None:
    raise OSError(f"{path}: libcudart.so: cannot open shared object file")


def test_nothing_is_done_where_the_operators_are_registered(
    folder: Path, declared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_vision, "_missing", lambda: ())
    assert declare_missing_operators(folder, fail) == ()
    assert declared == []


@pytest.mark.parametrize("name", ["_C.so", "_C_stable.so", "_C.cpython-311-x86_64-linux-gnu.so", "_C.pyd"])
def test_nothing_is_declared_where_real_kernels_load(
    tmp_path: Path, name: str, declared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_vision, "_missing", lambda: ("nms", "qnms"))
    (tmp_path / name).touch()
    loaded: list[str] = []
    assert declare_missing_operators(tmp_path, loaded.append) == ()
    assert (loaded, declared) == ([str(tmp_path / name)], [])


def test_missing_operators_are_declared_where_no_kernels_load(
    folder: Path, declared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_vision, "_missing", lambda: ("nms", "qnms"))
    assert declare_missing_operators(folder, fail) == ("nms", "qnms")
    assert [schema.split("(")[0] for schema in declared] == ["nms", "qnms"]
    assert len(_vision._KEPT) == 1, "a library that is collected takes its definitions back"


def test_second_call_declares_nothing() -> None:
    folder = Path(str(load_torchvision().__file__)).parent
    assert declare_missing_operators(folder, torch.ops.load_library) == ()


def test_fresh_process_needs_torchvision_only_on_request() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FRESH],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_missing_torchvision_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_vision.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(ConfigError, match="install the version that matches torch"):
        load_torchvision()


def test_normalizing_equals_torchvision() -> None:
    from applications.nas.data import Batches, Images

    images = Images(torch.randint(256, (8, 3, 5, 5), dtype=torch.uint8), torch.arange(8))
    mean, std = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
    ((x, _),) = Batches(images, size=8, seed=0, mean=mean, std=std, shuffle=False)
    functional = load_torchvision().transforms.functional
    assert x.equal(functional.normalize(images.pixels.float() / 255, list(mean), list(std)))
