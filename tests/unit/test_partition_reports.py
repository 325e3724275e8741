"""The report of `draftline partitions plan` suggests what fits the mode and the phase."""

from __future__ import annotations

from typing import Any

import pytest
from draftline_server.cli.partition_reports import plan_text
from draftline_server.partitions.mode import Mode
from draftline_server.partitions.switch_state import Phase
from draftline_server.partitions.switchover import next_step

TENANTS = [("o'brien; x", 90, False), ("own", 60, True), ("-v", 30, False), ("small", 1, False)]


@pytest.mark.parametrize(
    ("mode", "phase", "suggested", "following"),
    [
        (Mode.PLAIN, Phase.NONE, ["start --tenant='o'\"'\"'brien; x' --tenant=-v"], "`draftline partitions start`"),
        (Mode.PLAIN, Phase.COPIED, [], "`draftline partitions verify`, then `switch`"),
        (Mode.PARTITIONED, Phase.SWITCHED, [], "`draftline partitions verify`, then `cleanup`"),
        (Mode.PARTITIONED, Phase.NONE, ["promote -- 'o'\"'\"'brien; x'", "promote -- -v"], "nothing; the tables are"),
        (Mode.PARTITIONED, Phase.DONE, ["promote -- 'o'\"'\"'brien; x'", "promote -- -v"], "nothing; the switchover"),
    ],
)
def test_plan_suggests_commands_that_a_shell_takes_as_they_are(
    mode: Mode, phase: Phase, suggested: list[str], following: str
) -> None:
    report: dict[str, Any] = {
        "mode": str(mode), "phase": str(phase), "next": next_step(phase, mode), "obstacles": [],
        "tables": [{"name": "record", "is_partitioned": False, "rows": 181, "bytes": 1 << 21}], "records": 181,
        "tenants": [
            {"tenant_id": name, "records": records, "has_own_partitions": own} for name, records, own in TENANTS
        ],
    }  # fmt: skip
    lines = plan_text(report).splitlines()
    assert lines[0].startswith(f"The tables are {mode}, phase {phase}; next is {following}")
    assert [line for line in lines if "Suggested" in line] == [
        f"Suggested: draftline partitions {each}" for each in suggested
    ]
    assert "  tenant own: 60 records, in its own partitions" in lines
    assert any(line.startswith("A start copies them") for line in lines) == (phase is Phase.NONE and mode is Mode.PLAIN)


def test_plan_of_tables_without_an_estimate_names_big_tenants() -> None:
    """Tell that the rows are not known, as after a restore, rather than that there are none."""
    report: dict[str, Any] = {
        "mode": str(Mode.PLAIN), "phase": str(Phase.NONE), "next": "start", "obstacles": [],
        "tables": [{"name": "record", "is_partitioned": False, "rows": None, "bytes": 1 << 20}], "records": 91,
        "tenants": [
            {"tenant_id": name, "records": records, "has_own_partitions": False}
            for name, records in (("big", 90), ("small", 1))
        ],
    }  # fmt: skip
    lines = plan_text(report).splitlines()
    assert lines[1] == "  record: plain, rows unknown until ANALYZE, 1.0 MiB"
    assert [line for line in lines if "Suggested" in line] == ["Suggested: draftline partitions start --tenant=big"]
