"""`draftline purge`: remove deleted records permanently."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from draftline import Client, PurgeResult

from .app import json_option, reporting
from .client import with_client
from .terminal_text import confirm, echo_result

BATCH = 1_000  # maximum records that one call removes


class _Time(click.ParamType[datetime]):
    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time; pass 2026-11-20 or 2026-11-20T10:00:00Z", param, ctx)
        if time.tzinfo is None and len(value) > len("2026-11-20"):
            self.fail(f"{value!r} has no offset; write 2026-11-20T10:00:00Z for UTC", param, ctx)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time


@click.command("purge")
@click.argument("collection")
@click.option("--id", "record_ids", metavar="ID", multiple=True, help="Id of a deleted record; repeat for several.")
@click.option(
    "--deleted-before", type=_Time(), help="All records deleted before this time: 2026-11-20 (UTC), or with a time."
)
@click.option("--dry-run", is_flag=True, help="Report how many records would be removed, and remove none.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--reason", default="", help="Reason, kept in the change log.")
@json_option
@reporting
@with_client
def purge_command(
    client: Client, *, collection: str, record_ids: tuple[str, ...], deleted_before: datetime | None, dry_run: bool,
    yes: bool, reason: str, as_json: bool,
) -> None:  # fmt: skip
    """Remove deleted records of a collection permanently.

    Their history and the drafts over them are removed as well. This cannot be undone. Live records are never removed.
    The caller needs the permission content:purge. Records are removed in batches: if interrupted, the command can be
    run again for the rest.
    """
    if not record_ids and deleted_before is None:
        raise click.UsageError("Pass --id, --deleted-before, or both.")
    parts = [record_ids[start : start + BATCH] for start in range(0, len(record_ids), BATCH)] or [()]
    count = _count(client, collection, parts, deleted_before)
    if dry_run or not count:
        _report(collection, count, 0, as_json=as_json, outcome="would be removed" if dry_run else "")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("Standard input is not a terminal; pass --yes to confirm, or --dry-run.")
        question = f"Remove {count:,} deleted records of {collection} permanently? This cannot be undone."
        confirm(question)
    removed = drafts = 0
    for result in _purged(client, collection, parts, deleted_before, reason):
        removed += len(result.record_ids)
        drafts += result.draft_count
    _report(collection, removed, drafts, as_json=as_json)


def _count(client: Client, collection: str, parts: Sequence[Sequence[str]], deleted_before: datetime | None) -> int:
    """Return how many records a purge would remove."""
    previews = [
        client.purge_content(collection, part, deleted_before=deleted_before, validate_only=True) for part in parts
    ]
    return sum(len(preview.record_ids) + preview.remaining_count for preview in previews)


def _purged(
    client: Client, collection: str, parts: Sequence[Sequence[str]], deleted_before: datetime | None, reason: str
) -> Iterator[PurgeResult]:
    """Remove the records in batches, until none is left or a batch removes none. Yield the result of each batch."""
    for part in parts:
        while True:
            result = client.purge_content(collection, part, deleted_before=deleted_before, change_reason=reason)
            yield result
            if not result.remaining_count or not result.record_ids:
                break


def _report(collection: str, records: int, drafts: int, *, as_json: bool, outcome: str = "") -> None:
    result = {"collection": collection, "records": records, "drafts": drafts, "dry_run": bool(outcome)}
    text = f"{collection}: {records:,} records {outcome or f'and {drafts:,} drafts over them removed permanently'}"
    echo_result(result, text, as_json=as_json)
