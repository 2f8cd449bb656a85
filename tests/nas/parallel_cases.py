"""What is trained both by several ranks and by one process; as a program, the part of the ranks."""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from applications.nas import launch
from applications.nas.cli import main
from applications.nas.data import Augment, Images, Task
from applications.nas.launch import Ranks
from applications.nas.networks.network import Prediction
from applications.nas.objective import Regression
from applications.nas.progress import silent
from applications.nas.retrain import retrain, run
from applications.nas.retrain.build import build_network
from applications.nas.retrain.checkpoint import Keeper
from applications.nas.retrain.evaluation import score
from applications.nas.retrain.fit import fit
from applications.nas.retrain.parallel import _freeze_unused
from applications.nas.run_folder import MetricsFile
from applications.nas.settings import CifarForm, FolderData, RetrainSettings, RetrainWeights, SearchSettings
from applications.nas.space.genotype import Cell, Edge, Genotype
from tests.nas.torchrun import fork

CELL = Cell((Edge("sep_conv_3x3", 1), Edge("skip_connect", 1)), (2,))  # what comes in at input 0 is used by nobody
GENOTYPE = Genotype(CELL, CELL)
SETTINGS = RetrainSettings(
    network=CifarForm(2, 3), epochs=4, batch=8, weights=RetrainWeights(lr=0.05, clip=0.7), ema=0.9, device="cpu"
)
CASES = {  # 21 images in batches of 8: the last one, of 5, leaves the third of three ranks without an image
    "cells": SETTINGS,
    "pieces": replace(SETTINGS, accumulate=2, ema=None),
    "auxiliary": replace(SETTINGS, auxiliary_weight=0.3),
    "batch-norm": replace(SETTINGS, ema=None),
}
WHOLE = replace(SETTINGS, weights=RetrainWeights(), drop_path=0.3, cutout=3, seeds=(0, 1))
WORDS = "retrain folders --cell cell.json --epochs 4 --layers 3 --channels 2 --batch 8 --drop-path 0.3 --cutout 3"
WORDS += " --ema 0.9 --seeds 0 1 --device cpu --checkpoint.share 1 data:folders --data.roots pets"
"""The same as `WHOLE`, on the command line: the cell in a file, the images in a folder."""


def draw_pets(folder: Path) -> None:
    """Write 24 images to train on and 4 to test, of two classes."""
    draw = torch.Generator().manual_seed(0)
    for part, count in (("train", 12), ("test", 2)):
        for name in ("cats", "dogs"):
            (folder / "pets" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = torch.randint(256, (8, 8, 3), dtype=torch.uint8, generator=draw)
                Image.fromarray(pixels.numpy()).save(folder / "pets" / part / name / f"{number}.png")


def computed(folder: Path) -> dict[str, object]:
    """All that a retraining computes: the metrics and weights of each training, and the results but for the time."""
    results = json.loads((folder / "results.json").read_text())
    for training in results["trainings"]:
        assert training.pop("seconds") > 0
    for name in ("torchrun", "ranks"):
        results.pop(name, None)
    files = {path.name: path.read_text() for path in folder.glob("*.csv")}
    weights = {path.name: torch.load(path, weights_only=True) for path in folder.glob("*.pt")}
    plain = {f"{file} {name}": value.tolist() for file, state in weights.items() for name, value in state.items()}
    assert len(files) == len(weights) == len(results["trainings"])
    return {"results": results, **files, **plain}


class Auxiliary(nn.Module):
    """Two heads, and weights that nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(2, 2)
        self.first, self.second = nn.Linear(64, 3), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Prediction:
        return Prediction(self.first(x.flatten(1)), self.second(x.flatten(1)) if self.training else None)


def toy(count: int = 21) -> Task:
    """Random images of three classes, cropped, flipped and cut anew in each epoch."""
    draw = torch.Generator().manual_seed(7)
    every = Images(torch.randn(count, 1, 8, 8, generator=draw), torch.arange(count) % 3)
    parts = [every.take(chosen) for chosen in torch.arange(count).tensor_split(2)]
    return Task("toy", ("a", "b", "c"), *parts, every, (0.1,), (1.5,), Augment(padding=1, cutout=3))


def numbers(count: int) -> Task:
    """Random images with one real number each, so that a score has all digits."""
    draw = torch.Generator().manual_seed(8)
    pixels, targets = torch.randn(count, 1, 8, 8, generator=draw), torch.randn(count, generator=draw)
    images = Images(pixels, targets)
    return Task("numbers", (), images, images, images, (0.0,), (1.0,), objective=Regression())


def start(case: str) -> nn.Module:
    """A network with the same initial values everywhere; but for one case no image has a say in another's output."""
    torch.manual_seed(1)
    network = Auxiliary() if case == "auxiliary" else build_network(GENOTYPE, toy(), SETTINGS)
    for module in list(network.modules()) if case != "batch-norm" else ():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.GroupNorm(1, child.num_features))
    return network.double()


