"""The one door to torchvision.

torchvision registers Python code for its compiled operators while it is imported. Where its compiled library cannot
load (a wheel built for CUDA beside a CPU build of torch), that import fails with "operator torchvision::nms does not
exist", although data sets, transforms and models need none of these operators. So the library is probed first, and
only if it does not load are the two operators declared, without kernels, before torchvision is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch

from mlo import ConfigError

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# A Library takes its definitions back when it is collected, so it has to outlive every use of torchvision.
_KEPT: list[torch.library.Library] = []


def load_torchvision() -> ModuleType:
    """Import torchvision, safely under any build of torch.

    Returns:
        The torchvision package.

    Raises:
        ConfigError: torchvision is not installed.
    """
    if "torchvision" not in sys.modules:
        spec = importlib.util.find_spec("torchvision")
        if spec is None or spec.origin is None:
            raise ConfigError(
                "torchvision is not installed, and this data set is read through it: install the version that matches "
                f"torch {torch.__version__}, or use digits_tasks, which does without"
            )
        declare_missing_operators(Path(spec.origin).parent, torch.ops.load_library)
    return importlib.import_module("torchvision")


def load_transforms() -> ModuleType:
    """Import torchvision's transforms (version 2), as safely.

    Returns:
        The module `torchvision.transforms.v2`.
    """
    load_torchvision()
    return importlib.import_module("torchvision.transforms.v2")


def declare_missing_operators(folder: Path, load: Callable[[str], object]) -> tuple[str, ...]:
    """Declare the operators that torchvision's import refers to, unless they exist or can be loaded.

    Args:
        folder: Where torchvision lies; its compiled library, whatever its version calls it, is `_C*`.
        load: Loads a compiled library by path; raises OSError where that fails.

    Returns:
        The names that were declared; empty where nothing was to be done.
    """
    if not _missing() or _kernels_load(folder, load):
        return ()
    names = _missing()
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in names:
        library.define(_SCHEMAS[name])
    _KEPT.append(library)
    return names


def _missing() -> tuple[str, ...]:
    return tuple(name for name in _SCHEMAS if not hasattr(torch.ops.torchvision, name))


def _kernels_load(folder: Path, load: Callable[[str], object]) -> bool:
    for path in sorted((*folder.glob("_C*.so"), *folder.glob("_C*.pyd"), *folder.glob("_C*.dylib"))):
        try:
            load(str(path))
        except (OSError, ImportError):
            continue
        return True
    return False
