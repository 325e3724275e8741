"""`draftline sync`: run the workers of syncs, and look after syncs."""

from __future__ import annotations

import json
from typing import Any

import click
import structlog
import uvloop
from draftline import Client, SyncStatus
from draftline.documents import decode
from rich.table import Table

from ..observability import logs
from ..ops import revisions
from ..settings import Settings
from .app import json_option, reporting, result_console
from .client import with_client
from .database_url import database_url
from .sync_previews import print_previews
from .terminal_text import echo, echo_json


@click.group("sync", invoke_without_command=True)
@click.pass_context
def sync_group(context: click.Context) -> None:
    """Run the workers of syncs, or look after a sync.

    Without a subcommand, this works until Ctrl-C or SIGTERM. The workers push and pull for every sync of the database.
    Any number of processes share the syncs. They need DRAFTLINE_UPSTREAMS_FILE, and serve metrics on
    DRAFTLINE_METRICS_PORT.
    """
    if context.invoked_subcommand is None:
        _run(context.obj)


@reporting
def _run(settings: Settings) -> None:
    if settings.sync_workers.upstreams_file is None:
        raise click.UsageError("set DRAFTLINE_UPSTREAMS_FILE: it defines the systems of record that syncs may use")
    from ..processes import sync  # noqa: PLC0415  its libraries are slow to load

    logs.configure_queued(settings.log.format, settings.log.level)
    with database_url(settings, create=False) as url:
        uvloop.run(sync.run(settings, url, revisions.head(), started=_log_start))


def _log_start(metrics_port: int | None) -> None:
    structlog.get_logger().info("sync_workers_started", metrics_port=metrics_port)


@sync_group.command("status")
@click.argument("upstream", required=False)
@click.option("--commit", "commit_id", help="The status of a commit, in place of a sync.")
@json_option
@reporting
@with_client
def status_command(client: Client, *, upstream: str | None, commit_id: str | None, as_json: bool) -> None:
    """Print how many records of a sync, or of a commit, are in which state.

    Exit status 1 if any is refused or in conflict, or the sync is suspended.
    """
    if (upstream is None) == (commit_id is None):
        raise click.UsageError("name a sync, or a commit with --commit")
    status = client.get_sync_status(upstream, commit_id=commit_id)
    suspended = "" if upstream is None else client.get_sync(upstream).suspended_message
    if as_json:
        echo_json(json.dumps(_as_json(status, suspended), indent=2))
    else:
        _print(status)
    if suspended and not as_json:
        echo(f"suspended: {suspended}", err=True)
    if status.failed or status.conflicts or suspended:
        raise SystemExit(1)


def _as_json(status: SyncStatus, suspended: str) -> dict[str, Any]:
    return {
        "committed": status.committed,
        "syncing": status.syncing,
        "failed": status.failed,
        "conflicts": status.conflicts,
        "synced": status.synced,
        "due_since": status.due_since.isoformat() if status.due_since else None,
        "suspended": suspended or None,
    }


def _print(status: SyncStatus) -> None:
    table = Table("committed", "syncing", "failed", "conflicts", "synced", "oldest")
    oldest = status.due_since.isoformat(timespec="seconds") if status.due_since else ""
    counts = (status.committed, status.syncing, status.failed, status.conflicts, status.synced)
    table.add_row(*map(str, counts), oldest)
    result_console().print(table)


@sync_group.command("run")
@click.argument("upstream")
@click.option("--push", "run", flag_value="push", help="Compare all records, and send what differs.")
@click.option("--changes", "run", flag_value="changes", help="Read what changed at the upstream.")
@click.option("--snapshot", "run", flag_value="snapshot", help="Read all records of the upstream.")
@click.option("--allow-deletions", type=click.IntRange(0), default=0, help="Deletions of a snapshot above the limit.")
@click.option("--dry-run", is_flag=True, help="Print what --push would send, and change nothing.")
@json_option
@reporting
@with_client
def run_command(
    client: Client, *, upstream: str, run: str | None, allow_deletions: int, dry_run: bool, as_json: bool
) -> None:
    """Have the workers push or pull now."""
    if run is None:
        raise click.UsageError("set --push, --changes or --snapshot")
    if dry_run and run != "push":
        raise click.UsageError("--dry-run needs --push: only a worker can read what the upstream would answer")
    if as_json and not dry_run:
        raise click.UsageError("--json needs --dry-run")
    previews = client.run_sync(upstream, run, allow_deletions=allow_deletions, validate_only=dry_run)
    if dry_run:
        print_previews(previews, as_json=as_json)


