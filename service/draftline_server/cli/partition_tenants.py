"""`draftline partitions promote` and `drop-tenant`: the partitions of one tenant."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from ..partitions.session import Session, open_session
from ..partitions.tenants import Outcome, Tenant, drop_sql, drop_tenant, promote, promotion, read_tenant
from ..settings import Settings
from .app import json_option, reporting
from .database_url import database_url
from .partition_steps import attempts_option, dry_run_option, print_sql

T = TypeVar("T")

max_lock_option = click.option(
    "--max-lock-s", type=click.FloatRange(min=0.01), default=2.0, show_default=True,
    help="Give up, and change nothing, if the tables would be locked for longer.",
)  # fmt: skip


def _run(settings: Settings, step: Callable[[Session], Awaitable[T]], attempts: int = 1) -> T:
    async def run(url: str) -> T:
        async with open_session(url, attempts=attempts) as session:
            return await step(session)

    with database_url(settings, migrated=False, create=False) as url:
        return asyncio.run(run(url))


@click.command("promote")
@click.argument("tenant_id", metavar="TENANT")
@max_lock_option
@attempts_option
@dry_run_option
@json_option
@click.pass_obj
@reporting
def promote_command(
    settings: Settings, *, tenant_id: str, max_lock_s: float, attempts: int, dry_run: bool, as_json: bool
) -> None:
    """Move a tenant from the shared partitions into its own.

    One transaction moves the rows. Calls wait meanwhile, which takes as long as copying the tenant and reading the
    shared partitions that have its rows; it is rolled back after --max-lock-s. The other shared partitions are read
    before, while calls go on.

    \b
    Examples:
      draftline partitions promote acme --dry-run
      draftline partitions promote acme --max-lock-s 10
    """
    if dry_run:
        print_sql(_run(settings, lambda session: promotion(session.connection, tenant_id)).sql, as_json=as_json)
        return
    outcome = _run(settings, lambda session: promote(session, tenant_id, max_lock_s), attempts=attempts)
    _print(tenant_id, outcome, f"tenant {tenant_id} has its own partitions", as_json=as_json)


@click.command("drop-tenant")
@click.argument("tenant_id", metavar="TENANT")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@max_lock_option
@attempts_option
@dry_run_option
@json_option
@click.pass_obj
@reporting
def drop_tenant_command(
    settings: Settings, *, tenant_id: str, yes: bool, max_lock_s: float, attempts: int, dry_run: bool, as_json: bool
) -> None:
    """Remove a tenant permanently: records, drafts, history, specs, syncs and all else that is stored of it.

    Partitions of its own are dropped within milliseconds; other rows, such as the change log, are deleted in batches.
    Take the tenant's tokens and service keys away before. If interrupted, run the command again.

    \b
    Examples:
      draftline partitions drop-tenant acme --dry-run
      draftline partitions drop-tenant acme --yes --json
    """
    tenant = _run(settings, lambda session: read_tenant(session.connection, tenant_id))
    if dry_run:
        has_any = tenant.rows or tenant.partitions
        sql = _run(settings, lambda session: drop_sql(session.connection, tenant)) if has_any else []
        print_sql(sql, as_json=as_json, rows=tenant.rows)
        return
    if not tenant.rows and not tenant.partitions:
        _print(tenant_id, Outcome({}), f"nothing is stored of tenant {tenant_id}", as_json=as_json)
        return
    if not yes:
        _confirm(tenant)
    outcome = _run(settings, lambda session: drop_tenant(session, tenant, max_lock_s), attempts=attempts)
    _print(tenant_id, outcome, f"tenant {tenant_id} is removed", as_json=as_json)


def _confirm(tenant: Tenant) -> None:
    for name, count in tenant.rows.items():
        click.echo(f"  {name}: {count:,} rows", err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("Standard input is not a terminal; pass --yes to confirm, or --dry-run.")
    question = f"Remove tenant {tenant.tenant_id} with all these rows? This cannot be undone."
    click.confirm(question, abort=True, err=True)


def _print(tenant_id: str, outcome: Outcome, text: str, *, as_json: bool) -> None:
    if as_json:
        figures = {"tenant_id": tenant_id, "rows": outcome.rows, "locked_ms": round(outcome.locked_ms, 1)}
        click.echo(json.dumps(figures))
        return
    lock = f"; the tables were locked for {outcome.locked_ms:.0f} ms" if outcome.locked_ms else ""
    click.echo(f"{text}: {sum(outcome.rows.values()):,} rows{lock}")
