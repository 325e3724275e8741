"""Builds of the entries of large collections: the entries of a large range of records are sorted, and then added.

Adding entries in the order of their index costs a fraction of adding them in the order of the records. Records are not
locked meanwhile, so that no write waits; a write may then miss an entry that is being added, and leave it behind.

Invariants:
- Only the connection that holds the collection's advisory lock adds entries in this way.
- The orders' `begun_to` is set from before the first entry is added until all are verified. They are not READY
  meanwhile.
- Each range is sorted as a whole and added in several transactions, so that each takes about TURN_S.
- Entries are verified once no write is running that began before the last of them was added. An entry can only be
  wrong if its record was written since the orders were declared, or is gone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

from sqlalchemy import BigInteger, LargeBinary, Text, cast, column, func, insert, literal_column, select, table, true
from sqlalchemy.dialects.postgresql import ARRAY

from ...domain.collections import IndexOrder
from ...domain.errors import ContentionError
from ..advisory_locks import LockFamily
from ..database import Database
from ..driver_errors import UnforeseenError
from ..lists.order import bound
from ..runner import T, fetch, transact
from ..statements import Statement, compiled, load
from ..tables import record
from ..transaction import DedicatedConnection, Rows, Transaction
from .cache import order_of
from .key_expressions import with_keys

SQL = load("sorted_orders")

RANGE_ENTRIES = 500_000  # entries of a range: the more, the fewer times a page of the index is visited
PART, MAX_PART = 4_000, 100_000  # records of a range whose entries are computed at once
PAGES, MAX_PAGES = 64, 10_000  # pages of sorted entries that one transaction adds
TURN_S = 0.2  # the time that a transaction should take: the change feed may have to wait as long
VERIFIED_AT_ONCE = 500  # records
LOCK_TIMEOUT_MS = 200  # how long verifying waits for a locked record while it holds others
RETRY_S = 0.2
UNIQUE_VIOLATION = "23505"

Turn = Callable[[str], AbstractAsyncContextManager[Callable[[], float]]]


@dataclass(frozen=True, slots=True)
class _Claim:
    """The orders that are built together."""

    order_ids: list[int]
    orders: list[IndexOrder]
    after: str
    log_xact: int
    was_begun: bool  # the range may have been begun by another build, so its entries may be there already
    is_counted: bool

    @property
    def range(self) -> dict[str, object]:
        return {"order_ids": self.order_ids, "after": self.after}


class SortedBuild:
    """Adds the entries of all records of one collection to its new orders. One connection, one step at a time."""

    def __init__(
        self,
        database: Database,
        connection: DedicatedConnection,
        tenant_id: str,
        collection: str,
        *,
        turn: Turn,
        wait_for_writes: Callable[[], Awaitable[None]],
    ) -> None:
        """`turn` holds this build's turn to use the database, and pauses after it."""
        self._database = database
        self._connection = connection
        self._tenant_id = tenant_id
        self._key: dict[str, object] = {"tenant_id": tenant_id, "collection": collection}
        self._turn = turn
        self._wait_for_writes = wait_for_writes
        self._part = PART
        self._pages = PAGES

    async def lock(self) -> bool:
        """Take the collection's lock, and return whether that was possible."""
        rows = await self._fetch("lock_build", {"build_lock": LockFamily.ORDER_BUILD})
        return bool(rows[0]["locked"])

    async def unlock(self) -> None:
        await self._fetch("unlock_build", {"build_lock": LockFamily.ORDER_BUILD})

    async def step(self) -> bool:
        """Add the entries of the next range, or verify them all after the last range. Return whether more is left."""
        claim = await self._claim()
        if claim is None:
            return False
        if not claim.is_counted:
            await self._fetch("count_records", {"order_ids": claim.order_ids})
        await self._fetch("create_sorted_entries", {})
        await self._fetch("empty_sorted_entries", {})
        last, count = await self._stage(claim)
        if not count:
            await self._verify(claim)
            return True
        await self._fetch("begin_range", {**claim.range, "last": last})
        if await self._add_all(claim):
            await self._fetch("advance_records", {**claim.range, "last": last, "records": count})
        return True

    async def _claim(self) -> _Claim | None:
        rows = await self._transact(lambda transaction: transaction.fetch(SQL["claim_orders"], self._key))
        if not rows:
            return None
        return _Claim(
            [row["order_id"] for row in rows],
            [order_of(json.loads(row["keys"])) for row in rows],
            rows[0]["record_filled_to"],
            min(row["log_xact"] for row in rows),
            was_begun=any(row["was_begun"] for row in rows),
            is_counted=all(row["record_total"] for row in rows),
        )

    async def _stage(self, claim: _Claim) -> tuple[str, int]:
        """Compute the entries of the next range. Return its last record and their number."""
        statement, fixed = _staging(claim.orders)
        last, count, limit = claim.after, 0, max(1, RANGE_ENTRIES // len(claim.orders))
        while count < limit:
            part = min(self._part, limit - count)
            (row,) = await self._fetch("next_range", {"after": last, "limit": part})
            if row["count"]:
                bounds: dict[str, object] = {"after": last, "last": row["last"], "log_xact": claim.log_xact}
                async with self._turn(self._tenant_id) as elapsed_s:
                    await fetch(
                        self._database, self._connection, statement, {**fixed, **self._key, **claim.range, **bounds}
                    )
                    self._part = _adapted(self._part, elapsed_s(), MAX_PART)
                last, count = row["last"], count + row["count"]
            if row["count"] < part:
                break
        return last, count

    async def _add_all(self, claim: _Claim) -> bool:
        """Add the computed entries. Return False if the orders have changed meanwhile."""
        await self._fetch("create_sorted_run", {})
        for order_id in claim.order_ids:
            await self._fetch("empty_sorted_run", {})
            async with self._turn(self._tenant_id):
                await self._fetch("sort_run", {"order_id": order_id})
            (row,) = await self._fetch("count_pages", {})
            page = 0
            while page < row["pages"]:
                end = page + self._pages
                rows: dict[str, object] = {"order_id": order_id, "from_row": f"({page},0)", "to_row": f"({end},0)"}
                async with self._turn(self._tenant_id) as elapsed_s:
                    if not await self._add_pages(claim, rows):
                        return False
                    self._pages = _adapted(self._pages, elapsed_s(), MAX_PAGES)
                page = end
        await self._fetch("empty_sorted_run", {})
        return True

    async def _add_pages(self, claim: _Claim, rows: dict[str, object]) -> bool:
        """Add the sorted entries in some pages. Return False if the orders have changed meanwhile."""
        try:
            return await self._transact(partial(self._add, claim=claim, rows=rows, was_begun=claim.was_begun))
        except (UnforeseenError, ContentionError) as error:
            if isinstance(error, UnforeseenError) and error.sqlstate != UNIQUE_VIOLATION:
                raise
        # A record was changed, and changed back, after it was read: that write has added the entry, or is adding it.
        while True:
            await asyncio.sleep(RETRY_S)
            try:
                return await self._transact(partial(self._add, claim=claim, rows=rows, was_begun=True))
            except ContentionError:
                continue

    async def _add(self, transaction: Transaction, claim: _Claim, rows: dict[str, object], *, was_begun: bool) -> bool:
        values = {**self._key, **claim.range, **rows, "was_begun": was_begun}
        held = await transaction.fetch(SQL["hold_orders"], values)
        if len(held) < len(claim.order_ids):
            return False
        if not was_begun:
            await transaction.fetch(SQL["add_settled_entries"], values)
        await transaction.fetch(SQL["add_other_entries"], values)
        return True

    async def _verify(self, claim: _Claim) -> None:
        """Delete the entries that writes have left behind, and store that all records have theirs."""

        async def find(transaction: Transaction) -> None:
            await transaction.fetch(SQL["plan_without_loops"], {})
            values = {**self._key, "order_ids": claim.order_ids, "log_xact": claim.log_xact}
            await transaction.fetch(SQL["find_unsettled_entries"], values)

        await self._wait_for_writes()
        await self._transact(find)
        await self._fetch("index_sorted_entries", {})
        gone: list[str] = []
        after = ""
        while rows := await self._fetch("unsettled_records", {"after": after, "limit": VERIFIED_AT_ONCE}):
            ids = [row["record_id"] for row in rows]
            gone += await self._settle(claim, ids)
            after = ids[-1]
        if gone:
            # Such a record may just be created again, by a write that found its entry there.
            await self._wait_for_writes()
            await self._settle(claim, gone)
        await self._fetch("drop_sorted_entries", {})
        await self._fetch("finish_records", claim.range)

    async def _settle(self, claim: _Claim, record_ids: list[str]) -> list[str]:
        """Make the entries of these records right, and return the records that do not exist."""

        async def work(transaction: Transaction) -> Rows:
            values: dict[str, object] = {**self._key, "record_ids": record_ids, "order_ids": claim.order_ids}
            locked = await transaction.fetch(SQL["lock_records"], {**values, "lock_timeout": f"{LOCK_TIMEOUT_MS}ms"})
            await transaction.fetch(SQL["verify_entries"], values)
            return locked

        while True:
            try:
                async with self._turn(self._tenant_id):
                    locked = await self._transact(work)
            except ContentionError:  # a record is locked for long, for example by an import
                await asyncio.sleep(RETRY_S)
                continue
            return sorted(set(record_ids) - {row["record_id"] for row in locked})

    async def _fetch(self, name: str, values: dict[str, object]) -> Rows:
        return await fetch(self._database, self._connection, SQL[name], {**self._key, **values})

    async def _transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await transact(self._database, self._connection, work)


def _adapted(limit: int, took_s: float, most: int) -> int:
    """Return the limit with which a transaction takes about TURN_S, after one that took `took_s` seconds."""
    factor = min(2.0, max(0.5, TURN_S / max(took_s, 1e-4)))
    return min(most, max(1, int(limit * factor)))


def _staging(orders: Sequence[IndexOrder]) -> tuple[Statement, dict[str, object]]:
    """Return the statement that fills sorted_entry with the entries of a range of records."""
    contents = (
        select(
            record.c.record_id,
            record.c.content,
            (record.c.log_xact < cast(bound("log_xact"), BigInteger())).label("is_settled"),
        )
        .where(
            record.c.tenant_id == cast(bound("tenant_id"), Text()),
            record.c.collection == cast(bound("collection"), Text()),
            record.c.record_id > cast(bound("after"), Text()),
            record.c.record_id <= cast(bound("last"), Text()),
            record.c.deleted_at.is_(None),
        )
        .subquery()
    )
    keyed = with_keys(contents, orders).subquery()
    keys = literal_column(f"ARRAY[{', '.join(f'key_{index}' for index in range(len(orders)))}]", ARRAY(LargeBinary()))
    order_ids = cast(bound("order_ids"), ARRAY(BigInteger()))
    entry = func.unnest(order_ids, keys).table_valued("order_id", "key").render_derived(name="entry")
    ids = cast(bound("tenant_id"), Text()) + cast(bound("collection"), Text()) + keyed.c.record_id
    rows = (
        select(entry.c.order_id, entry.c.key, keyed.c.record_id, keyed.c.is_settled)
        .select_from(keyed.join(entry, true()))
        .where(func.draftline.order_entry_fits(entry.c.key, ids))
    )
    columns = ("order_id", "key", "record_id", "is_settled")
    return compiled("stage_entries", insert(table("sorted_entry", *map(column, columns))).from_select(columns, rows))
