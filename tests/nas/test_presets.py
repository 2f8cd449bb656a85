"""Presets: their numbers against those that their sources print, and a source for every setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from applications.nas.methods import Darts, PCDarts, PDarts
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.presets.page import page
from applications.nas.presets.sources import RETRAIN_SOURCES, SEARCH_SOURCES, flat_settings, source_of
from applications.nas.settings import Interleaving, SingleTask

# method, gradient, cells, batch, epochs, lr, min lr, lr of alphas, clip of alphas
ORIGINAL = {
    "darts-1st-original": (Darts(), "first", 8, 64, 50, 0.025, 0.001, 3e-4, None),
    "darts-2nd-original": (Darts(), "difference", 8, 64, 50, 0.025, 0.001, 3e-4, None),
    "pdarts-original": (PDarts(), "first", 5, 96, 25, 0.025, 0.0, 6e-4, 5.0),
    "pcdarts-original": (PCDarts(), "first", 8, 256, 50, 0.1, 0.0, 6e-4, None),
    "pcdarts-imagenet-original": (PCDarts(2, 0.7), "first", 8, 1024, 50, 0.5, 0.0, 6e-3, 5.0),
}
PAPER = {
    "darts-1st-paper": (Darts(), "first", 8, 50),
    "darts-2nd-paper": (Darts(), "difference", 8, 50),
    "pdarts-paper": (PDarts(), "first", 5, 25),
    "pcdarts-paper": (PCDarts(), "first", 8, 50),
}


@pytest.mark.parametrize("name", ORIGINAL)
def test_original_settings(name: str) -> None:
    settings = SEARCH[name][1]
    weights, alphas, net = settings.weights, settings.architecture, settings.supernet
    found = (settings.method, settings.rule, net.layers, settings.batch, settings.epochs)
    assert (*found, weights.lr, weights.min_lr, alphas.lr, alphas.clip) == ORIGINAL[name]
    assert (weights.momentum, weights.decay, weights.clip) == (0.9, 3e-4, 5.0)
    assert (alphas.betas, alphas.decay) == ((0.5, 0.999), 1e-3)
    assert (net.channels, net.nodes, len(net.primitives)) == (16, 4, 8)
    assert isinstance(settings.formulation, SingleTask)


@pytest.mark.parametrize("name", PAPER)
def test_flat_settings_of_the_paper(name: str) -> None:
    settings = SEARCH[name][1]
    weights, alphas, form = settings.weights, settings.architecture, settings.formulation
    assert (settings.method, settings.rule, settings.supernet.layers, settings.epochs) == PAPER[name]
    assert (settings.batch, weights.lr, weights.momentum, weights.decay) == (64, 0.025, 0.9, 3e-4)
    assert (alphas.lr, alphas.decay, settings.supernet.channels) == (3e-4, 1e-3, 16)
    assert isinstance(form, Interleaving)
    assert (form.rounds, form.weight) == (2, 100.0)


def test_stages_of_the_originals() -> None:
    warm = {name: [stage.warm_up for stage in SEARCH[name][1].stages()] for name in ORIGINAL}
    assert warm == {
        "darts-1st-original": [0],
        "darts-2nd-original": [0],
        "pdarts-original": [10, 10, 10],
        "pcdarts-original": [15],
        "pcdarts-imagenet-original": [35],
    }


def test_every_setting_has_a_source() -> None:
    for presets, sources in ((SEARCH, SEARCH_SOURCES), (RETRAIN, RETRAIN_SOURCES)):
        assert set(presets) - set(sources) == {"digits", "folders"}, "the small ones are our own"
        for name in sources:
            missing = []
            for field, _ in flat_settings(presets[name][1]):  # type: ignore[index]
                try:
                    source_of(sources, name, field)
                except KeyError:
                    missing.append(field)
            assert not missing, name


def test_the_page_is_up_to_date() -> None:
    written = (Path(__file__).resolve().parents[2] / "docs" / "presets.md").read_text()
    assert written == page(), "run: python -m applications.nas.presets.page > docs/presets.md"
