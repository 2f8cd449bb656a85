"""Run one row on the library that it is about: `python -m benchmarks.peers.theirs Betty B1` prints its value."""

import importlib
import importlib.metadata
import json
import math
import sys
import warnings
from collections.abc import Callable

from benchmarks.peers.record import Value, failure

PEERS = {  # name: (distribution, import name, a name in it, our adapter)
    "Betty": ("betty-ml", "betty", "__path__", "run_betty_more"),
    "TorchOpt": ("torchopt", "torchopt", "MetaSGD", "run_torchopt"),
    "hypertorch": ("hypertorch", "hypergrad", "CG", "run_hypertorch"),  # another project has this import name, too
    "BOAT": ("boat-torch", "boat_torch", "Problem", "run_boat"),
    "higher": ("higher", "higher", "innerloop_ctx", "run_higher"),
}
MARK = "value: "


def installed(peer: str) -> bool:
    """Tell whether a peer can be imported."""
    _, package, name, _ = PEERS[peer]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return hasattr(importlib.import_module(package), name)
        except ImportError:
            return False


def adapters(peer: str) -> dict[str, Callable[[], Value]]:
    """Return what can be run on a peer, by row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict[str, Callable[[], Value]] = importlib.import_module(f"benchmarks.peers.{PEERS[peer][-1]}").THEIRS
    return found


def value_of(peer: str, row: str) -> Value:
    """Return what the peer answers; an error counts as an answer."""
    run = adapters(peer)[row]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return spelled(run())
        except Exception as error:  # whatever a library raises is what the row shows
            return failure(error)


def spelled(value: Value) -> Value:
    """Return a value in which NaN and infinity, which JSON does not know, are words."""
    if isinstance(value, tuple):
        return tuple(spelled(part) for part in value)  # type: ignore[misc]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def version_of(peer: str) -> str:
    """Return the installed version, or that it has none."""
    try:
        return importlib.metadata.version(PEERS[peer][0])
    except importlib.metadata.PackageNotFoundError:
        return "from its repository"


def main() -> None:
    peer, row = sys.argv[1:]
    if row == "version":
        print(MARK + json.dumps(version_of(peer) if installed(peer) else ""))
    else:
        print(MARK + json.dumps(value_of(peer, row)))


if __name__ == "__main__":
    main()
