"""Contents of earlier versions are rebuilt from the next snapshot, so from few changes, however many there are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from draftline_server.domain.changes import ChangeKind
from draftline_server.domain.edits import Strategy
from draftline_server.domain.records import ImportMode, Patch
from support.tenant_changes import LoggedWorld, create_and_patch
from support.tenant_stores import COLLECTION, change, connected

EVERY = 64  # changes of a record, of which one keeps a snapshot


@pytest.fixture
async def replacing(replacing_server: Any, tenant_id: str) -> AsyncIterator[LoggedWorld]:
    async with connected(replacing_server.url) as database:
        yield LoggedWorld(database, tenant_id, partial_updates=False)


async def snapshots(world: LoggedWorld) -> dict[int, Any]:
    """The snapshots of record 1, by version."""
    rows = await world.stored("change")
    return {row["version"]: row["snapshot"] for row in rows if row["snapshot"] is not None}


async def content_at(world: LoggedWorld, version: int) -> Any:
    async with world.database.connections.acquire() as connection:
        text = await connection.fetchval(
            "SELECT draftline.content_at($1, $2, '1', $3)::text", world.tenant_id, COLLECTION, version
        )
    return None if text is None else json.loads(text)


async def test_content_of_every_version_is_rebuilt(world: LoggedWorld) -> None:
    contents = [{"n": 0, "o": {}}]
    await world.create("1", contents[0])
    for n in range(1, 2 * EVERY + 10):
        delta = {"n": n, "o": {str(n % 7): n if n % 3 else None}}
        await world.patch("1", delta, Strategy.MERGE_PATCH)
        contents.append((await world.states())["1"][0])
    assert [await content_at(world, version) for version in range(1, len(contents) + 1)] == contents
    assert await snapshots(world) == {version: contents[version - 2] for version in (8, EVERY, 2 * EVERY)}
    assert await content_at(world, len(contents) + 1) is None


async def test_creation_of_a_record_that_changed_often_is_read_from_few_changes(world: LoggedWorld) -> None:
    await create_and_patch(world, *({"a": n} for n in range(2, 3 * EVERY)))
    async with world.database.connections.acquire() as connection:  # what is not needed may be gone
        await connection.execute(
            "UPDATE draftline.change SET base = NULL WHERE tenant_id = $1 AND version > $2", world.tenant_id, EVERY
        )
    created = (await world.history("1"))[0]
    assert created.kind == ChangeKind.CREATE
    assert json.loads(created.paths[0].new_value or "") == {"a": 1, "b": 1, "o": {"x": 1}}
    assert (await content_at(world, 2 * EVERY - 1))["a"] == 2 * EVERY - 1


async def patched(world: LoggedWorld) -> None:
    await world.patch("1", {"a": 2})


async def patched_in_a_batch(world: LoggedWorld) -> None:
    await world.patch_all([Patch(COLLECTION, "1", position=1), Patch(COLLECTION, "2", allow_missing=True)])


async def imported(world: LoggedWorld) -> None:
    await world.load({"1": {"a": 2}})


async def deleted(world: LoggedWorld) -> None:
    await world.delete("1")


async def deleted_by_a_snapshot(world: LoggedWorld) -> None:
    await world.load({"3": {}}, ImportMode.SNAPSHOT)


async def committed(world: LoggedWorld) -> None:
    await world.save("ada", change("1", {"a": 2}))
    await world.commit("ada")


async def reverted(world: LoggedWorld) -> None:
    await world.revert_version("1", EVERY - 1)


async def undeleted(world: LoggedWorld) -> None:
    await world.undelete("1")


WAYS = [patched, patched_in_a_batch, imported, deleted, deleted_by_a_snapshot, committed, reverted, undeleted]


@pytest.mark.parametrize("write", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("paths_only", [False, True])
async def test_every_way_of_writing_keeps_a_snapshot(
    world: LoggedWorld, write: Callable[[LoggedWorld], Awaitable[None]], paths_only: bool
) -> None:
    await check_snapshot(world, write, paths_only=paths_only)


@pytest.mark.parametrize("write", [patched, patched_in_a_batch], ids=lambda way: way.__name__)
async def test_patches_that_replace_the_content_keep_a_snapshot(
    replacing: LoggedWorld, write: Callable[[LoggedWorld], Awaitable[None]]
) -> None:
    await check_snapshot(replacing, write, paths_only=False)


async def check_snapshot(
    world: LoggedWorld, write: Callable[[LoggedWorld], Awaitable[None]], *, paths_only: bool
) -> None:
    """Write the version that keeps a snapshot, in a collection of whose changes values are kept, or not."""
    await world.create("1", {"a": 0})
    async with world.database.connections.acquire() as connection:
        for table in ("record", "change"):
            await connection.execute(
                f"UPDATE draftline.{table} SET version = $2 WHERE tenant_id = $1", world.tenant_id, EVERY - 2
            )
    if write is undeleted:
        await world.delete("1")
    else:
        await world.patch("1", {"a": 1})
    if paths_only:
        await world.keep_paths_only()
    before = (await world.states())["1"][0]
    await write(world)
    assert (await world.record("1")).version == EVERY
    assert await snapshots(world) == ({} if paths_only else {EVERY: before})
