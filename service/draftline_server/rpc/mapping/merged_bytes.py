"""The wire encoding of the records of a page.

A response may have thousands of records. To build messages, compute their size and serialize them costs several times
as much as to encode them here. Fields that few records have, such as those of drafts, are encoded by a message whose
bytes follow; parsers merge both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from draftline.v1 import draft_pb2, types_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ...domain.drafts import MergedRecord
from ...domain.records import Actor, Record
from ...domain.sync import SyncState
from ...store.relations.expansions import Related
from .documents import selected_text
from .drafts import fill_merged_state
from .records import Presentation, fill_record
from .sync import STATES

BYTES, VARINT = 2, 0  # wire types
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def _encode_varint(number: int) -> bytes:
    if 1 << 28 <= number < 1 << 35:  # such as the seconds of a time
        groups = number & 127 | 128, number >> 7 & 127 | 128, number >> 14 & 127 | 128, number >> 21 & 127 | 128
        return bytes((*groups, number >> 28))
    number &= (1 << 64) - 1  # a negative int64 has ten bytes
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_SMALL = tuple(map(_encode_varint, range(4096)))


def varint(number: int) -> bytes:
    """Return the encoding of an int64."""
    return _SMALL[number] if 0 <= number < len(_SMALL) else _encode_varint(number)


def tag(message: type[Message], field: str, wire_type: int = BYTES) -> bytes:
    """Return the bytes that precede the values of a field."""
    return varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type)


_TENANT, _COLLECTION, _ID = (tag(types_pb2.Record, name) for name in ("tenant_id", "collection", "record_id"))
_CONTENT, _VERSION = tag(types_pb2.Record, "content"), tag(types_pb2.Record, "version", VARINT)
_PARENT, _POSITION = tag(types_pb2.Record, "parent_id"), tag(types_pb2.Record, "position", VARINT)
_CREATED, _CREATED_BY = tag(types_pb2.Record, "create_time"), tag(types_pb2.Record, "created_by")
_UPDATED, _UPDATED_BY = tag(types_pb2.Record, "update_time"), tag(types_pb2.Record, "updated_by")
_DELETED = tag(types_pb2.Record, "delete_time")
_JSON = tag(types_pb2.Document, "json")
_SECONDS, _NANOS = tag(Timestamp, "seconds", VARINT), tag(Timestamp, "nanos", VARINT)
RECORD = tag(draft_pb2.MergedRecord, "record")
_RELATED = tag(draft_pb2.MergedRecord, "related")
_RELATION, _RELATED_COLLECTION = tag(draft_pb2.Related, "relation"), tag(draft_pb2.Related, "collection")
_RELATED_ID, _HAS_MORE = tag(draft_pb2.Related, "record_ids"), tag(draft_pb2.Related, "has_more", VARINT) + b"\1"
# The bytes before an id by its number of characters, as text. They are not ASCII from 128 characters on.
_BEFORE_RELATED_ID = tuple((_RELATED_ID + varint(size)).decode("latin-1") for size in range(1024))
PRISTINE = draft_pb2.MergedRecord(state=draft_pb2.RECORD_STATE_PRISTINE).SerializeToString()


class MergedEncoder:
    """Encodes the records of one response as messages MergedRecord."""

    def __init__(self, actor: Actor, presentation: Presentation) -> None:
        self._actor = actor
        self._presentation = presentation
        self._fields = presentation.fields
        self._is_json = presentation.response_encoding == types_pb2.ENCODING_JSON
        self._heads: dict[str, bytes] = {}  # tenant and collection, by collection
        self._drafts: dict[tuple[object, ...], bytes] = {}  # the states of drafts: those of one save share them

    def encode(self, merged: MergedRecord) -> bytes:
        """Return the bytes of a record with its draft. Those of `related_bytes` may follow."""
        record = self.record(merged.record)
        return RECORD + varint(len(record)) + record + self._state(merged)

    def record(self, record: Record) -> bytes:
        """Return the bytes of a record as a message Record."""
        return self._record(record) if self._is_json or not record.content else self._record_by_message(record)

    def _state(self, merged: MergedRecord) -> bytes:
        """Return the encoding of the fields of a MergedRecord besides its record."""
        if merged.draft_kind is None:
            if merged.sync is None:
                return PRISTINE
            if merged.sync.is_plain:
                return _plain_state(merged.sync.state, merged.sync.acked_version)
        if merged.sync is not None or merged.conflicts:
            return self._state_by_message(merged)
        key = (
            merged.draft_kind, merged.draft_version, merged.modified_by, merged.modified_at, merged.session_id,
            merged.change_reason, *merged.modified_fields, None, *merged.modified_attributes,
        )  # fmt: skip
        state = self._drafts.get(key)
        if state is None:
            state = self._drafts[key] = self._state_by_message(merged)
        return state

    def _state_by_message(self, merged: MergedRecord) -> bytes:
        message = draft_pb2.MergedRecord()
        fill_merged_state(message, merged, self._presentation)
        return message.SerializeToString()

    def _record(self, record: Record) -> bytes:
        record_id = record.record_id.encode()
        head = self._heads.get(record.collection) or self._add_head(record.collection)
        parts = [head, varint(len(record_id)), record_id]
        if record.content:
            content = (selected_text(record.content, self._fields) if self._fields else record.content).encode()
            parts += content_head(len(content)), content
        parts += (
            encoded_writes(
                record.version,
                _since_1970_us(record.created_at),
                record.created_by,
                _since_1970_us(record.updated_at),
                record.updated_by,
            ),
            encoded_place(record.parent_id, record.position, record.deleted_at),
        )
        return b"".join(parts)

    def _record_by_message(self, record: Record) -> bytes:
        message = types_pb2.Record()
        fill_record(message, record, self._actor.tenant_id, self._presentation, with_content=bool(record.content))
        return message.SerializeToString()

    def _add_head(self, collection: str) -> bytes:
        head = self._heads[collection] = record_head(self._actor.tenant_id, collection)
        return head


def record_head(tenant_id: str, collection: str) -> bytes:
    """Return the encoding of the tenant and the collection of a record, and the tag of its id."""
    return b"".join((_TENANT, _text(tenant_id), _COLLECTION, _text(collection), _ID))


@lru_cache(maxsize=4096)
def content_head(length: int) -> bytes:
    """Return the bytes that precede a content of this many bytes."""
    size = varint(length)
    return b"".join((_CONTENT, varint(1 + len(size) + length), _JSON, size))


def encoded_writes(version: int, created_us: int, created_by: str, updated_us: int, updated_by: str) -> bytes:
    """Return the encoding of the version of a record, and of when and by whom it was written.

    Times are microseconds since 1970.
    """
    return b"".join((
        _VERSION, varint(version), _CREATED, _time(created_us), _user(_CREATED_BY, created_by), _UPDATED,
        _time(updated_us), _user(_UPDATED_BY, updated_by),
    ))  # fmt: skip


def encoded_place(parent_id: str | None, position: int | None, deleted_at: datetime | None) -> bytes:
    """Return the encoding of the fields that few records have."""
    parts: list[bytes] = []
    if parent_id is not None:
        parts += _PARENT, _text(parent_id)
    if position is not None:
        parts += _POSITION, varint(position)
    if deleted_at is not None:
        parts += _DELETED, _time(_since_1970_us(deleted_at))
    return b"".join(parts)


@lru_cache(maxsize=1024)  # most records of a page share their state
def _plain_state(state: SyncState, acked_version: int) -> bytes:
    """Return the encoding of a state with nothing else to show."""
    sync = draft_pb2.SyncInfo(state=STATES[state], acknowledged_version=acked_version)
    return draft_pb2.MergedRecord(state=sync.state, sync=sync).SerializeToString()


def _text(text: str) -> bytes:
    value = text.encode()
    return varint(len(value)) + value


def _since_1970_us(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=1024)  # the records of one write share its time
def _time(since_1970_us: int) -> bytes:
    """Return the encoding of a Timestamp with its size."""
    seconds, microseconds = divmod(since_1970_us, 1_000_000)
    value = _SECONDS + varint(seconds)
    if microseconds:
        value += _NANOS + varint(microseconds * 1_000)
    return varint(len(value)) + value


@lru_cache(maxsize=1024)
def _user(field: bytes, user: str) -> bytes:
    return field + _text(user) if user else b""


def fill_related(parts: Any, related: Mapping[str, Related]) -> None:
    """Add to a repeated field, for each relation, the ids of the records to which it leads."""
    for name, each in related.items():
        parts.add(relation=name, collection=each.collection, record_ids=each.record_ids, has_more=each.has_more)


def related_bytes(related: Mapping[str, Related] | None) -> bytes:
    """Return the bytes that add the related records to a MergedRecord."""
    parts: list[bytes] = []
    for name, each in (related or {}).items():
        head, ids, more = _related_head(name, each.collection), _related_ids(each.record_ids), b""
        if each.has_more:
            more = _HAS_MORE
        parts += _RELATED, varint(len(head) + len(ids) + len(more)), head, ids, more
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _related_head(name: str, collection: str) -> bytes:
    return b"".join((_RELATION, _text(name), _RELATED_COLLECTION, _text(collection)))


def _related_ids(record_ids: Sequence[str]) -> bytes:
    """Return the encoding of ids. Short ids of ASCII characters are encoded together, as one text."""
    text = "".join([_BEFORE_RELATED_ID[len(each)] + each for each in record_ids])
    return text.encode() if text.isascii() else repeated(_RELATED_ID, map(str.encode, record_ids))


def repeated(field: bytes, parts: Iterable[bytes]) -> bytes:
    """Return the encoding of a repeated field, given its tag and its encoded messages."""
    encoded: list[bytes] = []
    for part in parts:
        encoded += field, varint(len(part)), part
    return b"".join(encoded)
