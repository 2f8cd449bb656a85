"""Where the points of a sweep run, as the command line asks for it."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from applications.nas.sweep.launch.base import AbstractLauncher
from applications.nas.sweep.launch.cluster import ClusterLauncher
from applications.nas.sweep.launch.local import LocalLauncher
from applications.nas.sweep.launch.slurm import SlurmEngine
from applications.nas.sweep.launch.submitit_local import SubmititLocalEngine
from applications.nas.typed import check_types
from mlo import ConfigError

_LEAST = 0.05  # hours: Slurm warns 90 seconds before the end


@dataclass(frozen=True)
class AbstractLaunching(ABC):
    """A request for a launcher."""

    def __post_init__(self) -> None:
        """Check the types."""
        check_types("launcher", self)

    @abstractmethod
    def launcher(self, workers: int, name: str) -> AbstractLauncher:
        """Make the launcher.

        Args:
            workers: Points at a time on this machine.
            name: Of the sweep.

        Raises:
            ConfigError: If something is not sound, or not installed.
        """

    @abstractmethod
    def words(self, workers: int) -> str:
        """Say what will be launched.

        Args:
            workers: Points at a time on this machine.

        Raises:
            ConfigError: If something is not sound.
        """


@dataclass(frozen=True)
class Local(AbstractLaunching):
    """Worker processes of this program, one thread each; they end with it."""

    def launcher(self, workers: int, name: str) -> AbstractLauncher:
        """Make the launcher; see `AbstractLaunching.launcher`."""
        return LocalLauncher(_positive(workers))

    def words(self, workers: int) -> str:
        """Say what will be launched."""
        return f"{_positive(workers)} at a time, in worker processes of this program"


@dataclass(frozen=True)
class SubmititLocal(AbstractLaunching):
    """Processes of this machine, one thread each, that go on if this program dies; by submitit."""

    gpus: tuple[int, ...] = ()
    """Numbers of the GPUs to use; each point gets the one that fewest others use. Left out: no GPU."""

    def launcher(self, workers: int, name: str) -> AbstractLauncher:
        """Make the launcher; see `AbstractLaunching.launcher`."""
        self._check()
        return ClusterLauncher(SubmititLocalEngine(_positive(workers), self.gpus))

    def words(self, workers: int) -> str:
        """Say what will be launched."""
        self._check()
        gpus = f", on the GPUs {', '.join(map(str, self.gpus))}" if self.gpus else ""
        return f"{_positive(workers)} at a time, in processes of this machine by submitit{gpus}"

    def _check(self) -> None:
        if any(gpu < 0 for gpu in self.gpus) or len(set(self.gpus)) < len(self.gpus):
            raise ConfigError(f"launcher.gpus: {self.gpus} are no numbers of GPUs: give each once, from 0 on")


@dataclass(frozen=True)
class Slurm(AbstractLaunching):
    """Jobs of a Slurm cluster, one for each point; by submitit."""

    partition: str = ""
    """Of the cluster; left out: its own choice, as with all that is left out."""
    hours: float = 24.0
    """Time limit of a point."""
    gpus: int = 0
    """GPUs of a point; a search uses one."""
    cpus: int = 1
    """Processors of a point, and threads of torch."""
    memory: float = 0.0
    """Of a point, in GB; 0: the cluster's own choice."""
    array: int = 16
    """Points at a time."""
    retries: int = 1
    """How often a point whose time ran out begins again; what is finished of it, such as its search, is kept."""
    account: str = ""
    """Who pays."""
    qos: str = ""
    """Quality of service."""
    constraint: str = ""
    """Features that a machine must have."""
    setup: tuple[str, ...] = ()
    """Shell commands that a job begins with, such as "module load cuda"."""

    def launcher(self, workers: int, name: str) -> AbstractLauncher:
        """Make the launcher; see `AbstractLaunching.launcher`."""
        self._check(workers)
        parameters = dict(self._parameters(name))
        return ClusterLauncher(SlurmEngine(parameters, threads=self.cpus, retries=self.retries))

    def words(self, workers: int) -> str:
        """Say what will be launched."""
        self._check(workers)
        parts = [f"{self.hours:g} h", f"{self.cpus} CPU", *([f"{self.gpus} GPU"] if self.gpus else [])]
        parts += [f"{self.memory:g} GB"] if self.memory else []
        named = ("partition", "account", "qos", "constraint")
        parts += [f"{name} {getattr(self, name)}" for name in named if getattr(self, name)]
        return f"{self.array} at a time, as jobs of Slurm; each {', '.join(parts)}"

    def _check(self, workers: int) -> None:
        if workers != 1:
            raise ConfigError("sweep: --workers counts processes of this machine: give --launcher.array for Slurm")
        for name, least in (("hours", _LEAST), ("gpus", 0), ("cpus", 1), ("memory", 0), ("array", 1), ("retries", 0)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise ConfigError(f"launcher.{name} must be at least {least:g}, got {value:g}")
        for name in ("partition", "account", "qos", "constraint"):
            if "\n" in getattr(self, name):
                raise ConfigError(f"launcher.{name} holds two lines: give one")

    def _parameters(self, name: str) -> Iterator[tuple[str, Any]]:
        """Yield what submitit asks of Slurm, under its names for the options of sbatch."""
        yield "job_name", re.sub(r"[^A-Za-z0-9._=,+-]+", "-", f"mlo-nas-{name}")
        yield "time", math.ceil(60 * self.hours)
        yield "cpus_per_task", self.cpus
        yield "nodes", 1
        yield "ntasks_per_node", 1
        yield "array_parallelism", self.array
        yield "stderr_to_stdout", True
        yield "srun_args", [f"--cpus-per-task={self.cpus}"]  # newer versions of srun do not take it from sbatch
        yield "wckey", None  # submitit would name one of its own
        if self.gpus:
            yield "gpus_per_node", self.gpus
        if self.memory:
            yield "mem", f"{math.ceil(1024 * self.memory)}M"
        if self.setup:
            yield "setup", list(self.setup)
        for option in ("partition", "account", "qos", "constraint"):
            if getattr(self, option):
                yield option, getattr(self, option)


Launching = (
    Annotated[Local, tyro.conf.subcommand("local")]
    | Annotated[SubmititLocal, tyro.conf.subcommand("submitit-local")]
    | Annotated[Slurm, tyro.conf.subcommand("slurm")]
)


def _positive(workers: int) -> int:
    if workers < 1:
        raise ConfigError(f"sweep: workers must be at least 1, got {workers}")
    return workers
