"""The log as a feed: nothing is skipped, and nothing comes out of order, whatever order transactions end in."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.change_query import with_change_types
from draftline_server.domain.changes import ChangeSource, Write
from draftline_server.domain.content import Limits
from draftline_server.domain.edits import Strategy
from draftline_server.domain.errors import TokenExpiredError
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.records import Delta, Patch
from draftline_server.rpc.mapping.changes import to_change_filter
from draftline_server.store.change_log import feed as feeds
from draftline_server.store.change_log.feed import Feed, FeedPage, LogPosition, Scope
from draftline_server.store.in_place_patches import InPlacePatches
from draftline_server.store.query_stats import QueryRunner
from draftline_server.store.transaction import Transaction
from support.tenant_stores import COLLECTION, World, change, connected


@pytest.fixture
async def world(database_url: str, tenant_id: str) -> AsyncIterator[World]:
    # A database of its own: what runs in another one counts for the order of the log, too, but not for long.
    async with connected(database_url) as database:
        yield World(database, tenant_id)


@pytest.fixture
def feed(world: World) -> Feed:
    return Feed(world.database, 4)


class Following:
    """One who follows the feed of a scope."""

    def __init__(self, feed: Feed, scope: Scope, place: LogPosition) -> None:
        self.feed, self.scope, self.place = feed, scope, place
        self.seen: list[Any] = []
        self.last: FeedPage | None = None

    async def read(self) -> list[Any]:
        """Return the new changes, until there are no more at the moment."""
        new: list[Any] = []
        while True:
            self.last = page = await self.feed.read(self.scope, self.place)
            assert page.start == self.place
            assert page.end >= self.place
            new += [(entry.record_id, entry.change and entry.change.version) for entry in page.entries]
            self.seen += new[len(new) - len(page.entries) :]
            self.place = page.end
            if not page.more:
                return new

    async def read_until(self, *wanted: Any) -> list[Any]:
        """Reads until as much came as is wanted: nobody tells when all older transactions are over."""
        new: list[Any] = []
        async with asyncio.timeout(30):
            while len(new) < len(wanted):
                new += await self.read()
                await asyncio.sleep(0.005)
        assert new == list(wanted)
        return new


async def following(feed: Feed, world: World, **scope: Any) -> Following:
    return Following(feed, Scope(world.tenant_id, **scope), await feed.now())


async def patched_in(connection: asyncpg.Connection, world: World, record_id: str, **delta: Any) -> None:
    applier = InPlacePatches(world.specs, Limits())
    write = Write(world.actor("sys"), ChangeSource.PATCH_CONTENT, datetime.now(UTC))
    patch = Patch(COLLECTION, record_id, Delta(json.dumps(delta), Strategy.SHALLOW))
    (result,) = await applier.apply(
        Transaction(connection, QueryRunner(), world.database.clock), write, [patch], stores_responses=True
    )
    assert result.error is None


async def opened(url: str) -> tuple[asyncpg.Connection, int]:
    """A transaction that has drawn its number."""
    connection = await asyncpg.connect(url)
    await connection.execute("BEGIN")
    return connection, await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")


async def test_every_write_comes_once_in_order(world: World, feed: Feed) -> None:
    follower = await following(feed, world)
    await world.create("1", {"a": 1})
    await world.patch("1", {"a": 2})
    await world.load({"1": {"a": 3}, "2": {}})
    await world.delete("1")
    await world.undelete("1")
    await follower.read_until(("1", 1), ("1", 2), ("2", 1), ("1", 3), ("1", 4), ("1", 5))
    assert await follower.read() == []
    late = await following(feed, world)
    assert await late.read() == []


async def test_change_is_pending_while_an_older_transaction_runs(world: World, feed: Feed, database_url: str) -> None:
    follower = await following(feed, world)
    older, _ = await opened(database_url)
    await world.create("1", {})
    assert await follower.read() == []
    assert follower.last is not None
    assert follower.last.pending
    await older.execute("ROLLBACK")
    await follower.read_until(("1", 1))
    assert not follower.last.pending
    await older.close()


async def test_older_transaction_that_commits_last_is_not_skipped(world: World, feed: Feed, database_url: str) -> None:
    await world.create("1", {})
    await world.create("2", {})
    follower = await following(feed, world)
    older, _ = await opened(database_url)
    await patched_in(older, world, "1", a=1)
    await world.patch("2", {"a": 1})
    assert await follower.read() == []
    await older.execute("COMMIT")
    await follower.read_until(("1", 2), ("2", 2))
    await older.close()


async def test_versions_of_a_record_stay_in_order_when_numbers_of_transactions_do_not(
    world: World, feed: Feed, database_url: str
) -> None:
    """The transaction with the lowest number writes last, and one between the two is still running."""
    await world.create("1", {})
    follower = await following(feed, world)
    last, lowest = await opened(database_url)
    between, middle = await opened(database_url)
    assert lowest < middle
    await world.patch("1", {"a": 2})
    await patched_in(last, world, "1", a=3)
    await last.execute("COMMIT")
    assert await follower.read() == []
    assert follower.last is not None
    assert follower.last.pending
    await between.execute("COMMIT")
    await follower.read_until(("1", 2), ("1", 3))
    await last.close()
    await between.close()


async def test_transactions_of_any_shape_leave_no_gap(
    world: World, feed: Feed, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers that take long, take numbers early and roll back; a reader that pages by three."""
    monkeypatch.setattr(feeds, "MAX_ROWS", 3)
    records = [str(place) for place in range(4)]
    for record_id in records:
        await world.create(record_id, {})
    follower = await following(feed, world)
    written: dict[str, int] = defaultdict(lambda: 1)

    async def write(seed: int) -> None:
        choices = random.Random(seed)
        connection = await asyncpg.connect(database_url)
        for turn in range(25):
            await connection.execute("BEGIN")
            if choices.random() < 0.5:
                await connection.execute("SELECT pg_current_xact_id()")
                await asyncio.sleep(choices.random() * 0.01)
            touched = sorted(choices.sample(records, choices.randint(1, 3)))
            for record_id in touched:
                await patched_in(connection, world, record_id, turn=f"{seed}-{turn}")
                await asyncio.sleep(choices.random() * 0.004)
            kept = choices.random() < 0.8
            await connection.execute("COMMIT" if kept else "ROLLBACK")
            for record_id in touched if kept else ():
                written[record_id] += 1
        await connection.close()

    async def read() -> None:
        while True:
            await follower.read()
            await asyncio.sleep(0.002)

    reading = asyncio.create_task(read())
    await asyncio.gather(*(write(seed) for seed in range(6)))
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    seen: dict[str, list[int]] = defaultdict(list)
    async with asyncio.timeout(30):
        while sum(map(len, seen.values())) < sum(written.values()) - len(records):
            await follower.read()
            seen.clear()
            for record_id, version in follower.seen:
                seen[record_id].append(version)
            await asyncio.sleep(0.005)
    assert {record_id: list(range(2, last + 1)) for record_id, last in written.items()} == seen


