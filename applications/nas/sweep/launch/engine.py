"""What takes jobs and runs them, on this machine or on a cluster."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from applications.nas.sweep.launch.call import ClusterCall
from applications.nas.sweep.launch.place import Claim, Place
from mlo import ConfigError, MLOError

_TAIL = 4096  # bytes of a log that are looked at
_LONGEST = 160  # characters of it in a message


class AbstractEngine(ABC):
    """Takes jobs; each is known by a name that the engine gives it.

    Whether a job has done its work is told by its files, not by the engine: the engine tells whether a job that has
    said nothing may still say something.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What the command line calls it."""

    @property
    @abstractmethod
    def here(self) -> bool:
        """Whether jobs run on this machine."""

    @property
    @abstractmethod
    def threads(self) -> int:
        """Threads of a job."""

    @property
    @abstractmethod
    def pause(self) -> float:
        """Seconds between two looks at the jobs."""

    @property
    @abstractmethod
    def patience(self) -> float:
        """Seconds for which a file that a job wrote at its end may not be seen here yet."""

    @abstractmethod
    def room(self, running: int) -> int:
        """Return how many more jobs it takes when so many wait or run."""

    @abstractmethod
    def submit(self, calls: Sequence[ClusterCall], logs: Path) -> list[str]:
        """Take jobs.

        Args:
            calls: What to do.
            logs: The folder for what they print.

        Returns:
            Their names.

        Raises:
            ConfigError: If it takes none of them.
        """

    @abstractmethod
    def alive(self, names: Collection[str]) -> Collection[str]:
        """Return those jobs that wait or run, or may do so for all that is known."""

    @abstractmethod
    def cancel(self, claims: Sequence[tuple[Place, Claim]]) -> None:
        """End jobs that have been called off, whether they wait or run; those that run may finish their step first."""

    @abstractmethod
    def fault(self, name: str) -> tuple[str, str]:
        """Return what the engine says about a job that died, and what to do about it."""

    def died(self, name: str, logs: Path) -> MLOError:
        """Return the error for a job that ended without a word.

        Args:
            name: Of the job.
            logs: The folder for what it printed.
        """
        told, cure = self.fault(name)
        file = logs / f"{name}_0_log.out"
        about = f"its log is {file}{_ending(file)}" if file.is_file() else f"there is no log {file}"
        return MLOError(f"the job {name or 'of another program'} died{told}; {about}: {cure}")


def load_submitit(name: str) -> Any:
    """Import submitit, quiet.

    Args:
        name: Of the launcher that needs it.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise ConfigError(f"launcher:{name} needs submitit ({error}): pip install 'mlo-torch[cluster]'") from error
    logging.getLogger("submitit").setLevel(logging.CRITICAL)
    return submitit


def refused(name: str, error: Exception) -> ConfigError:
    """Return the error for an engine that does not take jobs."""
    return ConfigError(f"launcher:{name}: the jobs were refused ({' '.join(str(error).split())}): mend --launcher...")


def _ending(file: Path) -> str:
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _TAIL))
        text = opened.read().decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f", which ends with {lines[-1][:_LONGEST]!r}" if lines else ", and it is empty"
