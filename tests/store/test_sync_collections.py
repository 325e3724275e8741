"""A sync of several collections, one of which the system cannot serve."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from draftline.upstreams import Capabilities, Page, RemoteRecord, ThrottledError, UnreachableError, UpstreamError
from draftline_server.domain.sync import BoundCollection, SyncSpec
from draftline_server.store.database import Database
from draftline_server.sync import failure_reports
from draftline_server.sync.turns import Turns
from draftline_server.sync.worker import Connection
from support.log_capture import logged
from support.sync_worlds import UPSTREAM, SyncWorld, until
from support.tenant_stores import COLLECTION
from support.upstream_toy import ToyUpstream

BROKEN = "a-collection-that-is-first"


@pytest.fixture
def world(database: Database, tenant_id: str) -> SyncWorld:
    return SyncWorld(database, tenant_id)


class PartlyBroken(ToyUpstream):
    """Fails in one kind of request for one of the collections."""

    def __init__(self, world: SyncWorld, kind: str) -> None:
        super().__init__(world.system)
        self._kind = kind

    def _fail(self, collection: str, kind: str) -> None:
        if (collection, f"mistake in {kind}") == (BROKEN, self._kind):
            raise KeyError(kind)
        if (collection, kind) == (BROKEN, self._kind):
            raise UnreachableError("status 500")

    async def describe(self, collection: str) -> Capabilities:
        self._fail(collection, "describe")
        return await super().describe(collection)

    async def snapshot(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        self._fail(collection, "snapshot")
        if collection == BROKEN:
            remote_id = "a\0b" if self._kind == "unstorable id" else "x"
            yield Page([RemoteRecord(remote_id=remote_id)], None, "0")
            return
        async for page in super().snapshot(collection, cursor):
            yield page

    async def lookup(self, collection: str, remote_ids: Sequence[str]) -> Sequence[RemoteRecord]:
        self._fail(collection, "lookup")
        return await super().lookup(collection, remote_ids)


@pytest.mark.parametrize("kind", ["describe", "mistake in describe", "snapshot", "unstorable id"])
async def test_collection_that_cannot_be_read_stops_no_other_one(world: SyncWorld, kind: str) -> None:
    """Read and send the other collection of the sync, however long the first one fails."""
    world.connection = lambda: Connection(PartlyBroken(world, kind))  # type: ignore[method-assign]
    collections = (BoundCollection(BROKEN), BoundCollection(COLLECTION))
    spec = SyncSpec(UPSTREAM, "toy", collections, pull_interval_s=0)
    await world.database.transact(lambda transaction: world.configs.put(transaction, world.tenant_id, spec, None))
    await world.create("p", {"n": 1})
    world.system.insert({"n": 2}, "r")

    async def synced() -> bool:
        here = {row["record_id"] for row in await world.stored("record") if row["collection"] == COLLECTION}
        return "r" in here and sorted(each["n"] for each in world.system.live().values()) == [1, 2]

    async def is_reported() -> bool:
        return any(each["kind"] == "UNREACHABLE" for each in await world.events())

    async with world.working():
        await until(synced)
        await until(is_reported)
    (event,) = [each for each in await world.events() if each["kind"] == "UNREACHABLE"]
    assert (event["collection"], bool(event["message"])) == (BROKEN, True)


async def test_failure_is_reported_once_until_its_message_changes(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Report what keeps writes from the system, again when it changes, and not for each request."""
    await world.bind()
    monkeypatch.setattr(failure_reports, "SPACED_S", 0.0)
    reports = failure_reports.FailureReports(world.worker.progress)
    with logged() as logs:
        for message in ("refused\0", "refused\0", "reset"):
            await reports.note(COLLECTION, UnreachableError(message))
        await reports.note(COLLECTION, ThrottledError(after_s=1.0))
    assert [each["event"] for each in logs] == ["sync_unreachable"] * 2
    assert [each["message"] for each in await world.events()] == ["refused", "reset"]
    world.system.is_down = True
    await world.create("p", {"n": 1})
    await world.push(replace(world.link(), failed=reports.note))
    assert (await world.events())[-1]["message"] == "no connection"


async def served(turns: Turns, errors: dict[str, UpstreamError]) -> list[str]:
    """Return the collections of a round, in order."""
    seen: list[str] = []

    async def noted(name: str, error: Exception) -> None:
        assert errors[name] is error

    async def work(name: str) -> None:
        seen.append(name)
        if name in errors:
            raise errors[name]

    with pytest.raises(UpstreamError) if errors else nullcontext():
        await turns.run(["a", "b", "c"], work, noted)
    return seen


async def test_round_ends_when_the_system_limits_requests_and_the_next_begins_with_another_one() -> None:
    """Send nothing more after the limit, and let every collection be the first one in turn."""
    turns, firsts = Turns(), Counter[Any]()
    assert await served(turns, {}) == ["a", "b", "c"]
    assert await served(turns, {"a": UnreachableError("down")}) == ["a", "b", "c"]
    for _ in range(6):
        limited = dict.fromkeys("abc", ThrottledError(after_s=1.0))
        (first,) = await served(turns, limited)  # type: ignore[arg-type]
        firsts[first] += 1
    assert firsts == {"a": 2, "b": 2, "c": 2}
