"""Answers that would be too large to deliver are refused while nothing is written yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, draft_pb2
from support.draft_calls import Drafts
from support.responses import Records

LARGE = '{"text": "' + "x" * 900_000 + '", "n": 1}'
COUNT = 6


def batch(records: Records, fields: list[str]) -> content_pb2.BatchPatchContentRequest:
    request = content_pb2.BatchPatchContentRequest(tenant_id=records.tenant_id)
    for number in range(COUNT):
        item = request.requests.add(
            tenant_id=records.tenant_id, collection=records.collection, record_id=str(number), allow_missing=True,
            fields=fields,
        )  # fmt: skip
        item.delta.json = LARGE
    return request


def saved(records: Records, **options: Any) -> draft_pb2.SaveDraftRequest:
    request = draft_pb2.SaveDraftRequest(tenant_id=records.tenant_id, collection=records.collection, **options)
    for number in range(COUNT):
        request.edits.add(record_id=str(number)).create.json = LARGE
    return request


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    return str(caught.value.details())  # type: ignore[attr-defined]


def test_batch_with_too_large_an_answer_writes_nothing(records: Records) -> None:
    assert "nothing was written" in refused(lambda: records.stub.BatchPatchContent(batch(records, [])))
    with pytest.raises(grpc.RpcError) as caught:
        records.stub.GetContent(
            content_pb2.GetContentRequest(tenant_id=records.tenant_id, collection=records.collection, record_id="0")
        )
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]


def test_batch_of_some_fields_is_answered(records: Records) -> None:
    results = records.stub.BatchPatchContent(batch(records, ["n"])).results
    assert [dict(result.record.content.struct) for result in results] == [{"n": 1}] * COUNT


def test_batch_of_large_fields_writes_nothing_either(records: Records) -> None:
    assert "nothing was written" in refused(lambda: records.stub.BatchPatchContent(batch(records, ["text"])))


def test_drafts_with_too_large_an_answer_are_not_saved(records: Records, ada: Drafts) -> None:
    assert "nothing was written" in refused(lambda: ada.stub.SaveDraft(saved(records), metadata=ada.metadata))
    page = ada.stub.GetMerged(
        draft_pb2.GetMergedRequest(tenant_id=records.tenant_id, collection=records.collection), metadata=ada.metadata
    )
    assert not page.records


def test_drafts_are_committed_unless_too_much_content_is_asked_for(records: Records, ada: Drafts) -> None:
    ada.stub.SaveDraft(saved(records, omit_content=True), metadata=ada.metadata)
    identity = {"tenant_id": records.tenant_id, "collection": records.collection, "all": True}
    with_content = draft_pb2.CommitRequest(**identity, include_content=True)
    assert "nothing was written" in refused(lambda: ada.stub.Commit(with_content, metadata=ada.metadata))
    results = ada.stub.Commit(draft_pb2.CommitRequest(**identity), metadata=ada.metadata).results
    assert [result.record.version for result in results] == [1] * COUNT
