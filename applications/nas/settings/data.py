"""Where tasks come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from applications.nas.data.digits import DigitsTask
from applications.nas.data.split import SplitKind
from applications.nas.settings._check import MOST_PIXELS, MOST_WORKERS, check
from applications.nas.typed import check_types


@dataclass(frozen=True)
class DigitsData:
    """scikit-learn's 8x8 digits as tasks on disjoint images. No download."""

    tasks: tuple[DigitsTask, ...] = ("digits", "loops")
    """Which digit, how many loops, how slanted (a regression), or a clean image from a noisy one (dense prediction)."""

    def __post_init__(self) -> None:
        """Check that names are distinct."""
        check_types("data", self)
        check("data", self, 0 < len(self.tasks) == len(set(self.tasks)), "tasks must be distinct, at least one")


@dataclass(frozen=True)
class FolderData:
    """One task for each folder ROOT/{train,test}/CLASS/IMAGE."""

    roots: tuple[Path, ...] = ()
    """The folders, in the order in which the tasks are interleaved."""
    side: int | None = None
    """Resize to side x side pixels; left out: keep the size."""
    subset: int | None = None
    """Images to keep in each of train, valid and test, class-balanced; left out: all."""
    split: Literal["halves", "ablation"] = "halves"
    """How train and test become train, valid and test: two random halves of train, and test; or 45, 45 and 10 percent
    of train."""
    lazy: bool = False
    """Decode images whenever a batch needs them, for folders too large for memory; cropped as ImageNet is."""
    workers: int = 0
    """Processes that decode then; 0 for none beside the one that trains."""

    def __post_init__(self) -> None:
        """Check what lazy reading needs."""
        check_types("data", self)
        fits = self.side is None or 1 <= self.side <= MOST_PIXELS
        check("data", self, fits, f"side must be from 1 to {MOST_PIXELS}, or left out")
        check("data", self, self.subset is None or self.subset >= 1, "subset must be at least 1, or left out")
        check("data", self, 0 <= self.workers <= MOST_WORKERS, f"workers must be from 0 to {MOST_WORKERS}")
        check("data", self, not self.lazy or self.side is not None, "side must be given with lazy=True")


@dataclass(frozen=True)
class CifarData:
    """CIFAR-10 and CIFAR-100 in their original files."""

    root: Path = Path("data")
    """Folder that holds cifar-10-batches-py and cifar-100-python."""
    classes: tuple[Literal[10, 100], ...] = (100, 10)
    """Which of the two, in the order in which the tasks are interleaved."""
    download: bool = False
    """Fetch the files if they are missing."""
    subset: int | None = None
    """Images to keep in each of train, valid and test, class-balanced; left out: all."""
    split: SplitKind = "halves"
    """How the 50,000 train and 10,000 test images become train, valid and test: two random halves, and test; 22,500,
    22,500 and 5,000 of train (ablation); or the two halves of train in file order as in DARTS, and test (file)."""
    statistics: Literal["own", "cifar10"] = "own"
    """What CIFAR-100 is normalized with: its own mean and deviation, or those of CIFAR-10 as in PC-DARTS."""

    def __post_init__(self) -> None:
        """Check that the tasks have names of their own."""
        check_types("data", self)
        check("data", self, self.subset is None or self.subset >= 1, "subset must be at least 1, or left out")
        check("data", self, len(self.classes) == len(set(self.classes)), "classes must be distinct")


@dataclass(frozen=True)
class FashionData:
    """Fashion-MNIST, and MNIST beside it, in their original files: gray, 28x28 pixels."""

    root: Path = Path("data")
    """Folder that holds FashionMNIST and MNIST."""
    sets: tuple[Literal["fashion", "mnist"], ...] = ("fashion",)
    """Which of the two, in the order in which the tasks are interleaved."""
    download: bool = False
    """Fetch the files if they are missing."""
    subset: int | None = None
    """Images to keep in each of train, valid and test, class-balanced; left out: all."""
    split: SplitKind = "halves"
    """How the 60,000 train and 10,000 test images become train, valid and test: two random halves, and test; 27,000,
    27,000 and 6,000 of train (ablation); or the two halves of train in file order, and test (file)."""

    def __post_init__(self) -> None:
        """Check that the tasks have names of their own."""
        check_types("data", self)
        check("data", self, self.subset is None or self.subset >= 1, "subset must be at least 1, or left out")
        check("data", self, 0 < len(self.sets) == len(set(self.sets)), "sets must be distinct, at least one")


@dataclass(frozen=True)
class ImageNetData:
    """ImageNet in its official layout, ROOT/{train,val}/CLASS/IMAGE; decoded whenever a batch needs it."""

    root: Path = Path("data/imagenet")
    """Folder that holds train and val."""
    side: int = 224
    """Height and width in pixels that a network sees."""
    train_share: float = 0.1
    """Share of each class of train that the weights are fitted to in a search; a retraining takes all of train."""
    valid_share: float = 0.025
    """Share of each class of train that the architecture is fitted to."""
    workers: int = 4
    """Processes that decode; 0 for none beside the one that trains."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_types("data", self)
        check("data", self, 1 <= self.side <= MOST_PIXELS, f"side must be from 1 to {MOST_PIXELS}")
        check("data", self, 0 <= self.workers <= MOST_WORKERS, f"workers must be from 0 to {MOST_WORKERS}")
        fits = self.train_share > 0 and self.valid_share > 0 and self.train_share + self.valid_share <= 1 + 1e-9
        check("data", self, fits, "train_share and valid_share must be positive, and sum to at most 1")


Data = (
    Annotated[DigitsData, tyro.conf.subcommand("digits")]
    | Annotated[FolderData, tyro.conf.subcommand("folders")]
    | Annotated[CifarData, tyro.conf.subcommand("cifar")]
    | Annotated[FashionData, tyro.conf.subcommand("fashion")]
    | Annotated[ImageNetData, tyro.conf.subcommand("imagenet")]
)
