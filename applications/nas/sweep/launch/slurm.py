"""Jobs of a Slurm cluster, by submitit."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from applications.nas.sweep.launch.call import ClusterCall
from applications.nas.sweep.launch.engine import AbstractEngine, load_submitit, refused
from applications.nas.sweep.launch.place import Claim, Place
from applications.nas.sweep.launch.uninterrupted import uninterrupted
from mlo import ConfigError, MLOError

SLURM = "slurm"
_LARGEST = 1000  # jobs in an array: what Slurm allows unless a cluster says otherwise
_TIMEOUT = 120.0  # seconds for a program of Slurm to answer
_CURES = {
    "OUT_OF_MEMORY": "give --launcher.memory more",
    "TIMEOUT": "give --launcher.hours more",
    "CANCELLED": "resume the sweep to try again",
}
_UNSETTLED = ("", "PENDING", "RUNNING", "COMPLETING", "UNKNOWN")  # accounting may lag behind


def queued() -> set[str]:
    """Return the names of all jobs of this user that wait or run.

    Raises:
        MLOError: If Slurm cannot be asked.
    """
    command = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_TIMEOUT)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise MLOError(f"squeue gave no answer ({' '.join(str(said).split())}): try again where Slurm is") from error
    return set(done.stdout.split())


@final
class SlurmEngine(AbstractEngine):
    """Slurm, to which submitit hands arrays of jobs, and to which it gives back those that lost their place.

    Which jobs are still there is asked of squeue: submitit asks sacct, which many clusters do not offer, and which then
    leaves a job that was killed running for ever.
    """

    def __init__(self, parameters: Mapping[str, Any], *, threads: int, retries: int) -> None:
        """Make an engine.

        Args:
            parameters: What submitit asks of Slurm, under its names for the options of sbatch.
            threads: Of a job.
            retries: How often a job whose time ran out is queued again.

        Raises:
            ConfigError: If submitit or Slurm is not installed.
        """
        self._submitit = load_submitit(SLURM)
        for program in ("sbatch", "srun", "squeue", "scancel"):
            if shutil.which(program) is None:
                cure = "run it where jobs are submitted, or take launcher:submitit-local"
                raise ConfigError(f"launcher:{SLURM}: there is no {program} here: {cure}")
        self._parameters, self._threads, self._retries = dict(parameters), threads, retries
        self._alive: set[str] | None = None
        self._asked = 0.0

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return SLURM

    @property
    def here(self) -> bool:
        """Whether jobs run on this machine: on others, perhaps with GPUs that this one lacks."""
        return False

    @property
    def threads(self) -> int:
        """Threads of a job."""
        return self._threads

    @property
    def pause(self) -> float:
        """Seconds between two looks at the files of the jobs."""
        return 3.0

    @property
    def patience(self) -> float:
        """Seconds for which a file may not be seen here yet, as on a network file system."""
        return 60.0

    @property
    def period(self) -> float:
        """Seconds between two questions to Slurm."""
        return 30.0

    def room(self, running: int) -> int:
        """Return how many more jobs it takes: one array at a time, so that its limit holds for all jobs."""
        return 0 if running else _LARGEST

    def submit(self, calls: Sequence[ClusterCall], logs: Path) -> list[str]:
        """Take jobs; see `AbstractEngine.submit`."""
        if "%" in str(logs):
            raise ConfigError(f"launcher:{SLURM}: Slurm replaces the % in {logs}: name another folder with --out")
        executor = self._submitit.SlurmExecutor(logs, max_num_timeout=self._retries)
        executor.update_parameters(**self._parameters)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what the error holds, too
                jobs = executor.submit_array(calls)
        except (OSError, RuntimeError) as error:
            raise refused(self.name, error) from error
        self._alive = None
        return [str(job.job_id) for job in jobs]

    def alive(self, names: Collection[str]) -> Collection[str]:
        """Return the jobs that Slurm lists; all of them while it cannot be asked."""
        now = time.monotonic()
        if self._alive is None or now > self._asked + self.period:
            self._asked = now
            try:
                self._alive = queued()
            except MLOError:
                self._alive = set(names)
        return self._alive.intersection(names)

    def cancel(self, claims: Sequence[tuple[Place, Claim]]) -> None:
        """End jobs, whether they wait or run."""
        names = [claim.job for _, claim in claims if claim.job]
        with uninterrupted():
            for first in range(0, len(names), 100):
                with contextlib.suppress(OSError, subprocess.SubprocessError):  # they may have ended
                    command = ["scancel", *names[first : first + 100]]
                    subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT)

    def fault(self, name: str) -> tuple[str, str]:
        """Return the state in which Slurm saw a job end, and what to do about it."""
        state = ""
        if name and shutil.which("sacct") is not None:
            job = self._submitit.SlurmJob(folder=".", job_id=name)
            state = str(job.get_info(mode="force").get("State", "")).split(" ")[0]
        cure = _CURES.get(state, "see why there, and resume the sweep to try again")
        known = state not in _UNSETTLED
        return (f" (Slurm says {state})" if known else ""), cure
