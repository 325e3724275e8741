"""`draftline purge`: remove deleted records permanently."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from draftline import Client, PurgeResult

from .app import json_option, reporting
from .client import with_client

BATCH = 1_000  # maximum records that one call removes


class _Time(click.ParamType[datetime]):
    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: give 2026-11-20 or 2026-11-20T10:00:00Z", param, ctx)
        if moment.tzinfo is None and len(value) > len("2026-11-20"):
            self.fail(f"{value!r} has no offset: write 2026-11-20T10:00:00Z for UTC", param, ctx)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


@click.command("purge")
@click.argument("collection")
@click.option("--id", "record_ids", metavar="ID", multiple=True, help="A deleted record to remove; give several.")
@click.option("--deleted-before", type=_Time(), help="Those deleted before then: 2026-11-20 (UTC) or with a time.")
@click.option("--dry-run", is_flag=True, help="Tell how many records would be removed, and remove none.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--reason", default="", help="Why; kept in the log with the entry of each record.")
@json_option
@reporting
@with_client
def purge_command(
    client: Client, *, collection: str, record_ids: tuple[str, ...], deleted_before: datetime | None, dry_run: bool,
    yes: bool, reason: str, as_json: bool,
) -> None:  # fmt: skip
    """Remove deleted records of a collection for good.

    Their history and the drafts over them are removed as well. This cannot be undone. Live records are never removed.
    The caller needs the permission content:purge. Records are removed in batches: if interrupted, the command can be
    run again for the rest.
    """
    if not record_ids and deleted_before is None:
        raise click.UsageError("Say which records: by --id, --deleted-before, or both.")
    parts = [record_ids[start : start + BATCH] for start in range(0, len(record_ids), BATCH)] or [()]
    found = _found(client, collection, parts, deleted_before)
    if dry_run or not found:
        _tell(collection, found, 0, as_json=as_json, told="would be removed" if dry_run else "")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("There is nobody to ask: give --yes to remove the records, or --dry-run.")
        question = f"Remove {found:,} deleted records of {collection} for good? There is no way back."
        click.confirm(question, abort=True, err=True)
    removed = drafts = 0
    for result in _purged(client, collection, parts, deleted_before, reason):
        removed += len(result.record_ids)
        drafts += result.draft_count
    _tell(collection, removed, drafts, as_json=as_json)


def _found(client: Client, collection: str, parts: Sequence[Sequence[str]], deleted_before: datetime | None) -> int:
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


def _tell(collection: str, records: int, drafts: int, *, as_json: bool, told: str = "") -> None:
    if as_json:
        click.echo(json.dumps({"collection": collection, "records": records, "drafts": drafts, "dry_run": bool(told)}))
        return
    click.echo(f"{collection}: {records:,} records {told or f'and {drafts:,} drafts over them removed for good'}")
