"""`draftline update` and `draftline delete`: change or delete all records that match a filter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import draftline
from draftline import Client, MatchResult
from draftline.documents import decode

from .app import json_option, reporting
from .client import with_client
from .terminal_text import confirm, echo, echo_result

SHOWN = 5  # ids in a preview

filter_option = click.option("--filter", "condition", required=True, help="Such as 'Votes < 10'. Must not be empty.")
max_option = click.option(
    "--max-records", type=click.IntRange(1), default=10_000, show_default=True, help="Fail if more records match."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Report what would be done, without doing it.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
reason_option = click.option("--reason", default="", help="The reason, for the change log.")


@click.command("update")
@click.argument("collection")
@filter_option
@click.option("--delta", required=True, metavar="JSON", help='The fields to change, such as \'{"Genre": "Drama"}\'.')
@click.option("--strategy", type=click.Choice([each.value for each in draftline.MergeStrategy]), default="shallow",
              show_default=True, help="How the delta is merged.")  # fmt: skip
@max_option
@dry_run_option
@yes_option
@reason_option
@json_option
@reporting
@with_client
def update_command(
    client: Client, *, collection: str, condition: str, delta: str, strategy: str, max_records: int, dry_run: bool,
    yes: bool, reason: str, as_json: bool,
) -> None:  # fmt: skip
    """Patch all records that match a filter.

    Each record is patched only if it still matches. Records of earlier batches stay patched if a later one fails.
    """
    arguments: dict[str, Any] = {
        "filter": condition, "delta": _delta(delta), "strategy": strategy, "max_records": max_records,
    }  # fmt: skip
    preview = done = client.patch_matching(collection, **arguments, validate_only=True)
    if not dry_run and preview.matched_count:
        with _confirmed(preview, "Patch", max_records, yes=yes) as limit:
            arguments |= {"max_records": limit, "change_reason": reason}
            done = client.patch_matching(collection, **arguments)
    _report(done, "would be patched" if dry_run else "patched", as_json=as_json)


@click.command("delete")
@click.argument("collection")
@filter_option
@max_option
@dry_run_option
@yes_option
@reason_option
@json_option
@reporting
@with_client
def delete_command(
    client: Client, *, collection: str, condition: str, max_records: int, dry_run: bool, yes: bool, reason: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Delete all records that match a filter. They can be undeleted.

    Each record is deleted only if it still matches.
    """
    arguments: dict[str, Any] = {"filter": condition, "max_records": max_records}
    preview = done = client.delete_matching(collection, **arguments, validate_only=True)
    if not dry_run and preview.matched_count:
        with _confirmed(preview, "Delete", max_records, yes=yes) as limit:
            arguments |= {"max_records": limit, "change_reason": reason}
            done = client.delete_matching(collection, **arguments)
    _report(done, "would be deleted" if dry_run else "deleted", as_json=as_json)


def _delta(text: str) -> dict[str, Any]:
    try:
        delta = decode(text)
    except ValueError as error:
        raise click.UsageError(f"--delta is not JSON: {error}") from None
    if not isinstance(delta, dict):
        raise click.UsageError('--delta must be a JSON object, such as {"Genre": "Drama"}')
    return delta


@contextmanager
def _confirmed(preview: MatchResult, verb: str, max_records: int, *, yes: bool) -> Iterator[int]:
    """Ask, and yield how many records may be written: as many as were confirmed, although others may match by then."""
    if yes:
        yield max_records
        return
    ids = ", ".join(preview.record_ids[:SHOWN]) + (", ..." if preview.matched_count > SHOWN else "")
    confirm(f"{verb} {preview.matched_count:,} records ({ids})?")
    try:
        yield preview.matched_count
    except ValueError as error:
        raise click.ClickException(
            f"more than the {preview.matched_count:,} records that were confirmed match by now: nothing was written; "
            "run the command again"
        ) from error


def _report(done: MatchResult, verb: str, *, as_json: bool) -> None:
    count = done.changed_count if done.changed_count or not verb.endswith("deleted") else done.matched_count
    summary = {
        "matched": done.matched_count, "changed": done.changed_count, "unchanged": done.unchanged_count,
        "skipped": done.skipped_count, "failed": len(done.failures), "commit_ids": list(done.commit_ids),
    }  # fmt: skip
    text = (
        f"{count if verb.startswith('would') else done.changed_count:,} {verb}, "
        f"{done.unchanged_count:,} unchanged, {done.skipped_count:,} no longer matched, "
        f"{len(done.failures):,} failed"
    )
    echo_result(summary, text, as_json=as_json)
    for failure in done.failures:
        echo(f"Error: {failure.record_id}: {failure.error}", err=True)
    if done.failures:
        raise click.exceptions.Exit(1)
