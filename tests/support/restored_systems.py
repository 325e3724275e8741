"""A sync whose system of record goes back to a backup."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from draftline_server.sync.push import Push

from .sync_worlds import UPSTREAM, SyncWorld
from .tenant_stores import COLLECTION
from .upstream_toy import Row


class RestoredWorld(SyncWorld):
    """A sync whose system can go back to `backup`."""

    backup: dict[str, Row]

    def back_up(self) -> None:
        self.backup = deepcopy(self.system.rows)

    async def restored(self) -> None:
        """Let the system go back to the backup, have the sync stopped by that, and resume it."""
        await self.stopped()
        await self.resume()

    async def stopped(self) -> None:
        """Let the system go back to the backup, and have the sync stopped by that."""
        self.system.rows = deepcopy(self.backup)
        await self.request_snapshot()
        await self.new_worker().run()
        assert await self.reason() == "WENT_BACK"

    async def reason(self) -> str:
        """Return why the service stopped the sync."""
        return (await self.configs.get(self.tenant_id, UPSTREAM)).suspended_reason

    async def resume(self) -> None:
        async with self.database.transaction() as transaction:
            await self.configs.pause(transaction, self.tenant_id, UPSTREAM, push=None, pull=None, resumes=True)

    async def request_snapshot(self) -> None:
        async with self.database.transaction() as transaction:
            await self.configs.request(transaction, self.tenant_id, UPSTREAM, "SNAPSHOT", 0)

    async def send_once(self) -> None:
        """Send what is due, and read nothing."""
        await self.worker._attempts.sweep(COLLECTION)
        push = Push(self.database, self.worker._attempts, self.worker._merges, self.link())
        await push.push(self.bound, self.system.capabilities)

    async def snapshot_read(self) -> bool:
        """Return whether a snapshot was read since the resume."""
        work = await self.worker.progress.work()
        return work is not None and all(each.snapshot_at is not None for each in work.collections)

    async def settled(self, *record_ids: str) -> bool:
        """Return whether nothing is to be sent or read of records."""
        states = await self.states()
        return all(states[each]["state"] in ("HELD", "IDLE") and not states[each]["recheck"] for each in record_ids)

    async def conflicts(self, record_id: str) -> list[tuple[str, Any, Any]]:
        """Return the kind of each conflict of a record, and both values."""
        found = json.loads((await self.state(record_id))["conflict_text"])
        return [(each["kind"], each.get("mine"), each.get("theirs")) for each in found]
