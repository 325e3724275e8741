"""`draftline doctor`: find problems and report how to fix them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict

import click
from pydantic import ValidationError
from rich.text import Text

from ..doctor.examination import examine
from ..doctor.results import Finding, State, fault
from ..domain.visible_text import visible
from ..rpc.health_client import check_health
from ..settings import Settings
from ..settings.problems import problems_of
from ..wiring import own_security
from .app import DOCTOR, SOURCES, json_option, reporting
from .terminal_text import TerminalConsole, echo_json, echo_result

HEALTH_S = 3.0
STYLES = {State.OK: "green", State.WARNING: "yellow", State.FAULT: "bold red", State.SKIPPED: "dim"}
CHECK_WIDTH = 18


@click.command(DOCTOR)
@click.option(
    "--quick", is_flag=True, help="Skip the checks of every draft and record, which take long if there are many."
)
@json_option
@click.pass_obj
@reporting
def doctor_command(given: Settings | ValidationError, quick: bool, as_json: bool) -> None:
    """Find problems, and report how to fix them.

    Examines the settings, files, ports, the database and its contents. The exit status is 1 if there is a fault.
    Nothing is changed, created or started. Run it with the settings of the service, before the service starts or while
    it runs. With --json, prints one object for each check, and the counts as the last one.
    """
    counts = asyncio.run(_examine(given, quick=quick, as_json=as_json))
    faults, warnings = counts[State.FAULT], counts[State.WARNING]
    text = f"{_counted(faults, 'fault')}, {_counted(warnings, 'warning')}"
    echo_result({"faults": faults, "warnings": warnings}, text, as_json=as_json)
    sys.exit(faults > 0)


async def _examine(given: Settings | ValidationError, *, quick: bool, as_json: bool) -> dict[State, int]:
    counts = dict.fromkeys(State, 0)
    console = TerminalConsole(highlight=False, soft_wrap=True)
    async for finding in _findings(given, quick=quick):
        counts[finding.state] += 1
        if as_json:
            echo_json(json.dumps(asdict(finding)))
        else:
            console.print(_lines(finding))
    return counts


async def _findings(given: Settings | ValidationError, *, quick: bool) -> AsyncIterator[Finding]:
    if isinstance(given, ValidationError):
        for problem in problems_of(given, click.get_current_context().meta[SOURCES]):
            fix = "correct it in the environment or the settings file; `draftline settings` lists the settings"
            yield fault("settings", problem, fix)
        return
    settings = given

    def health(address: str) -> str:
        try:
            return check_health(address, "", HEALTH_S, own_security(settings.tls)).name
        except (OSError, ValueError):
            return "its health cannot be checked without a valid client certificate"

    async for finding in examine(settings, health, with_drafts=not quick):
        yield finding


def _lines(finding: Finding) -> Text:
    line = Text.assemble(
        (f"{finding.state:<9}", STYLES[finding.state]), f"{finding.check:<{CHECK_WIDTH}}{visible(finding.message)}"
    )
    if finding.fix:
        line.append(f"\n{'':9}{'Fix:':<{CHECK_WIDTH}}{visible(finding.fix)}")
    return line


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
