"""A count that got worse is found, whatever file it is in; times are shown, never judged; files stay as they were."""

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks import bench, speed_page
from benchmarks.floor_rows import RULES, rows
from benchmarks.generated import marks


def case(operations, peak=100, rival=5, seconds=2.0):
    time = {"median": seconds, "low": 1.0, "high": 3.0}
    counts = {"ours": {"operations": operations, "peak": peak}, "flat": {"operations": rival}}
    return {"machine": {"cores": 2}, "rounds": 9, "counts": counts, "time over flat": time}


def test_a_count_that_grew_is_named_with_old_and_new():
    assert bench.worse({"a": case(11)}, {"a": case(10)}) == ["a, ours, operations: was 10, is 11"]
    assert bench.worse({"a": case(9)}, {"a": case(10)}) == []


def test_a_count_that_is_gone_is_named():
    old = {"operations": 10, "peak": 100}
    found = bench.worse({}, {"a": case(10)})
    assert found == [f"a, ours, {key}: was {count}, is not counted any more" for key, count in old.items()]


def test_rivals_settings_and_times_are_not_judged():
    new = case(10, rival=50, seconds=20.0) | {"rounds": 1000, "machine": {"cores": 64}}
    assert bench.worse({"a": new, "b": case(1000)}, {"a": case(10)}) == []


def test_bytes_may_differ_by_a_percent():
    assert bench.worse({"a": case(10, peak=101)}, {"a": case(10)}) == []
    assert bench.worse({"a": case(10, peak=102)}, {"a": case(10)}) == ["a, ours, peak: was 100, is 102"]


def test_times_are_shown_beside_the_stored_ones():
    new, old = {"a": case(10, seconds=2.5), "b": case(10)}, {"a": case(10)}
    first, second = bench.beside(new, old)
    assert "a, time over flat" in first
    assert first.endswith("2.50 (1.00 to 3.00), stored    2.00 (1.00 to 3.00)")
    assert second.endswith("stored     new")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose one benchmark counts 11 operations."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "benchmarks" / "results")
    written = json.dumps({"a": case(11)})
    program = f"from pathlib import Path\nPath('benchmarks/results/fake.json').write_text({written!r})"
    (tmp_path / "benchmarks" / "fake.py").write_text(program)
    return tmp_path


def options(*, store=False):
    return argparse.Namespace(store=store, peers=[])


def test_new_figures_are_kept_on_request_alone(project):
    path = project / "benchmarks" / "results" / "fake.json"
    assert bench.run("fake", options()) == []
    assert not path.exists()
    before = json.dumps({"a": case(10)})
    path.write_text(before)
    assert bench.run("fake", options()) == ["fake: a, ours, operations: was 10, is 11"]
    assert path.read_text() == before
    bench.run("fake", options(store=True))
    assert json.loads(path.read_text()) == {"a": case(11)}
    assert bench.run("fake", options()) == []


def test_a_benchmark_that_fails_or_is_not_there_is_named(project):
    (project / "benchmarks" / "fake.py").write_text("raise SystemExit(1)")
    assert bench.run("fake", options()) == ["fake: ended with status 1"]
    assert bench.run("other", options()) == ["other: there is no benchmarks/other.py"]


def test_what_is_stored_has_every_row():
    assert list(speed_page.stored("floor")) == [row.name for row in rows()]
    found = speed_page.stored("peers_speed")
    assert set(found["mlo"]["errors"]) == set(RULES)
    assert all(found[peer]["rows"] for peer in ("Betty", "TorchOpt", "hypertorch", "BOAT", "higher"))


def test_a_wrong_answer_is_marked_on_the_page():
    found = speed_page.stored("peers_speed")
    lines = speed_page.peers(found).splitlines()
    wrong = [line for line in lines if line.endswith("| **wrong** |")]
    assert [line.split(" | ")[0:3] for line in wrong] == [
        ["| Betty 0.2.1", "difference", "`darts`"],
        ["| Betty 0.2.1", "cg", "`cg`"],
    ]
    lost = json.loads(json.dumps(found).replace(f"{found['higher']['rows'][0]['solved']}", "NaN"))
    assert sum(line.endswith("| **wrong** |") for line in speed_page.peers(lost).splitlines()) > len(wrong)


def test_only_what_is_between_marks_changes():
    begin, end = marks("floor")
    page = speed_page.generated(f"before\n{begin}\nold\n{end}\nafter\n")
    assert page.startswith(f"before\n{begin}\nRun on ")
    assert page.endswith(f"|\n{end}\nafter\n")
    assert "old" not in page
    assert speed_page.generated(page) == page


def test_the_page_shows_what_is_stored():
    page = speed_page.PAGE.read_text(encoding="utf-8")
    assert speed_page.generated(page) == page, "run python benchmarks/speed_page.py"
    assert marks("floor")[0] in page
    assert marks("peers")[0] in page
