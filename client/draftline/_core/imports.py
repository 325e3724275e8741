"""Split any number of records into the messages of an import.

One chunk of records is held in memory at a time, bounded by count and by bytes. Records are
read from the caller only when there is room for them.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Iterator, Mapping
from typing import Any

from draftline._core.arguments import checked_value
from draftline._core.methods import Call
from draftline.documents import encode_object
from draftline.models import ImportRecord, ImportResult
from draftline.v1 import content_pb2 as pb

CHUNK_RECORDS = 500
CHUNK_BYTES = 1 << 20
MAX_MESSAGE_BYTES = 16 << 20  # unless overridden by the channel options
FRAME_BYTES = 16  # maximum overhead of a message with a single record

ImportCall = Call[pb.ImportContentRequest, pb.ImportContentResponse, ImportResult]
RecordLike = ImportRecord | tuple[str, Mapping[str, Any]]


def may_repeat(call: ImportCall, records: Iterable[RecordLike] | AsyncIterable[RecordLike]) -> bool:
    """Return True if the import can be retried safely: its records can be read again, and it has a request id.

    An iterable that is not a collection, such as a cursor, may yield fewer records the second time.
    """
    return bool(call.request.header.request_id) and isinstance(records, Collection)


def check_records(records: Any) -> None:
    """Raise TypeError for records that are not a list. Each record is examined when it is read."""
    if isinstance(records, Mapping):
        raise TypeError("records must be a list of pairs of id and content, not a dict: write records.items()")
    if not isinstance(records, (Iterable, AsyncIterable)) or isinstance(records, (str, bytes, bytearray)):
        raise TypeError(f"records must be a list of pairs of id and content, not {records!r:.100}")


class Chunker:
    """A buffer of records that yields a message whenever the next record would not fit.

    A chunk has at most `max_records` records, and at most `max_bytes` bytes unless a single
    record is larger. `max_message_bytes` is the size limit of a message; None: no limit.
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
        self._size_bytes = 0  # of the records in `_message`
        self._count = 0  # of the records yielded so far
        self._added = 0  # of the records added so far

    def add(self, record: RecordLike) -> Iterator[pb.ImportContentRequest]:
        """Add a record; yield the chunk before it, if that is full."""
        records = self._message.chunk.records
        # Build the record inside the message: copying it would take as long as building it.
        added = _add_record(records, record, self._added)
        self._added += 1
        size_bytes = added.ByteSize()
        if self._max_message_bytes is not None and size_bytes + FRAME_BYTES > self._max_message_bytes:
            label = added.source or f"records[{self._added - 1}]"
            limit = f"the limit of {self._max_message_bytes:,} bytes per message"
            raise ValueError(f"{label}: the record has {size_bytes:,} bytes, which exceeds {limit}")
        if len(records) > self._max_records or (len(records) > 1 and self._size_bytes + size_bytes > self._max_bytes):
            following = pb.ImportContentRequest(chunk=pb.ImportChunk(records=[added]))
            del records[-1]
            yield from self._take_chunk()
            self._message = following
        self._size_bytes += size_bytes

    def end(self) -> Iterator[pb.ImportContentRequest]:
        """Yield the remaining records, and the message that ends the import."""
        yield from self._take_chunk()
        yield pb.ImportContentRequest(end=pb.ImportEnd(record_count=self._count))

    def _take_chunk(self) -> Iterator[pb.ImportContentRequest]:
        if self._message.chunk.records:
            self._count += len(self._message.chunk.records)
            yield self._message
            self._message, self._size_bytes = pb.ImportContentRequest(), 0


def max_message_bytes(options: Iterable[tuple[str, Any]]) -> int | None:
    """Return the maximum size of a sent message according to the channel options; None: no limit."""
    limit: int = dict(options).get("grpc.max_send_message_length", MAX_MESSAGE_BYTES)
    return limit if limit >= 0 else None


def import_messages(
    header: pb.ImportContentRequest,
    records: Iterable[RecordLike],
    max_message_bytes: int | None = MAX_MESSAGE_BYTES,
) -> Iterator[pb.ImportContentRequest]:
    """Yield all messages of an import."""
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
    """Yield all messages of an import whose records are an asynchronous iterable."""
    chunker = Chunker(max_message_bytes=max_message_bytes)
    yield header
    async for record in records:
        for message in chunker.add(record):
            yield message
    for message in chunker.end():
        yield message


def _is_plain(record: ImportRecord) -> bool:
    """Return True if nothing about the record can be wrong but what its content holds, which encoding it finds."""
    id_, content = record.record_id, record.content
    return (
        type(id_) is str and id_.isascii() and type(content) is dict
        and record.parent_id is None and record.position is None and record.source == ""
    )  # fmt: skip


def _add_record(records: Any, record: RecordLike, index: int) -> pb.ImportRecord:
    """Add a record to a chunk. Raise TypeError or ValueError, naming the record, if it cannot be sent."""
    if not isinstance(record, ImportRecord):
        if not isinstance(record, tuple | list) or len(record) != 2:
            problem = f"expected an ImportRecord or a pair of id and content, not {record!r:.100}"
            raise TypeError(f"records[{index}]: {problem}")
        record = ImportRecord(*record)
    try:
        if not _is_plain(record):
            checked_value("record", record, ImportRecord)
        added: pb.ImportRecord = records.add(
            record_id=record.record_id,
            content={"json": encode_object(record.content)},
            parent_id=record.parent_id,
            position=record.position,
            source=record.source,
        )
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        problem = str(error)  # of the content, it begins with the path of the value: "at /a/0: ..."
        where = ", field " if problem.startswith("at /") else ": "
        raise kind(f"{record.source or f'records[{index}]'}{where}{problem.removeprefix('at ')}") from error
    return added
