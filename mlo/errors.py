"""Every error that the library raises on purpose.

All derive from `MLOError`, so that one `except` catches them; each also derives from the built-in exception that a
Python programmer would expect. A message names the culprit first and ends with what to do about it.
"""

from __future__ import annotations


class MLOError(Exception):
    """Base class of all errors raised on purpose by this library."""


class GraphError(MLOError, ValueError):
    """A problem graph, or a value given for one of its problems, is not well formed."""


class ReadError(GraphError, AttributeError):
    """What a loss uses is not what its problem declares in `reads`."""


class LossError(MLOError, ValueError):
    """A loss did not return a differentiable scalar."""


class DataError(MLOError, ValueError):
    """Data is missing, empty or malformed."""


class DamagedError(DataError):
    """A file is not what was written: cut off, changed, or something else."""


class ConfigError(MLOError, ValueError):
    """A setting is unknown, out of range, or contradicts another one."""


class StabilityError(MLOError, ValueError):
    """A step rule was refused because it is known to diverge."""


class DivergenceError(MLOError, ArithmeticError):
    """A loss, a gradient, a linear solve or a value that is to be kept became NaN or infinite, or is on the way there.

    Attributes:
        what: What is wrong.
        cure: What to do, unless more was found.
        problem: The name of the problem that it is about; None if that is not known.
        finding: Where it came from and the cure for that, if it was found.
    """

    def __init__(self, what: str, cure: str = "", *, problem: str | None = None) -> None:
        """Say what is wrong and what to do."""
        super().__init__(f"{what}: {cure}" if cure else what)
        self.what, self.cure, self.problem = what, cure, problem
        self.finding: tuple[str, str] | None = None

    def say(self, what: str) -> None:
        """Say better what is wrong."""
        self.what = what
        self._tell()

    def trace_to(self, finding: str, cure: str) -> None:
        """Say where it came from, and what to do about that."""
        self.finding = finding, cure
        self._tell()

    def _tell(self) -> None:
        parts = [self.what, *(self.finding or ([self.cure] if self.cure else []))]
        self.args = (": ".join(parts),)


class UnconvergedError(DivergenceError):
    """A solve, of a problem or for its adjoint, did not converge, and that was asked to be an error."""


class RankError(MLOError, RuntimeError):
    """Another process that shares the work has failed or is gone; the message tells which, and its error."""


class UnconvergedWarning(UserWarning):
    """A solve, of a problem or for its adjoint, did not converge; the message tells its residual."""


class DamagedWarning(UserWarning):
    """A checkpoint is damaged, and an earlier one is taken; the message tells what is wrong with it."""


class HypergradientMismatch(MLOError, AssertionError):
    """A hypergradient differs from its reference by more than the tolerance."""
