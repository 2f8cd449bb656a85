"""Clipping of a hypergradient, part by part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlo.checks import check_positive
from mlo.errors import ConfigError
from mlo.vector import Params, add, norm, scaled


@dataclass(frozen=True)
class ClipParts:
    """Limits on the two parts of the hypergradient of the outermost problem.

    dF/dx = d_x f(x, y*)  +  sum over answers of d_y f . dy*/dx        the direct part and the response part

    Each is multiplied by min(1, limit / |part|), over all tensors together, before they are added. The response part
    goes through second derivatives, and may be large in a few steps where the direct one never is.

    Attributes:
        direct: The largest norm of the direct part that passes unchanged; None for any.
        response: The same of the response part.

    Raises:
        ConfigError: If a limit is not positive, or neither is given.
    """

    direct: float | None = None
    response: float | None = None

    def __post_init__(self) -> None:
        """Check the limits."""
        if self.direct is None and self.response is None:
            raise ConfigError("ClipParts: nothing is clipped: give direct=1.0 or response=1.0, or clip=None")
        for name, limit in (("direct", self.direct), ("response", self.response)):
            if limit is not None:
                check_positive("ClipParts", name, limit)

    def apply(self, direct: Params | None, response: Params | None, gradient: Params) -> tuple[Params, list[Tensor]]:
        """Return the sum of the clipped parts, and the norms of both before.

        Args:
            direct: The direct part, None for zero.
            response: The response part, None for zero.
            gradient: Their sum.
        """
        found: Params | None = None
        sizes = []
        for part, limit in ((direct, self.direct), (response, self.response)):
            size = torch.zeros(()) if part is None else norm(part)
            sizes.append(size)
            if part is not None:
                # Of a part that is zero the quotient is infinite, and the factor 1.
                kept = part if limit is None else scaled(torch.clamp(limit / size, max=1.0), part)
                found = add(found, kept)
        return (gradient if found is None else found), sizes


def checked_clip(clip: ClipParts | None) -> ClipParts | None:
    """Return it.

    Raises:
        ConfigError: If it is something else.
    """
    if clip is not None and not isinstance(clip, ClipParts):
        raise ConfigError(f"Engine: clip must be an mlo.ClipParts(direct=..., response=...) or None, got {clip!r}")
    return clip
