"""`draftline list`: print records with the caller's drafts applied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from draftline import Client, MergedRecord
from draftline.documents import encode
from rich.table import Table

from .app import json_option, reporting, result_console
from .client import with_client

PAGE_RECORDS = 1_000


@click.command("list")
@click.argument("collection")
@click.option("--filter", "condition", default="", help="Only records that match, such as 'Genre = \"Drama\"'.")
@click.option("--order", "order_by", default="", help="The order, such as 'Year desc, Title'. Default: by record id.")
@click.option("--field", "fields", metavar="KEY", multiple=True, help="A top-level key to print. Default: all.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Records to print.")
@click.option("--strict-fields", is_flag=True, help="Fail if a field is named that the collection does not have.")
@json_option
@reporting
@with_client
def list_command(
    client: Client, *, collection: str, condition: str, order_by: str, fields: tuple[str, ...], limit: int,
    strict_fields: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print records with your drafts applied.

    With --json, print one object per line. A field that the collection does not seem to have
    is reported on standard error.
    """
    records = _records(
        client, collection, limit, filter=condition, order_by=order_by, fields=fields, strict_fields=strict_fields
    )
    if as_json:
        for each in records:
            click.echo(encode({"record_id": each.record_id, "state": each.state, "content": each.content}))
        return
    table = Table("record", "state", "content")
    for each in records:
        table.add_row(each.record_id, each.state, encode(each.content))
    result_console().print(table)


def _records(client: Client, collection: str, limit: int, **query: Any) -> Iterator[MergedRecord]:
    """Yield up to `limit` records, and report the warnings of the first page."""
    token = ""
    while limit > 0:
        page = client.get_merged_page(collection, page_token=token, page_size=min(limit, PAGE_RECORDS), **query)
        for warning in page.warnings:
            click.echo(f"Warning: {warning.argument}: {warning.message}", err=True)
        yield from page.records
        limit, token = limit - len(page.records), page.next_page_token
        if not token:
            return
