"""The end of a worker, in order or by a kill: the next one continues at once, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from draftline.upstreams import Outcome, WriteItem
from draftline_server.store.database import Database
from draftline_server.sync import ending
from draftline_server.sync.breaker import TokenBucket
from draftline_server.sync.push import Push
from draftline_server.sync.sending import Link
from support.sync_worlds import SyncWorld, until
from support.tenant_stores import COLLECTION
from support.upstream_toy import ToySystem, ToyUpstream

LATER_S = 600.0  # an attempt is not due again while a test runs


@pytest.fixture
def world(database: Database, tenant_id: str) -> SyncWorld:
    return SyncWorld(database, tenant_id)


class Waiting(ToyUpstream):
    """Applies writes at once, and responds when it is allowed to."""

    def __init__(self, system: ToySystem) -> None:
        super().__init__(system)
        self.received, self.may_respond = asyncio.Event(), asyncio.Event()

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        outcomes = await super().write(collection, items, atomic=atomic)
        self.received.set()
        await self.may_respond.wait()
        return outcomes


@asynccontextmanager
async def cancelled_push(world: SyncWorld, link: Link, upstream: Waiting) -> AsyncIterator[None]:
    """Push, and cancel that once a request is out. The block runs between both and the end."""
    await world.worker._attempts.sweep(COLLECTION)
    push = Push(world.database, world.worker._attempts, world.worker._merges, replace(link, upstream=upstream))
    task = asyncio.create_task(push.push(world.bound, world.system.capabilities))
    await upstream.received.wait()
    task.cancel()
    yield
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def is_due(world: SyncWorld, record_id: str) -> bool:
    return bool((await world.state(record_id))["next_at"] <= await world.database.now())


async def test_response_that_arrives_while_a_worker_ends_is_stored(world: SyncWorld) -> None:
    """Wait for a response that is on its way, and leave nothing to repeat."""
    await world.bind()
    await world.create("p", {"n": 1})
    upstream = Waiting(world.system)
    async with cancelled_push(world, world.link(), upstream):
        upstream.may_respond.set()
    assert (await world.state("p"))["state"] == "IDLE"


async def test_write_that_a_worker_did_not_send_before_its_end_is_due_at_once(world: SyncWorld) -> None:
    """Release what waits for the rate limit, without an attempt."""
    world.system.capabilities = replace(world.system.capabilities, max_batch=1)
    await world.bind()
    for record_id in ("p", "q"):
        await world.create(record_id, {"n": 1})
    upstream = Waiting(world.system)
    async with cancelled_push(world, replace(world.link(), bucket=TokenBucket(0.001)), upstream):
        upstream.may_respond.set()
    states = await world.states()
    (released,) = [record_id for record_id, each in states.items() if each["state"] != "IDLE"]
    assert (states[released]["state"], states[released]["attempt_id"]) == ("DUE", None)
    assert await is_due(world, released)
    assert world.system.requests == 1


async def test_write_without_a_response_at_the_end_of_a_worker_is_repeated_at_once(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep the attempt in doubt, and have the next worker repeat it with the same key."""
    monkeypatch.setattr(ending, "FINISH_S", 0.0)
    await world.bind()
    await world.create("p", {"n": 1})
    async with cancelled_push(world, world.link(), Waiting(world.system)):
        pass
    left = await world.state("p")
    assert (left["state"], left["in_doubt"], await is_due(world, "p")) == ("SENDING", True, True)
    await world.push()
    assert (await world.state("p"))["state"] == "IDLE"
    assert world.system.effects == {str(left["attempt_id"]): 1}


async def test_attempt_of_a_killed_worker_is_repeated_by_the_next_one_at_once(world: SyncWorld) -> None:
    """Take over an attempt whose worker is gone, with its key, long before it would be due."""
    await world.bind()
    await world.create("p", {"n": 1})
    await world.worker._attempts.sweep(COLLECTION)
    (attempt,) = await world.worker._attempts.prepare(world.bound, ["p"], LATER_S)

    async def synced() -> bool:
        return bool((await world.state("p"))["state"] == "IDLE")

    async with world.working():
        await until(synced)
    assert world.system.effects == {attempt.attempt_id: 1}


async def test_creation_of_a_killed_worker_is_not_repeated_without_a_key(world: SyncWorld) -> None:
    """Leave it to a person whether the upstream has the record, because a repetition could double it."""
    world.system.capabilities = replace(world.system.capabilities, idempotency_keys_s=0.0, client_reference=False)
    await world.bind()
    await world.create("p", {"n": 1})
    await world.worker._attempts.sweep(COLLECTION)
    await world.worker._attempts.prepare(world.bound, ["p"], 0.0)
    await world.push()
    state = await world.state("p")
    assert (state["state"], "OUTCOME_UNKNOWN" in state["error_text"]) == ("FAILED", True)
    assert not world.system.rows


async def test_worker_that_ends_after_an_outcome_leaves_both_sides_alike(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Store an outcome only together with the representation that came with it."""
    world.system.capabilities = replace(world.system.capabilities, returns_stored=True)
    world.system.normalises = True
    await world.bind()
    await world.create("p", {"name": " a "})
    merges = world.worker._merges
    merge_in = merges.merge_in

    async def fail(*args: Any, **options: Any) -> Any:
        raise LookupError

    monkeypatch.setattr(merges, "merge_in", fail)
    with suppress(LookupError):
        await world.push()
    monkeypatch.setattr(merges, "merge_in", merge_in)
    await world.worker._attempts.take_over(COLLECTION)
    await world.push()
    await world.pull(snapshot=True)
    assert await world.value("p") == {"name": "a"}
    assert list(world.system.live().values()) == [{"name": "a"}]
    assert set(world.system.effects.values()) == {1}


async def test_worker_can_end_while_a_time_limit_expires() -> None:
    """The request that runs into its limit still releases its resources, and the end waits for it."""
    ends, has_expired, may_go_on = ending.Ending(), asyncio.Event(), asyncio.Event()

    async def request() -> None:
        async with ends.time_limit(0.0):
            try:
                await asyncio.Event().wait()
            finally:
                has_expired.set()
                await may_go_on.wait()

    task = asyncio.create_task(ends.finish(request()))
    await has_expired.wait()
    task.cancel()
    await asyncio.sleep(0)
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
