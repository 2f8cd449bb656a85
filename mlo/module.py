"""A module with weights that are not its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


class BoundModule:
    """A module together with the weights that it has at this point of the computation.

    Call it like the module. `params` maps parameter names to the current (perhaps virtual) tensors.
    """

    def __init__(self, module: nn.Module, params: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        """Bind `module` to `params`; `buffers` are written to by layers such as BatchNorm."""
        self._module = module
        self.params = params
        self.buffers = buffers

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's forward with the bound weights and buffers."""
        bound = {**self.params, **self.buffers}
        result = functional_call(self._module, bound, args, kwargs)
        # A layer may write into a buffer or put a new tensor in its place; torch leaves that one in `bound`.
        self.buffers.update({name: bound[name] for name in self.buffers})
        return result

    def __getattr__(self, name: str) -> Any:
        """Say how to get at what a module has and this has not."""
        cure = "call it like the module, or take .params['NAME'] or .buffers['NAME']"
        raise AttributeError(f"a {type(self._module).__name__} with bound weights has no {name!r}: {cure}")

    def __repr__(self) -> str:
        """Return a short description."""
        return f"BoundModule({type(self._module).__name__}, {len(self.params)} parameters)"
