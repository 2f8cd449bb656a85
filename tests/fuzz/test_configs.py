"""Files of settings in any state: they are read, or refused by the place in them that is wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from applications.nas.config_file import from_json, to_json
from applications.nas.demo import DemoSettings
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.presets.scales import SCALES
from applications.nas.retrain.ledger import Unfinished
from applications.nas.run_folder import read_search_settings
from applications.nas.search import begin, chosen_tasks, complete
from applications.nas.search.stage import prepare
from applications.nas.settings import DigitsData, RetrainData, SearchSettings
from applications.nas.sweep.studies import make_study
from tests.fuzz.harness import attempt, cases, scratch
from tests.fuzz.junk import broken_bytes, mutated

SEARCHES = [settings for _, settings in SEARCH.values()]
OTHERS: list[Any] = [settings for _, settings in RETRAIN.values()]
OTHERS += [DemoSettings(), RetrainData(), Unfinished("mine", None, None)]
OTHERS += [make_study("evidence-order", SCALES["cpu"][1], "cpu")]


@cases("configs", 0.5)
@given(st.data())
def test_a_search_with_values_that_do_not_belong(data: st.DataObject) -> None:
    plain = json.loads(to_json(data.draw(st.sampled_from(SEARCHES))))
    text = json.dumps(data.draw(mutated(plain)))
    found, refused = attempt("configs", lambda: from_json(SearchSettings, text, "here"))
    if refused is None:
        assert from_json(SearchSettings, to_json(found), "there") == found
        if data.draw(st.integers(0, 9)) == 0 and _is_small(found):
            _begins(found)


@cases("configs", 0.3)
@given(st.data())
def test_other_settings_with_values_that_do_not_belong(data: st.DataObject) -> None:
    settings = data.draw(st.sampled_from(OTHERS))
    text = json.dumps(data.draw(mutated(json.loads(to_json(settings)))))
    found, refused = attempt("configs", lambda: from_json(type(settings), text, "here"))
    if refused is None:
        assert from_json(type(settings), to_json(found), "there") == found


@cases("configs", 0.2)
@given(st.data())
def test_a_file_that_is_cut_or_overwritten(data: st.DataObject) -> None:
    text = to_json(data.draw(st.sampled_from(SEARCHES)))
    with scratch() as folder:
        Path("config.json").write_bytes(data.draw(broken_bytes(text)))
        attempt("configs", lambda: read_search_settings(data.draw(st.sampled_from([folder, Path("config.json")]))))


def _is_small(settings: SearchSettings) -> bool:
    net, form = settings.supernet, settings.formulation
    small = net.layers <= 4 and net.channels <= 16 and net.nodes <= 2 and settings.epochs < 1000
    return small and getattr(form, "rounds", 1) <= 2 and isinstance(settings.data, DigitsData)


def _begins(settings: SearchSettings) -> None:
    """A search that small is begun, up to its first step."""

    def start() -> None:
        whole = complete(dataclasses.replace(settings, device="cpu"))
        prepare(begin(whole, chosen_tasks(whole)), 0, whole.supernet.space)

    attempt("configs", start)
