"""The change log through both clients on the live service: list, revert and watch."""

from __future__ import annotations

import asyncio
import uuid
from decimal import Decimal
from typing import Any

import draftline
import pytest
from draftline import UNSET, ChangeKind, ChangeSource, DraftEdit, Patch, PathChange, op
from support.both_clients import reader_of

WAIT_S = 30


async def listed(client: Any, *args: Any, **query: Any) -> list[draftline.Change]:
    return [each async for each in client.changes(*args, **query)]


async def taken(watch: Any, count: int) -> list[Any]:
    async def take() -> list[Any]:
        return [await anext(watch) for _ in range(count)]

    return await asyncio.wait_for(take(), WAIT_S)


async def test_changes_have_user_paths_and_reason(client: Any) -> None:
    request_id = str(uuid.uuid4())
    big = 123456789012345678901234567890
    await client.create_content("movies", {"a": {"b": big}, "c": 1}, record_id="m-1", change_reason="new")
    await client.patch_content("movies", "m-1", {"c": None}, position=3, request_id=request_id)
    await client.patch_content("movies", "m-1", {"a": {"b": Decimal("0.5")}}, strategy="deep")
    await client.delete_content("movies", "m-1", change_reason="old")
    deleted, deep, patched, created = await listed(client, "movies", "m-1")
    assert (created.kind, created.source, created.change_reason) == (
        ChangeKind.CREATE,
        ChangeSource.CREATE_CONTENT,
        "new",
    )
    assert created.paths == (PathChange("", UNSET, {"a": {"b": big}, "c": 1}),)
    assert patched.paths == (PathChange("/c", 1, None),)
    assert patched.attributes == (draftline.AttributeChange("position", None, 3),)
    assert (patched.request_id, patched.user_id, patched.commit_id) == (request_id, "ada", "")
    assert deep.paths == (PathChange("/a/b", big, 0.5),)
    assert (deleted.kind, deleted.version, deleted.paths) == (ChangeKind.DELETE, 4, ())
    assert created.create_time <= patched.create_time <= deleted.create_time


async def test_changes_are_filtered_ordered_and_paged(client: Any) -> None:
    await client.import_content("movies", [(str(number), {"n": number}) for number in range(25)])
    result = await client.batch_patch_content("movies", [Patch(str(number), {"n": 0}) for number in range(5, 10)])
    oldest_first = await listed(client, order_by="create_time", page_size=7, omit_values=True)
    assert [each.version for each in oldest_first] == [1] * 25 + [2] * 5
    assert all(each.values_omitted for each in oldest_first)
    of_batch = await listed(client, filter=f'commit_id = "{result.commit_id}"')
    assert sorted(each.record_id for each in of_batch) == ["5", "6", "7", "8", "9"]
    with pytest.raises(draftline.InvalidFilterError):
        await listed(client, filter="nonsense = 1")


async def test_results_have_the_commit_id(client: Any) -> None:
    imported = await client.import_content("movies", [("m-1", {"n": 1}), ("m-2", {"n": 2})])
    batch = await client.batch_patch_content("movies", [Patch("m-1", {"n": 3})], change_reason="why not")
    await client.save_drafts("movies", [DraftEdit("m-1", {"n": 4})])
    committed = await client.commit("movies", all=True)
    async with client.session("movies") as session:
        await session.edit("m-2", {"n": 5})
    reverted = await client.revert(commit_id=committed.commit_id)
    ids = [each.commit_id for each in (imported, batch, committed, session.results, reverted)]
    assert len({uuid.UUID(each) for each in ids}) == 5
    told = {each.commit_id: each.source for each in await listed(client)}
    assert [told[each] for each in ids] == [
        ChangeSource.IMPORT_CONTENT,
        ChangeSource.BATCH_PATCH_CONTENT,
        ChangeSource.COMMIT,
        ChangeSource.COMMIT,
        ChangeSource.REVERT_CHANGE,
    ]


async def test_write_repeated_with_a_request_id_takes_effect_once(client: Any) -> None:
    await client.create_content("movies", {"n": 0}, record_id="m-1")
    request_id = str(uuid.uuid4())
    patch = {"operations": [op.increment("/n")], "request_id": request_id}
    first, second = [await client.patch_content("movies", "m-1", **patch) for _ in range(2)]
    assert first == second
    assert (await client.get_content("movies", "m-1")).content == {"n": 1}
    with pytest.raises(draftline.InvalidArgumentError) as caught:
        await client.patch_content("movies", "m-1", {"n": 7}, request_id=request_id)
    assert caught.value.reason == "REQUEST_ID_REUSED"
    for _ in range(2):
        await client.patch_content("movies", "m-1", operations=[op.increment("/n")], request_id="")
    assert (await client.get_content("movies", "m-1")).content == {"n": 3}


async def test_change_is_reverted(client: Any) -> None:
    await client.create_content("movies", {"a": 1, "b": 1}, record_id="m-1")
    await client.patch_content("movies", "m-1", {"a": 2})
    await client.patch_content("movies", "m-1", {"b": 2})
    (change,) = await listed(client, "movies", "m-1", filter="version = 2")
    (preview,) = await client.revert(change, validate_only=True)
    assert (preview.record.content, preview.changed_fields) == ({"a": 1, "b": 2}, ("a",))
    results = await client.revert(change, include_content=True, fields=["a"], change_reason="sorry")
    assert results[0].unwrap().content == {"a": 1}
    assert (await client.get_content("movies", "m-1")).content == {"a": 1, "b": 2}
    newest = (await listed(client, "movies", "m-1"))[0]
    assert (newest.source, newest.change_reason) == (ChangeSource.REVERT_CHANGE, "sorry")
    await client.revert(("movies", "m-1", newest.version))
    assert (await client.get_content("movies", "m-1")).content == {"a": 2, "b": 2}


