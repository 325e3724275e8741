"""`draftline list` and `draftline discard`: print records with drafts applied, and discard drafts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from draftline import Client, MergedRecord
from draftline.documents import encode
from rich.table import Table

from .app import json_option, reporting, result_console
from .client import with_client
from .terminal_text import confirm, echo, echo_json, echo_result

PAGE_RECORDS = 1_000

Steps = dict[str, Any]  # relations by name, each with the relations of its records


@click.command("list")
@click.argument("collection")
@click.option("--filter", "condition", default="", help="Only records that match, such as 'Genre = \"Drama\"'.")
@click.option("--order", "order_by", default="", help="The order, such as 'Year desc, Title'. Default: by record id.")
@click.option("--field", "fields", metavar="KEY", multiple=True, help="A top-level key to print. Default: all.")
@click.option("--expand", metavar="PATH", multiple=True,
              help="Relations whose records to print as well, such as author or author.company.")  # fmt: skip
@click.option("--related-field", "related_fields", metavar="KEY", multiple=True,
              help="A top-level key of the related records to print. Default: all.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Records to print.")
@click.option("--draft-user", default="", help="Apply the drafts of this user, which requires draft:admin.")
@click.option("--drafts-only", is_flag=True, help="Print only records with a draft.")
@click.option("--strict-fields", is_flag=True, help="Fail if a field is named that the collection does not have.")
@json_option
@reporting
@with_client
def list_command(
    client: Client, *, collection: str, condition: str, order_by: str, fields: tuple[str, ...],
    expand: tuple[str, ...], related_fields: tuple[str, ...], limit: int, draft_user: str, drafts_only: bool,
    strict_fields: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print records with your drafts applied.

    With --json, print one object per line; the related records are in `related`, by relation.
    A field that the collection does not seem to have is reported on standard error.
    """
    records = _records(
        client,
        collection,
        limit,
        filter=condition,
        order_by=order_by,
        fields=fields,
        expand=expand,
        included_fields=related_fields,
        strict_fields=strict_fields,
        draft_user=draft_user,
        view="drafts_only" if drafts_only else "merged",
    )
    if as_json:
        for each in records:
            echo_json(encode(_as_dict(each, _steps(expand))))
        return
    table = Table("record", "state", "content")
    for each in records:
        table.add_row(each.record_id, each.state, encode(each.content))
        _add_related(table, each, _steps(expand))
    result_console().print(table)


def _steps(expand: tuple[str, ...]) -> Steps:
    """Return the relations of the paths as a tree, which ends also where records name each other in circles."""
    steps: Steps = {}
    for path in expand:
        below = steps
        for name in path.split("."):
            below = below.setdefault(name, {})
    return steps


def _as_dict(record: MergedRecord, steps: Steps) -> dict[str, Any]:
    shown: dict[str, Any] = {"record_id": record.record_id, "state": record.state, "content": record.content}
    if steps:
        relations = record.record.relations
        shown["related"] = {name: [_as_dict(each, steps[name]) for each in record.related(name)] for name in steps}
        shown["has_more"] = [name for name in steps if relations[name].has_more]
    return shown


def _add_related(table: Table, record: MergedRecord, steps: Steps, depth: int = 1) -> None:
    """Add a row for each related record, below the record and indented by its depth."""
    for name, below in steps.items():
        for each in record.related(name):
            table.add_row(f"{'  ' * depth}{name}: {each.record_id}", each.state, encode(each.content))
            _add_related(table, each, below, depth + 1)
        if record.record.relations[name].has_more:
            table.add_row(f"{'  ' * depth}{name}: and more", "", "")


def _records(client: Client, collection: str, limit: int, **query: Any) -> Iterator[MergedRecord]:
    """Yield up to `limit` records, and report the warnings of the first page."""
    token = ""
    while limit > 0:
        page = client.get_merged_page(collection, page_token=token, page_size=min(limit, PAGE_RECORDS), **query)
        for warning in page.warnings:
            echo(f"Warning: {warning.argument}: {warning.message}", err=True)
        yield from page.records
        limit, token = limit - len(page.records), page.next_page_token
        if not token:
            return


@click.command("discard")
@click.argument("collection")
@click.argument("record_ids", nargs=-1)
@click.option("--all", "all_drafts", is_flag=True, help="Discard all drafts in the collection.")
@click.option("--draft-user", default="", help="Discard drafts of this user, which requires draft:admin.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@reporting
@with_client
def discard_command(
    client: Client, *, collection: str, record_ids: tuple[str, ...], all_drafts: bool, draft_user: str, yes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Discard your drafts, or those of another user.

    The drafts are those over the named records, or all. Nothing is committed, and discarded drafts cannot be restored.
    """
    if all_drafts == bool(record_ids):
        raise click.UsageError("name records, or pass --all")
    selection: dict[str, Any] = {"all": True} if all_drafts else {"record_ids": record_ids}
    selection |= {"draft_user": draft_user}
    if not yes:
        found = client.discard(collection, **selection, validate_only=True)
        count = found.selected_count
        confirm(f"Discard {count:,} drafts of {draft_user or 'your user'}?")
        if found:  # exactly those: drafts that are saved meanwhile were not confirmed
            versions = {each.record_id: each.draft_version for each in found}
            selection = {"record_ids": versions, "draft_user": draft_user}
    done = client.discard(collection, **selection)
    echo_result({"discarded": done.selected_count}, f"{done.selected_count:,} discarded", as_json=as_json)
