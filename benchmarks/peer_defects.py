"""Small cases in which other libraries were caught: the truth, ours, and what they answer.

    python benchmarks/peer_defects.py                               every peer that can be imported
    python benchmarks/peer_defects.py --peers FOLDER                and those that were installed into this folder
    python benchmarks/peer_defects.py --peers FOLDER --only B1 O2   some rows
    python benchmarks/peer_defects.py --peers FOLDER --write        write docs/peers.md, benchmarks/peers/theirs.json
    python benchmarks/peer_defects.py --page                        write docs/peers.md anew, from the last record

Each row of a peer runs in a process of its own, so that a crash or a hang is an answer and not an end. How to install
the peers is on the page.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.peers import page  # noqa: E402
from benchmarks.peers.record import LETTERS, Defect, Value, show  # noqa: E402
from benchmarks.peers.table import DEFECTS  # noqa: E402
from benchmarks.peers.theirs import MARK  # noqa: E402


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, nargs="*", default=[], help="folders that the peers are installed in")
    parser.add_argument("--only", nargs="+", default=[row.id for row in DEFECTS], metavar="ID", help="rows to run")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one row")
    parser.add_argument("--write", action="store_true", help="write the page and the record")
    parser.add_argument("--page", action="store_true", help="run no peer: write the page from the last record")
    options = parser.parse_args()
    unknown = set(options.only) - {row.id for row in DEFECTS}
    if unknown:
        parser.error(f"no row is called {', '.join(sorted(unknown))}")
    if options.write and len(set(options.only)) < len(DEFECTS):
        parser.error("--write needs all rows: leave out --only")
    return options


def answer(command: list[str], timeout: float, env: dict[str, str]) -> Value:
    """Run a command that prints one value, and say so if it does not."""
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return f"no answer in {timeout:g} s"
    found = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not found:
        return f"ended with status {done.returncode}"
    value = json.loads(found[-1].removeprefix(MARK))
    return tuple(value) if isinstance(value, list) else value


def environment(folders: list[Path]) -> dict[str, str]:
    paths = [str(ROOT), *(str(folder.resolve()) for folder in folders), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), "OMP_NUM_THREADS": "1"}


def main() -> None:
    options = parse()
    if options.page:
        page.write(page.load(), {row.id: row.ours() for row in DEFECTS})
    else:
        run(options)


def run(options: argparse.Namespace) -> None:
    env, chosen = environment(options.peers), [row for row in DEFECTS if row.id in options.only]

    def ask(peer: str, what: str) -> Value:
        return answer([sys.executable, "-m", "benchmarks.peers.theirs", peer, what], options.timeout, env)

    versions = {peer: str(ask(peer, "version")) for peer in LETTERS.values() if any(r.peer == peer for r in chosen)}
    versions = {peer: version for peer, version in versions.items() if version}
    print(f"torch {torch.__version__}; {', '.join(f'{peer} {version}' for peer, version in versions.items())}")
    values: dict[str, Value] = {}
    ours: dict[str, Value] = {}
    for row in chosen:
        ours[row.id] = row.ours()
        if row.peer in versions:
            values[row.id] = ask(row.peer, row.id)
        report(row, ours[row.id], values.get(row.id, page.NOT_RUN))
    if options.write:
        day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        record = page.Run(day, torch.__version__, platform.python_version(), versions, values)
        page.save(record)
        page.write(record, ours)


def report(row: Defect, ours: Value, theirs: Value) -> None:
    print(f"{row.id:5}{row.peer}: {row.what}")
    print(f"     truth {show(row.truth)} | ours {show(ours)} | theirs {show(theirs)}", flush=True)


if __name__ == "__main__":
    main()
