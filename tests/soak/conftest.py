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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List every soak test with its outcome, its seconds and its figures."""
    if not IS_SOAK:
        return
    terminalreporter.section("soak: outcomes and figures")
    counts: dict[str, int] = {}
    for outcome in ("passed", "skipped", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            if not report.nodeid.startswith(FOLDER) or (outcome == "passed" and report.when != "call"):
                continue
            counts[outcome] = counts.get(outcome, 0) + 1
            name = report.nodeid.removeprefix(FOLDER)
            terminalreporter.line(f"{outcome:8}{report.duration:7.1f} s  {name}")
            for figure in (value for key, value in report.user_properties if key == FIGURE):
                terminalreporter.line(f"{'':19}{figure}")
    terminalreporter.line(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no soak test ran")
