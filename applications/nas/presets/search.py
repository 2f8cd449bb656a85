"""Named settings of searches; where their numbers come from is in `sources`."""

from __future__ import annotations

from dataclasses import replace

from applications.nas.methods import PCDarts, PDarts
from applications.nas.settings import (
    ArchitectureSettings,
    CifarData,
    DigitsData,
    FolderData,
    GradientSettings,
    ImageNetData,
    Interleaving,
    SearchSettings,
    SingleTask,
    SupernetSettings,
    WeightSettings,
)

SMALL_PRIMITIVES = ("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3", "dil_conv_3x3")
_DIGITS = SearchSettings(
    data=DigitsData(),
    formulation=Interleaving(weight=20.0),
    supernet=SupernetSettings(nodes=2, primitives=SMALL_PRIMITIVES, channels=4, layers=3),
    gradient=GradientSettings(rule="exact"),
    architecture=ArchitectureSettings(lr=0.02),
    epochs=10,
    batch=32,
    device="cpu",  # so small a network gains nothing from a GPU
)

_DARTS = SearchSettings(data=CifarData(classes=(10,), split="file"), formulation=SingleTask())
_PDARTS = replace(
    _DARTS,
    method=PDarts(),
    supernet=SupernetSettings(layers=5),
    weights=WeightSettings(min_lr=0.0),
    architecture=ArchitectureSettings(lr=6e-4, clip=5.0),
    epochs=25,
    batch=96,
)
_PCDARTS = replace(
    _DARTS,
    method=PCDarts(),
    weights=WeightSettings(lr=0.1, min_lr=0.0),
    architecture=ArchitectureSettings(lr=6e-4),
    batch=256,
)
_PCDARTS_IMAGENET = replace(
    _PCDARTS,
    data=ImageNetData(),
    method=PCDarts(portion=2, warm_up=0.7),
    supernet=SupernetSettings(stem="large"),
    weights=WeightSettings(lr=0.5, min_lr=0.0, warm_up=5),
    architecture=ArchitectureSettings(lr=6e-3, clip=5.0),
    batch=1024,
)
_PAPER = SearchSettings(data=CifarData(), formulation=Interleaving())

SEARCH: dict[str, tuple[str, SearchSettings]] = {
    "digits": (
        "Interleaving on scikit-learn's digits in minutes: a small space (2 nodes, 5 operations), 3 cells, C = 4.",
        _DIGITS,
    ),
    "folders": (
        "Interleaving on folders of images (--data.roots A B), small: 16x16 pixels, 500 images a part, C = 4.",
        replace(_DIGITS, data=FolderData(side=16, subset=500), epochs=5, device="auto"),
    ),
    "darts-1st-original": (
        "DARTS, first order, on CIFAR-10 as its authors search. For a GPU, as all that follow.",
        replace(_DARTS, gradient=GradientSettings(rule="first")),
    ),
    "darts-2nd-original": ("DARTS, second order, on CIFAR-10 as its authors search.", _DARTS),
    "pdarts-original": ("P-DARTS on CIFAR-10 as its authors search: three stages of 25 epochs.", _PDARTS),
    "pcdarts-original": ("PC-DARTS on CIFAR-10 as its authors search.", _PCDARTS),
    "pcdarts-imagenet-original": ("PC-DARTS on an eighth of ImageNet as its authors search.", _PCDARTS_IMAGENET),
    "darts-1st-paper": (
        "Interleaving of CIFAR-100 and CIFAR-10 with DARTS, first order, by the interleaving paper's flat settings.",
        replace(_PAPER, gradient=GradientSettings(rule="first")),
    ),
    "darts-2nd-paper": ("The same, second order. formulation:multi or :single gives its rivals.", _PAPER),
    "pdarts-paper": (
        "The same with P-DARTS, whose stages (5, 11, 17 cells, 25 epochs each) are kept.",
        replace(_PAPER, method=PDarts(), supernet=SupernetSettings(layers=5), epochs=25),
    ),
    "pcdarts-paper": ("The same with PC-DARTS.", replace(_PAPER, method=PCDarts())),
}
