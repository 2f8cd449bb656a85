"""Where a search stands, as plain data that goes into its checkpoints, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Genotype
from mlo import DamagedError


@dataclass(frozen=True, eq=False)
class Standing:
    """Where a search stands between two steps; with the state of its engine it decides all that follows.

    Attributes:
        stage: Which one, from 0.
        epoch: Epochs of this stage that are done.
        step: Steps of the next one that are done.
        ended: Whether the stage has ended, all its epochs done or its method satisfied.
        space: What the edges of this stage hold.
        moved: The cells after the epochs of this stage in which the architecture moved.
        generator: What draws the architecture variables of the next stages.
        record: What the record of the search knows.
    """

    stage: int
    epoch: int
    step: int
    ended: bool
    space: CellSpace
    moved: tuple[Genotype, ...]
    generator: Tensor
    record: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "stage": self.stage,
            "epoch": self.epoch,
            "step": self.step,
            "ended": self.ended,
            "kept": self.space.kept,
            "moved": [genotype.to_json() for genotype in self.moved],
            "generator": self.generator,
            "record": json.dumps(self.record),
        }

    @staticmethod
    def of(content: Any, space: CellSpace) -> Standing:
        """Return what `plain` was called on.

        Args:
            content: What it returned.
            space: Of the settings: that of the first stage.

        Raises:
            DamagedError: If it returned something else.
        """
        try:
            return Standing(
                content["stage"],
                content["epoch"],
                content["step"],
                content["ended"],
                replace(space, kept=content["kept"]),
                tuple(Genotype.from_json(text) for text in content["moved"]),
                content["generator"],
                recorded(content),
            )
        except (TypeError, LookupError, ValueError, AttributeError) as error:
            raise DamagedError(f"the checkpoint is not one of a search ({error}): search again") from error


def recorded(content: Any) -> dict[str, Any]:
    """Return what the record of a search knew, of what `Standing.plain` returned.

    Raises:
        DamagedError: If it returned something else.
    """
    try:
        found: dict[str, Any] = json.loads(content["record"])
    except (TypeError, LookupError, ValueError) as error:
        raise DamagedError(f"the checkpoint is not one of a search ({error}): search again") from error
    return found
