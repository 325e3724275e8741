"""Reads that answer a record several times, in any order, or by two remote ids."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from draftline.upstreams import Page, RemoteRecord
from draftline_server.store.database import Database
from support.soak_scale import examples
from support.sync_worlds import SyncWorld
from support.upstream_toy import ToyUpstream


@pytest.fixture
def world(database: Database, tenant_id: str) -> SyncWorld:
    return SyncWorld(database, tenant_id)


class OnePage(ToyUpstream):
    """Returns given records as one page of changes."""

    def __init__(self, world: SyncWorld, records: list[RemoteRecord]) -> None:
        super().__init__(world.system)
        self._records = records

    async def changes(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        yield Page(self._records, "100")


async def read(world: SyncWorld, records: list[RemoteRecord]) -> None:
    """Read a page, and then what that leaves open."""
    await world.pull(upstream=OnePage(world, records))
    await world.push()


@pytest.mark.parametrize("is_ordered", [True, False], ids=["ordered", "unordered"])
@pytest.mark.parametrize("is_deleted", [False, True], ids=["changed last", "deleted last"])
@pytest.mark.parametrize("seed", range(examples(4)))
async def test_newest_of_several_answers_for_a_record_is_merged(
    world: SyncWorld, is_ordered: bool, is_deleted: bool, seed: int
) -> None:
    """Merge what the system holds now, whatever the order of a page, and whether or not the record was known."""
    world.system.capabilities = replace(world.system.capabilities, ordered_versions=is_ordered)
    await world.bind()
    for remote_id in ("known", "new"):
        world.system.insert({"n": 0}, remote_id)
        if remote_id == "known":
            await world.pull(snapshot=True)
    seen = [world.system.remote(each) for each in ("known", "new")]
    for number in range(1, 4):
        for remote_id in ("known", "new"):
            world.system.edit(remote_id, n=number)
            seen.append(world.system.remote(remote_id))
    if is_deleted:
        for remote_id in ("known", "new"):
            world.system.remove(remote_id)
            seen.append(world.system.remote(remote_id))
    random.Random(seed).shuffle(seen)
    await read(world, seen)
    rows = await world.stored("record")
    here = {row["record_id"]: row["content"] for row in rows if row["deleted_at"] is None}
    assert here == world.system.live() == ({} if is_deleted else {"known": {"n": 3}, "new": {"n": 3}})
    assert {each["state"] for each in (await world.states()).values()} <= {"IDLE"}


@pytest.mark.parametrize("is_last", [True, False])
async def test_second_remote_record_of_a_reference_hides_no_change_of_the_first(
    world: SyncWorld, is_last: bool
) -> None:
    """Merge the change of the linked remote record, and report the other one, in whichever order they are read."""
    await world.bind()
    await world.create("p", {"n": 1})
    await world.push()
    (remote_id,) = world.system.live()
    world.system.edit(remote_id, n=2)
    world.system.insert({"n": 9}, "other", reference="p")
    records: list[Any] = [world.system.remote(remote_id), world.system.remote("other")]
    await read(world, records if is_last else records[::-1])
    assert await world.value("p") == {"n": 2}
    await world.pull(snapshot=True)
    assert "DUPLICATE" in [event["kind"] for event in await world.events()]
    assert await world.value("p") == {"n": 2}


async def test_second_remote_record_is_reported_whatever_its_version(world: SyncWorld) -> None:
    """Report a remote record that was found later than another one of its id or reference, and has an older version."""
    await world.bind()
    await world.create("p", {"n": 1})
    await world.push()
    (remote_id,) = world.system.live()
    world.system.edit(remote_id, n=2)
    await world.pull()
    world.system.insert({"n": 9}, "p")  # its version is 1
    await world.pull()
    assert [event["message"] for event in await world.events() if event["kind"] == "DUPLICATE"] == [
        f"the record is linked to {remote_id}; the upstream also refers to it by p"
    ]
    state = await world.state("p")
    assert (state["recheck"], state["next_at"]) == (None, None)
    assert await world.value("p") == {"n": 2}
