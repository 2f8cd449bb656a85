"""A step of an engine that has to fail, and has to leave everything as it was, bit by bit."""

import pytest
import torch

import mlo


def bits(engine):
    """Everything that an engine holds, as it lies in memory."""
    held = engine.snapshot()
    tensors, rest = [], [held.step_count, dict(held.unconverged)]
    for part in (held.params, held.buffers, held.states, held.adjoints):
        leaves = torch.utils._pytree.tree_leaves({key: _plain(value) for key, value in part.items()})
        tensors += [leaf.clone() for leaf in leaves if isinstance(leaf, torch.Tensor)]
        rest += [leaf for leaf in leaves if not isinstance(leaf, torch.Tensor)]
    return [(t.dtype, t.shape, t.numpy().tobytes()) for t in tensors], rest


def _plain(value):
    if isinstance(value, torch.Tensor):
        return value
    if hasattr(value, "items"):
        return dict(value.items())
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def fails(engine, match, *, frozen=False, step=2):
    """Make a step that fails; return its error after looking that nothing has changed."""
    before = bits(engine)
    with pytest.raises(mlo.DivergenceError, match=match) as caught:
        engine.step(frozen=frozen)
    assert bits(engine) == before
    assert f"in outer step {step} of the engine" in caught.value.__notes__[-1]
    return caught.value