async def test_notices_of_drafts_are_their_users(world: World, feed: Feed) -> None:
    await world.create("1", {"a": 1})
    anyone = await following(feed, world)
    ada = await following(feed, world, collection=COLLECTION, drafts_of="ada", with_values=False)
    bob = await following(feed, world, collection=COLLECTION, drafts_of="bob", with_values=False)
    await world.save("ada", change("1", {"a": 2}))
    await world.discard("ada")
    await ada.read_until(("1", None), ("1", None))
    await world.save("ada", change("1", {"a": 2}))
    await world.commit("ada")
    await ada.read_until(("1", None), ("1", 2))
    await bob.read_until(("1", 2))
    await anyone.read_until(("1", 2))


async def test_draft_that_is_committed_without_a_change_is_told_to_its_user(world: World, feed: Feed) -> None:
    await world.create("1", {"a": 1})
    await world.save("ada", change("1", {"a": 2}))
    await world.patch("1", {"a": 2})
    ada = await following(feed, world, collection=COLLECTION, drafts_of="ada", with_values=False)
    await world.commit("ada")
    await ada.read_until(("1", None))


async def test_scope_is_a_tenant_a_collection_and_a_filter(world: World, feed: Feed) -> None:
    condition = parse_filter("user_id = ada AND kind = UPDATE")
    assert condition is not None
    filtered = Scope(world.tenant_id, COLLECTION).filtered(with_change_types(condition))
    follower = Following(feed, filtered, await feed.now())
    elsewhere = await following(feed, world, collection="other")
    stranger = Following(feed, Scope(f"{world.tenant_id}-2"), await feed.now())
    await world.create("1", {}, user="ada")
    await world.patch("1", {"a": 1}, user="bob")
    await world.patch("1", {"a": 2}, user="ada")
    await follower.read_until(("1", 3))
    assert await elsewhere.read() == []
    assert await stranger.read() == []


