"""The encoding of the related records that a response includes.

A response may include thousands of them. Those without a draft are encoded from the columns of their rows: to make
records and messages of them takes several times as long. Most bytes before and after the contents are shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

from draftline.v1 import types_pb2
from google.protobuf.message import Message

from ..domain.records import Actor
from ..store.relations.expansions import Expansion, Key
from ..store.relations.related_rows import AFTER_CONTENT, CONTENT, DRAFT, RelatedRow, merged_of_related
from .cooperative import yielding
from .mapping.merged_bytes import (
    PRISTINE,
    RECORD,
    MergedEncoder,
    content_head,
    encoded_attributes,
    record_head,
    related_bytes,
    tag,
    varint,
)
from .mapping.relations import Expanding, IncludedPresentation

CHUNK = 256  # records that are encoded before control may return to the event loop

Included = tuple[Key, RelatedRow]


async def encoded_included(
    expansion: Expansion, actor: Actor, request: Expanding, response_type: type[Message]
) -> list[bytes]:
    """Return the bytes of the field `included` of a response, in parts."""
    encoder = _Encoder(expansion, actor, request, tag(response_type, "included"))
    async for chunk in yielding(_chunks(expansion.included.items())):
        encoder.encode(chunk)
    return encoder.parts


def _chunks(items: Iterable[Included]) -> Iterator[list[Included]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


class _Encoder:
    """Encodes the records that one response includes."""

    def __init__(self, expansion: Expansion, actor: Actor, request: Expanding, field: bytes) -> None:
        self.parts: list[bytes] = []
        self._expansion = expansion
        self._actor = actor
        self._field = field
        self._is_json = request.response_encoding == types_pb2.ENCODING_JSON
        self._fields = request.included_fields
        self._of_whole = MergedEncoder(actor, IncludedPresentation(request.included_fields, request.response_encoding))
        self._of_selected = MergedEncoder(actor, IncludedPresentation((), request.response_encoding))
        self._plain: dict[str, _PlainRecords | None] = {}  # by collection; None: encoded by MergedEncoder

    def encode(self, records: Iterable[Included]) -> None:
        """Add the encoded records to the parts."""
        for collection, run in groupby(records, _collection_of):
            if collection not in self._plain:
                self._plain[collection] = self._plain_records(collection)
            plain = self._plain[collection]
            if plain is not None:
                self._encode_plain(plain, run)
            else:
                for key, row in run:
                    self._encode_merged(key, row)

    def _encode_plain(self, plain: _PlainRecords, records: Iterable[Included]) -> None:
        parts, related = self.parts, self._expansion.from_included
        heads, tails = plain.heads, plain.tails
        shared: Sequence[Any] = ()
        tail = b""
        for key, row in records:
            if row[DRAFT] is not None or key in related:
                self._encode_merged(key, row)
                continue
            after_content = row[AFTER_CONTENT]
            if after_content != shared:  # most records have the same as the one before
                shared = after_content
                tail = tails.get(tuple(shared)) or plain.add_tail(row)
            record_id, content = key[1].encode(), row[CONTENT]
            before_content = content_head(len(content))
            size = len(record_id) + len(before_content) + len(content) + len(tail)
            head = heads.get((size, len(record_id))) or plain.add_head(size, len(record_id))
            parts += head, record_id, before_content, content, tail

    def _encode_merged(self, key: Key, row: RelatedRow) -> None:
        collection, _ = key
        encoder = self._of_selected if collection in self._expansion.selected else self._of_whole
        merged = merged_of_related(row, self._actor, collection)
        message = encoder.encode(merged) + related_bytes(self._expansion.from_included.get(key))
        self.parts += self._field, varint(len(message)), message

    def _plain_records(self, collection: str) -> _PlainRecords | None:
        is_whole = not self._fields or collection in self._expansion.selected
        return _PlainRecords(self._actor.tenant_id, collection, self._field) if self._is_json and is_whole else None


class _PlainRecords:
    """The bytes that records of a collection share if they have neither a draft nor related records."""

    def __init__(self, tenant_id: str, collection: str, field: bytes) -> None:
        self.heads: dict[tuple[int, int], bytes] = {}  # by the size of the rest, and the size of the id
        self.tails: dict[tuple[Any, ...], bytes] = {}  # by the columns after the content
        self._collection = collection
        self._field = field
        self._before_id = record_head(tenant_id, collection)

    def add_head(self, size: int, id_size: int) -> bytes:
        """Return the bytes before an id, which is the first of `size` bytes that follow."""
        before_id = self._before_id + varint(id_size)
        record = varint(len(before_id) + size - len(PRISTINE))
        total = varint(len(RECORD) + len(record) + len(before_id) + size)
        head = self.heads[size, id_size] = b"".join((self._field, total, RECORD, record, before_id))
        return head

    def add_tail(self, row: RelatedRow) -> bytes:
        """Return the bytes after a content: the other fields of the record, and its state."""
        record = merged_of_related(row, Actor("", ""), self._collection).record
        tail = self.tails[tuple(row[AFTER_CONTENT])] = encoded_attributes(record) + PRISTINE
        return tail


def _collection_of(included: Included) -> str:
    return included[0][0]
