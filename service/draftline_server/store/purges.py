"""Purge deleted records, with their changes, the drafts over them, and the answers that hold their content.

A record that is created again afterwards begins at version 1. It must come after the deletion of its predecessor in
the order of the log, so a record is removed only when every transaction that began before its deletion is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..domain.changes import ChangeSource, Write
from ..domain.errors import ContentionError, RecordLiveError
from ..domain.records import Actor, Answer, Purge, PurgeResult
from .database import Database
from .idempotency import store_response
from .statements import load
from .transaction import Transaction, remaining_s

SQL = load("purges")
A = TypeVar("A", bound=Answer)

SETTLE_S = 5.0  # maximum wait for older transactions, within the call's deadline
POLL_S = 0.02


class _UnsettledError(Exception):
    """A transaction that began before a record was deleted is still running."""


class PurgeStore:
    """Purges deleted records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def purge(
        self,
        actor: Actor,
        purge: Purge,
        answer: Callable[[PurgeResult], A],
        *,
        change_reason: str,
        validate_only: bool,
    ) -> A:
        """Remove one batch of deleted records and return what `answer` makes of it.

        Raises RecordLiveError if a named record is not deleted, and ContentionError if a named one was deleted so
        recently that older transactions are still running; in both cases nothing is removed.
        """
        until = time.monotonic() + min(SETTLE_S, (remaining_s() or SETTLE_S * 2) / 2)
        while True:
            write = Write(actor, ChangeSource.PURGE_CONTENT, await self._database.now(), change_reason)
            waits = time.monotonic() < until
            try:
                return await self._database.transact(
                    lambda transaction, write=write, waits=waits: self._run(  # type: ignore[misc]
                        transaction, write, purge, answer, waits=waits, validate_only=validate_only
                    ),
                    idempotent=actor.request is not None,
                )
            except _UnsettledError:
                await asyncio.sleep(POLL_S)

    async def _run(
        self,
        transaction: Transaction,
        write: Write,
        purge: Purge,
        answer: Callable[[PurgeResult], A],
        *,
        waits: bool,
        validate_only: bool,
    ) -> A:
        values = _values(write, purge)
        record_ids = await self._lock(transaction, purge, values, waits=waits)
        drafts = 0
        if record_ids:
            removed: dict[str, object] = {**values, "record_ids": record_ids}
            drafts = (await transaction.fetch(SQL["purge_records"], removed))[0]["drafts"]
            await transaction.fetch(SQL["purge_answers"], removed)
        remaining = (await transaction.fetch(SQL["count_purgeable"], values))[0]["remaining"]
        response = answer(PurgeResult(record_ids, drafts, remaining))
        if validate_only:
            transaction.mark_rollback_only()
        else:
            await store_response(transaction, write.actor, response.SerializeToString())
        return response

    async def _lock(
        self, transaction: Transaction, purge: Purge, values: dict[str, object], *, waits: bool
    ) -> Sequence[str]:
        rows = await transaction.fetch(SQL["lock_purged"], values)
        for row in rows:
            if row["is_live"]:
                record_id = row["record_id"]
                raise RecordLiveError(f"record {record_id!r} is not deleted; delete it first", record_id=record_id)
        if waits and not all(row["is_settled"] for row in rows):
            raise _UnsettledError
        if purge.record_ids and not all(row["is_settled"] for row in rows):
            raise ContentionError(
                "a record was deleted while other writes were under way, which are not over yet; "
                "nothing was removed, try again"
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
        "now": write.moment,
        "change_reason": write.change_reason,
        "request_id": write.request_id,
    }
