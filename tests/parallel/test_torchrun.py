"""Programs as users start them: by torchrun, with an end that is not that of a test's child."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
import torch, torchopt
import torch.distributed as dist
import mlo

dist.init_process_group("gloo")
rank, calls = dist.get_rank(), 0

def fit(v, batch):
    global calls
    calls += 1
    if calls == 3 and sys.argv[1] == "raises" and rank == 1:
        raise OSError("no such picture")
    if calls == 3 and sys.argv[1] == "waits":
        print("here", flush=True)
        time.sleep(60 if rank else 0)
    return ((v.w - batch) ** 2).mean() * v.a.exp().sum() + (v.w**2).sum()

batches = [torch.randn(4, 2)]
a = mlo.Problem("a", lambda v, b: v.w.sum() + v.a.sum(), torch.zeros(2), reads=["w"], update=torchopt.sgd(0.1))
w = mlo.Problem("w", fit, torch.zeros(2), reads=["a"], update=torchopt.sgd(0.1), batches=batches)
for report in mlo.Engine(mlo.ProblemGraph([a, w])).run(4):
    pass
print("trained on rank", rank, flush=True)
dist.destroy_process_group()
"""
LIMIT = 90.0


GUIDE = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"


@pytest.fixture
def started(tmp_path):
    """Start the program on two ranks; end what is left of it."""
    script, running = tmp_path / "program.py", []
    script.write_text(PROGRAM)

    def start(how):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, how]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
        with open(tmp_path / "output.txt", "w") as output:
            child = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        running.append(child)
        return child, tmp_path / "output.txt"

    yield start
    for child in running:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def test_a_rank_that_raises_ends_the_program_with_its_message(started):
    child, output = started("raises")
    assert child.wait(LIMIT) != 0
    text = output.read_text()
    assert "OSError: no such picture" in text
    assert "on rank 1 of 2" in text
    assert "trained on rank" not in text
    # The agent ends the other rank as soon as one has ended; what it is told until then, it is told right.
    assert "RankError" not in text or "rank 1 failed with OSError: no such picture" in text


def test_control_c_ends_all_ranks(started):
    child, output = started("waits")
    end = time.monotonic() + LIMIT
    while output.read_text().count("here") < 2 and time.monotonic() < end:
        time.sleep(0.1)
    asked = time.monotonic()
    os.killpg(child.pid, signal.SIGINT)  # what a terminal does: every process of the group gets it
    assert child.wait(LIMIT) != 0
    assert time.monotonic() - asked < 40.0
    assert "trained on rank" not in output.read_text()


def test_the_program_of_the_guide_prints_the_same_on_any_number_of_ranks(tmp_path):
    (program,) = re.findall(r"^```py\n(# train\.py\n.*?)^```", GUIDE.read_text(), flags=re.MULTILINE | re.DOTALL)
    script = tmp_path / "train.py"
    script.write_text(program)
    printed = []
    for count in ("1", "3"):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count, script]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LIMIT, check=True)
        printed.append(re.search(r"ranks: (validation loss \S+)", ended.stdout)[1])
    assert printed[0] == printed[1]
    assert printed[0] in GUIDE.read_text()
