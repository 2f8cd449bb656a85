"""Jobs of a sweep that still run although the program which launched them has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from applications.nas.sweep.launch.place import Claim, Place
from applications.nas.sweep.launch.slurm import SLURM, queued
from mlo import ConfigError, MLOError

_NOBODY = Claim("", "", "")


def jobs_alive(places: Mapping[str, Place]) -> dict[str, Claim]:
    """Find the jobs that wait or run.

    Args:
        places: By label, the files of jobs.

    Returns:
        By label, the claim of each job that is alive; an empty one for a job that was called off and has not ended yet.

    Raises:
        ConfigError: If that cannot be found out.
    """
    claims = {label: place.claim() for label, place in places.items()}
    in_slurm = [label for label, claim in claims.items() if claim is not None and claim.engine == SLURM and claim.job]
    waiting: set[str] = set()
    if in_slurm:
        try:
            waiting = queued()
        except MLOError as error:
            raise ConfigError(f"{in_slurm[0]} was given to Slurm, and {error}") from error
    found = {}
    for label, place in places.items():
        claim = claims[label] or _NOBODY
        if claim.job in waiting or place.busy():
            found[label] = claim
    return found


def refuse_running(alive: Mapping[str, Claim]) -> None:
    """Refuse to run what runs already.

    Args:
        alive: Jobs of other launchers, by label.

    Raises:
        ConfigError: If there are any; the message names one.
    """
    for label, claim in alive.items():
        if claim == _NOBODY:
            raise ConfigError(f"{label}: a job that was called off has not ended: wait for it, and resume the sweep")
        job = f"the job {claim.job or 'of another program'} of launcher:{claim.engine}"
        raise ConfigError(f"{label}: {job} works on it: resume with launcher:{claim.engine} to wait for it, or end it")


def call_off(places: Mapping[str, Place]) -> None:
    """Say that jobs which have not begun have nothing to do any more."""
    for place in places.values():
        claim = place.claim()
        if claim is not None:
            place.write_claim(replace(claim, attempt=""))
