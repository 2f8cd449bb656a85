"""What the advisor found, as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass

_MB = 2**20


@dataclass(frozen=True)
class Measurement:
    """One rule on one graph.

    Attributes:
        rule: The rule, or how the graph was declared.
        seconds: Median time of one hypergradient.
        gradients: Gradients of one problem's loss that it took; second-order products by double backward are not
            among them.
        memory: The most bytes of its tensors that were alive at once, those that autograd keeps included.
        cosine: To the reference; NaN where one of the two is zero, as under `FirstOrder` without a direct term.
        error: Distance to the reference, relative to its norm.
        unconverged: Largest relative residual of an adjoint solve that did not converge; 0 if all did.
        refusal: Why there is no hypergradient, None if there is one.
    """

    rule: str
    seconds: float = float("nan")
    gradients: int = 0
    memory: int = 0
    cosine: float = float("nan")
    error: float = float("inf")
    unconverged: float = 0.0
    refusal: str | None = None


@dataclass(frozen=True)
class Advice:
    """Measurements of rules on one graph, and what follows from them.

    Attributes:
        of: The problem whose hypergradient was measured.
        rows: One for each rule.
        reference: What the rules were compared with.
        tolerance: Largest relative error that counts as accurate enough.
    """

    of: str
    rows: tuple[Measurement, ...]
    reference: str
    tolerance: float

    @property
    def recommended(self) -> Measurement | None:
        """The fastest rule that is accurate enough; None if none is."""
        enough = [row for row in self.rows if row.refusal is None and row.error <= self.tolerance]
        return min(enough, key=lambda row: row.seconds, default=None)

    def __str__(self) -> str:
        """Return the table, and the recommendation in words."""
        width = max([len(row.rule) for row in self.rows] + [4])
        header = f"{'rule':<{width}}  {'time':>9}  {'gradients':>9}  {'memory':>9}  {'cosine':>8}  {'error':>8}  note"
        lines = [f"hypergradient of {self.of!r}; reference: {self.reference}", header, "-" * len(header)]
        lines += [_line(row, width) for row in self.rows]
        return "\n".join([*lines, self._verdict()])

    def _verdict(self) -> str:
        best = self.recommended
        if best is not None:
            return f"recommended: {best.rule}, the fastest with an error of at most {self.tolerance:g}"
        nearest = min((row for row in self.rows if row.refusal is None), key=lambda row: row.error, default=None)
        if nearest is None:
            return "recommended: none, for no rule has a hypergradient here"
        near = f"{nearest.rule} is nearest ({nearest.error:.1e})"
        return f"recommended: none, for no rule has an error of at most {self.tolerance:g}; {near}"


def _line(row: Measurement, width: int) -> str:
    if row.refusal is not None:
        return f"{row.rule:<{width}}  refused: {row.refusal}"
    note = f"residual {row.unconverged:.0e}" if row.unconverged else ""
    figures = f"{row.seconds * 1e3:>6.1f} ms  {row.gradients:>9}  {row.memory / _MB:>6.2f} MB"
    cosine = "-" if math.isnan(row.cosine) else f"{row.cosine:.4f}"  # of a hypergradient that is zero
    return f"{row.rule:<{width}}  {figures}  {cosine:>8}  {row.error:>8.1e}  {note}".rstrip()
