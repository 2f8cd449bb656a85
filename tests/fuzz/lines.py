"""Command lines of every command, and what happens to them on the way from a head to a keyboard."""

from __future__ import annotations

from hypothesis import strategies as st

VALID = [
    "search digits --epochs 1 --supernet.channels 2 --out there",
    "search digits formulation:single --formulation.task loops --weights.lr 0.1",
    "search digits formulation:multi --formulation.shares 1 2 --architecture.betas 0.5 0.9",
    "search digits method:pdarts --method.skips 2 --supernet.layers 3 --seed 4 --device cpu",
    "search digits data:digits --data.tasks slant denoise --watch.skips 3 --no-watch.gap",
    "search folders --data.roots cats dogs --data.side 8 --data.subset 4",
    "search darts-2nd-original --data.root nowhere --batch 3",
    "search --config run/config.json --epochs 2",
    "retrain digits --cell DARTS_V1 data:digits --data.tasks loops --epochs 1 --channels 2 --layers 3 --out there",
    "retrain digits --cell random:3 data:digits schedule:linear --schedule.tail 1 --seeds 0 1",
    "retrain digits --cell torchvision:resnet18 data:digits --network.stem small",
    "retrain cifar network:imagenet --run run --ema 0.9 --smoothing 0.1",
    "retrain --resume run",
    "evaluate run --device cpu data:digits",
    "draw DARTS_V2 --out there/cell",
    "draw run --out there.png",
    "report run --out there --no-published",
    "report run run --quoted mine.csv",
    "sweep digits --vary seed 0 1 --vary formulation.weight 1 10 --epochs 1 --out there",
    "sweep digits --vary formulation single multi --retrain digits --retrain.epochs 2 launcher:local --workers 2",
    "sweep digits --vary seed 0 launcher:slurm --launcher.hours 2 --dry-run",
    "sweep --resume run --workers 1",
    "zoo PDARTS",
    "zoo",
    "spaces",
    "demo --workers 1 --search.epochs 1 --retrain.seeds 0 1 --out there",
    "--help",
    "search digits --help",
]
ODD = [
    "",
    " ",
    "--",
    "-",
    "--x",
    "--epochs",
    "0",
    "-1",
    "nan",
    "inf",
    "1e999",
    "99999999999999999999",
    "None",
    "True",
    "x=y",
]
ODD += [
    "a b",
    "\u00fc\u4e2d\U0001f600",
    "new\nline",
    "--out=there",
    "--out",
    "data:nope",
    "method:darts",
    "data:cifar",
    "run",
]
ODD += [
    "formulation:single",
    "--help",
    "-h",
    "--seed=1",
    "--seed",
    "{}",
    "[]",
    "'",
    '"',
    "\\",
    "*",
    "a" * 3000,
    "search",
    "--epochs=0",
]
ODD += [
    "--batch",
    "1",
    "--supernet.layers",
    "2",
    "--gradient.rule=exact",
    "--dry-run",
    "--time",
    "--run",
    "--cell",
    "/dev/null",
    ".",
]
ODD += [
    "--data.roots",
    "--vary",
    "--retrain",
    "--workers",
    "--device=cuda",
    "launcher:slurm",
    "launcher:submitit-local",
    "1_0",
    "\ud800",
]


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A valid command line with up to three slips."""
    words = draw(st.sampled_from(VALID)).split()
    for _ in range(draw(st.integers(0, 3))):
        words = _slip(draw, words)
    return words


def _slip(draw: st.DrawFn, words: list[str]) -> list[str]:
    place, how = draw(st.integers(0, len(words))), draw(st.integers(0, 7))
    odd = draw(st.sampled_from(ODD) | st.text(st.characters(exclude_characters="\0"), max_size=6))
    if how <= 1:
        return [*words[:place], odd, *words[place:]]
    if how == 2:
        return [*words[:place], *words[place + 1 :]]
    if how == 3:
        return [*words[:place], odd, *words[place + 1 :]]
    if how == 4:
        return [*words, *words[place : place + 2]]
    if how == 5:
        return words[:place]
    if how == 6 and 0 < place < len(words):
        return [*words[:place], f"{words[place]}={odd}", *words[place + 1 :]]
    return [*words[: max(0, place - 1)], *reversed(words[max(0, place - 1) : place + 1]), *words[place + 1 :]]