def judge(ranks: Ranks) -> list[float]:
    """Score a network on a batch that divides, on one that does not, and on one image, which is one rank's."""
    torch.manual_seed(2)
    network = build_network(GENOTYPE, numbers(4), SETTINGS).double()
    return [score(network, numbers(count), ranks).error for count in (256, 263, 1)]


class Stopped(Exception):
    """A training ends early, as if it were killed."""


def train(case: str, folder: Path, ranks: Ranks, stop: int = 0) -> dict[str, Tensor]:
    """Return the weights to test and the last row of metrics; with `stop`, go on, and end after so many epochs."""

    def tick(done: int, total: int, text: str) -> None:
        if done == stop > 0:
            raise Stopped

    keeper = Keeper(folder, "toy", 5, ranks)
    with MetricsFile(folder / f"metrics-{ranks.rank}.csv") as metrics:
        network = fit(start(case), toy(), CASES[case], 5, metrics, tick, ranks=ranks, keeper=keeper)
    rows = torch.tensor([list(row.values()) for row in metrics.rows], dtype=torch.float64)
    return {**network.state_dict(), "rows": rows}


def rank(folder: Path, ranks: Ranks) -> None:
    """Do the part of one rank; what one process is to find as well is left in files."""
    found = {}
    for case in CASES:
        (folder / case).mkdir(exist_ok=True)
        ranks.from_first(None)
        found[case] = train(case, folder / case, ranks)
    if ranks.world == 2:
        with suppress(Stopped):
            train("cells", folder / "stopped", ranks, stop=2)
        keeper, dropping = Keeper(folder, "toy", 0, ranks), replace(SETTINGS, drop_path=0.3, epochs=1)
        retrain(GENOTYPE, toy(), dropping, 0, folder, ranks=ranks, keeper=keeper)
    else:
        found["gone on"] = train("cells", folder / "stopped", ranks)
    scores = judge(ranks)
    everyone = ranks.gather({name: value.double().sum().item() for name, value in found["batch-norm"].items()})
    if ranks.first:
        torch.save(
            {**found, "scores": torch.tensor(scores, dtype=torch.float64), "everyone": everyone}, folder / "found.pt"
        )


def whole(folder: Path, ranks: Ranks) -> None:
    """Do what `WORDS` say, without the command line and without pictures, which take longer than the training."""
    run.write_pages = lambda *_: None  # type: ignore[assignment]
    searched = SearchSettings(data=FolderData((Path("pets"),)))
    run.retrain_run(GENOTYPE, "cell.json", searched, WHOLE, folder, lambda label: silent, ranks=ranks)


def join(part: Callable[[Path, Ranks], None], folder: Path) -> None:
    """Be a rank."""
    try:
        with launch.ranks() as here:
            part(folder, here)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def fail() -> None:
    """Be a rank of a job that comes upon a broken image; the images are decoded by the rank that needs them."""
    with open("told.txt", "a", encoding="utf-8") as told, redirect_stderr(told):
        code = main([*WORDS.split(), "--data.lazy", "--data.side", "8", "--data.workers", "0"])
    os._exit(0 if code == 2 else 1)


if __name__ == "__main__":
    _freeze_unused(start("cells"), (1, 8, 8))  # so that each copy of this process need not load what this loads
    for number in (2, 3):
        fork(number, partial(join, rank, Path(str(number))))
    fork(2, partial(join, whole, Path("whole")))
    shutil.copytree("pets", "fail/pets")
    os.chdir("fail")
    Path("cell.json").write_text(GENOTYPE.to_json())
    Path("pets/train/cats/1.png").write_text("no image")
    fork(2, fail)
