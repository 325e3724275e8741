"""The entries of orders, built and deleted in batches.

Invariants:
- Every write keeps the entries of every order that it can see, unless the order is DELETING (sql/write_tail.sql).
  Building starts once no write is running that began before the order was stored.
- A batch is one transaction, which holds the orders' rows. So processes take turns, and a build that is interrupted
  continues where the last batch ended.
- A batch locks its records or drafts in share mode, and adds the entries of their current contents.
- An order is READY once every live record and every draft has its entry.
- The entries of an order that is dropped are kept until no list can read them, and then deleted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from ...concurrency.fair_semaphore import FairSemaphore
from ...domain.errors import ContentionError
from ..advisory_locks import LockFamily
from ..database import Database
from ..statements import load
from ..transaction import Transaction

SQL = load("orders")

MAX_BATCH = 2_000  # records or drafts in one transaction
MIN_BATCH = 20
BATCH_S = 0.04  # the time that a batch should take: a patch of its records may wait as long
PAUSE_FACTOR = 0.5  # a pause after each batch, as a part of the time that the batch took
LOCK_TIMEOUT_MS = 200  # how long a batch waits for a locked record while it holds others
RETRY_S = 0.2
WORKED_OFF_AT_ONCE = 4  # collections
WRITES_POLL_S = 0.05
LINGER_S = 60.0  # longer than a list may use an order after it was dropped


@dataclass(slots=True)
class _Pace:
    """The size of the next batch, so that it takes about BATCH_S."""

    limit: int = 200

    def took(self, elapsed_s: float) -> None:
        factor = min(2.0, max(0.5, BATCH_S / max(elapsed_s, 1e-4)))
        self.limit = min(MAX_BATCH, max(MIN_BATCH, int(self.limit * factor)))


class OrderEntries:
    """Builds and deletes the entries of orders as the specs require."""

    def __init__(self, database: Database, *, linger_s: float = LINGER_S) -> None:
        self._database = database
        self._linger_s = linger_s
        self._batches = FairSemaphore(1, 0)  # one batch at a time in a process, with tenants in turn

    async def work_off(self) -> None:
        """Build and delete whatever is left to build and delete, of all tenants."""
        rows = await self._database.fetch(SQL["unready_orders"], {}, idempotent=True)
        at_once = asyncio.Semaphore(WORKED_OFF_AT_ONCE)

        async def work(tenant_id: str, collection: str, *, is_building: bool) -> None:
            async with at_once:
                await (self.build if is_building else self.delete_dropped)(tenant_id, collection)

        async with asyncio.TaskGroup() as group:
            for key in {(row["tenant_id"], row["collection"], row["state"] == "BUILDING") for row in rows}:
                group.create_task(work(*key[:2], is_building=key[2]))

    async def build(self, tenant_id: str, collection: str) -> None:
        """Build the entries of a collection's new orders, and return once they are complete."""
        key: dict[str, object] = {"tenant_id": tenant_id, "collection": collection}
        row = (await self._database.fetch(SQL["is_unbuilt"], key, idempotent=True))[0]
        if not row["is_unbuilt"]:
            return
        if row["is_new"]:
            await self.wait_for_inflight_writes(with_imports=False)
        log = structlog.get_logger()
        log.info("order_build_started", tenant_id=tenant_id, collection=collection)
        pace = _Pace()
        while await self._batch(tenant_id, key, pace):
            pass
        log.info("order_built", tenant_id=tenant_id, collection=collection)

    async def _batch(self, tenant_id: str, key: dict[str, object], pace: _Pace) -> bool:
        """Build one batch, and pause. Return False if there is nothing left to build."""
        await self._batches.acquire(tenant_id)
        started = time.monotonic()
        try:
            more = await self._database.transact(lambda transaction: _build_batch(transaction, key, pace.limit))
        except ContentionError:  # a record is locked for long, for example by an import
            pace.limit = MIN_BATCH
            await asyncio.sleep(RETRY_S)
            return True
        finally:
            self._batches.release(tenant_id)
        elapsed_s = time.monotonic() - started
        pace.took(elapsed_s)
        await asyncio.sleep(elapsed_s * PAUSE_FACTOR)
        return more

    async def delete_dropped(self, tenant_id: str, collection: str) -> None:
        """Delete the entries of orders that were dropped long enough ago, and the orders."""
        key: dict[str, object] = {"tenant_id": tenant_id, "collection": collection}
        values = {**key, "now": await self._database.now(), "linger": timedelta(seconds=self._linger_s)}
        retired = await self._database.fetch(SQL["retire_orders"], values, idempotent=True)
        if not retired:
            return
        await self.wait_for_inflight_writes(with_imports=True)
        for row in retired:
            order = {**key, "order_id": row["order_id"]}
            await self._delete_entries(tenant_id, order)
            await self._database.fetch(SQL["delete_order"], order, idempotent=True)
            structlog.get_logger().info("order_deleted", tenant_id=tenant_id, collection=collection)

    async def _delete_entries(self, tenant_id: str, order: dict[str, object]) -> None:
        after: dict[str, object] = {"after_key": b"", "after_id": ""}
        while rows := await self._delete_batch(tenant_id, "delete_entries", {**order, **after}):
            after = {"after_key": rows[0]["key"], "after_id": rows[0]["record_id"]}
        values: dict[str, object] = {**order, "after": ""}
        while True:
            user = (await self._database.fetch(SQL["next_entry_user"], values, idempotent=True))[0]["user_id"]
            if user is None:
                return
            values["after"] = user
            while (await self._delete_batch(tenant_id, "delete_draft_entries", {**order, "user_id": user}))[0]["count"]:
                pass

    async def _delete_batch(self, tenant_id: str, name: str, values: dict[str, object]) -> Sequence[Mapping[str, Any]]:
        await self._batches.acquire(tenant_id)
        started = time.monotonic()
        try:
            return await self._database.fetch(SQL[name], {**values, "limit": MAX_BATCH}, idempotent=True)
        finally:
            self._batches.release(tenant_id)
            await asyncio.sleep((time.monotonic() - started) * PAUSE_FACTOR)

    async def wait_for_inflight_writes(self, *, with_imports: bool) -> None:
        """Wait for the calls that may have read an earlier state of a spec or its orders."""
        running = await self._running_writes(with_imports=with_imports)
        while running:
            await asyncio.sleep(WRITES_POLL_S)
            running &= await self._running_writes(with_imports=with_imports)

    async def _running_writes(self, *, with_imports: bool) -> set[str]:
        values: dict[str, object] = {"spec_lock": LockFamily.COLLECTION_SPEC, "with_imports": with_imports}
        rows = await self._database.fetch(SQL["running_writes"], values, idempotent=True)
        return {row["transaction"] for row in rows}


