"""The entries of orders, built and deleted in batches.

Invariants:
- Every write keeps the entries of every order that it can see, unless the order is DELETING (sql/write_tail.sql).
  Building starts once no write is running that began before the order was stored.
- A batch is one transaction, which holds the orders' rows. So processes take turns, and a build that is interrupted
  continues where the last batch ended.
- A batch locks its records or drafts in share mode, and adds the entries of their current contents. The records of a
  large collection are not locked: see sorted_build.
- An order is READY once every live record and every draft has its entry.
- The entries of an order that is dropped are kept until no list can read them, and then deleted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog

from ...concurrency.fair_semaphore import FairSemaphore
from ...domain.errors import ContentionError
from ..advisory_locks import LockFamily
from ..database import Database
from ..runner import Runner, fetch, transact
from ..statements import load
from ..transaction import DedicatedConnection, Rows, Transaction
from .sorted_build import SortedBuild

SQL = load("orders")

MANY = 20_000  # records, from which their entries are sorted before they are added
MAX_SORTED_BUILDS = 2  # in one process; each takes a connection
MAX_BATCH = 2_000  # records or drafts in one transaction
MIN_BATCH = 20
BATCH_S = 0.04  # the time that a batch should take: a patch of its records may wait as long
PAUSE_FACTOR = 0.5  # a pause after each batch, as a part of the time that the batch took
SORTED_PAUSE_FACTOR = 0.25  # the same in a sorted build, which locks no records
LOCK_TIMEOUT_MS = 200  # how long a batch waits for a locked record while it holds others
RETRY_S = 0.2
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

    def __init__(self, database: Database, *, linger_s: float = LINGER_S, many: int = MANY) -> None:
        self._database = database
        self._linger_s = linger_s
        self._many = many
        self._sorted_builds = FairSemaphore(MAX_SORTED_BUILDS, 0)
        self._batches = FairSemaphore(1, 0)  # one batch at a time in a process, with tenants in turn

    async def work_off(self, connection: DedicatedConnection) -> None:
        """Build and delete all that is left to build and delete, of all tenants, a batch of each collection in turn."""
        rows = await self._fetch(connection, "unready_orders", {})
        building = {(row["tenant_id"], row["collection"]): _Pace() for row in rows if row["state"] == "BUILDING"}
        for key in building:
            await self._start_build(connection, *key)
        await self._sort_all(connection, building)
        while building:
            for key, pace in list(building.items()):
                if not await self._batch(connection, *key, pace):
                    del building[key]
        for tenant_id, collection in {(row["tenant_id"], row["collection"]) for row in rows}:
            await self.delete_dropped(tenant_id, collection, connection)

    async def _sort_all(self, connection: DedicatedConnection, keys: Iterable[tuple[str, str]]) -> None:
        """Do the sorted builds that no other connection does, a step of each collection in turn."""
        builds: list[SortedBuild] = []
        for key in keys:
            build = self._sorted_build(connection, *key)
            if await self._is_large(connection, *key) and await build.lock():
                builds.append(build)
        while builds:
            for build in list(builds):
                if not await build.step():
                    await build.unlock()
                    builds.remove(build)

    async def build(self, tenant_id: str, collection: str) -> None:
        """Build the entries of a collection's new orders, and return once they are complete."""
        if not await self._start_build(self._database, tenant_id, collection):
            return
        while await self._is_large(self._database, tenant_id, collection):
            if not await self._sort(tenant_id, collection):
                await asyncio.sleep(RETRY_S)  # another process builds them
        pace = _Pace()
        while await self._batch(self._database, tenant_id, collection, pace):
            pass

    async def _sort(self, tenant_id: str, collection: str) -> bool:
        """Do the sorted build of a collection. Return False if another connection does."""
        await self._sorted_builds.acquire(tenant_id)
        try:
            async with self._database.dedicated_connection() as connection:
                build = self._sorted_build(connection, tenant_id, collection)
                if not await build.lock():
                    return False
                while await build.step():
                    pass
                await build.unlock()
                return True
        finally:
            self._sorted_builds.release(tenant_id)

    def _sorted_build(self, connection: DedicatedConnection, tenant_id: str, collection: str) -> SortedBuild:
        return SortedBuild(
            self._database,
            connection,
            tenant_id,
            collection,
            turn=self._turn,
            wait_for_writes=lambda: self.wait_for_inflight_writes(with_imports=True, runner=connection),
        )

    async def _is_large(self, runner: Runner, tenant_id: str, collection: str) -> bool:
        values: dict[str, object] = {"tenant_id": tenant_id, "collection": collection, "many": self._many}
        return bool((await self._fetch(runner, "is_large", values))[0]["is_large"])

    @asynccontextmanager
    async def _turn(self, tenant_id: str) -> AsyncIterator[Callable[[], float]]:
        """Hold the tenant's turn, yield a function that returns for how long, in seconds, and pause at the end."""
        await self._batches.acquire(tenant_id)
        started = time.monotonic()
        try:
            yield lambda: time.monotonic() - started
        finally:
            self._batches.release(tenant_id)
        await asyncio.sleep((time.monotonic() - started) * SORTED_PAUSE_FACTOR)

    async def _start_build(self, runner: Runner, tenant_id: str, collection: str) -> bool:
        """Wait until the orders of a collection can be built. Return False if none is to be built."""
        (row,) = await self._fetch(runner, "is_unbuilt", {"tenant_id": tenant_id, "collection": collection})
        if row["is_new"]:
            await self.wait_for_inflight_writes(with_imports=False, runner=runner)
            structlog.get_logger().info("order_build_started", tenant_id=tenant_id, collection=collection)
        return bool(row["is_unbuilt"])

    async def _batch(self, runner: Runner, tenant_id: str, collection: str, pace: _Pace) -> bool:
        """Build one batch, and pause. Return False if there is nothing left to build."""
        key: dict[str, object] = {"tenant_id": tenant_id, "collection": collection}
        await self._batches.acquire(tenant_id)
        started = time.monotonic()
        try:
            more = await transact(
                self._database, runner, lambda transaction: _build_batch(transaction, key, pace.limit)
            )
        except ContentionError:  # a record is locked for long, for example by an import
            pace.limit = MIN_BATCH
            await asyncio.sleep(RETRY_S)
            return True
        finally:
            self._batches.release(tenant_id)
        if not more:
            structlog.get_logger().info("order_built", tenant_id=tenant_id, collection=collection)
            return False
        elapsed_s = time.monotonic() - started
        pace.took(elapsed_s)
        await asyncio.sleep(elapsed_s * PAUSE_FACTOR)
        return True

    async def delete_dropped(self, tenant_id: str, collection: str, runner: Runner | None = None) -> None:
        """Delete the entries of orders that were dropped long enough ago, and the orders."""
        runner = runner or self._database
        key: dict[str, object] = {"tenant_id": tenant_id, "collection": collection}
        values = {**key, "now": await runner.now(), "linger": timedelta(seconds=self._linger_s)}
        retired = await self._fetch(runner, "retire_orders", values)
        if not retired:
            return
        await self.wait_for_inflight_writes(with_imports=True, runner=runner)
        for row in retired:
            order = {**key, "order_id": row["order_id"]}
            await self._delete_entries(runner, tenant_id, order)
            await self._fetch(runner, "delete_order", order)
            structlog.get_logger().info("order_deleted", tenant_id=tenant_id, collection=collection)

    async def _delete_entries(self, runner: Runner, tenant_id: str, order: dict[str, object]) -> None:
        after: dict[str, object] = {"after_key": b"", "after_id": ""}
        while rows := await self._delete_batch(runner, tenant_id, "delete_entries", {**order, **after}):
            after = {"after_key": rows[0]["key"], "after_id": rows[0]["record_id"]}
        values: dict[str, object] = {**order, "after": ""}
        while True:
            user = (await self._fetch(runner, "next_entry_user", values))[0]["user_id"]
            if user is None:
                return
            values["after"] = user
            of_user = {**order, "user_id": user}
            while (await self._delete_batch(runner, tenant_id, "delete_draft_entries", of_user))[0]["count"]:
                pass

    async def _delete_batch(self, runner: Runner, tenant_id: str, name: str, values: dict[str, object]) -> Rows:
        await self._batches.acquire(tenant_id)
        started = time.monotonic()
        try:
            return await self._fetch(runner, name, {**values, "limit": MAX_BATCH})
        finally:
            self._batches.release(tenant_id)
            await asyncio.sleep((time.monotonic() - started) * PAUSE_FACTOR)

    async def wait_for_inflight_writes(self, *, with_imports: bool, runner: Runner | None = None) -> None:
        """Wait for the calls that may have read an earlier state of a spec or its orders."""
        runner = runner or self._database
        running = await self._running_writes(runner, with_imports=with_imports)
        while running:
            await asyncio.sleep(WRITES_POLL_S)
            running &= await self._running_writes(runner, with_imports=with_imports)

    async def _running_writes(self, runner: Runner, *, with_imports: bool) -> set[str]:
        values: dict[str, object] = {"spec_lock": LockFamily.COLLECTION_SPEC, "with_imports": with_imports}
        return {row["transaction"] for row in await self._fetch(runner, "running_writes", values)}

    async def _fetch(self, runner: Runner, name: str, values: dict[str, object]) -> Rows:
        return await fetch(self._database, runner, SQL[name], values)


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
