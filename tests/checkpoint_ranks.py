"""What one of several ranks does in the tests of checkpoints: saves and restores, and writes down how that ended."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

import mlo
from tests.checkpoints import after, assert_same, small

torch.set_num_threads(1)


def outcome(call):
    """The error of a call, None without."""
    try:
        call()
    except mlo.MLOError as error:
        return f"{type(error).__name__}: {error}"
    return None


def main(rank, size, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size, timeout=timedelta(seconds=30)
    )
    found = {}
    torch.manual_seed(rank)
    engine = small()
    found["of another number"] = outcome(lambda: mlo.restore(engine, folder / "of one"))
    found["restored"] = outcome(lambda: mlo.restore(engine, folder / "of one", place=False))
    assert_same(engine, after(2, mlo.Alone()))
    engine.step()
    found["saved"] = outcome(lambda: mlo.save(engine, folder / "of two", more={"of": rank}))
    drawn = float(torch.rand(()))
    again = small()
    found["seen by all"] = outcome(lambda: mlo.restore(again, folder / "of two"))
    assert float(torch.rand(())) == drawn  # each rank has generators of its own
    found["drawn"] = drawn
    assert_same(again, after(3, mlo.Alone()))  # each rank has the whole batch: the mean of two equal gradients

    different = small()
    different.step()
    if rank == 1:
        different.rewind(after(2, mlo.Alone()).snapshot())
    found["different"] = outcome(lambda: mlo.save(different, folder / "different"))
    found["different folders"] = outcome(lambda: mlo.save(engine, folder / f"of {rank}"))
    found["a full disk"] = outcome(lambda: mlo.save(engine, folder / "file"))
    found["gone on one"] = outcome(lambda: mlo.restore(different, folder / ("of two" if rank == 0 else "nowhere")))
    other = folder / ("of one" if rank == 0 else "of two")
    found["other on one"] = outcome(lambda: mlo.restore(different, other, place=False))
    assert_same(different, after(1 + rank, mlo.Alone()))
    alone = after(1 + rank, mlo.Alone())
    found["alone"] = outcome(lambda: mlo.save(alone, folder / f"alone {rank}"))
    (folder / f"found {rank}").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
