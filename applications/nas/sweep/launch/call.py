"""What a job of a scheduler does: the same call as a worker process, with files in the place of a queue."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch

from applications.nas._lane import Failure
from applications.nas.jobs import Job, Reporter
from applications.nas.lock import locked
from applications.nas.stopping import SIGNALS, Stopped
from applications.nas.sweep.launch.place import Place, ProgressFile
from mlo import MLOError

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

_PATIENCE = 600.0  # seconds for a process that was called off to end


@final
@dataclass(frozen=True)
class ClusterCall:
    """A job as a scheduler runs it.

    Attributes:
        job: What to do.
        place: Where it tells how it goes.
        attempt: Which try it is; if the claim names another one, there is nothing to do.
        threads: Of torch.
    """

    job: Job
    place: Place
    attempt: str
    threads: int

    def __call__(self) -> None:
        """Do it, alone, and say how it ended."""
        torch.set_num_threads(self.threads)
        with locked(self.place.lock, _PATIENCE) as alone:
            claim = self.place.claim()
            if claim is None or claim.attempt != self.attempt:
                print("called off: another job has this point now, or none")
                return
            if alone:
                self.place.write_worker()
                failure = self._run()
            else:
                failure = Failure(MLOError("another process works on it: resume the sweep later"))
            if failure is not None:
                print(f"failed: {failure}\n{failure.origin()}")
            self.place.write_outcome(self.attempt, failure)

    def checkpoint(self) -> DelayedSubmission:
        """Return what to do when the scheduler queues this job again: the same, which skips what is finished.

        submitit calls it when the scheduler warns of the end; a job without it would not be queued again.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _run(self) -> Failure | None:
        from submitit.core.utils import UncompletedJobError  # the job is run by submitit: it is there

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit ignores it; where a job can stop, the job says so
        try:
            try:
                self.job.function(*self.job.arguments, Reporter(ProgressFile(self.place), self.job.label))
            except Stopped as stop:
                self._hand_over(stop)
                raise
        except UncompletedJobError as error:  # from its handler of the scheduler's warning
            return Failure(MLOError(f"it did not end within its time ({error}): give --launcher.hours more"))
        except Exception as error:
            return Failure(error)
        return None

    def _hand_over(self, stop: Stopped) -> None:
        """Let the scheduler have what it warned of: it may queue the job again, which then goes on where it stopped.

        After its own warning submitit queues the job again, and ends this process. SIGTERM is what Slurm sends to a job
        that it takes off, and queues again by itself if it is set up so: then nothing is told, for it may not be over.
        """
        print(stop, flush=True)
        if stop.number not in SIGNALS:
            signal.raise_signal(stop.number)
        claim = self.place.claim()
        if "SLURM_JOB_ID" in os.environ and claim is not None and claim.attempt == self.attempt:
            raise SystemExit(stop.code)
