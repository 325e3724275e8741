"""Encoded records equal those that protobuf serializes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from draftline.v1 import draft_pb2, types_pb2
from draftline_server.domain.drafts import DraftKind, MergedRecord
from draftline_server.domain.records import Actor, Record
from draftline_server.domain.sync import SyncState
from draftline_server.domain.sync_records import SyncRecord
from draftline_server.rpc.encoded_page import EncodedPage
from draftline_server.rpc.mapping.drafts import fill_merged
from draftline_server.rpc.mapping.merged_bytes import MergedEncoder, fill_related, related_bytes
from draftline_server.store.relations.expansions import Related
from hypothesis import given
from hypothesis import strategies as st

ACTOR = Actor("tenant é", "ada")
TEXTS = st.text(min_size=1, max_size=5) | st.text("é", min_size=127, max_size=130)
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 300)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))
CONTENTS = st.sampled_from(["", "{}", '{"a": 1, "b": [0.1], "é": 12345678901234567890}', f'{{"a": "{"x" * 20_000}"}}'])
RECORDS = st.builds(
    Record, TEXTS, TEXTS, CONTENTS, st.integers(0, 2**40), st.none() | TEXTS, st.none() | NUMBERS, TIMES,
    st.just("") | TEXTS, TIMES, TEXTS, st.none() | TIMES,
)  # fmt: skip
PLAIN = st.builds(MergedRecord, RECORDS)
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


REQUESTS = st.builds(Request, st.just([]) | st.just(["é", "none"]), st.sampled_from(types_pb2.Encoding.values()))


@given(PLAIN | DRAFTED | SYNCED, RELATED, REQUESTS)
def test_encoded_record_equals_the_message(merged: MergedRecord, related: dict[str, Related], request: Request) -> None:
    expected = draft_pb2.MergedRecord()
    fill_merged(expected, merged, ACTOR, request)
    fill_related(expected.related, related)
    encoded = MergedEncoder(ACTOR, request).encode(merged) + related_bytes(related)
    assert draft_pb2.MergedRecord.FromString(encoded) == expected
    page = EncodedPage(draft_pb2.GetMergedResponse(next_page_token="t"), "t", [encoded, encoded], [encoded])
    data = page.SerializeToString()
    response = draft_pb2.GetMergedResponse(records=[expected] * 2, next_page_token="t", included=[expected])
    assert draft_pb2.GetMergedResponse.FromString(data) == response
    assert len(data) <= page.size()
