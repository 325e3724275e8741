"""The worker of a sync: what it sends and reads under faults, and what stops it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from draftline.upstreams import Capabilities, NotTaken, Outcome, Page, ThrottledError, UnauthorizedError, WriteItem
from draftline_server.domain.sync import backoff_s, deletion_limit
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from draftline_server.sync import pull
from draftline_server.sync.breaker import Breaker
from draftline_server.sync.conversion import usable
from draftline_server.sync.worker import Connection
from support.soak_scale import IS_SOAK, length
from support.sync_worlds import UPSTREAM, SyncWorld, until
from support.tenant_stores import COLLECTION
from support.upstream_toy import ToyUpstream

PURGE = Statement("purge", "DELETE FROM draftline.record WHERE tenant_id = $1", ("tenant_id",))


@pytest.fixture
def world(database: Database, tenant_id: str) -> SyncWorld:
    return SyncWorld(database, tenant_id)


async def reason(world: SyncWorld) -> str:
    return (await world.configs.get(world.tenant_id, UPSTREAM)).suspended_reason


async def test_rejected_credentials_suspend_the_sync_until_it_is_resumed(world: SyncWorld) -> None:
    """Stop with a reason, keep what is due, and send it after a resume."""

    class Rejecting(ToyUpstream):
        async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Any:
            raise UnauthorizedError("the key has expired")

    await world.bind()
    await world.create("p", {"n": 1})
    allowed = world.connection
    world.connection = lambda: Connection(Rejecting(world.system))  # type: ignore[method-assign]
    await world.new_worker().run()  # ends by itself
    assert await reason(world) == "UNAUTHORIZED"
    assert (await world.state("p"))["state"] == "DUE"
    world.connection = allowed  # type: ignore[method-assign]
    async with world.database.transaction() as transaction:
        await world.configs.pause(transaction, world.tenant_id, UPSTREAM, push=None, pull=None, resumes=True)

    async def sent() -> bool:
        return bool(world.system.live())

    async with world.working():
        await until(sent)
    assert not await reason(world)


async def test_nothing_is_sent_before_the_first_snapshot_has_linked_records(world: SyncWorld) -> None:
    """Link records that exist on both sides, and create none of them again."""
    for index in range(5):
        await world.create(f"p{index}", {"n": index})
        world.system.insert({"n": index}, f"p{index}")
    await world.bind()

    async def settled() -> bool:
        return [each["state"] for each in (await world.states()).values()] == ["IDLE"] * 5

    async with world.working():
        await until(settled)
    assert len(world.system.rows) == 5
    assert not world.system.effects


async def test_outage_fails_no_record_and_ends_with_all_synced(world: SyncWorld) -> None:
    """Count an outage against no record, try with one request at a time, and send all afterwards."""
    await world.bind()

    async def linked() -> bool:
        work = await world.worker.progress.work()
        return work is not None and work.collections[0].snapshot_at is not None

    async def synced() -> bool:
        return len(world.system.live()) == 30 and all(
            each["state"] == "IDLE" for each in (await world.states()).values()
        )

    async with world.working():
        await until(linked)
        world.system.is_down = True
        for index in range(30):
            await world.create(f"p{index}", {"n": index})
        requests = world.system.requests

        async def tried() -> bool:
            return world.system.requests > requests + 5

        await until(tried)
        assert not {each["state"] for each in (await world.states()).values()} & {"FAILED", "HELD"}
        world.system.is_down = False
        await until(synced)


async def test_creation_of_unknown_outcome_is_not_repeated_without_a_key(world: SyncWorld) -> None:
    """Show a creation whose response was lost, and repeat nothing that could be doubled."""
    capabilities = replace(world.system.capabilities, idempotency_keys_s=0.0, client_reference=False)
    world.system.capabilities, world.system.honours_keys = capabilities, False
    world.system.honours_references, world.system.faults.lost_after = False, 1.0
    await world.bind()
    await world.create("p", {"n": 1})
    await world.push()
    state = await world.state("p")
    assert (state["state"], "OUTCOME_UNKNOWN" in state["error_text"]) == ("FAILED", True)
    await world.push()
    assert len(world.system.rows) == 1


async def test_repeat_has_the_key_and_contents_of_the_first_request(world: SyncWorld) -> None:
    """Repeat a lost write unchanged, whatever was committed since, and send that afterwards."""
    await world.bind()
    await world.create("p", {"n": 1})
    world.system.faults.lost_before = 1.0
    await world.push()
    before = await world.state("p")
    await world.patch("p", {"n": 2})
    world.system.faults.lost_before = 0.0
    await world.worker._attempts.hurry(COLLECTION)
    await world.push()
    (history,) = world.system.history.values()
    assert history == [{"n": 1}, {"n": 2}]
    assert str(before["attempt_id"]) in world.system.applied


async def many(world: SyncWorld, count: int) -> None:
    await world.bind()
    for index in range(count):
        world.system.insert({"n": index}, f"r{index:03}")
    await world.pull(snapshot=True)


async def test_snapshot_deletes_what_it_lacks_after_a_look_up(world: SyncWorld) -> None:
    """Delete a few records that a snapshot lacks and a look-up confirms."""
    await many(world, 4)
    world.system.rows["r001"].deleted = True
    world.system.rows["r001"].version += 1
    await world.pull(snapshot=True)
    assert await world.value("r001") is None
    assert await world.value("r002") == {"n": 2}


async def test_too_many_deletions_suspend_the_sync(world: SyncWorld) -> None:
    """Delete nothing if a snapshot lacks more than the limit, until a person allows it."""
    await many(world, 60)
    for index in range(deletion_limit(60) + 1):
        world.system.rows[f"r{index:03}"].deleted = True
    async with world.database.transaction() as transaction:
        await world.configs.request(transaction, world.tenant_id, UPSTREAM, "SNAPSHOT", 0)
    await world.new_worker().run()
    assert await reason(world) == "DELETIONS_HELD"
    assert await world.value("r000") == {"n": 0}
    async with world.database.transaction() as transaction:
        await world.configs.request(transaction, world.tenant_id, UPSTREAM, "SNAPSHOT", 10)
    await world.pull(snapshot=True)
    assert await world.value("r000") is None


async def test_older_version_than_before_suspends_the_sync(world: SyncWorld) -> None:
    """Stop when the system has gone back, as after a restore, and overwrite nothing."""
    await many(world, 1)
    world.system.edit("r000", n=7)
    await world.pull()
    world.system.rows["r000"].version = 1
    world.system.rows["r000"].document = {"n": 0}
    async with world.database.transaction() as transaction:
        await world.configs.request(transaction, world.tenant_id, UPSTREAM, "SNAPSHOT", 0)
    await world.new_worker().run()
    assert await reason(world) == "WENT_BACK"
    assert await world.value("r000") == {"n": 7}


async def test_late_change_with_an_older_stamp_is_found_by_a_snapshot(world: SyncWorld) -> None:
    """Find a change that the cursor of changes has passed already."""
    await many(world, 3)
    world.system.edit("r002", n=9)
    await world.pull()
    world.system.edit("r001", n=8)
    world.system.rows["r001"].at = 1  # as if it had been committed late, with an older stamp
    await world.pull()
    assert await world.value("r001") == {"n": 1}
    await world.pull(snapshot=True)
    assert await world.value("r001") == {"n": 8}


async def test_snapshot_of_a_system_that_rejects_requests_continues_at_its_page(world: SyncWorld) -> None:
    """Read each page once although every second request is throttled; then delete what the snapshot lacks."""
    await many(world, 6)
    world.system.page = 2
    world.system.edit("r005", n=7)
    del world.system.rows["r000"]
    read: list[list[str]] = []

    class Throttling(ToyUpstream):
        async def snapshot(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
            async for page in super().snapshot(collection, cursor):
                read.append([each.remote_id for each in page.records])
                yield page
                if page.changes_cursor is None:
                    raise ThrottledError("too many requests", 0.01)

    await world.pull(snapshot=True, upstream=Throttling(world.system))
    assert read == [["r001", "r002"], ["r003", "r004"], ["r005"]]
    assert (await world.value("r000"), await world.value("r005")) == (None, {"n": 7})


async def test_snapshot_that_cannot_continue_is_not_complete(world: SyncWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete nothing if no request succeeds after a page."""
    monkeypatch.setattr(pull, "MAX_RESUMED", 2)
    await many(world, 3)
    world.system.page = 1
    del world.system.rows["r002"]

    class Broken(ToyUpstream):
        async def snapshot(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
            if cursor is None:
                yield await anext(super().snapshot(collection, None))
            raise ThrottledError("too many requests")

    with pytest.raises(ThrottledError):
        await world.pull(snapshot=True, upstream=Broken(world.system))
    assert await world.value("r002") == {"n": 2}


@pytest.mark.parametrize("is_snapshot", [False, True], ids=["changes", "snapshot"])
async def test_page_that_was_read_before_a_push_undoes_nothing(world: SyncWorld, is_snapshot: bool) -> None:
    """Leave pages that the system read ahead, as a stream does, for records that were sent since."""
    world.system.capabilities = replace(world.system.capabilities, ordered_versions=False)
    await many(world, 4)
    world.system.page = 1

    class Ahead(ToyUpstream):
        async def _ahead(self, pages: AsyncIterator[Page]) -> AsyncIterator[Page]:
            first, *later = [page async for page in pages]
            yield first
            await world.delete("r002")
            await world.patch("r003", {"n": 9})
            await world.push()
            for page in later:
                yield page

        def changes(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
            del cursor
            return self._ahead(super().changes(collection, None))

        def snapshot(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
            return self._ahead(super().snapshot(collection, cursor))

    await world.pull(snapshot=is_snapshot, upstream=Ahead(world.system))
    assert (await world.value("r002"), await world.value("r003")) == (None, {"n": 9})
    await world.push()
    assert {key: each["state"] for key, each in (await world.states()).items()} == dict.fromkeys(
        ["r000", "r001", "r002", "r003"], "IDLE"
    )
    assert (await world.value("r002"), await world.value("r003")) == (None, {"n": 9})


@pytest.mark.soak
@pytest.mark.parametrize("refuses_batches", [False, True], ids=["per item", "as a batch"])
async def test_one_refused_record_leaves_all_others_synced(world: SyncWorld, refuses_batches: bool) -> None:
    """Show one refusal with its reason and field, send all others, and do not repeat it until it changes."""
    count = length("SYNC_REFUSED_OF", 50, soak=10_000)
    world.system.capabilities = replace(world.system.capabilities, max_batch=100 if IS_SOAK else 10)
    world.system.refused_words, world.system.refuses_batches = ("bad",), refuses_batches
    await world.bind()
    for index in range(count):
        await world.create(f"p{index:05}", {"name": "bad" if index == count // 3 else f"good {index}"})
    link = replace(world.link(), parallel=8)
    await world.push(link)
    states = await world.states()
    (refused,) = [record_id for record_id, each in states.items() if each["state"] != "IDLE"]
    error = json.loads(states[refused]["error_text"])
    assert (refused, states[refused]["state"]) == (f"p{count // 3:05}", "FAILED")
    assert (error["reason"], error["field"]) == ("INVALID_VALUE", "/name")
    assert len(world.system.live()) == count - 1
    requests = world.system.requests
    await world.push(link)
    assert world.system.requests == requests
    await world.patch(refused, {"name": "good again"})
    await world.push(link)
    assert {each["state"] for each in (await world.states()).values()} == {"IDLE"}


async def test_purged_record_is_deleted_upstream(world: SyncWorld) -> None:
    """Send a deletion whose record was purged before it was sent."""
    await many(world, 1)
    await world.delete("r000")
    await world.database.fetch(PURGE, {"tenant_id": world.tenant_id})
    await world.push()
    assert not world.system.live()


def test_breaker_pauses_longer_with_each_failure_and_obeys_the_system() -> None:
    """Open after five failures, pause at most 30 s, and wait as long as the system asks."""
    now = 0.0
    breaker = Breaker(lambda: now)
    for _ in range(4):
        breaker.failed()
    assert (breaker.is_open, breaker.pause_s()) == (False, 0.0)
    breaker.failed()
    assert breaker.is_open
    assert 0.4 < breaker.pause_s() <= 1.0
    for _ in range(20):
        breaker.failed()
    assert 15.0 <= breaker.pause_s() <= 30.0
    breaker.failed(60.0)
    assert breaker.pause_s() == 60.0
    assert breaker.succeeded()
    assert not breaker.is_open


def test_pauses_of_repeats_double_up_to_ten_minutes() -> None:
    """Double the pause with each try."""
    assert [backoff_s(tries) for tries in (0, 1, 2, 20)] == [1.0, 2.0, 4.0, 600.0]


@pytest.mark.parametrize("asked", [math.nan, math.inf, -1.0])
async def test_wait_that_is_no_usable_duration_stops_no_worker(world: SyncWorld, asked: float) -> None:
    """Try again within an hour, whatever a system asks for."""

    class Asking(ToyUpstream):
        async def write(
            self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False
        ) -> Sequence[Outcome]:
            if len(items) == 1:
                raise ThrottledError(after_s=asked)
            return [NotTaken("busy", asked)] * len(items)

    await world.bind()
    for count in (2, 1):
        for index in range(count):
            await world.create(f"p{count}-{index}", {"n": 1})
        link = replace(world.link(), upstream=Asking(world.system))
        before = await world.database.now()
        await world.push(link)
        assert link.breaker.pause_s() <= 3600.0
        for state in (await world.states()).values():
            assert state["state"] == "DUE"
            assert 0.0 < (state["next_at"] - before).total_seconds() <= 3700.0
    claimed = Capabilities(idempotency_keys_s=asked, read_lag_s=asked, max_batch=2**31 - 1)
    assert usable(claimed).read_lag_s <= 3600.0
    assert usable(claimed).max_batch == 1_000
    assert usable(claimed).idempotency_keys_s >= 0.0


async def test_throttled_upstream_gets_no_request_before_the_time_it_asks_for(world: SyncWorld) -> None:
    """Obey the time that a throttled request asks to wait."""
    times: list[float] = []

    class Throttling(ToyUpstream):
        async def write(
            self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False
        ) -> Sequence[Outcome]:
            times.append(time.monotonic())
            if len(times) == 1:
                raise ThrottledError(after_s=0.7)
            return await super().write(collection, items, atomic=atomic)

    world.connection = lambda: Connection(Throttling(world.system))  # type: ignore[method-assign]
    await world.bind()
    await world.create("p", {"n": 1})

    async def sent() -> bool:
        return bool(world.system.live())

    async with world.working():
        await until(sent)
    assert times[1] - times[0] >= 0.7
