"""How large the searches and retrainings of a study are: on a CPU, on a GPU, or as published.

A larger study is a larger scale: every study takes each of them, and each field can be changed on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from applications.nas.methods import PCDarts, PDarts
from applications.nas.presets.retrain import RETRAIN
from applications.nas.presets.search import SEARCH
from applications.nas.settings import (
    ArchitectureSettings,
    CifarForm,
    FolderData,
    Interleaving,
    RetrainSettings,
    RetrainWeights,
    SearchSettings,
    SupernetSettings,
    WeightSettings,
)
from applications.nas.settings._check import check
from applications.nas.typed import check_types

MINI = (Path("data/cifar100-mini"), Path("data/cifar10-mini"))
"""Folders of images for scales below the published one; `--data.roots A B` names others."""


@dataclass(frozen=True)
class Scale:
    """How large the searches and retrainings of a study are."""

    search: Annotated[SearchSettings, tyro.conf.arg(name="")]
    """What DARTS searches with; other methods differ in what follows. Its formulation is the interleaving of the study.
    The study itself sets the method, gradient.rule, the seed, and what it varies."""
    pdarts: PDarts
    """P-DARTS."""
    pdarts_layers: int
    """Cells of its first stage."""
    pdarts_epochs: int
    """Epochs of each of its stages."""
    pcdarts: PCDarts
    """PC-DARTS."""
    retrain: RetrainSettings
    """How each cell is trained from scratch; each search, or random cell, adds 1000 times its number to the seeds."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Of the searches."""
    random: int = 4
    """Random cells for each seed, in a study that has them."""

    def __post_init__(self) -> None:
        """Check what no part can check alone."""
        check_types("study", self)
        there = isinstance(self.search.formulation, Interleaving)
        check("study", self, there, "formulation must be an interleaving: single and multi come with the study")


_PAPER = Scale(
    search=SEARCH["darts-2nd-paper"][1],
    pdarts=PDarts(),
    pdarts_layers=SEARCH["pdarts-paper"][1].supernet.layers,
    pdarts_epochs=SEARCH["pdarts-paper"][1].epochs,
    pcdarts=PCDarts(),
    retrain=RETRAIN["cifar"][1],
)
# With few steps the published rate of the architecture, 3e-4, would leave it where it began. One epoch has no warm-up.
_CPU = Scale(
    search=replace(
        _PAPER.search,
        data=FolderData(roots=MINI, side=16, subset=2500),
        formulation=Interleaving(weight=20.0),
        supernet=SupernetSettings(channels=4, layers=3),
        weights=WeightSettings(lr=0.05),
        architecture=ArchitectureSettings(lr=0.03),
        epochs=1,
        batch=64,
        device="cpu",
    ),
    pdarts=PDarts(deeper=(0, 1, 2)),
    pdarts_layers=3,
    pdarts_epochs=1,
    pcdarts=PCDarts(portion=2),
    retrain=RetrainSettings(
        network=CifarForm(channels=8, layers=3), weights=RetrainWeights(lr=0.05), epochs=3, batch=64, device="cpu"
    ),
    random=3,
)
_GPU = Scale(
    search=replace(
        _PAPER.search,
        data=FolderData(roots=MINI, side=32),
        formulation=Interleaving(weight=20.0),
        architecture=ArchitectureSettings(lr=6e-4),
        epochs=25,
    ),
    pdarts=PDarts(),
    pdarts_layers=5,
    pdarts_epochs=10,
    pcdarts=PCDarts(),
    retrain=RetrainSettings(network=CifarForm(channels=16, layers=8), epochs=60, drop_path=0.2, cutout=16),
)

SCALES: dict[str, tuple[str, Scale]] = {
    "cpu": (
        "Two folders, 7,500 images of each, at 16x16 pixels; C = 4, 3 cells, 1 epoch; retraining C = 8, 3 epochs. "
        "Half a minute to four minutes for a search on one core.",
        _CPU,
    ),
    "gpu": (
        "Two folders of images at 32x32 pixels; C = 16, 8 cells, 25 epochs; retraining C = 16, 8 cells, 60 epochs.",
        _GPU,
    ),
    "paper": (
        "CIFAR-100 and CIFAR-10, searches as the presets that end in -paper, retrainings as the preset cifar: C = 36, "
        "20 cells, 600 epochs. Weeks of GPUs.",
        _PAPER,
    ),
}
