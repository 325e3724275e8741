"""`draftline partitions promote` and `drop-tenant`: the partitions of one tenant."""

from __future__ import annotations

import click

from ..partitions.copying import no_progress
from ..partitions.pace import Pace
from ..partitions.promotion import promote
from ..partitions.session import Session
from ..partitions.tenants import Outcome, Tenant, drop_sql, drop_tenant, read_tenant
from ..settings import Settings
from .partition_steps import (
    Bars,
    StepOptions,
    TenantId,
    confirm_removal,
    pace_options,
    print_sql,
    run_session,
    step_command,
    yes_option,
)
from .terminal_text import echo_result

max_lock_option = click.option(
    "--max-lock-s", type=click.FloatRange(min=0.01), default=2.0, show_default=True,
    help="Give up, and change nothing, if the tables would be locked for longer.",
)  # fmt: skip


@click.command("promote")
@click.argument("tenant_id", metavar="TENANT", type=TenantId())
@max_lock_option
@step_command
@pace_options
def promote_command(settings: Settings, options: StepOptions, *, tenant_id: str, max_lock_s: float, pace: Pace) -> None:
    """Move a tenant from the shared partitions into its own, while the service goes on.

    The shared partitions that have its rows are copied into two, one of the tenant and one of the others, and triggers
    keep these in sync. When they are equal, they take the place of the shared ones, one table after another. Calls that
    use the table wait meanwhile, as long as reading the rows of the others once takes; it is rolled back after
    --max-lock-s. An interrupted command goes on with the next table. The disk must have space for a second copy of
    these partitions.

    \b
    Examples:
      draftline partitions promote acme --dry-run
      draftline partitions promote acme --metrics http://127.0.0.1:9464/metrics --max-p99 100
      draftline partitions promote acme --rows-per-second 5000 --json
    """

    async def step(session: Session, bars: Bars | None) -> Outcome:
        return Outcome(*await promote(session, tenant_id, max_lock_s, pace, bars or no_progress))

    outcome, sql = run_session(settings, step, options)
    if options.dry_run:
        print_sql(sql, as_json=options.as_json)
    else:
        text = f"tenant {tenant_id} has its own partitions"
        if not outcome.locked_ms:
            text += " already"
        if not any(outcome.rows.values()):
            text += ", which are empty: check its name"
        _print(tenant_id, outcome, text, as_json=options.as_json)


@click.command("drop-tenant")
@click.argument("tenant_id", metavar="TENANT", type=TenantId())
@yes_option
@max_lock_option
@step_command
def drop_tenant_command(
    settings: Settings, options: StepOptions, *, tenant_id: str, yes: bool, max_lock_s: float
) -> None:
    """Remove a tenant permanently: records, drafts, history, specs, syncs and all else that is stored of it.

    Partitions of its own are dropped within milliseconds; other rows, such as the change log, are deleted in batches.
    Take the tenant's tokens and service keys away before. If interrupted, run the command again.

    \b
    Examples:
      draftline partitions drop-tenant acme --dry-run
      draftline partitions drop-tenant acme --yes --json
    """

    async def read(session: Session, _: Bars | None) -> tuple[Tenant, list[str]]:
        tenant = await read_tenant(session.connection, tenant_id)
        return tenant, await drop_sql(session.connection, tenant) if options.dry_run and tenant.is_stored else []

    async def drop(session: Session, bars: Bars | None) -> Outcome:
        return await drop_tenant(session, tenant, max_lock_s, bars or no_progress)

    (tenant, sql), _ = run_session(settings, read, locks=False)
    if options.dry_run:
        print_sql(sql, as_json=options.as_json, rows=tenant.rows)
        return
    if not tenant.is_stored:
        _print(tenant_id, Outcome({}), f"nothing is stored of tenant {tenant_id}", as_json=options.as_json)
        return
    if not yes:
        question = f"Remove tenant {tenant_id} with all these rows? This cannot be undone."
        confirm_removal((f"{name}: {count:,} rows" for name, count in tenant.rows.items()), question)
    outcome, _ = run_session(settings, drop, options)
    _print(tenant_id, outcome, f"tenant {tenant_id} is removed", as_json=options.as_json)


def _print(tenant_id: str, outcome: Outcome, text: str, *, as_json: bool) -> None:
    figures = {"tenant_id": tenant_id, "rows": outcome.rows, "locked_ms": round(outcome.locked_ms, 1)}
    lock = f"; no table was locked for longer than {outcome.locked_ms:.0f} ms" if outcome.locked_ms else ""
    echo_result(figures, f"{text}: {sum(outcome.rows.values()):,} rows{lock}", as_json=as_json)
