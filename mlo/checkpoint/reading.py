"""Reading a checkpoint."""

from __future__ import annotations

from pathlib import Path

from mlo.checkpoint.compare import differences
from mlo.checkpoint.content import unpacked
from mlo.checkpoint.folder import present
from mlo.checkpoint.manifest import read_manifest
from mlo.checkpoint.ranks import Ranks
from mlo.checkpoint.storage import fingerprints, read
from mlo.checkpoint.writing import Folder, check_engine
from mlo.engine import Engine
from mlo.errors import DataError
from mlo.gradient import recording
from mlo.snapshot import Snapshot

_CURE = "restore into an engine on the problems that were saved"


def restore(engine: Engine, folder: Folder) -> None:
    """Put an engine into the state that `mlo.save` wrote.

    The engine is made as it was before, from the same problems; it may be on other devices, and on another number of
    ranks. Batches begin where the engine's are now, and random generators go on as they are.

    Reading runs no code that a file may contain: the tensors are read as tensors alone, and `.metadata`, a pickle that
    others need (`torch.distributed.checkpoint.load` runs what it says), is not read at all.

    All ranks that share the work (`parallel` of the engine) make this call, and each reads the folder, which all must
    see. How many there are need not be how many there were.

    Args:
        engine: The engine; it stays as it is if this fails, on all ranks.
        folder: What `mlo.save` wrote.

    Raises:
        DataError: If there is no such checkpoint, it is damaged, was written by a newer library, or is of other
            problems or updates; the message names the first difference. On all ranks, if on one.
        RankError: If a rank has ended.
    """
    check_engine("restore", engine)
    ranks, path = Ranks(engine.parallel), Path(folder).resolve()
    with recording():
        held, digest = ranks.agreed(lambda: _read(engine, path))
    digests = ranks.gathered(digest)
    other = next((rank for rank, found in enumerate(digests) if found != digests[0]), None)
    if other is not None:
        raise DataError(f"{path}: rank {other} sees another checkpoint there than rank 0: let all ranks see one")
    engine.rewind(held)


def _read(engine: Engine, path: Path) -> tuple[Snapshot, str]:
    folder = present(path)
    manifest, now = read_manifest(folder), engine.snapshot()
    content = manifest.content
    found = next(differences(engine.graph, now, content, manifest.places), None)
    if found is not None:
        raise DataError(f"{path}: {found}: {_CURE}")
    tensors = read(folder, manifest.places)
    if content.digest(fingerprints(tensors)) != manifest.digest:
        raise DataError(f"{path}: its files are not what was written: take an earlier checkpoint")
    try:
        return unpacked(engine.graph, now, content, tensors), manifest.digest
    except DataError as error:
        raise DataError(f"{path}: {error}: {_CURE}") from error
