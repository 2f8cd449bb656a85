"""Reading a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlo.checkpoint.compare import differences
from mlo.checkpoint.content import unpacked
from mlo.checkpoint.folder import present
from mlo.checkpoint.manifest import Content, read_manifest
from mlo.checkpoint.position import decoded_position
from mlo.checkpoint.ranks import Ranks
from mlo.checkpoint.storage import checked, read
from mlo.checkpoint.tree import decoded, keys
from mlo.checkpoint.writing import Folder, check_engine
from mlo.engine import Engine
from mlo.errors import DamagedError, DataError, MLOError
from mlo.gradient import recording
from mlo.position import Position
from mlo.snapshot import Snapshot

_CURE = "restore into an engine on the problems that were saved"


def restore(engine: Engine, folder: Folder, *, place: bool = True) -> Any:
    """Put an engine into the state that `mlo.save` wrote, and this process where it was then.

    The engine is made as it was before, from the same problems; it may be on other devices. With `place=False` it may
    be on another number of ranks, too, and have other batches.

    Reading runs no code that a file may contain: the tensors are read as tensors alone, and `.metadata`, a pickle that
    others need (`torch.distributed.checkpoint.load` runs what it says), is not read at all.

    All ranks that share the work (`parallel` of the engine) make this call, and each reads the folder, which all must
    see.

    Args:
        engine: The engine; it stays as it is if this fails, on all ranks.
        folder: What `mlo.save` wrote.
        place: Whether to go on where the batches were, and with the random numbers of then (see `Engine.seek`); if not,
            batches and generators go on as they are.

    Returns:
        What `mlo.save` was given as `more`, with tensors on the CPU.

    Raises:
        DamagedError: If a file is not what was written, or is missing.
        DataError: If there is no such checkpoint, it was written by another version of the format, or is of other
            problems, updates, batches or ranks; the message names the first difference. On all ranks, if on one.
        RankError: If a rank has ended.

    Examples:
        >>> import mlo, tempfile, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.x**2, torch.tensor(1.0), update=torchopt.sgd(0.1))
        >>> engine, folder = mlo.Engine(mlo.ProblemGraph([x])), tempfile.mkdtemp()
        >>> mlo.save(engine, folder + "/begin", more={"epoch": 3})
        >>> report = engine.step()
        >>> mlo.restore(engine, folder + "/begin"), engine.values["x"]
        ({'epoch': 3}, tensor(1.))
    """
    check_engine("restore", engine)
    ranks, path = Ranks(engine.parallel), Path(folder).resolve()
    with recording():
        found = ranks.agreed(lambda: _read(engine, path, ranks, place=place))
    digests = ranks.gathered(found.digest)
    other = next((rank for rank, digest in enumerate(digests) if digest != digests[0]), None)
    if other is not None:
        raise DataError(f"{path}: rank {other} sees another checkpoint there than rank 0: let all ranks see one")
    if found.position is not None:
        position = found.position
        ranks.agreed(lambda: _seek(engine, path, position))
    engine.rewind(found.snapshot)
    return found.more


def read_more(folder: Path) -> Any:
    """Check all files of a checkpoint, and return what its user added.

    Raises:
        DamagedError: If a file is not what was written.
        DataError: If there is none, or it is of another version of the format.
    """
    path = present(folder)
    manifest = read_manifest(path)
    wanted = set(keys(manifest.content.more))
    with checked(path, manifest.files) as streams:
        tensors = read(path, streams, {key: place for key, place in manifest.places.items() if key in wanted})
    return decoded(manifest.content.more, tensors.__getitem__, {})


@dataclass(frozen=True, eq=False)
class _Found:
    snapshot: Snapshot
    position: Position | None
    more: Any
    digest: str


def _read(engine: Engine, path: Path, ranks: Ranks, *, place: bool) -> _Found:
    folder = present(path)
    manifest, now = read_manifest(folder), engine.snapshot()
    content = manifest.content
    found = next(differences(engine.graph, now, content), None)
    if found is not None:
        raise DataError(f"{path}: {found}: {_CURE}")
    position = _position(path, content, ranks) if place else None
    with checked(folder, manifest.files) as streams:
        tensors = read(folder, streams, manifest.places)
    try:
        snapshot = unpacked(engine.graph, now, content, tensors)
        return _Found(snapshot, position, decoded(content.more, tensors.__getitem__, {}), manifest.digest)
    except DataError as error:
        raise DataError(f"{path}: {error}: {_CURE}") from error


def _seek(engine: Engine, path: Path, position: Position) -> None:
    try:
        engine.seek(position)
    except MLOError:
        raise
    except Exception as error:  # batches of a user take, or refuse, what was saved of them
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        cure = "give the same batches on the same devices, or place=False, so that batches begin anew"
        raise DataError(f"{path}: its place cannot be gone back to ({reason}): {cure}") from error


def _position(path: Path, content: Content, ranks: Ranks) -> Position:
    if len(content.places) != ranks.size:
        were, are = (f"{count} rank{'s' if count > 1 else ''}" for count in (len(content.places), ranks.size))
        cure = "start as many, or give place=False, so that batches begin anew"
        raise DataError(f"{path}: was saved by {were}, and there {'is' if ranks.size == 1 else 'are'} {are}: {cure}")
    try:
        return decoded_position(content.places[ranks.rank])
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedError(f"{path}: its places are damaged ({reason}): take an earlier checkpoint") from error
