"""Two sides that rewrite each other's value: the record is stopped, and others are not."""

from __future__ import annotations

import json

import pytest
from draftline_server.domain.sync_oscillation import TURNS, oscillating_paths
from draftline_server.store.database import Database
from draftline_server.store.sync.decisions import SyncDecisions
from support.sync_worlds import SyncWorld
from support.tenant_stores import COLLECTION


@pytest.fixture
async def world(database: Database, tenant_id: str) -> SyncWorld:
    opened = SyncWorld(database, tenant_id)
    await opened.bind()
    opened.system.insert({"a": {"b": "theirs"}, "n": 0}, "r")
    await opened.pull(snapshot=True)
    return opened


async def turn(world: SyncWorld, ours: object, theirs: object, number: int) -> None:
    """Write a value here and send it; the other side replaces it, and the pull brings that."""
    await world.patch("r", {"a": {"b": ours}})
    await world.push()
    world.system.edit("r", a={"b": theirs}, n=number)
    await world.pull()


async def test_record_whose_value_both_sides_rewrite_is_stopped_until_a_retry(world: SyncWorld) -> None:
    """Name the field, send nothing more whatever is committed, and go on after a retry."""
    for number in range(TURNS - 1):
        await turn(world, "ours", "theirs", number)
        assert (await world.state("r"))["state"] == "IDLE"
    await turn(world, "ours", "theirs", TURNS)
    state = await world.state("r")
    error = json.loads(state["error_text"])
    assert (state["state"], error["reason"], error["field"]) == ("FAILED", "OSCILLATING", "/a/b")
    assert [each["kind"] for each in await world.events()] == ["OSCILLATING"]
    await turn(world, "ours", "theirs", TURNS + 1)
    assert (await world.state("r"))["state"] == "FAILED"
    assert world.system.history["r"][-2]["a"] == {"b": "theirs"}  # nothing was sent
    async with world.database.transaction() as transaction:
        decisions = SyncDecisions(world.database, world.specs, world.stores.limits)
        await decisions.retry(transaction, world.tenant_id, COLLECTION, ["r"], forgets_attempts=False)
    await world.push()
    assert (await world.state("r"))["state"] == "IDLE"
    assert world.system.live()["r"]["a"] == {"b": "ours"}
    for number in range(TURNS):  # a retry begins the count again
        assert (await world.state("r"))["state"] == "IDLE"
        world.system.edit("r", a={"b": "theirs"}, n=100 + number)
        await world.pull()
        await world.patch("r", {"a": {"b": "ours"}})
        await world.push()
    assert (await world.state("r"))["state"] == "FAILED"


async def test_record_that_both_sides_change_often_is_not_stopped(world: SyncWorld) -> None:
    """Let both sides write new values, however often."""
    for number in range(2 * TURNS):
        await turn(world, f"ours-{number}", f"theirs-{number}", number)
    assert (await world.state("r"))["state"] == "IDLE"


def test_oscillating_paths_are_those_with_the_same_change_again() -> None:
    """Compare nested and removed values by path, and ignore paths that change to other values."""
    base = '{"s": {"x": 2}, "m": {"a": {"r": ["b"]}}}'
    changes = [(f'{{"s": {{"n": {n}}}, "m": {{"a": {{"s": {{"b": 1}}}}}}, "r": ["x"]}}', base) for n in range(TURNS)]
    assert oscillating_paths(changes) == [("a", "b"), ("x",)]
    assert oscillating_paths(changes[1:]) == []