@sync_group.command("records")
@click.argument("collection")
@click.option("--state", type=click.Choice(["committed", "syncing", "sync_error"]), help="Only records in this state.")
@json_option
@reporting
@with_client
def records_command(client: Client, *, collection: str, state: str | None, as_json: bool) -> None:
    """List the records of a collection that differ from the upstream, and why."""
    found = list(client.list_sync_records(collection, state=state))
    if as_json:
        rows = [
            {"record_id": each.record_id, "state": each.sync.state.value, "reason": each.sync.reason,
             "message": each.sync.message, "paths": [conflict.path for conflict in each.sync.conflicts]}
            for each in found
        ]  # fmt: skip
        echo_json(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table("record", "state", "reason", "message", "conflicts")
    for each in found:
        paths = ", ".join(conflict.path or "(whole record)" for conflict in each.sync.conflicts)
        table.add_row(each.record_id, each.sync.state.value, each.sync.reason, each.sync.message, paths)
    result_console().print(table)


@sync_group.command("events")
@click.argument("upstream")
@click.option("--record", "record_id", default="", help="Only events of this record.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Events to print.")
@json_option
@reporting
@with_client
def events_command(client: Client, *, upstream: str, record_id: str, limit: int, as_json: bool) -> None:
    """List what happened, newest first: conflicts, refusals, decisions of policies, suspensions."""
    rows = []
    for each in client.list_sync_events(upstream, record_id=record_id, page_size=min(limit, 1000)):
        rows.append(each)
        if len(rows) == limit:
            break
    if as_json:
        found = [
            {"time": each.event_time.isoformat(), "kind": each.kind, "collection": each.collection,
             "record_id": each.record_id, "reason": each.reason, "message": each.message}
            for each in rows
        ]  # fmt: skip
        echo_json(json.dumps(found, indent=2, ensure_ascii=False))
        return
    table = Table("time", "kind", "collection", "record", "reason", "message")
    for each in rows:
        time = each.event_time.isoformat(timespec="seconds")
        table.add_row(time, each.kind, each.collection, each.record_id, each.reason, each.message)
    result_console().print(table)


@sync_group.command("retry")
@click.argument("collection")
@click.argument("record_ids", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All refused records of the collection.")
@click.option("--forget-attempts", is_flag=True, help="Also give up writes whose outcome is not known.")
@reporting
@with_client
def retry_command(
    client: Client, *, collection: str, record_ids: tuple[str, ...], all_: bool, forget_attempts: bool
) -> None:
    """Send records again that the upstream has refused."""
    if all_ == bool(record_ids):
        raise click.UsageError("name records, or set --all")
    count = client.retry_sync(collection, record_ids, all=all_, forget_attempts=forget_attempts)
    echo(f"{count} records are sent again.", err=True)


@sync_group.command("resolve")
@click.argument("collection")
@click.argument("record_id")
@click.option("--mine", multiple=True, metavar="PATH", help="Send the value here. '' is the whole record.")
@click.option("--theirs", multiple=True, metavar="PATH", help="Take the value of the upstream.")
@click.option("--value", "values", multiple=True, metavar="PATH=JSON", help="Set another value, and send it.")
@click.option("--reason", default="", help="The reason, for the change log.")
@reporting
@with_client
def resolve_command(
    client: Client, *, collection: str, record_id: str, mine: tuple[str, ...], theirs: tuple[str, ...],
    values: tuple[str, ...], reason: str,
) -> None:  # fmt: skip
    """Decide conflicts of a record with the upstream, by path."""
    if not (mine or theirs or values):
        raise click.UsageError("set --mine, --theirs or --value")
    decoded = dict(map(_chosen, values))
    left = client.resolve_sync(collection, record_id, mine=mine, theirs=theirs, values=decoded, change_reason=reason)
    echo(f"{left} conflicts are left.", err=True)


def _chosen(text: str) -> tuple[str, Any]:
    """Return the path and the value of a `--value` option."""
    path, separator, value = text.partition("=")
    try:
        if separator:
            return path, decode(value)
    except ValueError as error:
        raise click.UsageError(f"--value {path}: the text after = is not JSON: {error}") from None
    raise click.UsageError(f"--value takes PATH=JSON, not {text!r}")


@sync_group.command("link")
@click.argument("collection")
@click.argument("record_id")
@click.argument("remote_id")
@reporting
@with_client
def link_command(client: Client, *, collection: str, record_id: str, remote_id: str) -> None:
    """Link a record to a record of the upstream."""
    client.link_record(collection, record_id, remote_id)


@sync_group.command("pause")
@click.argument("upstream")
@click.option("--push", is_flag=True, help="Only sending.")
@click.option("--pull", is_flag=True, help="Only reading.")
@reporting
@with_client
def pause_command(client: Client, *, upstream: str, push: bool, pull: bool) -> None:
    """Pause a sync."""
    client.pause_sync(upstream, push=push, pull=pull)


@sync_group.command("resume")
@click.argument("upstream")
@click.option("--push", is_flag=True, help="Only sending.")
@click.option("--pull", is_flag=True, help="Only reading.")
@reporting
@with_client
def resume_command(client: Client, *, upstream: str, push: bool, pull: bool) -> None:
    """Resume a paused or suspended sync."""
    client.resume_sync(upstream, push=push, pull=pull)
