"""Tells at the end how many cases of each kind there were."""

from __future__ import annotations

import pytest

from tests.fuzz.harness import TALLY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List cases by kind; with several workers of pytest-xdist, each counts for itself and nothing is told."""
    told = {kind: tally for kind, tally in TALLY.items() if tally}
    if told:
        terminalreporter.section("cases of the fuzz")
        for kind, tally in told.items():
            counts = ", ".join(f"{count} {what}" for what, count in sorted(tally.items()))
            terminalreporter.line(f"{kind}: {tally.total()} cases: {counts}")
        terminalreporter.line(f"together: {sum(tally.total() for tally in told.values())}")
