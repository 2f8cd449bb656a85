"""A cell that grows over the epochs of a search: runs `mlo-nas search digits` and keeps its pictures; some minutes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from style import FIGURES

KEPT = {"evolution.gif": "cell-evolution.gif", "weights.svg": "cell-weights.svg", "graph.svg": "search-graph.svg"}


def main() -> None:
    """Search, and keep the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        subprocess.run([sys.executable, "-m", "applications.nas", "search", "digits", "--out", str(run)], check=True)
        for made, name in KEPT.items():
            print(shutil.copyfile(run / made, FIGURES / name))


if __name__ == "__main__":
    main()
