"""Watches of both clients against a scripted server: delivered items and resume tokens."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import draftline
import pytest
from draftline import UNSET, AttributeChange, ChangeKind, ChangeSource, PathChange
from draftline.v1 import change_pb2, draft_pb2, types_pb2
from support.both_clients import Connect
from support.scripted_log import ScriptedLog, change
from support.scripted_responses import UNAVAILABLE, WAIT_S
from support.scripted_server import HOLD, ScriptedServer, failure


async def taken(watch: Any, count: int) -> list[Any]:
    return [await anext(watch) for _ in range(count)]


async def test_change_is_parsed_into_plain_values(connect: Connect, scripted: ScriptedServer) -> None:
    told = change(
        7,
        kind=change_pb2.CHANGE_KIND_UNDELETE,
        source=change_pb2.CHANGE_SOURCE_COMMIT,
        paths=[
            {"path": "/a", "new_value": {"json": "123456789012345678901234567890"}},
            {"path": "/b", "old_value": {"value": {"string_value": "x"}}, "new_value": {"json": "null"}},
            {"path": "/c", "old_value": {"json": "[1]"}},
        ],
        attributes=[
            {"name": "position", "old_value": {"json": "1"}},
            {"name": "parent_id", "new_value": {"json": '"p"'}},
        ],
        session_id="evening",
        commit_id="c-1",
        change_reason="why not",
        request_id="r-1",
    )
    scripted.answers["WatchChanges"] = ScriptedLog([[told, change(8, values_omitted=True)]])
    async with (
        connect(scripted.address, tenant_id="acme") as client,
        client.watch("movies", filter="version > 6", omit_values=True) as watch,
    ):
        got, brief = await taken(watch, 2)
    assert (got.collection, got.record_id, got.version) == ("movies", "m-1", 7)
    assert (got.kind, got.source, got.values_omitted) == (ChangeKind.UNDELETE, ChangeSource.COMMIT, False)
    assert got.paths == (
        PathChange("/a", UNSET, 123456789012345678901234567890),
        PathChange("/b", "x", None),
        PathChange("/c", [1], UNSET),
    )
    assert got.attributes == (AttributeChange("position", 1, None), AttributeChange("parent_id", None, "p"))
    assert (got.user_id, got.session_id, got.commit_id) == ("ada", "evening", "c-1")
    assert (got.change_reason, got.request_id) == ("why not", "r-1")
    assert got.create_time.isoformat() == "2023-11-14T22:13:27+00:00"
    assert brief.values_omitted
    (request,) = scripted.requests
    assert request == change_pb2.WatchChangesRequest(
        tenant_id="acme",
        collection="movies",
        view=change_pb2.WATCH_VIEW_CHANGES,
        filter="version > 6",
        omit_values=True,
        response_encoding=types_pb2.ENCODING_JSON,
    )
    assert scripted.time_remaining[0] is None or scripted.time_remaining[0] > 1e6


async def test_merged_view_delivers_records_and_removals(connect: Connect, scripted: ScriptedServer) -> None:
    shown = draft_pb2.MergedRecord(
        record={"record_id": "m-1", "content": {"json": '{"n": 1}'}}, state=draft_pb2.RECORD_STATE_DRAFT
    )
    merged = [{"record_id": "m-1", "record": shown}, {"record_id": "m-2"}]
    answers = [
        change_pb2.WatchChangesResponse(resume_token="1"),
        change_pb2.WatchChangesResponse(merged=merged, resume_token="2"),
        HOLD,
    ]
    scripted.answers["WatchChanges"] = lambda _: answers
    async with (
        connect(scripted.address, tenant_id="acme") as client,
        client.watch_merged("movies", filter="n = 1", fields=["n"], resume_token="0") as watch,
    ):
        (record_id, record), gone = await taken(watch, 2)
    assert (record_id, record.content, record.state) == ("m-1", {"n": 1}, draftline.RecordState.DRAFT)
    assert gone == ("m-2", None)
    (request,) = scripted.requests
    assert (request.view, request.filter, list(request.fields)) == (change_pb2.WATCH_VIEW_MERGED, "n = 1", ["n"])
    assert (request.collection, request.resume_token) == ("movies", "0")


async def test_block_begins_at_the_first_message(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["WatchChanges"] = ScriptedLog([])
    async with connect(scripted.address, tenant_id="acme") as client:
        watch = client.watch("movies")
        assert (watch.resume_token, scripted.requests) == ("", [])
        async with watch:
            assert watch.resume_token == "0"
            assert len(scripted.requests) == 1


async def test_token_covers_the_delivered_items(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["WatchChanges"] = ScriptedLog([[change(1), change(2)], [], [], [change(3)], [change(4)]])
    async with connect(scripted.address, tenant_id="acme") as client, client.watch("movies") as watch:
        tokens = []
        for _ in range(4):
            version = (await anext(watch)).version
            tokens.append((version, watch.resume_token))
    assert tokens == [(1, "0"), (2, "1"), (3, "4"), (4, "5")]


async def test_messages_are_delivered_whole_with_their_token(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["WatchChanges"] = ScriptedLog([[change(1), change(2)], [], [change(3)]])
    async with connect(scripted.address, tenant_id="acme") as client, client.watch("movies") as watch:
        assert (await anext(watch)).version == 1
        seen = []
        async for changes in watch.messages():
            seen.append(([each.version for each in changes], watch.resume_token))
            if len(seen) == 3:
                break
    assert seen == [([2], "1"), ([], "2"), ([3], "3")]


async def test_watch_that_is_closed_cancels_its_stream_and_ends(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["WatchChanges"] = ScriptedLog([[change(1), change(2)]])
    async with connect(scripted.address, tenant_id="acme") as client:
        async with client.watch("movies") as watch:
            assert (await anext(watch)).version == 1
        assert [each async for each in watch] == []
        assert [each async for each in watch.messages()] == []
        assert await asyncio.to_thread(scripted.stream_ended.wait, WAIT_S)
        await watch.close()
    assert watch.resume_token == "0"


@pytest.mark.parametrize("ends", ["watch", "client"])
async def test_watch_that_waits_ends_when_it_is_closed(connect: Connect, scripted: ScriptedServer, ends: str) -> None:
    scripted.answers["WatchChanges"] = ScriptedLog([])
    async with connect(scripted.address, tenant_id="acme") as client, client.watch("movies") as watch:
        waiting = asyncio.ensure_future(_rest(watch))
        await asyncio.sleep(0)
        await {"watch": watch, "client": client}[ends].close()
        assert await asyncio.wait_for(waiting, WAIT_S) == []


async def _rest(watch: Any) -> list[Any]:
    return [each async for each in watch]


async def test_watch_that_waits_for_the_service_ends_when_it_is_closed(
    connect: Connect, scripted: ScriptedServer
) -> None:
    broken = threading.Event()

    def answer(_: Any) -> list[Any]:
        if broken.is_set():
            return [failure(UNAVAILABLE, "gone")]
        broken.set()
        return [change_pb2.WatchChangesResponse(resume_token="1"), failure(UNAVAILABLE, "gone")]

    scripted.answers["WatchChanges"] = answer
    never = draftline.Retry(initial_backoff_s=1e6, max_backoff_s=1e6)
    async with connect(scripted.address, tenant_id="acme", retry=never) as client, client.watch("movies") as watch:
        waiting = asyncio.ensure_future(_rest(watch))
        await asyncio.to_thread(scripted.stream_ended.wait, WAIT_S)
        await watch.close()
        assert await asyncio.wait_for(waiting, WAIT_S) == []
    assert len(scripted.requests) == 1


async def test_wait_may_be_cancelled_and_restarted(scripted: ScriptedServer) -> None:
    go_on = threading.Event()

    def answer(_: Any) -> Any:
        yield change_pb2.WatchChangesResponse(resume_token="1")
        go_on.wait(WAIT_S)
        yield change_pb2.WatchChangesResponse(changes=[change(1)], resume_token="2")
        yield HOLD

    scripted.answers["WatchChanges"] = answer
    async with draftline.AsyncClient(scripted.address, tenant_id="acme") as client, client.watch("movies") as watch:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(watch), 0.01)
        go_on.set()
        assert (await anext(watch)).version == 1
    assert len(scripted.requests) == 1


async def test_watch_without_an_argument_is_over_the_whole_tenant(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["WatchChanges"] = ScriptedLog([])
    async with connect(scripted.address, tenant_id="acme", user="ada", token="t") as client:
        async with client.watch():
            pass
        async with client.watch(tenant_id="other"):
            pass
    assert [(each.tenant_id, each.collection) for each in scripted.requests] == [("acme", ""), ("other", "")]
    assert scripted.metadata[0]["authorization"] == "Bearer t"
