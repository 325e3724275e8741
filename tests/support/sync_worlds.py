"""A tenant with a sync, over a system of record in memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from draftline.upstreams import Upstream
from draftline_server.background.change_signal import ChangeSignals
from draftline_server.domain.content import Limits
from draftline_server.domain.sync import Answer, BoundCollection, MergeResult, SyncSpec
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from draftline_server.store.sync.configs import SyncConfigs
from draftline_server.store.sync.merges import NO_FENCE
from draftline_server.sync.breaker import Breaker, TokenBucket
from draftline_server.sync.counters import SyncCounters
from draftline_server.sync.pull import Intervals, Pull
from draftline_server.sync.push import Push
from draftline_server.sync.sending import Link
from draftline_server.sync.worker import Connection, Stores, SyncWorker

from .tenant_stores import COLLECTION, World
from .upstream_toy import ToySystem, ToyUpstream

UPSTREAM = "pems"
AT_ONCE = Intervals(0.0, 0.0)
STATES = Statement(
    "states",
    "SELECT s.*, s.conflicts::text AS conflict_text, s.error::text AS error_text FROM draftline.sync_record AS s "
    "WHERE s.tenant_id = $1",
    ("tenant_id",),
)
EVENTS = Statement(
    "events",
    "SELECT e.*, e.detail::text AS detail_text FROM draftline.sync_event AS e WHERE e.tenant_id = $1 "
    "ORDER BY e.event_id",
    ("tenant_id",),
)
CHANGES = Statement(
    "changes",
    "SELECT c.record_id, c.version, c.source, c.kind, c.edit::text AS edit, c.base::text AS base "
    "FROM draftline.change AS c WHERE c.tenant_id = $1 AND c.kind <> 'DRAFT' ORDER BY c.record_id, c.version",
    ("tenant_id",),
)


class SyncWorld(World):
    """The stores of a tenant, and what its workers do, step by step."""

    def __init__(self, database: Database, tenant_id: str, system: ToySystem | None = None) -> None:
        super().__init__(database, tenant_id)
        self.system = system or ToySystem()
        self.configs = SyncConfigs(database)
        self.counters = SyncCounters()
        self.stores = Stores(database, self.specs, Limits(), ChangeSignals(), self.counters)
        self.bound = BoundCollection(COLLECTION)
        self.by_commit = False
        self.worker = self.new_worker()

    def new_worker(self) -> SyncWorker:
        return SyncWorker(self.stores, lambda *_: self.connection(), self.tenant_id, UPSTREAM)

    def connection(self) -> Connection:
        return Connection(ToyUpstream(self.system), parallel=4, timeout_s=5.0)

    async def bind(self, bound: BoundCollection | None = None, **options: Any) -> None:
        self.bound = bound or self.bound
        self.by_commit = bool(options.get("batch_by_commit"))
        spec = SyncSpec(UPSTREAM, "toy", (self.bound,), **options)
        await self.configs.prepare(self.tenant_id, spec)
        await self.database.transact(lambda t: self.configs.put(t, self.tenant_id, spec, None))

    def link(self) -> Link:
        upstream = ToyUpstream(self.system)
        return Link(upstream, Breaker(), TokenBucket(None), self.counters, parallel=4, timeout_s=5.0)

    async def push(self, link: Link | None = None) -> None:
        """Send everything that is due now, and read what has to be read."""
        link = link or self.link()
        attempts, merges = self.worker._attempts, self.worker._merges
        push = Push(self.database, attempts, merges, link)
        await attempts.sweep(COLLECTION)
        for _ in range(20):
            moved = await push.recheck(self.bound, self.system.capabilities)
            moved += await push.push(self.bound, self.system.capabilities, by_commit=self.by_commit)
            if not moved:
                return
        raise AssertionError("the push does not end")

    async def pull(self, *, snapshot: bool = False, upstream: Upstream | None = None) -> None:
        """Read changes, or all records."""
        link = replace(self.link(), upstream=upstream or ToyUpstream(self.system))
        push = Push(self.database, self.worker._attempts, self.worker._merges, link)
        pull = Pull(self.worker.progress, self.worker._merges, push, link)
        work = await self.worker.progress.work()
        assert work is not None
        read = pull.snapshot if snapshot else pull.changes
        await read(work.collections[0], self.system.capabilities)

    async def merge(self, *answers: Answer, mark: int = NO_FENCE, **options: Any) -> Sequence[MergeResult]:
        return await self.worker._merges.merge(self.bound, answers, mark, **options)

    async def states(self) -> dict[str, dict[str, Any]]:
        rows = await self.database.fetch(STATES, {"tenant_id": self.tenant_id})
        return {row["record_id"]: dict(row) for row in rows}

    async def state(self, record_id: str) -> dict[str, Any]:
        return (await self.states())[record_id]

    async def events(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.database.fetch(EVENTS, {"tenant_id": self.tenant_id})]

    async def changes(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.database.fetch(CHANGES, {"tenant_id": self.tenant_id})]

    async def value(self, record_id: str) -> dict[str, Any] | None:
        """Return the content; None if the record is deleted."""
        record = await self.record(record_id)
        return None if record.deleted_at is not None else json.loads(record.content)

    @asynccontextmanager
    async def working(self, worker: SyncWorker | None = None) -> AsyncIterator[asyncio.Task[None]]:
        """Run a worker; None: a new one of this world's system."""
        task = asyncio.create_task((worker or self.new_worker()).run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def answer(remote_id: str, document: dict[str, Any] | None, version: int | None = None, record_id: str = "") -> Answer:
    """Return an answer of the upstream; None: it is deleted."""
    text = "{}" if document is None else json.dumps(document)
    return Answer(remote_id, None if version is None else str(version), "", document is None, text, record_id)


async def until(condition: Any, timeout_s: float = 30.0) -> None:
    """Wait until an asynchronous condition holds."""
    end = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)
