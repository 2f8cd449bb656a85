"""What a run was run with: versions, hardware, the state of the source, the command; no names of users or folders."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import mlo
from applications.nas import launch

_PACKAGES = ("torch", "torchopt", "torchvision", "numpy", "scikit-learn", "matplotlib", "tensorboard")
_SECONDS = 10


def environment() -> dict[str, str | int]:
    """Describe this process and its machine.

    Returns:
        Plain data: versions of Python and of the packages that matter, "system", "machine", "cpu", "cpus", "threads"
        (those that torch uses), "deterministic" (whether torch takes deterministic algorithms alone: "on" or "off"),
        "gpu", "gpus", "driver", "cuda", "commit" (of the checkout, or "none"), "command" (without the places of
        folders outside the working one; with `torchrun`, if that started it), "started" (in UTC).
    """
    found: dict[str, str | int] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found |= {
        "mlo-torch": mlo.__version__,
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpus": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "deterministic": "on" if torch.are_deterministic_algorithms_enabled() else "off",
        **_gpu(),
        "commit": commit(Path(__file__).parent),
        "command": command_line(sys.argv, Path.cwd(), Path.home(), launch.started_by()),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return found


def commit(place: Path) -> str:
    """Return the git commit that the source in a folder belongs to, marked if it has been changed since.

    Args:
        place: A folder with Python files.

    Returns:
        The commit's hash, "HASH, changed since", or "none" if these files are not under version control.
    """
    # An installed copy may lie in a foreign repository, in an environment of its own: git does not know its files.
    if not _ask("git", "-C", str(place), "ls-files", "__init__.py"):
        return "none"
    head = _ask("git", "-C", str(place), "rev-parse", "HEAD")
    changed = _ask("git", "-C", str(place), "status", "--porcelain", "--untracked-files=no")
    return f"{head}, changed since" if head and changed else head or "none"


def command_line(words: Sequence[str], working: Path, home: Path, launcher: Sequence[str] = ()) -> str:
    """Return a command as one would type it, without telling where things lie on this machine.

    Args:
        words: The words of the process, the program first.
        working: The working directory; paths below it become relative.
        home: The home of the user; paths below it begin with ~. Of any other absolute path only the last part is left.
        launcher: The words of `torchrun` and its options, if that started the process.
    """
    program, *rest = words or [""]
    name = Path(program).name
    if launcher:
        start = [
            *launcher,
            *(["-m", "--", "applications.nas"] if name == "__main__.py" else ["--no-python", "--", name]),
        ]
    else:
        start = ["python", "-m", "applications.nas"] if name == "__main__.py" else [name]
    return shlex.join([*start, *(_hide(word, working, home) for word in rest)])


def _hide(word: str, working: Path, home: Path) -> str:
    """Shorten a word that is an absolute path, or an option that is given one, as in --out=/a/b."""
    option, equals, value = word.partition("=")
    if equals and Path(value).is_absolute():
        return f"{option}={_hide(value, working, home)}"
    path = Path(word)
    if not path.is_absolute():
        return word
    if path.is_relative_to(working) and working != Path(working.anchor):
        return str(path.relative_to(working))
    if path.is_relative_to(home) and home != Path(home.anchor):
        return str("~" / path.relative_to(home))
    return f".../{path.name}"


def _cpu() -> str:
    """Return the processor's name; Python knows it on some systems only."""
    try:
        listing = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        listing = ""
    named = re.search(r"^model name\s*:\s*(.+)$", listing, flags=re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def _gpu() -> dict[str, str | int]:
    if not torch.cuda.is_available():
        return {"gpu": "none", "gpus": 0, "driver": "none", "cuda": torch.version.cuda or "none"}
    driver = _ask("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[0]
    return {
        "gpu": torch.cuda.get_device_name(),
        "gpus": torch.cuda.device_count(),
        "driver": driver or "unknown",
        "cuda": torch.version.cuda or "unknown",
    }


def _ask(*words: str) -> str:
    """Return what a program prints; nothing if it is not there, fails, or takes too long."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