async def test_commit_in_conflict_is_reverted_by_a_policy(client: Any) -> None:
    await client.import_content("movies", [(each, {"n": 0}) for each in ("m-1", "m-2", "m-3")])
    await client.save_drafts("movies", [DraftEdit(each, {"n": 1}) for each in ("m-1", "m-2", "m-3")])
    commit_id = (await client.commit("movies", all=True)).commit_id
    await client.patch_content("movies", "m-2", {"n": 2})
    with pytest.raises(draftline.ConflictError) as caught:
        await client.revert(commit_id=commit_id)
    (conflict,) = caught.value.conflicts
    assert (conflict.collection, conflict.record_id, conflict.path) == ("movies", "m-2", "/n")
    assert (conflict.base, conflict.mine, conflict.theirs) == (1, 0, 2)
    partial = await client.revert(commit_id=commit_id, allow_partial=True, validate_only=True)
    assert [each.error is None for each in partial] == [True, False, True]
    with pytest.raises(draftline.ConflictError):
        partial[1].unwrap()
    await client.revert(commit_id=commit_id, conflict_policy="keep_theirs")
    contents = {each.record_id: each.content["n"] async for each in client.get_merged("movies")}
    assert contents == {"m-1": 0, "m-2": 2, "m-3": 0}


async def test_change_that_cannot_be_reverted_raises(client: Any) -> None:
    put = await client.put_collection("movies", history="paths")
    assert put.history is draftline.ChangeHistory.PATHS
    await client.create_content("movies", {"n": 1}, record_id="m-1")
    await client.patch_content("movies", "m-1", {"n": 2})
    with pytest.raises(draftline.HistoryNotKeptError):
        await client.revert(("movies", "m-1", 2))
    with pytest.raises(draftline.NotFoundError) as caught:
        await client.revert(("movies", "none", 2))
    assert caught.value.reason == "CHANGE_NOT_FOUND"
    for nothing in ({}, {"change": ("movies", "m-1", 2), "commit_id": "x"}):
        with pytest.raises(ValueError, match="one of change and commit_id"):
            await client.revert(**nothing)


async def test_watch_sees_each_change_once_and_resumes_from_its_token(client: Any) -> None:
    await client.create_content("movies", {"n": 0}, record_id="m-0")
    async with client.watch("movies") as watch:
        await client.create_content("actors", {}, record_id="a-1")
        await client.create_content("movies", {"n": 0}, record_id="m-1")
        seen = await taken(watch, 1)
        token = watch.resume_token
    for number in range(1, 30):
        await client.patch_content("movies", "m-1", {"n": number})
    async with client.watch("movies", resume_token=token) as watch:
        seen += await taken(watch, 29)
    assert [(each.record_id, each.version) for each in seen] == [("m-1", version) for version in range(1, 31)]
    assert seen == list(reversed(await listed(client, "movies", "m-1")))


async def test_merged_watch_sees_own_drafts(client: Any) -> None:
    await client.create_content("movies", {"genre": "Drama", "n": 1}, record_id="m-1")
    async with client.watch_merged("movies", filter="genre = Drama", fields=["n"]) as watch:
        await client.save_draft("movies", "m-1", {"n": 2})
        ((record_id, record),) = await taken(watch, 1)
        assert (record_id, record.content, record.draft_version) == ("m-1", {"n": 2}, 1)
        await client.patch_content("movies", "m-1", {"genre": "Comedy"})
        assert await taken(watch, 1) == [("m-1", None)]


async def test_watch_with_a_bad_filter_is_refused(client: Any) -> None:
    with pytest.raises(draftline.InvalidFilterError):
        await client.watch("movies", filter="title = x").ready()


async def once_at(version: int, reader: Any) -> draftline.Record:
    """Return the record of a reader once it has a version."""

    async def look() -> draftline.Record:
        while (record := await reader.get("movies", "m-1")).version < version:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
        return record

    return await asyncio.wait_for(look(), WAIT_S)


async def test_cached_record_is_the_one_that_would_be_fetched(client: Any) -> None:
    await client.create_content("movies", {"a": {"b": {"c": 1}}, "l": [1], "~/": 1}, record_id="m-1", parent_id="p")
    patches: list[dict[str, Any]] = [
        {"delta": {"a": {"b": {"c": Decimal("0.1234567890123456789")}}}, "strategy": "deep"},
        {"delta": {"a": {"b": None}}, "strategy": "merge_patch"},
        {"operations": [op.add("/l/0", {"x": []}), op.union("/l", [2, 3]), op.remove(op.pointer("~/"))]},
        {"delta": {"a": 5, "new": {"deep": {"er": None}}}},
        {"delta": {}, "parent_id": None, "position": 7},
        {"delta": {"": {"": 1}}},
        {"delta": {"only": 1}, "strategy": "replace"},
        {"operations": [op.replace("", {"whole": True})]},
    ]
    async with reader_of(client, "movies") as reader:
        while not reader.stats.records:
            await reader.get("movies", "m-1")
        misses = reader.stats.misses
        for patch in patches:
            written = await client.patch_content("movies", "m-1", **patch)
            cached = await once_at(written.record.version, reader)
            assert cached == await client.get_content("movies", "m-1")
        assert reader.stats.misses == misses
        deleted = await client.delete_content("movies", "m-1")
        with pytest.raises(draftline.NotFoundError):
            await reader.get("movies", "m-1", min_version=deleted.version)
