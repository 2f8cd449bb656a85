"""Writing a checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

from mlo.checkpoint.content import packed
from mlo.checkpoint.folder import MANIFEST, replaced, written
from mlo.checkpoint.manifest import Content, Manifest
from mlo.checkpoint.ranks import Ranks
from mlo.checkpoint.storage import fingerprints, write
from mlo.checkpoint.tree import Tensors
from mlo.engine import Engine
from mlo.errors import ConfigError, DataError

Folder = str | os.PathLike[str]


def save(engine: Engine, folder: Folder) -> None:
    """Write all that an engine holds between two steps to a folder, for `mlo.restore`.

    Kept are values, module buffers, optimizer states, the solutions that the next linear solves start from, and the
    numbers of steps and of warnings: with the same batches and random numbers, an engine that is restored goes on bit
    for bit as one that was not stopped. Not kept are the place in the batches, random generators, losses and data, and
    parameters of a module that are frozen: for these, a fingerprint.

    The folder is written beside its place and then renamed; a checkpoint that is there is replaced by a whole one, or
    stays. Its tensors are in the format of torch.distributed.checkpoint, under keys such as `values/NAME/PARAMETER`,
    `buffers/NAME/BUFFER` and `states/NAME/...`; all else is in `mlo.json`.

    All ranks that share the work (`parallel` of the engine) make this call, with the same folder: rank 0 writes, and
    the others wait for it.

    Args:
        engine: The engine, between two steps.
        folder: Where to; made if need be, its parents too.

    Raises:
        DataError: If the folder holds something else, or cannot be written; if an optimizer keeps what cannot be
            written; or if ranks do not hold the same. On all ranks, if on one.
        ConfigError: If ranks give different folders.
        RankError: If a rank has ended.
    """
    check_engine("save", engine)
    ranks, path = Ranks(engine.parallel), Path(folder).resolve()
    _check_same_folder(ranks, path)
    content, tensors = ranks.agreed(lambda: packed(engine.graph, engine.snapshot()))
    digest = _shared_digest(ranks, content, tensors)

    def finish() -> None:
        if ranks.rank == 0:
            _write(path, content, tensors, digest)

    ranks.agreed(finish)


def check_engine(user: str, engine: Engine) -> None:
    """Raise unless it is an engine."""
    if not isinstance(engine, Engine):
        raise ConfigError(f"{user}: needs an mlo.Engine, got {type(engine).__name__}: write {user}(engine, folder)")


def _write(folder: Path, content: Content, tensors: Tensors, digest: str) -> None:
    with replaced(folder) as new:
        manifest = Manifest(content, write(new, tensors), digest)
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
        first, second = (ranks.gathered(own)[rank] for rank in (0, other))
        where = next((key for key in {**first, **second} if first.get(key) != second.get(key)), "the number of steps")
        cure = "let all make the same steps, or give parallel=mlo.Alone() to engines that share nothing"
        raise DataError(f"rank {other}: does not hold the same as rank 0, first in {where}: {cure}")
    return digests[0]
