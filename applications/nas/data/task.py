"""What a search is given: images with targets, in three parts that share no image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch

from applications.nas.data.augment import Augment, FileAugment
from applications.nas.data.batches import AbstractBatches
from applications.nas.data.images import AbstractImages, Streaming
from applications.nas.data.split import Split, as_ranges
from applications.nas.data.statistics import check_statistics
from applications.nas.launch import Ranks
from applications.nas.objective import AbstractObjective, Classification
from mlo import DataError

Part = Literal["train", "valid", "test", "all"]
_LISTED = 100_000  # above this many images, a record names no indices: seed and hash say enough


@dataclass(frozen=True, eq=False)
class Task:
    """Something to learn, cut for a bilevel search.

    Attributes:
        name: How reports call the task.
        classes: Name of each label; empty if the targets are no classes.
        train: What the weights are fitted to in a search.
        valid: What the architecture is fitted to in a search; the evaluation trains on both parts.
        test: Seen by neither.
        mean: Per channel; of pixels / 255 where they are bytes.
        std: Per channel, on the same scale.
        augment: What is done to training images, or None.
        objective: What is asked of a network; left out: to tell the classes apart.
        everything: What the evaluation trains on, if that is more than train and valid together.
        split: How the parts were chosen, or None if nothing is known of it.
    """

    name: str
    classes: tuple[str, ...]
    train: AbstractImages
    valid: AbstractImages
    test: AbstractImages
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Augment | FileAugment | None = None
    objective: AbstractObjective = cast(AbstractObjective, None)  # never None once the task is made
    everything: AbstractImages | None = None
    split: Split | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other or the objective."""
        if self.objective is None:
            if not self.classes:
                raise DataError(f"task {self.name!r}: neither classes nor an objective: name what is to be predicted")
            object.__setattr__(self, "objective", Classification(len(self.classes)))
        for part, images in self._parts().items():
            where = f"task {self.name!r}, {part}"
            if images.shape != self.train.shape:
                raise DataError(f"{where}: images are {images.shape}, train's are {self.train.shape}: give one size")
            try:
                self.objective.check(images.labels)
            except DataError as error:
                raise DataError(f"{where}: {error}") from None
        named = self.objective.classes if isinstance(self.objective, Classification) else 0
        if named != len(self.classes):
            raise DataError(f"task {self.name!r}: {len(self.classes)} classes, but {self.objective}: name {named}")
        if named == 1:
            raise DataError(f"task {self.name!r}: one class leaves nothing to tell apart: give two or more")
        check_statistics(self.mean, self.std, channels=self.train.shape[0])

    def part(self, name: Part) -> AbstractImages:
        """Return the images of a part; "all" is what the evaluation trains on: usually train and valid together."""
        if name == "all":
            return self.train.join(self.valid) if self.everything is None else self.everything
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def stream(
        self,
        part: Part,
        *,
        size: int,
        seed: int,
        device: torch.device | str,
        training: bool,
        workers: int | None = None,
        ranks: Ranks = Ranks(),
    ) -> AbstractBatches:
        """Return batches of a part; in training a last batch of one image is left out, for it has no statistics.

        Args:
            part: Which; see `part`.
            size: Images in a batch, of all ranks together; in a test, and in training on all, the images make one batch
                if they are fewer.
            seed: Fixes order and augmentation of all epochs.
            device: Where the batches end.
            training: Whether the images are augmented and each epoch takes a new order; else every epoch is the same.
            workers: Processes that decode image files; None for what the settings of the data say. It has no
                influence on the batches, and none at all on images in memory.
            ranks: Whose share of each batch is given.

        Raises:
            ConfigError: The batch size is not positive.
            DataError: A batch to search on is larger than the part.
        """
        images = self.part(part)
        size = min(size, len(images)) if part == "all" or not training else size
        if size > len(images):
            told = f"task {self.name!r}: a batch of {size} images, but {part} has {len(images)}"
            raise DataError(f"{told}: take a smaller batch (--batch), or give more images")
        alone = training and size > 0 and len(images) % size == 1
        how = Streaming(
            size=size,
            seed=seed,
            mean=self.mean,
            std=self.std,
            augment=self.augment if training else None,
            shuffle=training,
            drop_last=alone,
            device=device,
            workers=workers,
            ranks=ranks,
        )
        return images.stream(how)

    def split_record(self) -> dict[str, Any]:
        """Return what tells whether the parts are the same another time, as plain data for a file.

        For each part: the number of images, a SHA-256 of them, and which they are: indices into the set they come
        from, in short, unless they are very many. That SHA-256 covers all pixels and targets of images in memory, and
        names and classes of files.
        """
        known = {} if self.split is None else {"split": self.split.kind, "seed": self.split.seed}
        record: dict[str, Any] = {}
        for place, (part, images) in enumerate(self._parts().items()):
            record[part] = {"images": len(images), "sha256": images.fingerprint()}
            if self.split is not None and place < len(self.split.parts):
                indices = self.split.parts[place]
                listed = {"indices": as_ranges(indices)} if len(indices) <= _LISTED else {}
                record[part] |= {"source": self.split.sources[place], **listed}
        return {**known, "parts": record}

    def _parts(self) -> dict[str, AbstractImages]:
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        return parts if self.everything is None else {**parts, "all": self.everything}
