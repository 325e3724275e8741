"""Encoded records equal those that protobuf serializes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from draftline.v1 import draft_pb2, types_pb2
from draftline_server.domain.drafts import DraftKind, MergedRecord
from draftline_server.domain.records import Actor, Record
from draftline_server.domain.sync import SyncState
from draftline_server.domain.sync_records import SyncRecord
from draftline_server.rpc.encoded_page import EncodedPage
from draftline_server.rpc.included_records import encoded_included
from draftline_server.rpc.mapping.drafts import fill_merged
from draftline_server.rpc.mapping.merged_bytes import MergedEncoder, fill_related, related_bytes, repeated, tag
from draftline_server.store.relations.expansions import Expansion, Related
from draftline_server.store.relations.related_rows import ID, merged_of_related
from hypothesis import given
from hypothesis import strategies as st

ACTOR = Actor("tenant é", "ada")
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
STORABLE = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
TEXTS = (
    st.text(STORABLE, min_size=1, max_size=5)
    | st.text("é", min_size=127, max_size=130)
    | st.text("a", min_size=126, max_size=130)
)
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 300)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))
CONTENTS = st.sampled_from(["", "{}", '{"a": 1, "b": [0.1], "é": 12345678901234567890}', f'{{"a": "{"x" * 20_000}"}}'])
RECORDS = st.builds(
    Record, TEXTS, TEXTS, CONTENTS, st.integers(0, 2**40), st.none() | TEXTS, st.none() | NUMBERS, TIMES,
    st.just("") | TEXTS, TIMES, TEXTS, st.none() | TIMES,
)  # fmt: skip
NEW = RECORDS.map(lambda each: replace(each, version=1, updated_at=each.created_at, updated_by=each.created_by))
PLAIN = st.builds(MergedRecord, RECORDS | NEW)
DRAFTED = st.builds(
    MergedRecord, RECORDS, st.sampled_from(DraftKind), st.integers(1, 9), st.lists(TEXTS), TEXTS, TIMES, TEXTS, TEXTS
)
SYNC = SyncRecord("films", "a", SyncState.SYNC_ERROR, 2, 1, "", "", "BUSY", "m", "", (), 3, None, None, False)
IN_STEP = [SyncRecord("films", "", each, 2, 2, "", "", "", "", "", (), 0, None, None, False) for each in SyncState]
SYNCED = st.builds(MergedRecord, RECORDS, sync=st.sampled_from([SYNC, *IN_STEP]))
RELATED = st.dictionaries(TEXTS, st.builds(Related, TEXTS, st.lists(TEXTS, max_size=3), st.booleans()), max_size=2)


@dataclass
class Request:
    fields: list[str] = field(default_factory=list)
    response_encoding: int = types_pb2.ENCODING_JSON

    @property
    def included_fields(self) -> list[str]:
        return self.fields

    expand = ()
    expand_limit = 0


REQUESTS = st.builds(Request, st.just([]) | st.just(["é", "none"]), st.sampled_from(types_pb2.Encoding.values()))


@given(PLAIN | DRAFTED | SYNCED, RELATED, REQUESTS)
def test_encoded_record_equals_the_message(merged: MergedRecord, related: dict[str, Related], request: Request) -> None:
    expected = draft_pb2.MergedRecord()
    fill_merged(expected, merged, ACTOR, request)
    fill_related(expected.related, related)
    encoded = MergedEncoder(ACTOR, request).encode(merged) + related_bytes(related)
    assert draft_pb2.MergedRecord.FromString(encoded) == expected
    included = [repeated(tag(draft_pb2.GetMergedResponse, "included"), [encoded])]
    page = EncodedPage(draft_pb2.GetMergedResponse(next_page_token="t"), "t", [encoded, encoded], included)
    data = page.SerializeToString()
    response = draft_pb2.GetMergedResponse(records=[expected] * 2, next_page_token="t", included=[expected])
    assert draft_pb2.GetMergedResponse.FromString(data) == response
    assert len(data) <= page.size()


def row_of(merged: MergedRecord) -> tuple[Any, ...]:
    """Return a record as a row of related records."""
    record = merged.record
    times = ((time - EPOCH) // timedelta(microseconds=1) for time in (record.created_at, record.updated_at))
    created_at, updated_at = (each.to_bytes(8, "big", signed=True) for each in times)
    draft = None
    if merged.draft_kind is not None:
        draft = (
            merged.draft_kind.value, merged.draft_version, merged.modified_at, merged.session_id,
            merged.change_reason, merged.modified_fields, None, None,
        )  # fmt: skip
    created, updated = created_at + record.created_by.encode(), None
    if record.version != 1 or (created_at, record.created_by) != (updated_at, record.updated_by):
        updated = record.version.to_bytes(8, "big") + updated_at + record.updated_by.encode()
    place = record.parent_id, record.position, record.deleted_at
    content = (record.content or "{}").encode()
    return record.record_id, content, created, updated, None if place == (None, None, None) else place, draft


INCLUDED = st.lists(st.tuples(PLAIN | DRAFTED, st.sampled_from(["films", "é"]), RELATED), max_size=6)


@given(INCLUDED, REQUESTS, st.booleans())
async def test_included_records_equal_their_messages(
    included: list[tuple[MergedRecord, str, dict[str, Related]]], request: Request, is_selected: bool
) -> None:
    expansion = Expansion(selected={"films"} if is_selected else set())
    expected = draft_pb2.GetMergedResponse()
    for merged, collection, related in included:
        record_id = merged.record.record_id
        known = [row for row in expansion.included.get(collection, ()) if row[ID] != record_id]
        expansion.included[collection] = [*known, row_of(merged)]
        if related:
            expansion.from_included[collection, record_id] = related
    for collection, rows in expansion.included.items():
        presentation = Request([] if collection in expansion.selected else request.fields, request.response_encoding)
        for row in rows:
            message = expected.included.add()
            fill_merged(message, merged_of_related(row, ACTOR, collection), ACTOR, presentation)
            fill_related(message.related, expansion.from_included.get((collection, row[ID]), {}))
    parts = await encoded_included(expansion, ACTOR, request, draft_pb2.GetMergedResponse)
    assert draft_pb2.GetMergedResponse.FromString(b"".join(parts)) == expected
