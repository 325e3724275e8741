"""The encoding of the related records that a response includes.

A response may include thousands of them. Those without a draft are encoded from the columns of their rows: to make
records and messages of them takes several times as long. Most bytes before and after the contents are shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from draftline.v1 import types_pb2
from google.protobuf.message import Message

from ..domain.records import Actor
from ..store.relations.expansions import Expansion
from ..store.relations.related_rows import (
    CONTENT,
    DRAFT,
    PLACE,
    WRITES,
    RelatedRow,
    merged_of_related,
    unpacked_writes,
)
from .cooperative import yielding
from .mapping.merged_bytes import (
    PRISTINE,
    RECORD,
    MergedEncoder,
    content_head,
    encoded_place,
    encoded_writes,
    record_head,
    related_bytes,
    tag,
    varint,
)
from .mapping.relations import Expanding, IncludedPresentation

CHUNK = 256  # records that are encoded before control may return to the event loop

Included = tuple[str, RelatedRow]  # record id and row


async def encoded_included(
    expansion: Expansion, actor: Actor, request: Expanding, response_type: type[Message]
) -> list[bytes]:
    """Return the bytes of the field `included` of a response, in parts."""
    encoder = _Encoder(expansion, actor, request, tag(response_type, "included"))
    parts = []
    for collection, rows in expansion.included.items():
        async for chunk in yielding(_chunks(rows.items())):
            parts.append(encoder.encode(collection, chunk))
    return parts


def _chunks(items: Iterable[Included]) -> Iterator[list[Included]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


class _Encoder:
    """Encodes the records that one response includes."""

    def __init__(self, expansion: Expansion, actor: Actor, request: Expanding, field: bytes) -> None:
        self._expansion = expansion
        self._actor = actor
        self._field = field
        self._is_json = request.response_encoding == types_pb2.ENCODING_JSON
        self._fields = request.included_fields
        self._of_whole = MergedEncoder(actor, IncludedPresentation(request.included_fields, request.response_encoding))
        self._of_selected = MergedEncoder(actor, IncludedPresentation((), request.response_encoding))
        self._plain: dict[str, _PlainRecords] = {}  # by collection

    def encode(self, collection: str, records: Iterable[Included]) -> bytes:
        """Return the bytes of records of a collection."""
        if self._is_json and (not self._fields or collection in self._expansion.selected):
            parts = self._plain_parts(collection, records)
        else:
            parts = [part for record_id, row in records for part in self._merged_parts(collection, record_id, row)]
        return b"".join(parts)

    def _plain_parts(self, collection: str, records: Iterable[Included]) -> list[bytes]:
        """Encode records with their whole contents as JSON; those with a draft or related records as any other."""
        plain = self._plain.get(collection)
        if plain is None:
            plain = self._plain[collection] = _PlainRecords(self._actor.tenant_id, collection, self._field)
        parts, related, heads = list[bytes](), self._expansion.from_included, plain.heads
        writes, written = b"", b""
        for record_id, row in records:
            if row[DRAFT] is not None or (related and (collection, record_id) in related):
                parts += self._merged_parts(collection, record_id, row)
                continue
            if row[WRITES] != writes:  # most records have the same as the one before
                writes = row[WRITES]
                written = plain.writes.get(writes) or plain.add_writes(writes)
            rest, place = written, row[PLACE]
            if place is not None:
                rest += encoded_place(*place)
            encoded_id, content = record_id.encode(), row[CONTENT]
            sizes = len(encoded_id), len(content), len(rest)
            before_id, before_content = heads.get(sizes) or plain.add_heads(sizes)
            parts += before_id, encoded_id, before_content, content, rest
        return parts

    def _merged_parts(self, collection: str, record_id: str, row: RelatedRow) -> tuple[bytes, ...]:
        encoder = self._of_selected if collection in self._expansion.selected else self._of_whole
        merged = merged_of_related(row, self._actor, collection)
        related = self._expansion.from_included.get((collection, record_id))
        message = encoder.encode(merged) + related_bytes(related)
        return self._field, varint(len(message)), message


class _PlainRecords:
    """The bytes that records of a collection share if they have neither a draft nor related records."""

    def __init__(self, tenant_id: str, collection: str, field: bytes) -> None:
        self.heads: dict[tuple[int, int, int], tuple[bytes, bytes]] = {}  # by the sizes of id, content and rest
        self.writes: dict[bytes, bytes] = {}  # by the column WRITES
        self._field = field
        self._before_id = record_head(tenant_id, collection)

    def add_heads(self, sizes: tuple[int, int, int]) -> tuple[bytes, bytes]:
        """Return the bytes before an id, and those between the id and the content."""
        id_size, content_size, rest_size = sizes
        before_id, before_content = self._before_id + varint(id_size), content_head(content_size)
        record_size = len(before_id) + id_size + len(before_content) + content_size + rest_size
        before_record = PRISTINE + RECORD + varint(record_size)
        size = varint(len(before_record) + record_size)
        heads = self.heads[sizes] = b"".join((self._field, size, before_record, before_id)), before_content
        return heads

    def add_writes(self, writes: bytes) -> bytes:
        """Return the encoding of the column WRITES."""
        encoded = self.writes[writes] = encoded_writes(*unpacked_writes(writes))
        return encoded
