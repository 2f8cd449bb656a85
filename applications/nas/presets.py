"""Named settings."""

from __future__ import annotations

from dataclasses import replace

from applications.nas.settings import (
    ArchitectureSettings,
    CifarData,
    DigitsData,
    FolderData,
    GradientSettings,
    Interleaving,
    RetrainSettings,
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

SEARCH: dict[str, tuple[str, SearchSettings]] = {
    "digits": (
        "Interleaving on scikit-learn's digits in minutes: a small space (2 nodes, 5 operations), 3 cells, C = 4.",
        _DIGITS,
    ),
    "folders": (
        "Interleaving on folders of images (--data.roots A B), small: 16x16 pixels, 500 images a part, C = 4.",
        replace(_DIGITS, data=FolderData(side=16, subset=500), epochs=5, device="auto"),
    ),
    "darts": (
        "DARTS, second order, on CIFAR-10 with the original settings (8 cells, C = 16, 50 epochs). For a GPU.",
        SearchSettings(data=CifarData(classes=(10,)), formulation=SingleTask()),
    ),
    "interleaving": (
        "Interleaving of CIFAR-100 and CIFAR-10, M = 2, lambda = 100, otherwise as DARTS, like the paper. For a GPU.",
        SearchSettings(data=CifarData(classes=(100, 10)), formulation=Interleaving()),
    ),
}

RETRAIN: dict[str, tuple[str, RetrainSettings]] = {
    "digits": (
        "A small network in seconds: 3 cells, C = 8, 15 epochs, three seeds.",
        RetrainSettings(
            channels=8, layers=3, epochs=15, batch=32, weights=WeightSettings(min_lr=0.0), seeds=(0, 1, 2), device="cpu"
        ),
    ),
    "folders": (
        "A small network in minutes: 5 cells, C = 8, 10 epochs.",
        RetrainSettings(channels=8, layers=5, epochs=10, batch=64),
    ),
    "cifar": (
        "The CIFAR evaluation of DARTS: 20 cells, C = 36, 600 epochs, auxiliary head, drop path, cutout. For a GPU.",
        RetrainSettings(auxiliary=True, drop_path=0.2, cutout=16),
    ),
}