async def _build_batch(transaction: Transaction, key: dict[str, object], limit: int) -> bool:
    """Add the entries of the next records, or else drafts, to those orders that are least far.

    Return False if there are no orders to build.
    """
    rows = await transaction.fetch(SQL["lock_building"], {**key, "lock_timeout": f"{LOCK_TIMEOUT_MS}ms"})
    if not rows:
        return False
    records_to, drafts_to = rows[0]["record_filled_to"], rows[0]["draft_filled_to"]
    together = [row for row in rows if (row["record_filled_to"], row["draft_filled_to"]) == (records_to, drafts_to)]
    order_ids = [row["order_id"] for row in together]
    values: dict[str, object] = {**key, "order_ids": order_ids, "limit": limit, "now": await transaction.now()}
    progress: dict[str, object] = {"record_filled_to": None, "draft_filled_to": None, "records": 0, "drafts": 0}
    is_ready = False
    if drafts_to is None:
        batch = (await transaction.fetch(SQL["fill_records"], {**values, "after": records_to or ""}))[0]
        progress |= {"record_filled_to": batch["last"], "records": batch["count"]}
        if batch["count"] < limit:
            progress["draft_filled_to"] = ""
    else:
        batch = (await transaction.fetch(SQL["fill_drafts"], {**values, "after": drafts_to}))[0]
        progress |= {"draft_filled_to": batch["last"], "drafts": batch["count"]}
        is_ready = batch["last"] is None
    await transaction.fetch(SQL["advance_orders"], {**values, **progress, "is_ready": is_ready})
    return True
