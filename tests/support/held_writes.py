"""Writes that are held back by locked records while statistics are declared and built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import asyncpg
from draftline import AsyncClient
from draftline_server.store.collections.order_entries import OrderEntries
from draftline_server.store.collections.tallies import Tallies
from draftline_server.store.database import Database

from support.polling import eventually

MOVED = ["held-draft", "held-deleted", "held-patched", "held-replaced"]
DISCARDED = "held-discarded"
HELD = [*MOVED, DISCARDED]
PATIENCE_S = 0.5  # of the writes that are held for a build that waits for them
LOCK = """SELECT FROM draftline.record WHERE tenant_id = $1 AND collection = $2 AND record_id = ANY ($3)
    ORDER BY record_id FOR UPDATE"""
LOCK_DRAFT = "SELECT FROM draftline.draft WHERE tenant_id = $1 AND collection = $2 AND record_id = $3 FOR UPDATE"
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))"
BEHIND_BLOCKED = """SELECT count(*) FROM pg_stat_activity AS a
    WHERE EXISTS (SELECT FROM unnest(pg_blocking_pids(a.pid)) AS b WHERE $1 = ANY (pg_blocking_pids(b)))"""
STATES = """SELECT state FROM draftline.statistic WHERE tenant_id = $1 AND collection = $2 AND state <> 'DROPPING'"""


class HeldWrites:
    """Makes writes that begin before statistics are declared, and end after they are built.

    These writes do not know the statistics, so a build must wait for them.
    """

    def __init__(
        self,
        database: Database,
        clients: Sequence[AsyncClient],
        tenant_id: str,
        collection: str,
        storing: asyncio.Lock,
    ) -> None:
        """`storing` is held until the statistics are stored. An import of held records takes it too, because
        an import that waits for a record keeps specs from being stored."""
        self._storing = storing
        self._database = database
        self._clients = clients
        self._key = tenant_id, collection
        self._numbers = count(1)

    @asynccontextmanager
    async def during(self) -> AsyncIterator[None]:
        """Hold writes until the statistics that the block declares are READY, or for half a second after they are
        stored. Build the statistics meanwhile, as the background task does."""
        collection = self._key[1]
        for record_id in MOVED:
            await self._clients[0].patch_content(
                collection, record_id, {"Genre": "Drama", "Votes": 3}, allow_missing=True, allow_deleted=True
            )
        connection = await asyncpg.connect(self._database.url)
        await self._storing.acquire()
        releasing = None
        try:
            transaction = connection.transaction()
            await transaction.start()
            await connection.fetch(LOCK, *self._key, MOVED)
            writes = asyncio.gather(*self._writes())
            await eventually(lambda: self._are_blocked(connection, BLOCKED, len(MOVED)))
            releasing = asyncio.create_task(self._release(connection, transaction))
            try:
                yield
            finally:
                await asyncio.gather(writes, releasing)
        finally:
            if releasing is None:
                self._storing.release()
            await connection.close()

    def _writes(self) -> list[Any]:
        """Return a write of each held record that moves the record to another group."""
        (first, second), collection = self._clients, self._key[1]
        content = {"Genre": "Comedy", "Gross": next(self._numbers), "Day": "1950-05-05"}
        drafted, deleted, patched, replaced = MOVED
        return [
            first.save_draft(collection, drafted, content),
            first.delete_content(collection, deleted),
            first.patch_content(collection, patched, content),
            second.patch_content(collection, replaced, content, strategy="replace"),
        ]

    async def discard(self) -> None:
        """Discard a draft during a patch of its record, which waits for the draft.

        The patch moves the record and the draft to another group, so the discard must wait for the patch.
        """
        client, collection = self._clients[0], self._key[1]
        content = {"Genre": "Drama", "Gross": next(self._numbers)}
        connection = await asyncpg.connect(self._database.url)
        try:
            async with (
                self._storing
            ):  # an import could store the content that the patch has, which then waits for nothing
                await client.patch_content(collection, DISCARDED, content, allow_missing=True, allow_deleted=True)
                await client.save_draft(collection, DISCARDED, {"Votes": 5})
                transaction = connection.transaction()
                await transaction.start()
                await connection.fetch(LOCK_DRAFT, *self._key, DISCARDED)
                patch = asyncio.ensure_future(client.patch_content(collection, DISCARDED, {"Genre": "Comedy"}))
                await eventually(lambda: self._are_blocked(connection, BLOCKED, 1))
                discard = asyncio.ensure_future(client.discard(collection, record_ids=[DISCARDED]))
                await eventually(lambda: self._are_blocked(connection, BEHIND_BLOCKED, 1))
                await transaction.rollback()
                await asyncio.gather(patch, discard)
        finally:
            await connection.close()

    async def _are_blocked(self, connection: asyncpg.Connection, sql: str, least: int) -> bool:
        row = await self._fetch(sql, connection.get_server_pid())
        return bool(row[0][0] >= least)

    async def _release(self, connection: asyncpg.Connection, transaction: Any) -> None:
        """Build the statistics once they are stored, and let the writes go on."""
        try:
            await eventually(lambda: self._fetch(STATES, *self._key))
        finally:
            self._storing.release()
        building = asyncio.create_task(self._build())
        await asyncio.wait([building], timeout=PATIENCE_S)
        await transaction.rollback()
        await building

    async def _build(self) -> None:
        async with self._database.dedicated_connection() as connection:
            await Tallies(self._database, OrderEntries(self._database)).work_off(connection)

    async def _fetch(self, sql: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self._database.url)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()
