"""The figures that soak tests measure, and the summary that `make soak` prints at its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.soak_scale import IS_SOAK

FIGURE = "figure"
FOLDER = "tests/soak/"


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Print a measured figure and keep it for the summary."""

    def record(figure: str) -> None:
        print(f"\n{figure}", flush=True)
        record_property(FIGURE, figure)

    return record


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, which `make soak` runs beside the property tests."""
    for item in items:
        if item.nodeid.startswith(FOLDER):
            item.add_marker("soak")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List every test of a soak run with its outcome, its seconds and its figures."""
    if not IS_SOAK:
        return
    terminalreporter.section("soak: outcomes and figures")
    counts: dict[str, int] = {}
    for outcome in ("passed", "skipped", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            if outcome == "passed" and report.when != "call":
                continue
            counts[outcome] = counts.get(outcome, 0) + 1
            terminalreporter.line(f"{outcome:8}{report.duration:7.1f} s  {report.nodeid}")
            for figure in (value for key, value in report.user_properties if key == FIGURE):
                terminalreporter.line(f"{'':19}{figure}")
    terminalreporter.line(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no test ran")
