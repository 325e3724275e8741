"""Stops records whose value both sides rewrite again and again."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from ...domain.edits import format_pointer
from ...domain.sync_oscillation import TURNS, WINDOW_S, oscillating_paths
from ..statements import load
from ..transaction import Transaction

SQL = load("sync_merge")
REASON = "OSCILLATING"


async def stop_oscillating(
    transaction: Transaction, tenant_id: str, upstream: str, collection: str, record_ids: Sequence[str]
) -> None:
    """Stop those of the records that pulls have changed back too often within the last hour.

    The caller has locked them, and has just written such a change.
    """
    now = await transaction.now()
    values: dict[str, object] = {"tenant_id": tenant_id, "collection": collection}
    rows = await transaction.fetch(
        SQL["repeated_pulls"],
        {**values, "record_ids": sorted(record_ids), "since": now - timedelta(seconds=WINDOW_S), "turns": TURNS},
    )
    changes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        changes[row["record_id"]].append((row["edit"], row["base"]))
    stopped = {record_id: paths for record_id, found in changes.items() if (paths := oscillating_paths(found))}
    if stopped:
        errors = [_error(format_pointer(paths[0])) for paths in stopped.values()]
        await transaction.fetch(
            SQL["stop_oscillating"],
            {**values, "upstream": upstream, "record_ids": list(stopped), "errors": errors, "now": now},
        )


def _error(field: str) -> str:
    message = (
        f"both sides have replaced the value of the other one {TURNS} times within an hour; stop one of them, "
        "then retry the record"
    )
    return json.dumps({"reason": REASON, "message": message, "field": field})
