"""The syncs of several tenants in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from draftline.upstreams import Outcome, WriteItem
from draftline_server.sync import ending
from draftline_server.sync.claims import SyncRunner
from draftline_server.sync.worker import Connection
from support.sync_worlds import SyncWorld, until
from support.tenant_stores import connected
from support.upstream_toy import ToySystem, ToyUpstream


class Hanging(ToyUpstream):
    """Accepts writes and never responds."""

    def __init__(self, system: ToySystem) -> None:
        super().__init__(system)
        self.received = asyncio.Event()

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        self.received.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_upstream_that_hangs_delays_no_other_tenant(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the records of one tenant while every write of another one waits for a response."""
    monkeypatch.setattr(ending, "FINISH_S", 0.0)
    async with connected(database_url) as database:
        stuck, other = SyncWorld(database, "stuck"), SyncWorld(database, "other")
        hanging = Hanging(stuck.system)
        upstreams = {"stuck": hanging, "other": ToyUpstream(other.system)}

        def connect(tenant_id: str, *_: Any) -> Connection:
            return Connection(upstreams[tenant_id])

        for world in (stuck, other):
            await world.bind()
        for number in range(50):
            await stuck.create(f"p{number}", {"n": number})
        runner = asyncio.create_task(SyncRunner(stuck.stores, connect).run())
        try:
            await hanging.received.wait()
            for number in range(5):
                await other.create(f"p{number}", {"n": number})

            async def synced() -> bool:
                states = await other.states()
                return len(states) == 5 and {each["state"] for each in states.values()} == {"IDLE"}

            await until(synced)
            assert {each["state"] for each in (await stuck.states()).values()} <= {"SENDING", "DUE"}
        finally:
            runner.cancel()
            await asyncio.gather(runner, return_exceptions=True)
