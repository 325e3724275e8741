"""`draftline draft-users`: list the users that have drafts."""

from __future__ import annotations

import json

import click
from draftline import Client
from rich.table import Table

from .app import json_option, reporting, result_console
from .client import with_client
from .terminal_text import echo_json


@click.command("draft-users")
@click.option("--collection", default="", help="Count only the drafts of this collection. Default: of all.")
@json_option
@reporting
@with_client
def draft_users_command(client: Client, *, collection: str, as_json: bool) -> None:
    """Print the users that have drafts, and their ages.

    Requires the permission draft:admin; each call is logged. With --json, print one object per line. To see or discard
    the drafts of a user, pass --draft-user to `draftline list` or `draftline discard`.
    """
    found = client.list_draft_users(collection=collection, page_size=1_000)
    if as_json:
        for each in found:
            times = {name: value.isoformat() for name, value in vars(each).items() if name.endswith("_time")}
            echo_json(json.dumps({**vars(each), **times}))
        return
    table = Table("user")
    for title in ("drafts", "collections", "oldest", "last saved"):
        table.add_column(title, justify="right")
    for each in found:
        shown = [f"{time:%Y-%m-%d %H:%M:%S}" for time in (each.oldest_create_time, each.newest_modify_time)]
        table.add_row(each.user_id, f"{each.draft_count:,}", f"{each.collection_count:,}", *shown)
    result_console().print(table)
