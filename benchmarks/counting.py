"""What a computation asks of torch: figures that are the same in every run and do not depend on the machine's load.

    found, counts = counted(lambda: mlo.hypergradient(graph, of="x"))

One rule for all rivals. Every operation that reaches torch's dispatcher counts once, those of backward passes too; a
`_foreach` operation is one, whatever the length of its lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mlo.meter import LiveBytes

Result = TypeVar("Result")

PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "addr", "linear", "convolution"}
"""Products of matrices and convolutions; of a backward convolution each gradient that is asked for is one."""

SYNCS = {"_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2", "unique_dim"}
"""Operations after which the host waits for the device."""

NO_WORK = {"_unsafe_view", "is_same_size", "lift_fresh", "resize_", "set_"}
"""Neither views nor allocations by their schema, but they compute nothing."""


@dataclass(frozen=True)
class Counts:
    """What one computation took.

    Attributes:
        operations: All but views and bare allocations.
        with_views: Those, and views.
        products: Products of matrices and convolutions.
        syncs: How often the host looks at a value. On a CPU values that would be on the host in any case count, too.
        sweeps: Backward passes of autograd.
        peak: The most bytes of tensors that were alive at once beyond those before; 0 if it was not asked for.
    """

    operations: int
    with_views: int
    products: int
    syncs: int
    sweeps: int
    peak: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)


class Counting(TorchDispatchMode):
    """Counts while it is entered.

    Attributes:
        names: How often each operation was called, by its name in aten; views and allocations are among them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self._operations = self._views = self._products = self._syncs = self._sweeps = 0
        self._patches = ExitStack()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count a call, and make it."""
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.split("::")[1]
        self.names[name] += 1
        if is_view(func):
            self._views += 1
        elif not is_free(name):
            self._operations += 1
            self._products += weight(name, args)
            self._syncs += name in SYNCS or to_host(args, result)
            self.seen(name)
        return result

    def seen(self, name: str) -> None:
        """Do more with an operation, or a look, that was counted; for modes that ask where it came from."""

    def counts(self, peak: int = 0) -> Counts:
        """Return what was counted so far."""
        both = self._operations + self._views
        return Counts(self._operations, both, self._products, self._syncs, self._sweeps, peak)

    def __enter__(self) -> Counting:
        """Begin; what the dispatcher does not see is patched."""
        enter = self._patches.enter_context
        enter(patch.object(torch.autograd, "_engine_run_backward", self._swept(torch.autograd._engine_run_backward)))
        for name in ("tolist", "numpy"):  # on a CPU they read the memory and dispatch nothing
            enter(patch.object(Tensor, name, self._looked(getattr(Tensor, name))))
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and take the patches back."""
        super().__exit__(kind, error, trace)
        self._patches.close()

    def _swept(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **kwargs: Any) -> Any:
            self._sweeps += 1
            return run(*args, **kwargs)

        return counting

    def _looked(self, read: Callable[..., Any]) -> Callable[..., Any]:
        def counting(value: Tensor, *args: Any, **kwargs: Any) -> Any:
            if value.device.type == "cpu":  # elsewhere the copy to the host is dispatched
                self._syncs += 1
                self.seen(read.__name__)
            return read(value, *args, **kwargs)

        return counting


def is_view(func: Any) -> bool:
    """Tell whether an operation returns another look at its argument; `detach` is one."""
    returns = func._schema.returns
    return bool(returns) and all(out.alias_info is not None and not out.alias_info.is_write for out in returns)


def is_free(name: str) -> bool:
    """Tell whether an operation only allocates, or asks for a shape."""
    return name in NO_WORK or name.removeprefix("new_").startswith("empty") or name.startswith("sym_")


def weight(name: str, args: Sequence[Any]) -> int:
    """Return how many products an operation is."""
    if name == "convolution_backward":
        wanted: Sequence[bool] = args[-1]
        return sum(wanted[:2])  # the third is the bias, a sum
    return int(name in PRODUCTS)


def to_host(args: Sequence[Any], result: Any) -> bool:
    """Tell whether a call copied from a device to the host."""
    tensors = [value for value in args if isinstance(value, Tensor)]
    moved = isinstance(result, Tensor) and result.device.type == "cpu"
    return moved and any(value.device.type != "cpu" for value in tensors)


def counted(act: Callable[[], Result], *, memory: bool = False) -> tuple[Result, Counts]:
    """Run `act` once and count, and once more for the peak of memory if that is asked for.

    Returns:
        What it returned the first time, and the counts.
    """
    with Counting() as mode:
        result = act()
    return result, mode.counts(peak_of(act) if memory else 0)


def peak_of(act: Callable[[], object]) -> int:
    """Return the most bytes of tensors that `act` has alive at once, beyond those before."""
    with LiveBytes() as meter:
        act()
    return meter.peak
