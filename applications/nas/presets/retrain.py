"""Named settings of retrainings. Where a number has another source than DARTS, a comment says so."""

from __future__ import annotations

from dataclasses import replace

from applications.nas.settings import (
    CifarForm,
    ExponentialSchedule,
    ImageNetForm,
    LinearSchedule,
    RetrainSettings,
    RetrainWeights,
)

_CIFAR = RetrainSettings(network=CifarForm(auxiliary=True), drop_path=0.2, cutout=16)
_IMAGENET = RetrainSettings(
    network=ImageNetForm(auxiliary=True),
    schedule=LinearSchedule(warm_up="pcdarts"),
    weights=RetrainWeights(lr=0.5, decay=3e-5),
    epochs=250,
    batch=1024,
    smoothing=0.1,
)

RETRAIN: dict[str, tuple[str, RetrainSettings]] = {
    "digits": (
        "A small network in seconds: 3 cells, C = 8, 15 epochs, three seeds.",
        RetrainSettings(network=CifarForm(channels=8, layers=3), epochs=15, batch=32, seeds=(0, 1, 2), device="cpu"),
    ),
    "folders": (
        "A small network in minutes: 5 cells, C = 8, 10 epochs.",
        RetrainSettings(network=CifarForm(channels=8, layers=5), epochs=10, batch=64),
    ),
    "cifar": (
        "The CIFAR evaluation of DARTS: 20 cells, C = 36, 600 epochs, auxiliary head, drop path, cutout. For a GPU. "
        "The interleaving paper gives the same cells, C, epochs and batch, and leaves the rest open.",
        _CIFAR,
    ),
    "cifar-pdarts": (
        "As cifar, the way of P-DARTS: batch 128, drop path to 0.3.",
        replace(_CIFAR, batch=128, drop_path=0.3),
    ),
    "cifar-pcdarts": ("As cifar, the way of PC-DARTS: drop path to 0.3.", replace(_CIFAR, drop_path=0.3)),
    "imagenet": (
        "The ImageNet evaluation of PC-DARTS: 14 cells, C = 48, 250 epochs, batch 1024, lr 0.5 with warm-up, linear. "
        "For 8 GPUs under torchrun, or fewer with --accumulate. The interleaving paper gives the same cells, C, "
        "epochs, batch and number of GPUs, and leaves the rest open.",
        _IMAGENET,
    ),
    "imagenet-pdarts": (
        "As imagenet, the way of P-DARTS: its warm-up, and a normalization more in the auxiliary head.",
        replace(
            _IMAGENET,
            network=ImageNetForm(auxiliary=True, auxiliary_norm=True),
            schedule=LinearSchedule(warm_up="pdarts"),
        ),
    ),
    "imagenet-darts": (
        "As imagenet, the way of DARTS: batch 128, lr 0.1, times 0.97 in each epoch.",
        replace(_IMAGENET, schedule=ExponentialSchedule(), weights=RetrainWeights(lr=0.1, decay=3e-5), batch=128),
    ),
}
