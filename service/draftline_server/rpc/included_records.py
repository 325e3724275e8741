"""The encoding of the related records that a response includes.

A response may include thousands of them. Those without a draft are encoded from the columns of their rows: to make
records and messages of them takes several times as long. Most bytes before and after the contents are shared.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from draftline.v1 import types_pb2
from google.protobuf.message import Message

from ..domain.records import Actor
from ..store.relations.expansions import Expansion
from ..store.relations.related_rows import (
    CONTENT,
    CREATED,
    DRAFT,
    ID,
    PLACE,
    UPDATED,
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

# Records that are encoded before control may return to the event loop, so few that their bytes are joined within the
# cache of the processor.
CHUNK = 128


async def encoded_included(
    expansion: Expansion, actor: Actor, request: Expanding, response_type: type[Message]
) -> list[bytes]:
    """Return the bytes of the field `included` of a response, in parts."""
    encoder = _Encoder(expansion, actor, request, tag(response_type, "included"))
    parts = []
    for collection, rows in expansion.included.items():
        async for start in yielding(range(0, len(rows), CHUNK)):
            parts.append(encoder.encode(collection, rows[start : start + CHUNK]))
    return parts


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

    def encode(self, collection: str, rows: Iterable[RelatedRow]) -> bytes:
        """Return the bytes of records of a collection."""
        if self._is_json and (not self._fields or collection in self._expansion.selected):
            parts = self._plain_parts(collection, rows)
        else:
            parts = [part for row in rows for part in self._merged_parts(collection, row)]
        return b"".join(parts)

    def _plain_parts(self, collection: str, rows: Iterable[RelatedRow]) -> list[bytes]:
        """Encode records with their whole contents as JSON; those with a draft or related records as any other."""
        plain = self._plain.get(collection)
        if plain is None:
            plain = self._plain[collection] = _PlainRecords(self._actor.tenant_id, collection, self._field)
        parts, related, before_id = list[bytes](), self._expansion.from_included, plain.before_id
        created, updated, written = b"", None, b""
        for row in rows:
            if row[DRAFT] is not None or (related and (collection, row[ID]) in related):
                parts += self._merged_parts(collection, row)
                continue
            if row[CREATED] != created or row[UPDATED] != updated:  # most records have the same as the one before
                created, updated = row[CREATED], row[UPDATED]
                written = plain.writes.get((created, updated)) or plain.add_writes(created, updated)
            rest, place = written, row[PLACE]
            if place is not None:
                rest += encoded_place(*place)
            encoded_id, content = row[ID].encode(), row[CONTENT]
            before_record, before_content = _heads(before_id, len(encoded_id), len(content), len(rest))
            parts += before_record, encoded_id, before_content, content, rest
        return parts

    def _merged_parts(self, collection: str, row: RelatedRow) -> tuple[bytes, ...]:
        encoder = self._of_selected if collection in self._expansion.selected else self._of_whole
        merged = merged_of_related(row, self._actor, collection)
        related = self._expansion.from_included.get((collection, row[ID]))
        message = encoder.encode(merged) + related_bytes(related)
        return self._field, varint(len(message)), message


class _PlainRecords:
    """The bytes that records of a collection share if they have neither a draft nor related records."""

    def __init__(self, tenant_id: str, collection: str, field: bytes) -> None:
        self.writes: dict[tuple[bytes, bytes | None], bytes] = {}  # by the columns CREATED and UPDATED
        self.before_id = field, record_head(tenant_id, collection)

    def add_writes(self, created: bytes, updated: bytes | None) -> bytes:
        """Return the encoding of the columns CREATED and UPDATED."""
        encoded = self.writes[created, updated] = encoded_writes(*unpacked_writes(created, updated))
        return encoded


@lru_cache(maxsize=16_384)  # many contents have equal sizes
def _heads(before_id: tuple[bytes, bytes], id_size: int, content_size: int, rest_size: int) -> tuple[bytes, bytes]:
    """Return the bytes before the id of a plain record, and those between its id and its content."""
    field, head = before_id
    before_content = content_head(content_size)
    head += varint(id_size)
    record_size = len(head) + id_size + len(before_content) + content_size + rest_size
    before_record = PRISTINE + RECORD + varint(record_size)
    return b"".join((field, varint(len(before_record) + record_size), before_record, head)), before_content
