"""Previews of syncs: what a push would send, without sending or writing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from draftline.upstreams import Outcome, WriteItem
from draftline_server.domain.errors import SyncNotFoundError
from draftline_server.domain.sync_records import PushPreview
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from draftline_server.store.sync import previews
from draftline_server.store.sync.previews import SyncPreviews
from support.sync_worlds import UPSTREAM, SyncWorld
from support.tenant_stores import COLLECTION
from support.upstream_toy import ToyUpstream

PURGE = Statement(
    "purge", "DELETE FROM draftline.record WHERE tenant_id = $1 AND record_id = $2", ("tenant_id", "record_id")
)


@pytest.fixture
def world(database: Database, tenant_id: str) -> SyncWorld:
    return SyncWorld(database, tenant_id)


class Counting(ToyUpstream):
    """A connection that counts what arrives, by kind."""

    def __init__(self, world: SyncWorld) -> None:
        super().__init__(world.system)
        self.kinds: Counter[str] = Counter()

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        self.kinds.update(type(item.write).__name__.upper() for item in items)
        return await super().write(collection, items, atomic=atomic)


async def preview(world: SyncWorld) -> PushPreview:
    """Return the preview of the only collection; raise if it changed or sent anything."""
    before = await world.states(), await world.changes(), world.system.requests
    (found,) = await SyncPreviews(world.database).push(world.tenant_id, UPSTREAM)
    assert (await world.states(), await world.changes(), world.system.requests) == before
    return found


async def test_preview_counts_what_the_push_sends_then(world: SyncWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count records by kind, over several parts of a comparison, and send exactly these afterwards."""
    monkeypatch.setattr(previews, "SWEPT", 3)
    await world.bind()
    for name in ("same", "updated", "back", "deleted", "purged"):
        await world.create(name, {"n": 1})
    await world.push()
    assert (await preview(world)).counts == {}
    await world.patch("updated", {"n": 2})
    await world.patch("back", {"n": 2})
    await world.patch("back", {"n": 1})
    await world.delete("deleted")
    await world.database.fetch(PURGE, {"tenant_id": world.tenant_id, "record_id": "purged"})
    for index in range(12):
        await world.create(f"new-{index:02}", {"n": 1})
    await world.create("brief", {"n": 1})
    await world.delete("brief")
    found = await preview(world)
    assert found.counts == {"CREATE": 12, "UPDATE": 1, "DELETE": 2}
    assert found.record_ids["CREATE"] == [f"new-{index:02}" for index in range(10)]
    assert (found.record_ids["UPDATE"], found.record_ids["DELETE"]) == (["updated"], ["deleted", "purged"])
    upstream = Counting(world)
    link = world.link()
    await world.push(type(link)(upstream, link.breaker, link.bucket, link.counters))
    assert upstream.kinds == found.counts
    assert (await preview(world)).counts == {}


async def test_preview_names_what_is_not_sent(world: SyncWorld) -> None:
    """Tell conflicts, refused records and writes without an outcome from what would be sent."""
    world.system.refused_words = ("bad",)
    await world.bind()
    for name in ("held", "refused", "lost"):
        await world.create(name, {"n": 1})
    await world.push()
    remote = {row.reference: remote_id for remote_id, row in world.system.rows.items()}
    world.system.edit(remote["held"], n=3)
    await world.patch("held", {"n": 2})
    await world.patch("refused", {"n": "bad"})
    await world.push()
    await world.patch("lost", {"n": 2})
    world.system.faults.lost_after = 1.0
    attempts = world.worker._attempts
    await attempts.sweep(COLLECTION)
    await attempts.prepare(world.bound, ["lost"], 60.0)
    assert (await preview(world)).counts == {"CONFLICT": 1, "FAILED": 1, "REPEAT": 1}
    await world.patch("held", {"n": 4})
    await world.patch("refused", {"n": 5})
    assert (await preview(world)).counts == {"CONFLICT": 1, "UPDATE": 1, "REPEAT": 1}


async def test_preview_tells_that_a_snapshot_comes_first_or_nothing_is_sent(world: SyncWorld) -> None:
    """Report a missing snapshot, and a push that is paused."""
    await world.bind()
    await world.create("p", {"n": 1})
    found = await preview(world)
    assert (found.awaits_snapshot, found.is_stopped, found.counts) == (True, False, {"CREATE": 1})
    await world.pull(snapshot=True)
    async with world.database.transaction() as transaction:
        await world.configs.pause(transaction, world.tenant_id, UPSTREAM, push=True, pull=None, resumes=False)
    found = await preview(world)
    assert (found.awaits_snapshot, found.is_stopped) == (False, True)
    with pytest.raises(SyncNotFoundError):
        await SyncPreviews(world.database).push(world.tenant_id, "missing")
