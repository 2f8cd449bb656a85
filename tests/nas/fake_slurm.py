"""As much of Slurm as a sweep needs, on one machine: `python fake_slurm.py PROGRAM ...`, state in $FAKE_SLURM."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

STATE = Path(os.environ["FAKE_SLURM"])
ALIVE = ("PENDING", "RUNNING")


@contextmanager
def alone() -> Iterator[None]:
    """Keep other programs and threads from looking at a state and changing it meanwhile."""
    with (STATE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(name: str, **changes: object) -> None:
    record = read(name) | changes
    aside = STATE / f"{name}.{os.getpid()}.{time.monotonic_ns()}.new"
    aside.write_text(json.dumps(record))
    os.replace(aside, STATE / f"{name}.json")


def read(name: str) -> dict:
    file = STATE / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else {}


def names(asked: list[str]) -> list[str]:
    known = sorted(file.stem for file in STATE.glob("*.json"))
    return [name for name in known if not asked or name in asked or name.split("_")[0] in asked]


def sbatch(words: list[str]) -> None:
    if (STATE / "refuse").exists():
        sys.exit("sbatch: error: invalid partition specified: nope")
    script = Path(words[-1])
    flags = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script.read_text(), flags=re.MULTILINE))
    number = str(100 + len(list(STATE.glob("*.sh"))))
    (STATE / f"{number}.sh").write_text(script.read_text())
    found = re.fullmatch(r"0-(\d+)%(\d+)", shlex.split(flags.get("array", "''"))[0])
    jobs = [f"{number}_{index}" for index in range(int(found[1]) + 1)] if found else [number]
    for name in jobs:
        write(name, state="PENDING")
    command = [sys.executable, "-S", "-E", __file__, "runner", found[2] if found else "1", number, *jobs]
    with Path(os.devnull).open("r+") as null:
        subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)
    print(f"Submitted batch job {number}")


def runner(words: list[str]) -> None:
    """Run the jobs of an array; Slurm's own daemon."""
    limit, number, *jobs = words
    mark = STATE / f"{number}.runner"
    mark.touch()
    with ThreadPoolExecutor(int(limit)) as pool:
        list(pool.map(lambda name: run(number, name), jobs))
    mark.unlink()


def run(number: str, name: str) -> None:
    again = True
    while again:
        with alone():
            if read(name)["state"] == "CANCELLED":
                return
            script = ["bash", str(STATE / f"{number}.sh")]
            job = subprocess.Popen(script, env=environment(name), start_new_session=True)
            write(name, state="RUNNING", group=job.pid)
        code = job.wait()
        with alone():
            again = (STATE / f"{name}.requeue").exists()
            (STATE / f"{name}.requeue").unlink(missing_ok=True)
            if again:
                write(name, state="PENDING")
            elif read(name)["state"] != "CANCELLED":
                write(name, state="COMPLETED" if code == 0 else "OUT_OF_MEMORY" if code == 128 + 9 else "FAILED")


def environment(name: str) -> dict[str, str]:
    """What Slurm tells a job about itself."""
    told = os.environ | {"SLURM_JOB_ID": str(hash(name) % 10**6 + 10**6), "FAKE_NAME": name}
    told |= {"SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    if "_" not in name:
        return told | {"SLURM_JOB_ID": name}
    return told | dict(zip(("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"), name.split("_"), strict=True))


def srun(words: list[str]) -> None:
    output = words[words.index("--output") + 1]
    name = os.environ["FAKE_NAME"]
    array, _, index = name.partition("_")
    for pattern, value in (("%j", name), ("%A", array), ("%a", index), ("%t", "0")):
        output = output.replace(pattern, value)
    command = words[words.index("--output") + 2 :]
    while command[0].startswith("--"):
        command = command[1:]
    (STATE / f"{name}.step").write_text(str(os.getpid()))
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.execvp(command[0], command)


def squeue(words: list[str]) -> None:
    if (STATE / "deaf").exists():
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    assert {"--noheader", "--array", "--format=%i", f"--user={os.getuid()}"} == set(words), words
    print("\n".join(name for name in names([]) if read(name)["state"] in ALIVE))


def sacct(words: list[str]) -> None:
    asked = [words[place + 1] for place, word in enumerate(words) if word == "-j"]
    print("JobID|State|NodeList")
    print("\n".join(f"{name}|{read(name)['state']}|here" for name in names(asked)))


def scancel(words: list[str]) -> None:
    if "--signal" in words:
        step = STATE / f"{words[0]}.step"
        os.kill(int(step.read_text()), getattr(signal, f"SIG{words[words.index('--signal') + 1]}"))
        return
    with alone():
        for name in names(words):
            record = read(name)
            if record["state"] in ALIVE:
                write(name, state="CANCELLED")
                with suppress(KeyError, ProcessLookupError):
                    os.killpg(record["group"], signal.SIGKILL)


def scontrol(words: list[str]) -> None:
    assert words[0] == "requeue", words
    (STATE / f"{words[1]}.requeue").touch()


if __name__ == "__main__":
    programs = (sbatch, srun, squeue, sacct, scancel, scontrol, runner)
    {program.__name__: program for program in programs}[sys.argv[1]](sys.argv[2:])
