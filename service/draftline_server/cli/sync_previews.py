"""Output of `draftline sync run --dry-run`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from draftline import SyncPushPreview
from rich.table import Table

from .app import result_console
from .terminal_text import echo, echo_json

COUNTS = ("created", "updated", "deleted", "repeated_writes", "read", "conflicts", "failed")


def print_previews(previews: Sequence[SyncPushPreview], *, as_json: bool) -> None:
    """Print what a push would do with the records of each collection, with the ids of some of them."""
    if as_json:
        echo_json(json.dumps([asdict(each) for each in previews], indent=2, ensure_ascii=False))
        return
    table = Table("collection", *(name.replace("_", " ") for name in COUNTS))
    for each in previews:
        table.add_row(each.collection, *(str(getattr(each, name)) for name in COUNTS))
    result_console().print(table)
    for each in previews:
        for example in each.examples:
            echo(f"{each.collection}: {example.kind} {example.record_id}")
    if waiting := [each.collection for each in previews if each.awaits_snapshot]:
        echo(
            f"no snapshot of {', '.join(waiting)} has been read: records that exist upstream are linked first, "
            "in place of being created",
            err=True,
        )
    if any(each.is_stopped for each in previews):
        echo("nothing is sent at present: sending is paused, suspended, or not part of the sync", err=True)
