"""Values that an upstream stores in another form than they were sent in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from draftline.upstreams import Applied, Outcome, WriteItem
from draftline_server.domain.edits import Strategy
from draftline_server.store.database import Database
from support.sync_worlds import SyncWorld
from support.tenant_stores import COLLECTION
from support.upstream_toy import Faults, ToyUpstream


@pytest.fixture
async def world(database: Database, tenant_id: str) -> SyncWorld:
    """A tenant with a sync with a system that removes spaces at the ends of texts, and returns what it stored."""
    world = SyncWorld(database, tenant_id)
    world.system.capabilities = replace(world.system.capabilities, returns_stored=True)
    world.system.normalises = True
    await world.bind()
    return world


class Meanwhile(ToyUpstream):
    """A connection that commits changes here after the system has applied a write, and before it answers."""

    def __init__(self, world: SyncWorld, *changes: dict[str, Any]) -> None:
        super().__init__(world.system)
        self._world = world
        self._changes = list(changes)

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        outcomes = await super().write(collection, items, atomic=atomic)
        if self._changes:
            await self._world.patch("p", self._changes.pop(0), Strategy.MERGE_PATCH)
        return outcomes


async def push(world: SyncWorld, *changes: dict[str, Any]) -> None:
    """Send what is due, and commit the changes while the requests are out."""
    await world.push(replace(world.link(), upstream=Meanwhile(world, *changes)))
    await world.push()


async def test_newer_commit_is_not_in_conflict_with_the_stored_form_of_an_own_creation(world: SyncWorld) -> None:
    """Send the newer value over the stored form of the value that the creation sent."""
    await world.create("p", {"a": " 1 ", "b": " 2 "})
    await push(world, {"a": "3"})
    assert (await world.state("p"))["conflict_text"] == "[]"
    assert await world.value("p") == {"a": "3", "b": "2"}
    assert world.system.live() == {"r1": {"a": "3", "b": "2"}}


async def test_newer_commit_is_not_in_conflict_with_the_stored_form_of_an_own_update(world: SyncWorld) -> None:
    """Send the newer value over the stored form of the value that the update sent, also if it removes the path."""
    await world.create("p", {"a": "0", "b": "0"})
    await world.push()
    await world.patch("p", {"a": " 1 ", "b": " 1 "}, Strategy.MERGE_PATCH)
    await push(world, {"a": "2", "b": None})
    assert (await world.state("p"))["conflict_text"] == "[]"
    assert await world.value("p") == {"a": "2"}
    assert world.system.live() == {"r1": {"a": "2"}}


async def test_newer_commit_conflicts_with_a_path_that_the_write_did_not_send(world: SyncWorld) -> None:
    """Hold a path that the system itself changed with the write, because the write did not send it."""
    await world.create("p", {"a": "0", "b": "0"})
    await world.push()
    world.system.rows["r1"].document["b"] = " 5 "  # which the next write normalises, as a computed value
    await world.patch("p", {"a": " 1 "}, Strategy.MERGE_PATCH)
    await push(world, {"a": "2", "b": "7"})
    state = await world.state("p")
    assert (state["state"], '"path": "/b"' in state["conflict_text"], "/a" in state["conflict_text"]) == (
        "HELD", True, False,
    )  # fmt: skip


async def test_response_to_a_repetition_may_hold_a_write_of_others_and_conflicts(world: SyncWorld) -> None:
    """Hold the path: the stored form that a repeated request returns may be what others wrote since."""
    world.system.honours_keys = False  # it answers a repetition with the record as it is now
    await world.create("p", {"a": "0"})
    await world.push()
    await world.patch("p", {"a": " 1 "}, Strategy.MERGE_PATCH)
    world.system.faults = Faults(lost_after=1.0)
    await world.worker._attempts.sweep(COLLECTION)
    await world.push()
    world.system.faults = Faults()
    world.system.edit("r1", a="theirs")
    await world.patch("p", {"a": "2"}, Strategy.MERGE_PATCH)
    await world.worker._attempts.hurry(COLLECTION)
    await world.push()
    state = await world.state("p")
    assert (state["state"], world.system.live()) == ("HELD", {"r1": {"a": "theirs"}})


class ReadAfterWrite(Meanwhile):
    """A connection that returns the record as others have changed it since, in place of what the write stored."""

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        outcomes = await super().write(collection, items, atomic=atomic)
        self.system.edit("r1", a="theirs")
        return [replace(each, stored=self.system.remote("r1")) for each in outcomes if isinstance(each, Applied)]


async def test_record_that_has_another_version_than_the_write_made_conflicts(world: SyncWorld) -> None:
    """Hold the path: a connector has read the record after the write, and others wrote it in between."""
    await world.create("p", {"a": "0"})
    await world.push()
    await world.patch("p", {"a": " 1 "}, Strategy.MERGE_PATCH)
    await world.push(replace(world.link(), upstream=ReadAfterWrite(world, {"a": "2"})))
    state = await world.state("p")
    assert (state["state"], world.system.live()) == ("HELD", {"r1": {"a": "theirs"}})
