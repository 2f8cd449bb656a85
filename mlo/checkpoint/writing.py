"""Writing a checkpoint."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlo.checkpoint.content import packed
from mlo.checkpoint.folder import MANIFEST, replaced, written
from mlo.checkpoint.manifest import Content, Manifest
from mlo.checkpoint.position import encoded_position
from mlo.checkpoint.ranks import Ranks
from mlo.checkpoint.storage import digests, fingerprints, write
from mlo.checkpoint.tree import NOTHING, Tensors, keys
from mlo.engine import Engine
from mlo.errors import ConfigError, DataError

Folder = str | os.PathLike[str]


def save(engine: Engine, folder: Folder, *, more: Any = None) -> None:
    """Write all that decides how an engine goes on to a folder, for `mlo.restore`.

    Kept are values, module buffers, optimizer states, the solutions that the next linear solves start from, the numbers
    of steps and of warnings; and of each rank the place in its batches and the states of the random generators of
    torch, numpy and `random`. An engine that is restored goes on bit for bit as one that was not stopped. Not kept are
    losses and data, and parameters of a module that are frozen: for these, a fingerprint.

    The folder is written beside its place and then renamed; a checkpoint that is there is replaced by a whole one, or
    stays. Its tensors are in the format of torch.distributed.checkpoint, under keys such as `values/NAME/0` and
    `states/NAME/...`; all else is in `mlo.json`, with a checksum of each file and of itself.

    All ranks that share the work (`parallel` of the engine) make this call, with the same folder: rank 0 writes, and
    the others wait for it.

    Args:
        engine: The engine, between two steps.
        folder: Where to; made if need be, its parents too.
        more: What else to keep, such as a learning curve: tensors, numbers, texts, and tuples, lists or dicts of them.
            `mlo.restore` returns it. Of several ranks, that of rank 0 is kept.

    Raises:
        DataError: If the folder holds something else, or cannot be written; if an optimizer, batches or `more` hold
            what cannot be written; or if ranks do not hold the same. On all ranks, if on one.
        ConfigError: If ranks give different folders.
        RankError: If a rank has ended.

    Examples:
        >>> import mlo, tempfile, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.x**2, torch.tensor(1.0), update=torchopt.sgd(0.1))
        >>> engine, folder = mlo.Engine(mlo.ProblemGraph([x])), tempfile.mkdtemp()
        >>> report = engine.step()
        >>> mlo.save(engine, folder + "/after-1")
    """
    check_engine("save", engine)
    ranks, path = Ranks(engine.parallel), Path(folder).resolve()
    _check_same_folder(ranks, path)
    places = ranks.gathered(ranks.agreed(lambda: encoded_position(engine.position())))
    content, tensors = ranks.agreed(lambda: packed(engine.graph, engine.snapshot(), places, more))
    if ranks.rank:
        content, tensors = _without_more(content, tensors)
    digest = _shared_digest(ranks, *_without_more(content, tensors))

    def finish() -> None:
        if ranks.rank == 0:
            _write(path, content, tensors, digest)

    ranks.agreed(finish)


def _without_more(content: Content, tensors: Tensors) -> tuple[Content, Tensors]:
    added = set(keys(content.more))
    return replace(content, more=NOTHING), {key: value for key, value in tensors.items() if key not in added}


def check_engine(user: str, engine: Engine) -> None:
    """Raise unless it is an engine."""
    if not isinstance(engine, Engine):
        raise ConfigError(f"{user}: needs an mlo.Engine, got {type(engine).__name__}: write {user}(engine, folder)")


def _write(folder: Path, content: Content, tensors: Tensors, digest: str) -> None:
    with replaced(folder) as new:
        places = write(new, tensors)
        manifest = Manifest(content, places, digest, digests(new))
        written(new / MANIFEST, manifest.text())


def _check_same_folder(ranks: Ranks, folder: Path) -> None:
    folders = ranks.gathered(str(folder))
    other = next((rank for rank, given in enumerate(folders) if given != folders[0]), None)
    if other is not None:
        cure = "give the same on all ranks, or parallel=mlo.Alone() to engines that share nothing"
        raise ConfigError(f"save: rank {other} was given {folders[other]}, rank 0 {folders[0]}: {cure}")


def _shared_digest(ranks: Ranks, content: Content, tensors: Tensors) -> str:
    """Return the digest of what all ranks hold.

    Raises:
        DataError: If they do not hold the same; the message names the first difference.
    """
    own = fingerprints(tensors)
    digests: list[str] = ranks.gathered(content.digest(own))
    other = next((rank for rank, digest in enumerate(digests) if digest != digests[0]), None)
    if other is not None:
        # By name only now, for that takes longer.
        named = fingerprints(content.named(tensors))
        first, second = (ranks.gathered(named)[rank] for rank in (0, other))
        where = next((key for key in {**first, **second} if first.get(key) != second.get(key)), "the number of steps")
        cure = "let all make the same steps, or give parallel=mlo.Alone() to engines that share nothing"
        raise DataError(f"rank {other}: does not hold the same as rank 0, first in {where}: {cure}")
    return digests[0]
