"""Purge deleted records, with their changes, the drafts over them, and the stored responses that hold their content.

A record that is created again afterwards begins at version 1. It must come after the deletion of its predecessor in
the order of the log, so a record is removed only when every transaction that began before its deletion is over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..concurrency.call_context import remaining_s
from ..domain.changes import ChangeSource, Write
from ..domain.errors import ContentionError, RecordLiveError
from ..domain.records import Actor, Purge, PurgeResult
from .driver_errors import UnsettledError
from .statements import load
from .transaction import Transaction

SQL = load("purges")

SETTLE_S = 5.0  # maximum wait for older transactions, within the call's deadline


class PurgeStore:
    """Purges deleted records."""

    @staticmethod
    def settle_by() -> float:
        """Return when a purge that starts now stops waiting for older transactions, in terms of time.monotonic()."""
        return time.monotonic() + min(SETTLE_S, (remaining_s() or SETTLE_S * 2) / 2)

    async def purge(
        self, transaction: Transaction, actor: Actor, purge: Purge, *, settle_by: float, change_reason: str
    ) -> PurgeResult:
        """Remove one batch of deleted records.

        Raises RecordLiveError if a named record is not deleted. While a transaction that began before the deletion of
        a record is still running, raises UnsettledError until `settle_by`; after that, raises ContentionError if the
        record is named, and leaves it out otherwise.
        """
        write = Write(actor, ChangeSource.PURGE_CONTENT, await transaction.now(), change_reason)
        values = _values(write, purge)
        record_ids = await self._lock(transaction, purge, values, waits=time.monotonic() < settle_by)
        drafts = 0
        if record_ids:
            removed: dict[str, object] = {**values, "record_ids": record_ids}
            drafts = (await transaction.fetch(SQL["purge_records"], removed))[0]["drafts"]
            await transaction.fetch(SQL["purge_synced"], removed)
            await transaction.fetch(SQL["purge_answers"], removed)
        remaining = (await transaction.fetch(SQL["count_purgeable"], values))[0]["remaining"]
        return PurgeResult(record_ids, drafts, remaining)

    async def _lock(
        self, transaction: Transaction, purge: Purge, values: dict[str, object], *, waits: bool
    ) -> Sequence[str]:
        rows = await transaction.fetch(SQL["lock_purged"], values)
        for row in rows:
            if row["is_live"]:
                record_id = row["record_id"]
                raise RecordLiveError(f"record {record_id!r} is not deleted; delete it first", record_id=record_id)
        if waits and not all(row["is_settled"] for row in rows):
            raise UnsettledError
        if purge.record_ids and not all(row["is_settled"] for row in rows):
            raise ContentionError(
                "writes that began before a record was deleted are still running; nothing was removed, try again later"
            )
        return [row["record_id"] for row in rows if row["is_settled"]]


def _values(write: Write, purge: Purge) -> dict[str, object]:
    return {
        "tenant_id": write.actor.tenant_id,
        "user_id": write.actor.user_id,
        "collection": purge.collection,
        "record_ids": list(purge.record_ids) or None,
        "deleted_before": purge.deleted_before,
        "limit": purge.limit,
        "record_prefix": purge.record_prefix,
        "conflict_mark": purge.conflict_mark,
        "now": write.now,
        "change_reason": write.change_reason,
        "request_id": write.request_id,
    }
