"""`python -m applications.nas` is `mlo-nas`."""

import os
import sys

from applications.nas.process import keep_memory
from applications.nas.streams import open_streams


def main() -> int:
    """Run the command line of this process; see `applications.nas.cli.main`."""
    open_streams()
    # Threads that spin while they wait make small operations many times slower. OpenMP reads this when torch is first
    # imported, so it is set before anything that imports torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_memory()
    from applications.nas.cli import main as run
    from applications.nas.launch import end_with

    return end_with(run)


if __name__ == "__main__":
    sys.exit(main())
