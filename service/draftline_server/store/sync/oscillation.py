"""Stops records whose value both sides rewrite again and again."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ...domain.edits import format_pointer
from ...domain.sync_oscillation import TURNS, WINDOW_S, Path, oscillating_paths
from ..statements import load
from ..transaction import Transaction

SQL = load("sync_merge")
REASON = "OSCILLATING"
Change = tuple[datetime, str, str]  # when a pull was merged, its edit, and the inverse


async def stop_oscillating(
    transaction: Transaction, tenant_id: str, upstream: str, collection: str, record_ids: Sequence[str]
) -> None:
    """Stop those of the records that pulls have changed back too often within the last hour.

    The caller has locked them, and has just written such a change. A record that was stopped before was retried since,
    and only the changes after that stop count.
    """
    now = await transaction.now()
    since = now - timedelta(seconds=WINDOW_S)
    values: dict[str, object] = {"tenant_id": tenant_id, "collection": collection}
    changes: dict[str, list[Change]] = defaultdict(list)
    for row in await transaction.fetch(
        SQL["repeated_pulls"], {**values, "record_ids": sorted(record_ids), "since": since, "turns": TURNS}
    ):
        changes[row["record_id"]].append((row["created_at"], row["edit"], row["base"]))
    stopped = _oscillating(changes)
    if stopped:
        rows = await transaction.fetch(SQL["last_stops"], {**values, "record_ids": list(stopped), "since": since})
        last = {row["record_id"]: row["stopped_at"] for row in rows}
        stopped = _oscillating(
            {
                record_id: [each for each in changes[record_id] if each[0] > last.get(record_id, since)]
                for record_id in stopped
            }
        )
    if stopped:
        errors = [_error(format_pointer(paths[0])) for paths in stopped.values()]
        await transaction.fetch(
            SQL["stop_oscillating"],
            {**values, "upstream": upstream, "record_ids": list(stopped), "errors": errors, "now": now},
        )


def _oscillating(changes: Mapping[str, Sequence[Change]]) -> dict[str, list[Path]]:
    """Return the records that have oscillating paths, with these."""
    found = {
        record_id: oscillating_paths((edit, base) for _, edit, base in each) for record_id, each in changes.items()
    }
    return {record_id: paths for record_id, paths in found.items() if paths}


def _error(field: str) -> str:
    message = (
        f"both sides have replaced the value of the other one {TURNS} times within an hour; stop one of them, "
        "then retry the record"
    )
    return json.dumps({"reason": REASON, "message": message, "field": field})
