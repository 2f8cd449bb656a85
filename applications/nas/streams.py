"""The one place where retraining and testing get their batches."""

from __future__ import annotations

from typing import Literal

import torch

from applications.nas.data import Batches, Images, Task


def stream(
    task: Task, part: Literal["all", "test"], *, size: int, seed: int, device: torch.device, training: bool
) -> Batches:
    """Return batches of a task.

    Args:
        task: Where they come from.
        part: "all" for train and valid joined, or "test".
        size: Images in a batch; all of the part if it has fewer.
        seed: Of order and augmentation.
        device: Where the images are held.
        training: Whether to shuffle and augment, and to leave out a last batch of one image: alone it has no batch
            statistics.
    """
    images = (_joined(task.train, task.valid) if part == "all" else task.test).to(device)
    size = min(size, len(images))
    alone = training and len(images) % size == 1
    return Batches(
        images,
        size=size,
        seed=seed,
        mean=task.mean,
        std=task.std,
        augment=task.augment if training else None,
        shuffle=training,
        drop_last=alone,
    )


def _joined(first: Images, second: Images) -> Images:
    return Images(torch.cat([first.pixels, second.pixels]), torch.cat([first.labels, second.labels]))
