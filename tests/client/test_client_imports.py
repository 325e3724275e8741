"""Chunks of an import, and the queue between threads."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from draftline import ImportRecord
from draftline._core.imports import (
    CHUNK_BYTES,
    CHUNK_RECORDS,
    Chunker,
    import_messages,
    import_messages_async,
    max_message_bytes,
)
from draftline._threads.request_queue import RequestQueue
from draftline.v1 import content_pb2
from hypothesis import given
from hypothesis import strategies as st

HEADER = content_pb2.ImportContentRequest(header=content_pb2.ImportHeader(tenant_id="acme"))


def chunks_of(messages: list[content_pb2.ImportContentRequest]) -> list[list[str]]:
    chunks = [[record.record_id for record in message.chunk.records] for message in messages[1:-1]]
    assert messages[0] == HEADER
    assert messages[-1].end.record_count == sum(map(len, chunks))
    return chunks


@given(st.lists(st.integers(0, 300)), st.integers(1, 5), st.integers(1, 500))
def test_chunks_hold_every_record_in_order_within_both_bounds(
    sizes: list[int], max_records: int, max_bytes: int
) -> None:
    chunker = Chunker(max_records, max_bytes)
    messages = [message for index, size in enumerate(sizes) for message in chunker.add((str(index), {"a": "x" * size}))]
    *chunk_messages, end = [*messages, *chunker.end()]
    assert end.end.record_count == len(sizes)
    chunks = [message.chunk.records for message in chunk_messages]
    assert [record.record_id for chunk in chunks for record in chunk] == [str(index) for index in range(len(sizes))]
    for chunk in chunks:
        assert 1 <= len(chunk) <= max_records
        assert len(chunk) == 1 or sum(record.ByteSize() for record in chunk) <= max_bytes


def test_import_without_a_record_is_header_and_end() -> None:
    assert chunks_of(list(import_messages(HEADER, []))) == []


def test_records_are_read_no_further_than_the_requested_chunk() -> None:
    read = 0

    def records() -> Iterator[tuple[str, dict[str, int]]]:
        nonlocal read
        while True:
            read += 1
            yield str(read), {}

    messages = import_messages(HEADER, records())
    assert next(messages) == HEADER
    assert read == 0
    assert len(next(messages).chunk.records) == CHUNK_RECORDS
    assert read == CHUNK_RECORDS + 1


def test_large_records_are_sent_one_at_a_time() -> None:
    large = {"a": "x" * (CHUNK_BYTES // 2 + 1)}
    assert chunks_of(list(import_messages(HEADER, [("1", large), ("2", large)]))) == [["1"], ["2"]]


def test_record_keeps_its_parent_and_position() -> None:
    (_, message, _) = import_messages(HEADER, [ImportRecord("1", {"n": 10**30}, parent_id="p", position=0)])
    (record,) = message.chunk.records
    assert (record.parent_id, record.position, record.HasField("position")) == ("p", 0, True)
    assert record.content.json == '{"n":1000000000000000000000000000000}'


def test_record_without_parent_and_position_sends_none() -> None:
    (_, message, _) = import_messages(HEADER, [("1", {})])
    assert not message.chunk.records[0].HasField("parent_id")
    assert not message.chunk.records[0].HasField("position")


async def test_asynchronous_records_make_the_same_messages() -> None:
    pairs = [(str(index), {"n": index}) for index in range(CHUNK_RECORDS * 2 + 1)]

    async def records() -> AsyncIterator[tuple[str, dict[str, int]]]:
        for pair in pairs:
            yield pair

    assert [each async for each in import_messages_async(HEADER, records())] == list(import_messages(HEADER, pairs))


class Odd:
    """A value that is not a JSON value."""


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (("a", {"x": 1, "n": float("nan")}), r"records\[3\], field /n: nan is not a JSON number"),
        (("a", {"x": Odd()}), r"records\[3\], field /x: Odd is not a JSON type"),
        ((7, {}), r"records\[3\]: "),
        (
            ImportRecord("a", {"t": "\ud800"}, source="line 9"),
            r"line 9, field /t: a string contains the lone surrogate",
        ),
        (ImportRecord("\ud800", {}, source="line 9"), "line 9: "),
        ("ab", r"records\[3\]: expected an ImportRecord or a pair of id and content"),
    ],
)
def test_record_that_cannot_be_sent_is_named_by_its_index_or_source(record: Any, problem: str) -> None:
    chunker = Chunker(max_records=2)
    for number in range(3):
        list(chunker.add((str(number), {})))
    with pytest.raises((TypeError, ValueError), match=problem):
        list(chunker.add(record))


def test_record_too_large_for_a_message_is_named() -> None:
    chunker = Chunker(max_message_bytes=1000)
    list(chunker.add(("a", {"x": "y" * 900})))
    with pytest.raises(
        ValueError, match=r"records\[1\]: the record has 1,014 bytes, which exceeds the limit of 1,000 bytes"
    ):
        list(chunker.add(("b", {"x": "y" * 997})))
    list(Chunker(max_message_bytes=None).add(("b", {"x": "y" * 20_000_000})))
    assert [max_message_bytes(each) for each in ([], [("grpc.max_send_message_length", -1)])] == [16 << 20, None]


def test_source_of_a_record_is_sent() -> None:
    (_, chunk, _) = import_messages(HEADER, [ImportRecord("a", {}, source="line 2"), ("b", {})])
    assert [record.source for record in chunk.chunk.records] == ["line 2", ""]


def test_queue_yields_its_items_and_ends() -> None:
    queue: RequestQueue[int] = RequestQueue()
    taken: list[int] = []
    taker = threading.Thread(target=lambda: taken.extend(queue))
    taker.start()
    assert all(queue.put(number) for number in range(100))
    queue.end()
    taker.join(10)
    assert taken == list(range(100))


def test_queue_yields_the_last_item_after_its_end() -> None:
    queue: RequestQueue[int] = RequestQueue()
    queue.put(1)
    queue.end()
    assert list(queue) == [1]


def test_closed_queue_accepts_and_yields_nothing() -> None:
    queue: RequestQueue[int] = RequestQueue()
    queue.put(1)
    waiting = threading.Timer(0, queue.close)
    waiting.start()
    assert queue.put(2) is False
    with pytest.raises(StopIteration):
        next(queue)
