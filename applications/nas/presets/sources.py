"""Where the numbers of the published presets come from: one line for each setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

DARTS = "DARTS (Liu, Simonyan, Yang, 2019), its search program"
PDARTS = "P-DARTS (Chen, Xie, Wu, Tian, 2019), its search program"
PCDARTS = "PC-DARTS (Xu et al., 2020), its search program"
PCDARTS_IMAGENET = "PC-DARTS (Xu et al., 2020), its ImageNet search program"
DARTS_EVALUATION = "DARTS (Liu, Simonyan, Yang, 2019), its training programs"
PDARTS_EVALUATION = "P-DARTS (Chen, Xie, Wu, Tian, 2019), its training programs"
PCDARTS_EVALUATION = "PC-DARTS (Xu et al., 2020), its training programs"
PAPER = "Interleaving Learning (Ban, Xie, 2021), section 4"
OURS = "this project: not part of the method"
SPACE = "the space of DARTS, which all of them share"

_ANY = {
    "data.root": OURS,
    "data.download": OURS,
    "data.subset": OURS,
    "data.statistics": "each data set's own",
    "data.workers": OURS,
    "supernet.nodes": SPACE,
    "supernet.primitives": SPACE,
    "supernet.form": OURS,
    "supernet.compile": OURS,
    "precision": OURS,
    "batches": OURS,
    "accumulate": OURS,
    "sync_batch_norm": OURS + "; off",
    "parallel.stages": OURS,
    "parallel.sync_batch_norm": OURS + "; off",
    "checkpoint.share": OURS,
    "checkpoint.keep": OURS,
    "ema": OURS + "; off",
    "seeds": OURS,
    "seed": OURS,
    "watch.skips": OURS,
    "watch.gap": OURS,
    "watch.eigenvalue": OURS,
    "device": OURS,
    "bad_batches": OURS + "; none is left out",
    "deterministic": OURS + "; off",
}
_SEARCH_OF_DARTS = {
    "data.classes": DARTS,
    "data.split": DARTS + ": the halves in file order",
    "method.warm_up": DARTS,
    "formulation.task": OURS,
    "supernet.channels": DARTS,
    "supernet.layers": DARTS,
    "supernet.stem": DARTS,
    "gradient.rule": DARTS,
    "gradient.epsilon": DARTS + ", architect",
    "weights.lr": DARTS,
    "weights.min_lr": DARTS,
    "weights.momentum": DARTS,
    "weights.decay": DARTS,
    "weights.clip": DARTS,
    "weights.warm_up": DARTS,
    "architecture.lr": DARTS,
    "architecture.betas": DARTS,
    "architecture.decay": DARTS,
    "architecture.clip": DARTS + ": none",
    "epochs": DARTS,
    "batch": DARTS,
}
_KEPT = "data.classes data.split formulation.task supernet.channels weights.momentum weights.decay weights.clip"
_KEPT += " weights.warm_up architecture.betas architecture.decay supernet.stem gradient.epsilon"


def _as(source: str, *fields: str) -> dict[str, str]:
    return dict.fromkeys(fields, source)


_SEARCH_OF_PDARTS = {
    **_as(PDARTS, *_KEPT.split(), "supernet.layers", "gradient.rule", "weights.lr", "weights.min_lr"),
    **_as(PDARTS, "architecture.lr", "architecture.clip", "epochs", "batch"),
    **_as(PDARTS, "method.deeper", "method.kept", "method.warm_up"),
    "method.dropout": "P-DARTS (Chen, Xie, Wu, Tian, 2019), section 4.2, CIFAR-10; its README has 0.1, 0.4, 0.7",
    "method.skips": "P-DARTS (Chen, Xie, Wu, Tian, 2019), section 3.3",
}
_SEARCH_OF_PCDARTS = {
    **_as(PCDARTS, *_KEPT.split(), "supernet.layers", "gradient.rule", "weights.lr", "weights.min_lr"),
    **_as(PCDARTS, "architecture.lr", "architecture.clip", "epochs", "batch", "method.portion", "method.warm_up"),
}
_SEARCH_ON_IMAGENET = {
    **dict.fromkeys(_SEARCH_OF_PCDARTS, PCDARTS_IMAGENET),
    **_as(PCDARTS_IMAGENET, "data.side", "data.train_share", "data.valid_share"),
    "weights.decay": PCDARTS_IMAGENET + " (the paper says 3e-5)",
}
_OPEN = "left open by the interleaving paper; as DARTS"
_SEARCH_OF_PAPER = {
    **_as(PAPER, "data.classes", "data.split", "formulation.rounds", "formulation.order", "formulation.weight"),
    **_as(PAPER, "supernet.channels", "supernet.layers", "weights.lr", "weights.momentum", "weights.decay"),
    **_as(PAPER, "architecture.lr", "architecture.decay", "epochs", "batch", "gradient.rule"),
    **_as(_OPEN, "gradient.epsilon", "weights.min_lr", "weights.clip", "weights.warm_up", "architecture.betas"),
    **_as(_OPEN, "architecture.clip", "supernet.stem", "method.warm_up"),
    "formulation.form": "this project: equation 7 as written diverges at this strength",
    "formulation.anchor": PAPER + ", equation 6",
    "formulation.start": PAPER + ", equations 5 and 7 (its prose: previous)",
    "formulation.updates": PAPER + ", equations 6 and 7",
    "formulation.allow_unstable": OURS,
}
_STAGES = "P-DARTS: the paper's 8 cells and 50 epochs do not fit its stages"

SEARCH_SOURCES: dict[str, dict[str, str]] = {
    "darts-1st-original": _SEARCH_OF_DARTS,
    "darts-2nd-original": _SEARCH_OF_DARTS,
    "pdarts-original": _SEARCH_OF_PDARTS,
    "pcdarts-original": _SEARCH_OF_PCDARTS,
    "pcdarts-imagenet-original": _SEARCH_ON_IMAGENET,
    "darts-1st-paper": _SEARCH_OF_PAPER,
    "darts-2nd-paper": _SEARCH_OF_PAPER,
    "pdarts-paper": {
        **_SEARCH_OF_PAPER,
        **{name: text for name, text in _SEARCH_OF_PDARTS.items() if name.startswith("method.")},
        **_as(_STAGES, "supernet.layers", "epochs"),
    },
    "pcdarts-paper": {**_SEARCH_OF_PAPER, **_as(PCDARTS, "method.portion", "method.warm_up")},
}


_EVALUATION_OF_DARTS = {
    **_as(DARTS_EVALUATION, "network.channels", "network.layers", "network.stem_multiplier", "network.auxiliary"),
    **_as(DARTS_EVALUATION, "schedule.min_lr", "weights.lr", "weights.momentum", "weights.decay", "weights.clip"),
    **_as(DARTS_EVALUATION, "epochs", "batch", "auxiliary_weight", "drop_path", "cutout", "smoothing"),
}
_ON_IMAGENET = "network.auxiliary network.auxiliary_norm schedule.tail schedule.warm_up schedule.warm_up_epochs"
_ON_IMAGENET += " schedule.factor network.channels network.layers weights.lr weights.momentum weights.decay"
_ON_IMAGENET += " weights.clip epochs batch auxiliary_weight drop_path cutout smoothing"

RETRAIN_SOURCES: dict[str, dict[str, str]] = {
    "cifar": _EVALUATION_OF_DARTS,
    "cifar-pdarts": dict.fromkeys(_EVALUATION_OF_DARTS, PDARTS_EVALUATION),
    "cifar-pcdarts": dict.fromkeys(_EVALUATION_OF_DARTS, PCDARTS_EVALUATION),
    "imagenet": _as(PCDARTS_EVALUATION, *_ON_IMAGENET.split()),
    "imagenet-pdarts": {
        **_as(PDARTS_EVALUATION, *_ON_IMAGENET.split()),
        **_as("P-DARTS (Chen, Xie, Wu, Tian, 2019), section 4.3; its program defaults to 256 and 0.1", "batch"),
        **_as("P-DARTS (Chen, Xie, Wu, Tian, 2019), section 4.3; its program defaults to 256 and 0.1", "weights.lr"),
    },
    "imagenet-darts": _as(DARTS_EVALUATION, *_ON_IMAGENET.split()),
}


def source_of(sources: Mapping[str, Mapping[str, str]], preset: str, field: str) -> str:
    """Return where a setting of a published preset comes from.

    Args:
        sources: `SEARCH_SOURCES` or `RETRAIN_SOURCES`.
        preset: Its name.
        field: Dotted path of the setting, such as "weights.lr".

    Raises:
        KeyError: If no source is known.
    """
    return sources[preset].get(field) or _ANY[field]


def flat_settings(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List all settings with their dotted paths, those of nested settings included."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from flat_settings(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value
