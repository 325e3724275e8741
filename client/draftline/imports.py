"""Records of any number into the messages of an import, a few at a time.

One chunk of records is held in memory at once, bounded by count and by bytes; nothing is
read from the caller before there is room for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Iterator, Mapping
from typing import Any

from draftline.documents import encode_object
from draftline.methods import Call
from draftline.models import ImportRecord, ImportResult
from draftline.v1 import content_pb2 as pb

CHUNK_RECORDS = 500
CHUNK_BYTES = 1 << 20
MAX_MESSAGE_BYTES = 16 << 20  # where the options of the channel say nothing else
FRAME_BYTES = 16  # at most, around a record that is alone in its message

ImportCall = Call[pb.ImportContentRequest, pb.ImportContentResponse, ImportResult]
RecordLike = ImportRecord | tuple[str, Mapping[str, Any]]


def may_repeat(call: ImportCall, records: Iterable[RecordLike] | AsyncIterable[RecordLike]) -> bool:
    """Whether it can be sent twice, and does no harm: its records can be read again, and it has a request id.

    An iterable that is no collection may give less the second time, as a cursor does.
    """
    return bool(call.request.header.request_id) and isinstance(records, Collection)


class Chunker:
    """Gathers records, and gives a message whenever the next record would not fit any more.

    A chunk has at most `max_records` records, and at most `max_bytes` bytes unless one
    record alone has more. `max_message_bytes`: what a message may take; None: any number.
    """

    def __init__(
        self,
        max_records: int = CHUNK_RECORDS,
        max_bytes: int = CHUNK_BYTES,
        max_message_bytes: int | None = MAX_MESSAGE_BYTES,
    ) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._max_message_bytes = max_message_bytes
        self._message = pb.ImportContentRequest()
        self._size_bytes = 0  # of its records
        self._count = 0  # of the records that were given
        self._added = 0  # of those that were taken

    def add(self, record: RecordLike) -> Iterator[pb.ImportContentRequest]:
        """Takes a record; gives the chunk before it, if that is full."""
        records = self._message.chunk.records
        # Made where it is sent from: to copy one takes as long as to make it.
        added = _add_record(records, record, self._added)
        self._added += 1
        size_bytes = added.ByteSize()
        if self._max_message_bytes is not None and size_bytes + FRAME_BYTES > self._max_message_bytes:
            place = added.source or f"records[{self._added - 1}]"
            limit = f"{self._max_message_bytes:,} bytes, the most that a message may take"
            raise ValueError(f"{place}: the record takes {size_bytes:,} bytes, over {limit}")
        if len(records) > self._max_records or (len(records) > 1 and self._size_bytes + size_bytes > self._max_bytes):
            following = pb.ImportContentRequest(chunk=pb.ImportChunk(records=[added]))
            del records[-1]
            yield from self._given()
            self._message = following
        self._size_bytes += size_bytes

    def end(self) -> Iterator[pb.ImportContentRequest]:
        """Gives what is left, and the message that says that this was all."""
        yield from self._given()
        yield pb.ImportContentRequest(end=pb.ImportEnd(record_count=self._count))

    def _given(self) -> Iterator[pb.ImportContentRequest]:
        if self._message.chunk.records:
            self._count += len(self._message.chunk.records)
            yield self._message
            self._message, self._size_bytes = pb.ImportContentRequest(), 0


def max_message_bytes(options: Iterable[tuple[str, Any]]) -> int | None:
    """Return the size that the options of a channel allow a message that is sent; None: any."""
    limit: int = dict(options).get("grpc.max_send_message_length", MAX_MESSAGE_BYTES)
    return limit if limit >= 0 else None


def import_messages(
    header: pb.ImportContentRequest,
    records: Iterable[RecordLike],
    max_message_bytes: int | None = MAX_MESSAGE_BYTES,
) -> Iterator[pb.ImportContentRequest]:
    """All messages of an import."""
    chunker = Chunker(max_message_bytes=max_message_bytes)
    yield header
    for record in records:
        yield from chunker.add(record)
    yield from chunker.end()


async def import_messages_async(
    header: pb.ImportContentRequest,
    records: AsyncIterable[RecordLike],
    max_message_bytes: int | None = MAX_MESSAGE_BYTES,
) -> AsyncIterator[pb.ImportContentRequest]:
    """The same, of records that are waited for."""
    chunker = Chunker(max_message_bytes=max_message_bytes)
    yield header
    async for record in records:
        for message in chunker.add(record):
            yield message
    for message in chunker.end():
        yield message


def _add_record(records: Any, record: RecordLike, index: int) -> pb.ImportRecord:
    """Add the record to those of a chunk. Raise TypeError or ValueError, naming the record, if it cannot be sent."""
    if not isinstance(record, ImportRecord):
        if not isinstance(record, tuple | list) or len(record) != 2:
            problem = f"a record is an ImportRecord or its id and content, not {record!r:.100}"
            raise TypeError(f"records[{index}]: {problem}")
        record = ImportRecord(*record)
    try:
        added: pb.ImportRecord = records.add(
            record_id=record.record_id,
            content={"json": encode_object(record.content)},
            parent_id=record.parent_id,
            position=record.position,
            source=record.source,
        )
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{record.source or f'records[{index}]'}{_field(record.content)}: {error}") from error
    return added


def _field(content: Mapping[str, Any]) -> str:
    """Name the first field of a content that cannot be sent; empty if that is none of them."""
    for key, value in content.items() if isinstance(content, Mapping) else ():
        try:
            encode_object({key: value})
        except (TypeError, ValueError):
            return f", field {key!r}"
    return ""
