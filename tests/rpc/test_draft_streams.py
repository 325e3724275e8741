"""StreamMerged: the whole list, where to go on, and what is left of a stream that nobody reads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import grpc
import pytest
from draftline.v1 import content_pb2, draft_pb2, types_pb2
from support.draft_calls import Drafts, edit
from support.polling import BLOCKED, until
from support.responses import INVALID, Records, content_of, refusal_of

COUNT = 3_500
BUSY = """SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'draftline'
    AND (state = 'active' OR state LIKE 'idle in transaction%') AND query LIKE '%get_merged%'
    AND wait_event IS DISTINCT FROM 'ClientRead'"""  # which is told of a call that was cancelled before it began


@pytest.fixture
def locked_drafts(server: Any) -> Callable[..., Any]:
    """Holds up every query that reads drafts: `with locked_drafts():`."""

    @contextmanager
    def locked() -> Iterator[None]:
        ready, done = threading.Event(), threading.Event()

        async def hold() -> None:
            connection = await asyncpg.connect(server.url)
            async with connection.transaction():
                await connection.execute("LOCK TABLE draftline.draft IN ACCESS EXCLUSIVE MODE")
                ready.set()
                await asyncio.to_thread(done.wait)
            await connection.close()

        thread = threading.Thread(target=asyncio.run, args=(hold(),))
        thread.start()
        try:
            assert ready.wait(30)
            yield
        finally:
            done.set()
            thread.join()

    return locked


def ids_of(responses: Any) -> list[str]:
    return [each.record.record_id for response in responses for each in response.records]


@pytest.fixture
def many(ada: Drafts, grpc_stub: Any) -> Drafts:
    """Records by descending `n`, and a draft that moves the first one last."""
    header = content_pb2.ImportHeader(**ada.where)
    chunks = [
        content_pb2.ImportChunk(
            records=[
                content_pb2.ImportRecord(record_id=f"{n:05}", content=types_pb2.Document(json=f'{{"n": {COUNT - n}}}'))
                for n in range(start, min(start + 500, COUNT))
            ]
        )
        for start in range(0, COUNT, 500)
    ]
    messages = [
        content_pb2.ImportContentRequest(header=header),
        *(content_pb2.ImportContentRequest(chunk=chunk) for chunk in chunks),
        content_pb2.ImportContentRequest(end=content_pb2.ImportEnd(record_count=COUNT)),
    ]
    grpc_stub.ImportContent(iter(messages))
    ada.change("00000", {"n": 0})
    return ada


def test_stream_is_the_whole_list_in_its_order(many: Drafts) -> None:
    responses = list(many.stream(order_by="n", fields=["n"]))
    assert ids_of(responses) == ["00000", *(f"{n:05}" for n in range(COUNT - 1, 0, -1))]
    assert max(len(each.records) for each in responses) <= 1_000
    assert [bool(each.next_page_token) for each in responses] == [True] * (len(responses) - 1) + [False]
    assert content_of(responses[0].records[0].record) == {"n": 0}
    assert responses[0].records[0].draft_version == 1


def test_stream_goes_on_after_any_of_its_messages(many: Drafts) -> None:
    query = {"order_by": "n desc", "filter": "n < 3400"}
    responses = list(many.stream(**query))
    whole = ids_of(responses)
    assert len(whole) == 3_400
    for place, response in enumerate(responses[:-1]):
        rest = ids_of(many.stream(**query, page_token=response.next_page_token))
        assert rest == ids_of(responses[place + 1 :])
    page = many.page(**query, page_token=responses[0].next_page_token, page_size=3)
    assert [each.record.record_id for each in page.records] == whole[1_000:1_003]


def test_stream_has_the_views_and_sessions_of_a_list(many: Drafts) -> None:
    many.save(edit("00001", delete=True), session_id="s")
    assert ids_of(many.stream(view=draft_pb2.VIEW_DRAFTS_ONLY)) == ["00000", "00001"]
    assert ids_of(many.stream(session_id="s", filter="n >= 3499")) == ["00000"]
    assert ids_of(many.stream(filter="n >= 3499", show_deleted=True)) == ["00001"]
    assert ids_of(many.stream(filter="n >= 3499", view=draft_pb2.VIEW_BASELINE)) == ["00000", "00001"]


def test_stream_of_nothing_is_one_empty_message(ada: Drafts) -> None:
    assert list(ada.stream()) == [draft_pb2.StreamMergedResponse()]


@pytest.mark.parametrize(
    ("query", "reason", "field"),
    [
        ({"filter": "n ="}, "INVALID_FILTER", "filter"),
        ({"order_by": "n,"}, "INVALID_FIELD", "order_by"),
        ({"page_token": "abc"}, "INVALID_FIELD", "page_token"),
        ({"view": 7}, "INVALID_FIELD", "view"),
        ({"fields": ["a"] * 101}, "INVALID_FIELD", "fields"),
    ],
)
def test_stream_that_breaks_a_rule_names_its_field(ada: Drafts, query: Any, reason: str, field: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(ada.stream(**query))
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason, list(refusal.fields)) == (INVALID, reason, [field])


def test_token_of_another_users_stream_is_refused(many: Drafts, bob: Drafts) -> None:
    token = next(iter(many.stream())).next_page_token
    with pytest.raises(grpc.RpcError) as caught:
        list(bob.stream(page_token=token))
    assert list(refusal_of(caught.value).fields) == ["page_token"]


def test_stream_that_is_cancelled_between_messages_leaves_no_query(many: Drafts, server: Any, sql: Any) -> None:
    stream: Any = many.stream(order_by="n")
    assert len(next(stream).records) == 1_000
    stream.cancel()
    until(lambda: not sql(server.url, BUSY), patience_s=15)
    assert len(ids_of(many.stream())) == COUNT


def test_stream_that_is_cancelled_in_its_query_ends_it(
    records: Records, ada: Drafts, server: Any, sql: Any, locked_drafts: Any
) -> None:
    records.create("m-1", {})
    with locked_drafts():
        streams: list[Any] = [ada.stream() for _ in range(3)]
        until(lambda: len(sql(server.url, BLOCKED)) == 3)
        for stream in streams:
            stream.cancel()
        until(lambda: not sql(server.url, BLOCKED), patience_s=15)
    assert ids_of(ada.stream()) == ["m-1"]
