"""The signs of a search that collapses, and since when they hold."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from applications.nas.settings import WatchSettings
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Cell
from applications.nas.watch.eigenvalue import sharpened

log = logging.getLogger("mlo.nas")
_PARAMETER_FREE = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect")


@dataclass
class Alarm:
    """A sign of collapse, from the epoch in which it began.

    Attributes:
        stage: From 1.
        epoch: In which it began, from 1.
        sign: "skips", "no convolution" or "eigenvalue".
        text: What to tell a reader.
        ended: The first epoch of the same stage in which it was gone, or None if it stayed.
    """

    stage: int
    epoch: int
    sign: str
    text: str
    ended: int | None = None

    @property
    def told(self) -> str:
        """The text, with what became of the sign."""
        return f"{self.text}; {'it stayed so' if self.ended is None else f'gone in epoch {self.ended}'}"


class Alarms:
    """Tells, epoch by epoch, whether a search shows signs of collapse; logs each when it begins.

    Args:
        settings: From how many skip connections on.

    Attributes:
        all: Those that were raised, oldest first.
    """

    def __init__(self, settings: WatchSettings) -> None:
        """Begin without any."""
        self.all: list[Alarm] = []
        self._settings = settings
        self._active: dict[str, Alarm] = {}
        self._eigenvalues: list[float] = []
        self._stage = 0

    def state(self) -> dict[str, Any]:
        """Return what `load` takes, as plain data."""
        active = {sign: self.all.index(alarm) for sign, alarm in self._active.items()}
        alarms = [asdict(alarm) for alarm in self.all]
        return {"all": alarms, "active": active, "eigenvalues": list(self._eigenvalues), "stage": self._stage}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.all = [Alarm(**alarm) for alarm in state["all"]]
        self._active = {sign: self.all[index] for sign, index in state["active"].items()}
        self._eigenvalues, self._stage = list(state["eigenvalues"]), state["stage"]

    @property
    def standing(self) -> tuple[Alarm, ...]:
        """Those of the present stage that have not ended."""
        return tuple(self._active.values())

    def look(self, stage: int, epoch: int, cell: Cell, space: CellSpace, eigenvalue: float | None) -> None:
        """Look at an epoch in which the architecture moved.

        Args:
            stage: From 1.
            epoch: From 1, in its stage.
            cell: The normal cell that it gives.
            space: What edges may hold.
            eigenvalue: The Hessian's, if it was measured.
        """
        if stage != self._stage:  # a stage begins anew: what held in the one before is neither there nor gone
            self._stage, self._active, self._eigenvalues = stage, {}, []
        if eigenvalue is not None:
            self._eigenvalues.append(eigenvalue)
        signs = {**signs_in_cell(cell, space, self._settings.skips), **signs_in_hessian(self._eigenvalues)}
        for sign in [one for one in self._active if one not in signs]:
            self._active.pop(sign).ended = epoch
        for sign in [one for one in signs if one not in self._active]:
            text = f"stage {stage}, epoch {epoch}: {signs[sign]}"
            self._active[sign] = Alarm(stage, epoch, sign, text)
            self.all.append(self._active[sign])
            log.warning("%s", text)


def signs_in_cell(cell: Cell, space: CellSpace, skips: int | None = None) -> dict[str, str]:
    """Return what in a normal cell speaks for collapse, by sign.

    Args:
        cell: The cell.
        space: What edges may hold: where there is nothing but skips, or no convolution, a cell cannot help it.
        skips: From how many skip connections on; None for half of the edges.
    """
    found: dict[str, str] = {}
    names = [edge.operation for edge in cell.edges]
    most, count = (len(names) + 1) // 2 if skips is None else skips, names.count("skip_connect")
    held = {name for edge in space.choices["normal"] for name in edge}
    if count >= most and held - {"none", "skip_connect"}:
        found["skips"] = (
            f"{count} of the {len(names)} edges of the normal cell are skip connections (the warning begins at "
            f"{most}): the search may be collapsing"
        )
    if held - set(_PARAMETER_FREE) and set(names) <= set(_PARAMETER_FREE):
        found["no convolution"] = "the normal cell has no convolution left: the search may be collapsing"
    return found


def signs_in_hessian(eigenvalues: Sequence[float]) -> dict[str, str]:
    """Return what in the largest eigenvalues, oldest first, speaks for collapse."""
    if not sharpened(eigenvalues):
        return {}
    text = f"the largest eigenvalue of the Hessian has grown to {eigenvalues[-1]:.3g}, as it does before a collapse"
    return {"eigenvalue": f"{text} of the normal cell (R-DARTS would stop here)"}
