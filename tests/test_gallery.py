"""Every example of the gallery holds its claim, and its page shows what it prints and draws."""

from __future__ import annotations

import re
import time

import pytest
import torchopt

from examples.figures import NAMES, ROOT, Ran, fence, figure, page, renewed, run, script

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def close(shown, printed):
    """Tell whether two numbers are those of one computation on two machines, whose rounding differs.

    Trainings amplify rounding, so a number may be off by 5 %, or by 0.02: two accuracies of a thousand images.
    """
    return float(printed) == pytest.approx(float(shown), rel=0.05, abs=0.02)


def words(picture):
    """Return what is written in a figure (.svg), but for numbers: ticks depend on rounding."""
    found = re.findall(r"<text[^>]*>(.*?)</text>", picture.read_text(encoding="utf-8"), flags=re.DOTALL)
    plain = [re.sub(r"<[^>]*>|\s+", " ", one).strip() for one in found]
    return {one for one in plain if re.search(r"[A-Za-z]{2}", one)}


def assert_same_print(shown, printed):
    assert NUMBER.sub("#", shown) == NUMBER.sub("#", printed)
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    assert [pair for pair in pairs if not close(*pair)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_example_holds_its_claim_and_its_page_shows_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # from wherever it is run
    drawn, begun = tmp_path / "figure.svg", time.process_time()
    ran = run(name, drawn)  # a claim that does not hold is a SystemExit
    assert time.process_time() - begun < 60
    assert [path.name for path in tmp_path.iterdir()] == [drawn.name]
    assert words(drawn) == words(figure(name)), "the stored figure is another one: python -m examples.figures"
    assert words(drawn)
    text = page(name).read_text(encoding="utf-8")
    assert_same_print(fence("text", text), ran.printed)
    assert fence("mermaid", text).rstrip("\n") in ran.graphs


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_short_and_has_a_page_and_a_small_figure(name):
    lines = script(name).read_text(encoding="utf-8").splitlines()
    assert 40 <= len(lines) <= 120
    assert figure(name).stat().st_size < 60_000
    text, index = page(name).read_text(encoding="utf-8"), (page("index")).read_text(encoding="utf-8")
    assert f"](../figures/gallery/{name}.svg)" in text
    assert f'--8<-- "examples/{name}.py"' in text
    assert f"]({name}.md)" in index
    assert f"../figures/gallery/{name}.svg" in index


@pytest.mark.parametrize("name", NAMES)
def test_what_a_page_says_in_words_is_printed_or_in_the_code(name):
    text = page(name).read_text(encoding="utf-8")
    prose = re.search(r"^## What comes out$(.*?)^(?:```|!)", text, flags=re.MULTILINE | re.DOTALL)[1]
    known = set(NUMBER.findall(fence("text", text))) | set(NUMBER.findall(script(name).read_text(encoding="utf-8")))
    assert [number for number in NUMBER.findall(prose) if number not in known] == []


def test_nothing_else_is_in_the_gallery():
    assert {path.stem for path in (ROOT / "docs/gallery").glob("*.md")} == {"index", *NAMES}
    assert {path.stem for path in (ROOT / "docs/figures/gallery").iterdir()} == set(NAMES)


def test_a_claim_can_fail(monkeypatch, tmp_path):
    monkeypatch.setattr(torchopt, "adam", lambda rate: torchopt.sgd(0.0))  # what is learned stays at its start
    with pytest.raises(SystemExit, match=r"did not help: \d\.\d+ against"):
        run("ridge", tmp_path / "figure.svg")


def test_numbers_that_differ_are_seen():
    assert_same_print("error 0.512, step 20", "error 0.515, step 20")
    for other in ("error 0.62, step 20", "error 0.512, step 30", "loss 0.512, step 20", "error 0.512"):
        with pytest.raises(AssertionError):
            assert_same_print("error 0.512, step 20", other)


def test_the_page_is_renewed():
    text = "a\n```mermaid\nold\n```\nb\n```text\n1\n2\n```\nc\n"
    assert renewed(text, Ran("3\n", ("new",))) == "a\n```mermaid\nnew\n```\nb\n```text\n3\n```\nc\n"
    assert renewed(text, Ran("3\n", ("new", "other"))) == "a\n```mermaid\nold\n```\nb\n```text\n3\n```\nc\n"
