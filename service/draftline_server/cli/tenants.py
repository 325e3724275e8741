"""`draftline tenants`: list the tenants of a service and what they use."""

from __future__ import annotations

import json

import click
from draftline import Client
from rich.table import Table

from .app import json_option, reporting, result_console
from .client import with_operator_client


@click.command("tenants")
@json_option
@reporting
@with_operator_client
def tenants_command(client: Client, *, as_json: bool) -> None:
    """Print the tenants and what each uses, as of the last count.

    The token must be a service key for all tenants with the permission tenants:read. With --json, print one object per
    line.
    """
    found = client.list_tenants(page_size=1_000)
    if as_json:
        for each in found:
            counted = each.count_time.isoformat() if each.count_time else None
            click.echo(json.dumps({**vars(each), "count_time": counted}))
        return
    table = Table("tenant")
    for title in ("collections", "records", "bytes", "drafts", "counted"):
        table.add_column(title, justify="right")
    for each in found:
        if each.count_time is None:
            table.add_row(each.tenant_id, "", "", "", "", "not yet")
            continue
        figures = (each.collection_count, each.record_count, each.content_bytes, each.draft_count)
        table.add_row(each.tenant_id, *(f"{figure:,}" for figure in figures), f"{each.count_time:%Y-%m-%d %H:%M:%S}")
    result_console().print(table)
