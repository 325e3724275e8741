"""`draftline partitions`: move a running database from plain to partitioned tables, and back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ..partitions.layout import MODULUS
from ..partitions.pace import Pace
from ..partitions.switch_state import Phase
from ..partitions.switchover import Switchover
from ..partitions.switchover_reports import plan, status
from ..settings import Settings
from .app import json_option, reporting
from .partition_reports import MIB, plan_text, rows_text, status_text, verification_text
from .partition_steps import (
    Step,
    StepOptions,
    TenantId,
    confirm_removal,
    dry_run_option,
    log_option,
    pace_options,
    print_phase,
    print_sql,
    run_step,
    step_command,
    yes_option,
)
from .partition_tenants import drop_tenant_command, promote_command
from .terminal_text import echo, echo_json, echo_result


@click.group("partitions")
def partitions_group() -> None:
    """Partition the tables by tenant, beside a running service.

    \b
      draftline partitions plan                   what would be done, and what prevents it
      draftline partitions start --tenant acme    create partitioned copies, keep them in sync, copy all rows
      draftline partitions status                 how far it is
      draftline partitions verify                 compare rows, checksums and triggers in one snapshot
      draftline partitions switch                 use the copies: the tables change their names in milliseconds
      draftline partitions rollback               use the plain tables again, with all that was written since
      draftline partitions cleanup                drop the copy that is not in use
      draftline partitions promote acme           give a tenant its own partitions, later
      draftline partitions drop-tenant acme       remove a tenant with all its rows

    A command that was interrupted is run again, and resumes. docs/partitions.md is the runbook.
    """


@partitions_group.command("plan")
@dry_run_option
@json_option
@click.pass_obj
@reporting
def plan_command(settings: Settings, *, dry_run: bool, as_json: bool) -> None:
    """Report tables, big tenants and obstacles, and change nothing.

    Exit status 1 if something prevents a start or a switch.

    \b
    Examples:
      draftline partitions plan
      draftline partitions plan --json | jq .obstacles
      draftline partitions plan --dry-run
    """
    report, sql = run_step(settings, plan, StepOptions(dry_run), locks=False)
    if dry_run:
        print_sql(sql, as_json=as_json)
        return
    if as_json:
        echo_json(json.dumps(report, default=str))
    else:
        echo(plan_text(report))
    sys.exit(bool(report["obstacles"]))


@partitions_group.command("status")
@dry_run_option
@json_option
@click.pass_obj
@reporting
def status_command(settings: Settings, *, dry_run: bool, as_json: bool) -> None:
    """Report the phase, the rows copied, the triggers and the last steps.

    \b
    Examples:
      draftline partitions status
      draftline partitions status --json | jq -r .phase
      draftline partitions status --dry-run
    """
    report, sql = run_step(settings, status, StepOptions(dry_run), locks=False)
    if dry_run:
        print_sql(sql, as_json=as_json)
        return
    if as_json:
        echo_json(json.dumps(report, default=str))
    else:
        echo(status_text(report))
    sys.exit(bool(report["triggers_off"]))


@partitions_group.command("start")
@click.option("--tenant", "tenants", metavar="TENANT", multiple=True, type=TenantId(),
              help="A big tenant that gets partitions of its own; repeat for several.")  # fmt: skip
@click.option("--modulus", type=click.IntRange(2, 256), default=MODULUS, show_default=True,
              help="How many partitions all other tenants share.")  # fmt: skip
@step_command
@pace_options
def start_command(
    settings: Settings, options: StepOptions, *, tenants: tuple[str, ...], modulus: int, pace: Pace
) -> None:
    """Create partitioned copies of the tables, and copy all rows.

    Triggers keep the copies in sync with what the service writes meanwhile. The service does not use the copies yet.
    Run the command again after an interruption: it goes on where it was. The disk must have space for a second copy.

    \b
    Examples:
      draftline partitions start --dry-run > start.sql
      draftline partitions start --tenant acme --tenant globex
      draftline partitions start --metrics http://127.0.0.1:9464/metrics --max-p99 100
      draftline partitions start --rows-per-second 5000
    """

    async def step(switchover: Switchover) -> Phase:
        await switchover.start(tenants, modulus, pace)
        return switchover.state.phase

    phase, sql = run_step(settings, step, options)
    print_phase(phase, sql, options, "all rows are copied; next is `draftline partitions verify`")


@partitions_group.command("verify")
@dry_run_option
@log_option
@json_option
@click.pass_obj
@reporting
def verify_command(settings: Settings, *, dry_run: bool, log_file: Path, as_json: bool) -> None:
    """Compare both copies in one snapshot: rows and checksums by tenant, and triggers.

    Reports how the rows are distributed over the partitions, too. Exit status 1 if anything differs. `switch` needs a
    verification of phase COPIED. The snapshot stays open while all rows are read twice.

    \b
    Examples:
      draftline partitions verify
      draftline partitions verify --dry-run
      draftline partitions verify --json | jq '.tables[] | {table, rows, checksum}'
    """
    result, sql = run_step(settings, Switchover.verify, StepOptions(dry_run, log_file=log_file))
    if dry_run:
        print_sql(sql, as_json=as_json)
        return
    echo_result(result.as_json(), verification_text(result), as_json=as_json)
    sys.exit(not result.is_ok)


def _swap_command(name: str, method: Step[None], text: str, help_text: str) -> None:
    @partitions_group.command(name, help=help_text)
    @step_command
    def command(settings: Settings, options: StepOptions) -> None:
        async def step(switchover: Switchover) -> Phase:
            await method(switchover)
            return switchover.state.phase

        phase, sql = run_step(settings, step, options)
        print_phase(phase, sql, options, text)


_swap_command(
    "switch",
    Switchover.switch,
    "the service uses the partitioned tables; `rollback` returns to the plain ones, `cleanup` drops them",
    """Use the partitioned tables: copy and original exchange their names.

    The service goes on meanwhile; calls wait for milliseconds. Triggers keep the plain tables in sync, for `rollback`.
    A lock that is not free within 100 ms is given up and tried again, and its holder is named.

    \b
    Examples:
      draftline partitions switch --dry-run
      draftline partitions switch --attempts 50
    """,
)
_swap_command(
    "rollback",
    Switchover.rollback,
    "the service uses the plain tables again; the partitioned copies are kept in sync",
    """Use the plain tables again, with all that was written since the switch.

    Possible until `cleanup`. The partitioned copies are kept in sync, so that `switch` is possible again.

    \b
    Examples:
      draftline partitions rollback --dry-run
      draftline partitions rollback
    """,
)


@partitions_group.command("cleanup")
@yes_option
@step_command
def cleanup_command(settings: Settings, options: StepOptions, *, yes: bool) -> None:
    """Drop the copy that is not in use, and the triggers.

    After a switch, these are the plain tables: there is no way back then. Before it, these are the partitioned copies,
    and the switchover is given up.

    \b
    Examples:
      draftline partitions cleanup --dry-run
      draftline partitions cleanup --yes
    """
    if not yes and not options.dry_run:
        _confirm(settings)

    async def step(switchover: Switchover) -> tuple[Phase, str]:
        text = await switchover.cleanup()
        return switchover.state.phase, text

    (phase, text), sql = run_step(settings, step, options)
    print_phase(phase, sql, options, text)


def _confirm(settings: Settings) -> None:
    report, _ = run_step(settings, status, locks=False)
    rows = [f"{row['name']}: {rows_text(row['rows'])}, {row['bytes'] / MIB:,.0f} MiB" for row in report["other_tables"]]
    rows += [f"{name}: copy of an interrupted promotion" for name in report["promotion_copies"]]
    is_last = report["phase"] in (Phase.SWITCHED, Phase.DROPPING_OLD)
    if rows:  # without any, the command says so, or drops only constraints
        question = "Drop these plain tables? There is no rollback afterwards." if is_last else "Drop these copies?"
        confirm_removal(rows, question)


partitions_group.add_command(promote_command)
partitions_group.add_command(drop_tenant_command)
