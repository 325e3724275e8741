"""Limits bound the cost of one caller for others: long lists, silent imports, open streams."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, content_pb2_grpc, draft_pb2, types_pb2
from draftline_server.domain.content import Limits
from draftline_server.domain.errors import (
    DocumentTooLargeError,
    InvalidDocumentError,
    InvalidFieldError,
    UndecodableRequestError,
)
from draftline_server.rpc.mapping.documents import document_text
from draftline_server.rpc.validation import parser, reject_oversized_lists
from google.protobuf import struct_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.draft_calls import Drafts
from support.polling import until
from support.responses import Records


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (draft_pb2.SaveDraftRequest(edits=[draft_pb2.DraftEdit()] * 1_001), "edits"),
        (draft_pb2.GetMergedRequest(record_ids=[""] * 1_001), "record_ids"),
        (draft_pb2.CommitRequest(drafts={"drafts": [{}] * 10_001}), "drafts.drafts"),
        (content_pb2.BatchPatchContentRequest(requests=[content_pb2.PatchContentRequest()] * 1_001), "requests"),
        (content_pb2.BatchPatchContentRequest(requests=[{}, {"fields": ["a"] * 101}]), "requests[1].fields"),
        (content_pb2.PatchContentRequest(operations={"operations": [{}] * 1_001}), "operations.operations"),
        (content_pb2.ImportContentRequest(chunk={"records": [{}] * 10_001}), "chunk.records"),
    ],
)
def test_long_list_is_refused_by_its_length(message: Any, field: str) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        reject_oversized_lists(message)
    assert caught.value.fields[0][0] == field


def test_lists_within_lists_are_counted_together() -> None:
    edit = draft_pb2.DraftEdit(operations={"operations": [{}] * 1_000})
    reject_oversized_lists(draft_pb2.SaveDraftRequest(edits=[edit] * 49))
    with pytest.raises(InvalidFieldError, match="50000 items in total") as caught:
        reject_oversized_lists(draft_pb2.SaveDraftRequest(edits=[edit] * 50))
    assert caught.value.fields[0][0] == "edits[49].operations.operations"


def test_list_of_the_largest_size_is_taken() -> None:
    reject_oversized_lists(draft_pb2.SaveDraftRequest(edits=[draft_pb2.DraftEdit()] * 1_000))


def test_half_a_million_empty_edits_are_refused(ada: Drafts) -> None:
    request = draft_pb2.SaveDraftRequest(**ada.where, edits=[draft_pb2.DraftEdit()] * 500_000)
    with pytest.raises(grpc.RpcError) as caught:
        ada.stub.SaveDraft(request, metadata=ada.metadata, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert "no more than 1000" in caught.value.details()  # type: ignore[attr-defined]


class Sending:
    """An import that is open and sends nothing after its header, until it is let go."""

    def __init__(self, stub: Any, tenant_id: str) -> None:
        self._messages: queue.Queue[content_pb2.ImportContentRequest | None] = queue.Queue()
        header = content_pb2.ImportHeader(tenant_id=tenant_id, collection="films")
        self._messages.put(content_pb2.ImportContentRequest(header=header))
        self.answer = stub.ImportContent.future(iter(self._messages.get, None))

    def end(self) -> None:
        self._messages.put(None)


def test_silent_import_ends_and_leaves_nothing(database_url: str, serving: Any) -> None:
    with serving(database_url, stream_idle_timeout_s=0.2) as running, grpc.insecure_channel(running.address) as channel:
        sending = Sending(content_pb2_grpc.ContentServiceStub(channel), "acme")
        assert sending.answer.exception(timeout=30).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        sending.end()


def test_imports_beyond_the_setting_are_turned_away(database_url: str, serving: Any) -> None:
    with serving(database_url, max_imports=1) as running, grpc.insecure_channel(running.address) as channel:
        stub = content_pb2_grpc.ContentServiceStub(channel)
        sending = [Sending(stub, "acme") for _ in range(3)]
        until(lambda: sum(each.answer.done() for each in sending) == 2)
        refused = [each.answer.exception().code() for each in sending if each.answer.done()]
        for each in sending:
            each.end()
        assert refused == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
        assert Records(stub, "acme").create("a", {}).version == 1


def test_imports_of_one_tenant_leave_room_for_others(database_url: str, serving: Any) -> None:
    with serving(database_url, max_imports=4) as running, grpc.insecure_channel(running.address) as channel:
        stub = content_pb2_grpc.ContentServiceStub(channel)
        acme = [Sending(stub, "acme") for _ in range(4)]
        until(lambda: sum(each.answer.done() for each in acme) == 1)
        umbrella = [Sending(stub, "umbrella") for _ in range(2)]
        until(lambda: sum(each.answer.done() for each in umbrella) == 1)
        assert sum(each.answer.done() for each in acme) == 1
        for each in (*acme, *umbrella):
            each.end()


def test_drain_does_not_wait_for_watchers(database_url: str, serving: Any) -> None:
    ended = threading.Event()
    with serving(database_url, drain_timeout_s=3_600) as running:  # the drain would not return within the hour
        channel = grpc.insecure_channel(running.address)
        watch: Iterator[Any] = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING

        def read() -> None:
            try:
                for _ in watch:
                    pass
            except grpc.RpcError:
                ended.set()

        threading.Thread(target=read).start()
    assert ended.wait(10)
    channel.close()


def test_padded_request_is_looked_into_so_far_and_no_further() -> None:
    field = content_pb2.GetContentRequest(fields=["a"]).SerializeToString()
    padded = b"\xf8\x01\x80\x00"  # an unknown number, zero in two bytes
    assert parser(content_pb2.GetContentRequest)(field + padded)
    named_twice = content_pb2.GetContentRequest(tenant_id="a").SerializeToString() * 100_000
    with pytest.raises(UndecodableRequestError, match="50000"):
        parser(content_pb2.GetContentRequest)(named_twice)


def test_document_of_too_many_values_is_refused_before_they_are_looked_at() -> None:
    broken = [struct_pb2.Value()] * 9_998  # none of them is a value
    within, beyond = types_pb2.Document(), types_pb2.Document()
    within.struct.fields["a"].list_value.values.extend(broken)
    beyond.struct.fields["a"].list_value.values.extend([*broken, *broken])
    with pytest.raises(InvalidDocumentError, match="one kind"):
        document_text(within, Limits(), "content")
    with pytest.raises(DocumentTooLargeError, match="10000 values"):
        document_text(beyond, Limits(), "content")


@pytest.mark.parametrize("expected", [grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND])
def test_calls_beyond_those_of_a_connection_wait_for_their_turn(records: Records, expected: grpc.StatusCode) -> None:
    if expected is grpc.StatusCode.OK:
        records.create("a", {})
    request = content_pb2.GetContentRequest(**records.ids("a"))
    calls = [records.stub.GetContent.future(request, timeout=60) for _ in range(1_000)]
    assert {call.code() for call in calls} == {expected}
