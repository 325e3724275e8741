"""The leases of syncs: any number of processes share the syncs of a database."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable

import structlog

from ..domain.errors import DraftlineError
from ..store.sync.leases import SyncLeases
from .worker import Connect, Stores, SyncWorker

LEASE_S = 30.0
RENEW_S = 10.0
LOOK_S = 1.0  # between two looks for syncs without a worker


class SyncRunner:
    """Claims syncs, and runs a worker for each."""

    def __init__(self, stores: Stores, connect: Connect, owner: str = "") -> None:
        self._stores = stores
        self._connect = connect
        self._leases = SyncLeases(stores.database)
        self.owner = owner or uuid.uuid4().hex
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}

    @property
    def running(self) -> int:
        """The number of syncs that this process works on."""
        return len(self._running)

    async def run(self) -> None:
        """Work until cancelled, and then release the leases."""
        try:
            while True:
                try:
                    await self._claim()
                except DraftlineError as error:
                    structlog.get_logger().warning("sync_claims_failed", reason=type(error).__name__)
                await asyncio.sleep(LOOK_S)
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim(self) -> None:
        """Start workers for syncs that nobody works on, up to a fair share."""
        listed = await self._leases.all()
        owners = {each.owner for each in listed if each.is_owned} | {self.owner}
        share = math.ceil(len(listed) / len(owners)) + 1
        for each in listed:
            key = each.tenant_id, each.upstream
            if key in self._running or (each.is_owned and each.owner != self.owner) or self.running >= share:
                continue
            task = asyncio.create_task(self._work(*key), name=f"sync {each.upstream}")
            self._running[key] = task
            task.add_done_callback(self._forget(key))

    def _forget(self, key: tuple[str, str]) -> Callable[[asyncio.Task[None]], None]:
        def done(task: asyncio.Task[None]) -> None:
            del self._running[key]
            if not task.cancelled() and (error := task.exception()) is not None:
                structlog.get_logger().warning(
                    "sync_failed", tenant_id=key[0], upstream=key[1], reason=type(error).__name__
                )

        return done

    async def _work(self, tenant_id: str, upstream: str) -> None:
        worker = SyncWorker(self._stores, self._connect, tenant_id, upstream)
        if not await worker.progress.take_lease(self.owner, LEASE_S):
            return
        working = asyncio.create_task(worker.run())
        self._stores.counters.running += 1
        try:
            while not working.done():
                await asyncio.wait({working}, timeout=RENEW_S)
                if not working.done() and not await worker.progress.take_lease(self.owner, LEASE_S):
                    break
        finally:
            self._stores.counters.running -= 1
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await worker.progress.release_lease(self.owner)
        if not working.cancelled() and (error := working.exception()) is not None:
            raise error
