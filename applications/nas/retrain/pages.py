"""The pages and pictures by which a retraining explains itself."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from applications.nas.draw import draw_genotype
from applications.nas.draw.curves import draw_curves
from applications.nas.retrain.table import HEADER, rows
from applications.nas.retrain.training import Training
from applications.nas.run_folder import CONFIG, DATA, ENVIRONMENT, GENOTYPE, RESULTS
from applications.nas.run_folder.index import INDEX, README, write_index, write_readme
from applications.nas.run_folder.page import AbstractBlock, Code, Picture, Section, Table, Text
from applications.nas.settings import RetrainSettings, TorchvisionForm
from applications.nas.settings_table import settings_table
from applications.nas.space.genotype import Genotype


def write_pages(
    folder: Path,
    name: str,
    genotype: Genotype | None,
    settings: RetrainSettings,
    found: Sequence[Training],
    ranks: int = 1,
) -> None:
    """Draw the cell and the curves of a retraining, and write its pages.

    Args:
        folder: Folder of the retraining, with the files of its trainings.
        name: How reports call the architecture.
        genotype: The cell; None for a network of torchvision.
        settings: How it was trained.
        found: The trainings.
        ranks: How many processes shared each batch.
    """
    pictures = []
    if genotype is not None:
        draw_genotype(genotype, folder / "cell")
        pictures.append(Picture("cell.svg", "the cell: operations on the edges, nodes add them up"))
    for task in dict.fromkeys(training.task for training in found):
        mine = [training for training in found if training.task == task]
        _draw(folder, task, mine)
        caption = f"{task}: mean loss and {mine[0].metric} on training images, by epoch, a line for each seed"
        pictures.append(Picture(f"curves-{task}.svg", caption))
    texts, table = _words(settings, found, ranks), Table(HEADER, rows(found))
    again: list[AbstractBlock] = [Text("To test the weights again, in this folder:"), Code("mlo-nas evaluate .")]
    files = _files(found)
    outcome = [] if genotype is None else [Code(str(genotype))]
    sections = [
        Section("Outcome", [table, *map(Text, texts[1:])]),
        Section("The cell and its training", [*outcome, *pictures]),
        Section("Again", again),
        Section("Settings", [settings_table(settings)]),
    ]
    title = f"Retraining of {name}"
    write_index(folder, title, summary=texts[:1], facts={}, sections=sections, files=files)
    write_readme(folder, title, [Text(texts[0]), table, *map(Text, texts[1:]), *again], files)


def _words(settings: RetrainSettings, found: Sequence[Training], ranks: int) -> list[str]:
    made = isinstance(settings.network, TorchvisionForm)
    tested = "the last weights" if settings.ema is None else f"a moving average of the weights ({settings.ema})"
    how = f"{'A network' if made else 'Networks of this cell'}, trained from scratch on the train and valid parts of "
    how += f"each task ({_count(settings.epochs, 'epoch')}), and tested once, at the end, on the test part: {tested}."
    if ranks > 1:
        whole = "the whole batch" if settings.sync_batch_norm else "the share of its own rank"
        how += f" {ranks} ranks shared each batch; BatchNorm saw {whole}."
    seeds = len({training.seed for training in found})
    spread = f"{'Mean ± standard deviation over' if seeds > 1 else 'From'} {_count(seeds, 'seed')} of the retraining. "
    spread += "Parameters and multiply-adds (of one image, in convolutions and linear layers) leave out the auxiliary "
    return [how, f"{spread}head."]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _draw(folder: Path, task: str, trainings: Sequence[Training]) -> None:
    """Plot loss and training error by epoch, one line for each seed."""
    epochs: dict[int, dict[str, float]] = {}
    for seed in (training.seed for training in trainings):
        with (folder / f"{task}-{seed}.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                at = epochs.setdefault(int(row["epoch"]), {"step": float(row["epoch"])})
                at |= {f"{column}/seed {seed}": float(row[column]) for column in ("loss", "train_error")}
    panels = {
        title: [f"{column}/seed {training.seed}" for training in trainings]
        for title, column in (("loss", "loss"), (f"training {trainings[0].metric}", "train_error"))
    }
    draw_curves(list(epochs.values()), panels, folder / f"curves-{task}")


def _files(found: Sequence[Training]) -> Mapping[str, str]:
    each = {}
    for training in found:
        stem = f"{training.task}-{training.seed}"
        each[f"{stem}.csv"] = f"learning rate, loss and training error on {training.task} by epoch"
        each[f"{stem}.pt"] = "the weights that were tested: a state dict for `torch.load(..., weights_only=True)`"
    return {
        INDEX: "the page of this retraining: start here",
        README: "the same, short, as text",
        GENOTYPE: "the cell",
        "cell.svg": "its picture",
        RESULTS: "every number of the table, by seed",
        **each,
        **{f"curves-{training.task}.svg": "the numbers of the CSV files" for training in found},
        CONFIG: "every setting",
        DATA: "what was learned: the data and the seed of the split",
        ENVIRONMENT: "versions, hardware, commit and command",
    }
