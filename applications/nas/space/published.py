"""Where the published cells come from, and what their final networks cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Published:
    """Facts about a published cell. All counts leave out the auxiliary head.

    Attributes:
        source: The paper.
        cifar10: Parameters of the network of 20 cells, C = 36, for 10 classes.
        cifar100: The same for 100 classes.
        cifar_multiply_adds: Of that for 10 classes, for one image of 32x32, in convolutions and linear layers.
        imagenet: Parameters of the network of 14 cells, C = 48, for 1000 classes.
        imagenet_multiply_adds: Of that, for one image of 224x224. Papers print more, by a counter of another kind.
    """

    source: str
    cifar10: int
    cifar100: int
    cifar_multiply_adds: int
    imagenet: int
    imagenet_multiply_adds: int


_DARTS = "DARTS: Differentiable Architecture Search, Liu, Simonyan, Yang, 2019"
_PCDARTS = "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search, Xu et al., 2020"

PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "NASNet-A": Published(
            "Learning Transferable Architectures for Scalable Image Recognition, Zoph, Vasudevan, Shlens, Le, 2018",
            *(3_830_950, 3_895_840, 603_452_448, 5_564_320, 604_031_616),
        ),
        "AmoebaNet-A": Published(
            "Regularized Evolution for Image Classifier Architecture Search, Real, Aggarwal, Huang, Le, 2019",
            *(3_145_078, 3_184_048, 488_931_552, 4_627_360, 526_746_624),
        ),
        "DARTS_V1": Published(f"{_DARTS} (first order)", *(3_169_414, 3_221_344, 500_987_520, 4_510_432, 505_864_704)),
        "DARTS_V2": Published(f"{_DARTS} (second order)", *(3_349_342, 3_401_272, 528_359_040, 4_718_752, 529_911_552)),
        "PDARTS": Published(
            "Progressive Differentiable Architecture Search, Chen, Xie, Wu, Tian, 2019",
            *(3_433_798, 3_485_728, 532_174_464, 4_944_352, 542_819_328),
        ),
        "PC_DARTS_cifar": Published(
            f"{_PCDARTS} (on CIFAR-10)", *(3_634_678, 3_686_608, 556_670_592, 5_270_560, 571_137_408)
        ),
        "PC_DARTS_image": Published(
            f"{_PCDARTS} (on ImageNet)", *(3_721_510, 3_773_440, 570_466_944, 5_342_464, 581_627_328)
        ),
    }
)
"""Facts by the names of `ZOO`."""
