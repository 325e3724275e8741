"""Pages by their bytes: a client takes 4 MiB a message unless it is told otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from draftline.v1 import content_pb2, draft_pb2, types_pb2
from support.draft_calls import Drafts, edit
from support.responses import TIMEOUT_S, content_of

STRUCT, JSON = types_pb2.ENCODING_STRUCT, types_pb2.ENCODING_JSON
CONTENTS: list[Any] = [
    pytest.param({"text": "é" * 250_000}, 20, JSON, id="two bytes a character"),
    pytest.param({"text": "x" * 1_000_000}, 9, JSON, id="a mebibyte a record"),
    pytest.param({"numbers": [1] * 5_000}, 100, STRUCT, id="a struct larger than its json"),
    pytest.param({"text": "x" * 5_000}, 1_500, JSON, id="many small ones"),
]


@pytest.fixture
def large(ada: Drafts, grpc_stub: Any, request: pytest.FixtureRequest) -> list[str]:
    """Records of this content, half of them drafts."""
    content, count, _ = request.param
    text = json.dumps(content, ensure_ascii=False)
    ids = [f"m-{number:04}" for number in range(count)]
    messages = [content_pb2.ImportContentRequest(header=content_pb2.ImportHeader(**ada.where))]
    for record_id in ids[::2]:
        record = content_pb2.ImportRecord(record_id=record_id, content=types_pb2.Document(json=text))
        messages.append(content_pb2.ImportContentRequest(chunk=content_pb2.ImportChunk(records=[record])))
    end = content_pb2.ImportEnd(record_count=len(ids[::2]))
    grpc_stub.ImportContent(iter([*messages, content_pb2.ImportContentRequest(end=end)]), timeout=TIMEOUT_S)
    drafts = [edit(record_id, create=text) for record_id in ids[1::2]]
    for start in range(0, len(drafts), 10):
        ada.save(*drafts[start : start + 10], omit_content=True)
    return ids


@pytest.mark.parametrize(
    ("large", "encoding"),
    [pytest.param(each.values, each.values[2], id=each.id) for each in CONTENTS],
    indirect=["large"],
)
def test_every_page_and_message_is_received_by_a_plain_client(ada: Drafts, large: list[str], encoding: Any) -> None:
    walked, pages, token = [], 0, ""
    while True:
        page = ada.page(page_token=token, page_size=1_000, response_encoding=encoding)
        walked += [each.record.record_id for each in page.records]
        pages += 1
        token = page.next_page_token
        if not token:
            break
    assert (walked, pages > 1) == (large, True)
    messages = list(ada.stream(response_encoding=encoding))
    assert [each.record.record_id for message in messages for each in message.records] == large
    rest = ada.stream(response_encoding=encoding, page_token=messages[0].next_page_token)
    assert [each.record.record_id for message in rest for each in message.records] == large[len(messages[0].records) :]


def test_page_with_many_long_conflicts_is_received(ada: Drafts, grpc_stub: Any) -> None:
    long = {f"key-{n:02}": "x" * 4_000 for n in range(50)}
    for number in range(12):
        record_id = f"m-{number:02}"
        for content in ({}, {key: f"{value}theirs" for key, value in long.items()}):
            if content:
                ada.change(record_id, long)
            request = content_pb2.PatchContentRequest(**ada.where, record_id=record_id, allow_missing=True)
            request.delta.json = json.dumps(content)
            grpc_stub.PatchContent(request, timeout=TIMEOUT_S)
    found = [each for message in ada.stream() for each in message.records]
    assert [len(each.conflicts) for each in found] == [50] * 12
    assert {content_of(each.record)["key-00"] for each in found} == {long["key-00"]}
    assert ada.page(view=draft_pb2.VIEW_DRAFTS_ONLY).next_page_token
