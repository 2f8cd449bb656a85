"""Published genotypes, for comparison and as ground truth of the network builder.

They are written short: `s3 0` is a 3x3 separable convolution of state 0, and so on by `_SHORT`; two edges make a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from applications.nas.space.genotype import Cell, Edge, Genotype

_SHORT: Mapping[str, str] = {
    "mp": "max_pool_3x3",
    "ap": "avg_pool_3x3",
    "sk": "skip_connect",
    "s3": "sep_conv_3x3",
    "s5": "sep_conv_5x5",
    "s7": "sep_conv_7x7",
    "d3": "dil_conv_3x3",
    "d5": "dil_conv_5x5",
    "c7": "conv_7x1_1x7",
}


def _cell(text: str, concat: tuple[int, ...] = (2, 3, 4, 5)) -> Cell:
    """Read a cell in the short notation."""
    pairs = (item.split() for item in text.split(","))
    return Cell(tuple(Edge(_SHORT[name], int(predecessor)) for name, predecessor in pairs), concat)


NASNET_A = Genotype(
    normal=_cell("s5 1, s3 0, s5 0, s3 0, ap 1, sk 0, ap 0, ap 0, s3 1, sk 1", (2, 3, 4, 5, 6)),
    reduction=_cell("s5 1, s7 0, mp 1, s7 0, ap 1, s5 0, sk 3, ap 2, s3 2, mp 1", (4, 5, 6)),
)
"""Found by reinforcement learning.

Source: "Learning Transferable Architectures for Scalable Image Recognition", Zoph, Vasudevan, Shlens, Le, 2018.
"""

AMOEBANET_A = Genotype(
    normal=_cell("ap 0, mp 1, s3 0, s5 2, s3 0, ap 3, s3 1, sk 1, sk 0, ap 1", (4, 5, 6)),
    reduction=_cell("ap 0, s3 1, mp 0, s7 2, s7 0, ap 1, mp 0, mp 1, c7 0, s3 5", (3, 4, 6)),
)
"""Found by evolution.

Source: "Regularized Evolution for Image Classifier Architecture Search", Real, Aggarwal, Huang, Le, 2019.
"""

DARTS_V1 = Genotype(
    normal=_cell("s3 1, s3 0, sk 0, s3 1, sk 0, s3 1, s3 0, sk 2"),
    reduction=_cell("mp 0, mp 1, sk 2, mp 0, mp 0, sk 2, sk 2, ap 0"),
)
"""Found by DARTS with the first-order gradient.

Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019.
"""

DARTS_V2 = Genotype(
    normal=_cell("s3 0, s3 1, s3 0, s3 1, s3 1, sk 0, sk 0, d3 2"),
    reduction=_cell("mp 0, mp 1, sk 2, mp 1, mp 0, sk 2, sk 2, mp 1"),
)
"""Found by DARTS with the second-order gradient.

Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019.
"""

PDARTS = Genotype(
    normal=_cell("sk 0, d3 1, sk 0, s3 1, s3 1, s3 3, s3 0, d5 4"),
    reduction=_cell("ap 0, s5 1, s3 0, d5 2, mp 0, d3 1, d3 1, d5 3"),
)
"""Found on CIFAR-10 by a search that grows in depth.

Source: "Progressive Differentiable Architecture Search: Bridging the Depth Gap between Search and Evaluation", Chen,
Xie, Wu, Tian, 2019.
"""

PC_DARTS_CIFAR = Genotype(
    normal=_cell("s3 1, sk 0, s3 0, d3 1, s5 0, s3 1, ap 0, d3 1"),
    reduction=_cell("s5 1, mp 0, s5 1, s5 2, s3 0, s3 3, s3 1, s3 2"),
)
"""Found on CIFAR-10 with a part of the channels.

Source: "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", Xu, Xie, Zhang, Chen, Qi,
Tian, Xiong, 2020.
"""

PC_DARTS_IMAGENET = Genotype(
    normal=_cell("sk 1, s3 0, s3 0, sk 1, s3 1, s3 3, s3 1, d5 4"),
    reduction=_cell("s3 0, sk 1, d5 2, mp 1, s3 2, s3 1, s5 0, s3 3"),
)
"""Found on ImageNet with a part of the channels.

Source: "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", Xu, Xie, Zhang, Chen, Qi,
Tian, Xiong, 2020.
"""

ZOO: Mapping[str, Genotype] = MappingProxyType(
    {
        "NASNet-A": NASNET_A,
        "AmoebaNet-A": AMOEBANET_A,
        "DARTS_V1": DARTS_V1,
        "DARTS_V2": DARTS_V2,
        "PDARTS": PDARTS,
        "PC_DARTS_cifar": PC_DARTS_CIFAR,
        "PC_DARTS_image": PC_DARTS_IMAGENET,
    }
)
"""The published genotypes by the names that their authors' programs use."""
