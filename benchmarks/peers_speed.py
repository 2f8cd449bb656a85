"""The same hypergradients by other libraries: time, operations, memory, and error against a float64 truth.

    python benchmarks/peers_speed.py --peers .peers     with the libraries installed there, as docs/peers.md says
    python benchmarks/peers_speed.py                    those that can be imported (TorchOpt always)

The problem is `deep` of `floor_problems.py`: 188,730 weights in 60 tensors, 64 weighted examples. Each library runs in
a process of its own, where it and ours take turns in every round: its time is the median ratio to ours in the same
round, with lowest and highest. Time, counts and memory are in float32; errors in float64, against the derivative
through the steps, or the implicit one with its linear system solved to rounding. For the solvers also with ten times
as many steps: a method that is right gets there.

A library that is not installed keeps what was stored, with its date.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.counting import Counts, counted
from benchmarks.floor_by_hand import SOLVER_STEPS
from benchmarks.floor_rows import RULES
from benchmarks.peer_defects import ROOT, environment
from benchmarks.peers import speed
from benchmarks.peers.record import failure
from benchmarks.peers.theirs import MARK, PEERS, installed, version_of
from benchmarks.rounds import interleaved, over, store

SOLVED = ("cg", "neumann")
WRONG = 0.01
"""A relative error from which on an answer is called wrong, if more steps of a solver do not mend it."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, nargs="*", default=[], help="folders that the libraries are installed in")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of timing")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one library")
    parser.add_argument("--child", choices=list(PEERS), help=argparse.SUPPRESS)
    return parser.parse_args()


def off(found: Tensor, truth: Tensor) -> float:
    """Return |found - truth| / |truth|."""
    return float((found - truth).norm() / truth.norm())


def contenders(peer: str, task: Any, solver_steps: int = SOLVER_STEPS) -> list[speed.Contender]:
    module = importlib.import_module(f"benchmarks.peers.speed_{peer.lower()}")
    made: list[speed.Contender] = speed.silent(lambda: module.contenders(task, solver_steps))()
    return made


def errors(peer: str) -> list[dict[str, Any]]:
    """Return the errors of a library's rows, in float64."""
    torch.set_default_dtype(torch.float64)
    task = speed.problem()
    truths = {rule: speed.truth(task, rule) for rule in RULES}
    longer = contenders(peer, task, 10 * SOLVER_STEPS)
    found = []
    for one, more in zip(contenders(peer, task), longer, strict=True):
        row = {"rule": one.rule, "label": one.label, "error": off(answer(one), truths[one.rule])}
        row["solved"] = off(answer(more), truths[one.rule]) if one.rule in SOLVED else row["error"]
        found.append(row)
    return found


def answer(one: speed.Contender) -> Tensor:
    return one.gradient(speed.silent(one.act)())


def costs(peer: str, rounds: int) -> list[dict[str, Any]]:
    """Return time, counts and memory of a library's rows beside ours, in float32."""
    torch.set_default_dtype(torch.float32)
    task, found = speed.problem(), []
    for one in contenders(peer, task):
        act = speed.silent(one.act)
        act()
        ours = speed.ours(task, one.rule, outer_step=one.outer_step)
        counts = {"theirs": taken(act), "ours": taken(ours)}
        seconds = interleaved({"ours": ours, "theirs": act}, rounds)
        found.append(
            {
                "counts": {name: value.as_dict() for name, value in counts.items()},
                "time over ours": over(seconds["theirs"], seconds["ours"]),
                "against": "step" if one.outer_step else "hypergradient",
            }
        )
    return found


def taken(act: Any) -> Counts:
    return counted(act, memory=True)[1]


def child(peer: str, rounds: int) -> dict[str, Any]:
    """Return all rows of a library, or why there are none."""
    if not installed(peer):
        return {"version": "", "rows": [], "note": "not installed"}
    about = {"version": version_of(peer), "rounds": rounds, "clock": "process_time"}
    try:
        rows = [{**error, **cost} for error, cost in zip(errors(peer), costs(peer, rounds), strict=True)]
    except Exception as error:  # whatever a library raises is what the row shows
        return {**about, "rows": [], "note": failure(error)}
    return {**about, "rows": rows, "note": ""}


def ask(peer: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run a library in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peers_speed", "--child", peer, "--rounds", str(options.rounds)]
    env = environment(options.peers)
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=options.timeout)
    except subprocess.TimeoutExpired:
        return {"version": "", "rows": [], "note": f"no answer in {options.timeout:g} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not lines:
        return {"version": "", "rows": [], "note": f"ended with status {done.returncode}"}
    found: dict[str, Any] = json.loads(lines[-1].removeprefix(MARK))
    return found


def is_wrong(row: dict[str, Any]) -> bool:
    """Tell whether a row's answer is wrong: off, and not for want of steps (NaN is wrong)."""
    return not row["solved"] <= WRONG


def show(peer: str, found: dict[str, Any]) -> None:
    print(f"{peer} {found['version']} {found['note']}")
    for row in found["rows"]:
        theirs, ours = row["counts"]["theirs"], row["counts"]["ours"]
        spent, wrong = "{median:.2f} ({low:.2f} to {high:.2f})".format(**row["time over ours"]), "WRONG" * is_wrong(row)
        operations, products = (
            f"{theirs['operations']}/{ours['operations']}",
            f"{theirs['products']}/{ours['products']}",
        )
        figures = f"{operations:>14}{products:>11}{theirs['syncs']:5}{theirs['peak'] / ours['peak']:7.2f}"
        errors_shown = f"{row['error']:9.1e}{row['solved']:9.1e} {wrong}"
        print(f"  {row['rule']:11}{row['label']:20}{spent:>22}{figures}{errors_shown}", flush=True)


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    if options.child:
        print(MARK + json.dumps(child(options.child, options.rounds)))
        return
    print("time, operations, products over ours; looks; peak over ours; error, with ten times the steps")
    for peer in PEERS:
        found = ask(peer, options)
        show(peer, found)
        if found["rows"] and options.rounds:
            store("peers_speed", peer, found)
    torch.set_default_dtype(torch.float64)
    task = speed.problem()
    errors_of_ours = {rule: off(speed.by_mlo(task, rule), speed.truth(task, rule)) for rule in RULES}
    print("mlo", {rule: f"{error:.1e}" for rule, error in errors_of_ours.items()})
    store("peers_speed", "mlo", {"errors": errors_of_ours})


if __name__ == "__main__":
    main()