async def test_page_ends_by_bytes_but_holds_one_change(world: World, feed: Feed) -> None:
    follower = await following(feed, world)
    for turn in range(3):
        await world.load({"1": {"text": str(turn) * feeds.MAX_PAGE_BYTES}})
    await follower.read_until(("1", 1), ("1", 2), ("1", 3))
    page = await feed.read(follower.scope, LogPosition(0, 0))
    assert len(page.entries) == 1
    assert page.more


async def test_what_was_dropped_is_not_taken_for_nothing(world: World, feed: Feed, connection: Any) -> None:
    await world.create("1", {})
    follower = await following(feed, world)
    await follower.feed.check(follower.place)
    await connection.execute(
        "UPDATE draftline.change_log SET dropped_xact = $1, dropped_id = 7", follower.place.xact + 1
    )
    with pytest.raises(TokenExpiredError):
        await feed.check(follower.place)
    with pytest.raises(TokenExpiredError):
        await feed.read(follower.scope, follower.place)
    await feed.check(LogPosition(follower.place.xact + 1, 7))


async def test_creation_tells_its_content_when_more_came_after_it(world: World, feed: Feed) -> None:
    follower = await following(feed, world)
    await world.create("1", {"a": 1, "b": {"c": 2}})
    await world.patch("1", {"a": 2, "b": {"c": 3}})
    await follower.read_until(("1", 1), ("1", 2))
    page = await feed.read(follower.scope, LogPosition(0, 0))
    created, updated = (entry.change for entry in page.entries)
    assert created is not None
    assert json.loads(created.paths[0].new_value or "") == {"a": 1, "b": {"c": 2}}
    assert updated is not None
    assert [(path.path, path.old_value, path.new_value) for path in updated.paths] == [
        ("/a", "1", "2"), ("/b/c", "2", "3")
    ]  # fmt: skip


async def test_feed_goes_on_past_what_does_not_match(world: World, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MAX_SCANNED", 3)
    follower = await following(feed, world)
    only_b = Following(feed, follower.scope.filtered(to_change_filter('record_id = "b"')), follower.place)
    for n in range(8):
        await world.create(f"a{n}", {})
        if n in (4, 7):
            await world.save("ada", change(f"a{n}", {"x": 1}))
    await world.create("b", {})
    await follower.read_until(*((f"a{n}", 1) for n in range(8)), ("b", 1))
    assert await only_b.read() == [("b", 1)]
    assert only_b.place == follower.place


async def test_reads_of_one_tenant_leave_a_connection_to_others(world: World) -> None:
    feed = Feed(world.database, 4)
    start = await feed.now()
    for _ in range(3):
        await feed._permits.acquire(world.tenant_id)
    busy = asyncio.create_task(feed.read(Scope(world.tenant_id), start))
    await feed.read(Scope("another"), start)
    assert not busy.done()
    feed._permits.release(world.tenant_id)
    await busy
