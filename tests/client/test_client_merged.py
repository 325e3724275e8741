"""Drafts against a scripted server: requests, parsed responses, and interrupted streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import draftline
import grpc
import pytest
from draftline import DraftEdit, DraftKind, op
from draftline._core.draft_calls import commit, save_draft
from draftline._core.draft_responses import merged_record_of
from draftline._core.status import error_of_status
from draftline.v1 import draft_pb2, types_pb2
from google.protobuf import struct_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from support.both_clients import Connect
from support.scripted_responses import ABORTED, INTERNAL, QUICK, UNAVAILABLE, WAIT_S
from support.scripted_server import ScriptedServer, failure, info


def answer(*record_ids: str, token: str = "") -> draft_pb2.StreamMergedResponse:
    records = [
        draft_pb2.MergedRecord(record=types_pb2.Record(record_id=each), state=draft_pb2.RECORD_STATE_PRISTINE)
        for each in record_ids
    ]
    return draft_pb2.StreamMergedResponse(records=records, next_page_token=token)


async def streamed(client: Any, into: list[str], **query: Any) -> list[str]:
    async for each in client.stream_merged("movies", **query):
        into.append(each.record_id)
    return into


async def test_interrupted_stream_resumes(connect: Connect, scripted: ScriptedServer) -> None:
    streams = {
        "": [answer("a", "b", token="1"), answer("c", token="2"), failure(UNAVAILABLE, "draining")],
        "2": [answer("d", token="3"), failure(UNAVAILABLE, "draining")],
        "3": [answer("e")],
    }
    scripted.answers["StreamMerged"] = lambda request: streams[request.page_token]
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        assert await streamed(client, [], order_by="n desc", view="baseline") == ["a", "b", "c", "d", "e"]
    assert [each.page_token for each in scripted.requests] == ["", "2", "3"]
    assert {each.order_by for each in scripted.requests} == {"n desc"}
    assert all(each is None or each > 1e6 for each in scripted.time_remaining)


async def test_stream_interrupted_after_its_last_message_is_complete(
    connect: Connect, scripted: ScriptedServer
) -> None:
    scripted.answers["StreamMerged"] = lambda _: [answer("a"), failure(UNAVAILABLE, "draining")]
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        assert await streamed(client, []) == ["a"]
    assert len(scripted.requests) == 1


async def test_stream_with_a_final_error_raises_after_the_received_items(
    connect: Connect, scripted: ScriptedServer
) -> None:
    scripted.answers["StreamMerged"] = lambda _: [answer("a", token="1"), failure(INTERNAL, "no", info("INTERNAL"))]
    seen: list[str] = []
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        with pytest.raises(draftline.InternalError):
            await streamed(client, seen)
    assert seen == ["a"]


async def test_stream_without_progress_gives_up(connect: Connect, scripted: ScriptedServer) -> None:
    broken = [failure(UNAVAILABLE, "gone")]
    scripted.answers["StreamMerged"] = lambda it: broken if it.page_token else [answer("a", token="1"), *broken]
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        with pytest.raises(draftline.UnavailableError):
            await streamed(client, [])
    assert {each.page_token for each in scripted.requests} == {"", "1"}


async def test_closed_stream_is_cancelled(connect: Connect, scripted: ScriptedServer) -> None:
    def endless(_: Any) -> Iterator[draft_pb2.StreamMergedResponse]:
        while not scripted.stream_ended.is_set():
            yield answer("a", token="1")

    scripted.answers["StreamMerged"] = endless
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        stream = client.stream_merged("movies")
        async for _ in stream:
            break
        await stream.aclose()
        assert scripted.stream_ended.wait(WAIT_S)


def saved(edit: DraftEdit) -> draft_pb2.DraftEdit:
    options: dict[str, Any] = dict.fromkeys(("session_id", "change_reason", "request_id"), "")
    options |= dict.fromkeys(("move_to_session", "allow_partial", "omit_content"), False)
    call = save_draft("acme", "movies", [edit], fields=(), **options)
    return call.request.edits[0]


def committed(**selection: Any) -> draft_pb2.CommitRequest:
    selected = {"session_id": None, "record_ids": None, "all": False} | selection
    options: dict[str, Any] = dict.fromkeys(("validate_only", "allow_partial", "include_content"), False)
    options |= {"change_reason": "", "request_id": "", "resolutions": ()}
    return commit("acme", "movies", conflict_policy="keep_mine", fields=(), **selected, **options).request


def test_edit_is_sent_as_it_is_given() -> None:
    changed = saved(DraftEdit("m-1", {}, strategy="deep", depth=2, expected_draft_version=0, base_version=3))
    assert (changed.WhichOneof("edit"), changed.strategy, changed.depth) == ("delta", types_pb2.MERGE_STRATEGY_DEEP, 2)
    assert (changed.HasField("expected_draft_version"), changed.base_version) == (True, 3)
    assert saved(DraftEdit("m-1", operations=[op.remove("/a")])).WhichOneof("edit") == "operations"
    assert saved(DraftEdit("m-1", create={})).WhichOneof("edit") == "create"
    assert saved(DraftEdit("m-1", delete=True, replace=True)).WhichOneof("edit") == "delete"


@pytest.mark.parametrize("edit", [DraftEdit("m-1"), DraftEdit("m-1", {}, delete=True), DraftEdit("m-1", {}, create={})])
def test_edit_of_none_or_two_kinds_is_refused(edit: DraftEdit) -> None:
    with pytest.raises(ValueError, match="must set exactly one of"):
        saved(edit)


def test_selection_is_sent_as_it_is_given() -> None:
    assert committed(session_id="s").session_id == "s"
    assert committed(all=True).all
    assert committed(record_ids=["a", "a"]).drafts.drafts == [draft_pb2.SelectedDraft(record_id="a")] * 2
    versions = committed(record_ids={"a": 3, "b": None}).drafts.drafts
    assert [(each.record_id, each.HasField("expected_draft_version")) for each in versions] == [
        ("a", True),
        ("b", False),
    ]
    assert committed(record_ids=[]).WhichOneof("selection") == "drafts"
    assert committed(all=True).conflict_policy == draft_pb2.CONFLICT_POLICY_KEEP_MINE


@pytest.mark.parametrize("selection", [{}, {"all": True, "session_id": "s"}, {"record_ids": [], "session_id": ""}])
def test_selection_of_none_or_two_kinds_is_refused(selection: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="set exactly one of session_id"):
        committed(**selection)


def test_selection_as_a_lone_string_is_refused() -> None:
    with pytest.raises(TypeError, match="list of strings"):
        committed(record_ids="m-1")


def test_merged_record_is_parsed_whole() -> None:
    values = {
        "base": types_pb2.JsonValue(json="1"),
        "mine": types_pb2.JsonValue(value=struct_pb2.Value(bool_value=True)),
    }
    conflict = draft_pb2.Conflict(record_id="m-1", kind=draft_pb2.CONFLICT_KIND_CHANGED, path="/a", **values)
    message = draft_pb2.MergedRecord(
        record=types_pb2.Record(record_id="m-1", content=types_pb2.Document(json="{}")),
        state=draft_pb2.RECORD_STATE_SYNC_ERROR,
        draft_kind=draft_pb2.DRAFT_KIND_DELETE,
        modify_time=Timestamp(seconds=1_700_000_000),
        conflicts=[conflict],
    )
    parsed = merged_record_of(message)
    assert (parsed.state, parsed.draft_kind) == (draftline.RecordState.SYNC_ERROR, DraftKind.DELETE)
    assert parsed.modify_time is not None
    assert parsed.modify_time.isoformat() == "2023-11-14T22:13:20+00:00"
    (found,) = parsed.conflicts
    assert (found.kind, found.base, found.mine, found.theirs) == ("changed", 1, True, draftline.UNSET)


def test_conflict_error_carries_its_conflicts() -> None:
    conflicts = [
        draft_pb2.Conflict(
            record_id="m-1",
            kind=draft_pb2.CONFLICT_KIND_VALUE,
            path="/a",
            base=types_pb2.JsonValue(json="null"),
            mine=types_pb2.JsonValue(json='"long…'),
        )
    ] * 2
    status = failure(ABORTED, "no", info("CONFLICT", conflicts_count="7"), *conflicts)
    error = error_of_status(types_pb2.Status.FromString(status.SerializeToString()))
    assert isinstance(error, draftline.ConflictError)
    assert (error.code, error.conflicts_count, len(error.conflicts)) == (grpc.StatusCode.ABORTED, 7, 2)
    first = error.conflicts[0]
    assert (first.base, first.mine, first.theirs) == (None, '"long…', draftline.UNSET)
    assert isinstance(first.mine, draftline.Shortened)
