"""GetMerged: its arguments, its pages and its tokens. What a list holds is tested against an oracle elsewhere."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from draftline.v1 import draft_pb2, types_pb2
from support.draft_calls import Drafts, edit
from support.responses import INVALID, Records

MERGED, BASELINE, DRAFTS_ONLY = draft_pb2.VIEW_MERGED, draft_pb2.VIEW_BASELINE, draft_pb2.VIEW_DRAFTS_ONLY


@pytest.fixture
def films(records: Records, ada: Drafts) -> Drafts:
    """m-0 to m-9: `n` descends; the genre is drama where `n` is even; m-1 is moved in, m-2 out by drafts."""
    for n in range(10):
        records.create(f"m-{n}", {"n": 10 - n, "genre": "Comedy" if n % 2 else "Drama", "title": f"T{n}"})
    ada.change("m-1", {"genre": "Drama"}, session_id="one")
    ada.change("m-2", {"genre": "Comedy"}, session_id="two")
    return ada


def test_filter_and_order_hold_for_merged_values(films: Drafts) -> None:
    drama = films.ids(filter='genre = "Drama"', order_by="n")
    assert drama == ["m-8", "m-6", "m-4", "m-1", "m-0"]
    assert films.ids(filter='genre = "Drama"', view=BASELINE) == ["m-0", "m-2", "m-4", "m-6", "m-8"]
    assert films.ids(filter='genre = "Drama"', view=DRAFTS_ONLY) == ["m-1"]
    assert films.ids(filter="record.state = DRAFT") == ["m-1", "m-2"]
    assert films.ids(filter="record.draft_version >= 1", order_by="record.record_id desc") == ["m-2", "m-1"]


def test_unspecified_view_is_the_merged_one(films: Drafts) -> None:
    assert films.page() == films.page(view=MERGED)


def test_session_applies_its_drafts_alone(films: Drafts) -> None:
    assert films.ids(filter='genre = "Drama"', session_id="one") == ["m-0", "m-1", "m-2", "m-4", "m-6", "m-8"]
    assert films.ids(session_id="two", view=DRAFTS_ONLY) == ["m-2"]
    assert films.one("m-1", session_id="two").state == draft_pb2.RECORD_STATE_PRISTINE
    assert films.ids(session_id="none", view=DRAFTS_ONLY) == []


def test_deleted_records_are_shown_on_request(films: Drafts, records: Records) -> None:
    records.delete("m-9")
    films.save(edit("m-8", delete=True))
    assert films.ids(filter="n < 4") == ["m-7"]
    shown = films.page(filter="n < 4", show_deleted=True).records
    assert [each.record.record_id for each in shown] == ["m-7", "m-8", "m-9"]
    assert [each.record.HasField("delete_time") for each in shown] == [False, False, True]
    assert [each.draft_kind for each in shown] == [0, draft_pb2.DRAFT_KIND_DELETE, 0]
    assert films.ids(view=BASELINE, filter="n < 4") == ["m-7", "m-8"]
    assert films.ids(view=BASELINE, filter="n < 4", show_deleted=True) == ["m-7", "m-8", "m-9"]
    assert films.ids(view=DRAFTS_ONLY, filter="n < 4") == ["m-8"]


def test_record_ids_narrow_the_list(films: Drafts) -> None:
    ids = ["m-3", "m-1", "none", "m-1"]
    page = films.page(record_ids=ids, filter='genre = "Drama"', include_total_size=True)
    assert [each.record.record_id for each in page.records] == ["m-1"]
    assert page.total_size == 1
    assert films.ids(record_ids=ids, order_by="n") == ["m-3", "m-1"]


def test_fields_and_encoding_shape_the_content(films: Drafts) -> None:
    assert films.contents(record_ids=["m-1"], fields=["genre", "none"]) == {"m-1": {"genre": "Drama"}}
    (record,) = films.page(record_ids=["m-1"], response_encoding=types_pb2.ENCODING_UNSPECIFIED).records
    assert record.record.content.struct["genre"] == "Drama"


@pytest.mark.parametrize("query", [{}, {"order_by": "genre desc, n"}, {"filter": "n > 3", "order_by": "title desc"}])
@pytest.mark.parametrize("page_size", [1, 3, 10])
def test_pages_make_up_the_list(films: Drafts, query: dict[str, str], page_size: int) -> None:
    whole = films.ids(**query)
    walked, token = [], ""
    while True:
        page = films.page(page_size=page_size, page_token=token, **query)
        assert len(page.records) <= page_size
        walked += [each.record.record_id for each in page.records]
        token = page.next_page_token
        if not token:
            break
    assert walked == whole


def test_total_size_is_counted_on_request_alone(films: Drafts) -> None:
    assert not films.page().HasField("total_size")
    for query, total in (
        ({}, 10),
        ({"filter": 'genre = "Drama"'}, 5),
        ({"view": DRAFTS_ONLY}, 2),
        ({"filter": "x:*"}, 0),
    ):
        page = films.page(page_size=1, include_total_size=True, **query)
        assert (page.HasField("total_size"), page.total_size) == (True, total)
        if page.next_page_token:
            again = films.page(page_size=2, page_token=page.next_page_token, include_total_size=True, **query)
            assert again.total_size == total


def test_page_size_has_a_default_and_a_most(ada: Drafts) -> None:
    for start in (0, 1_000):
        ada.save(*(edit(f"{n:05}", create={}) for n in range(start, start + 1_000)), omit_content=True)
    assert len(ada.page().records) == 100
    for page_size in (1_000, 1_001, 2**31 - 1):
        page = ada.page(page_size=page_size)
        assert len(page.records) == 1_000
        assert page.next_page_token


@pytest.mark.parametrize(
    ("filter_", "position"),
    [
        ("n = = 1", 4),
        ("genre = Drama )", 14),
        ("(n = 1", 6),
        ("n = 1 AND", 9),
        ('é = "', 4),
        ("n = 1 AND record.none = 1", 10),
    ],
)
def test_filter_that_does_not_parse_tells_the_position(films: Drafts, filter_: str, position: int) -> None:
    refusal = films.refused("GetMerged", films.listing(filter=filter_))
    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_FILTER")
    assert refusal.metadata["position"] == str(position)
    assert f"character {position}" in refusal.message
    assert list(refusal.fields) == ["filter"]


@pytest.mark.parametrize(
    ("filter_", "reason"),
    [
        ("a" * 4_097, "INVALID_FIELD"),
        (" AND ".join(["a = 1"] * 101), "INVALID_FILTER"),
        ("(" * 33 + "a = 1" + ")" * 33, "INVALID_FILTER"),
    ],
)
def test_filter_over_a_limit_is_refused(films: Drafts, filter_: str, reason: str) -> None:
    refusal = films.refused("GetMerged", films.listing(filter=filter_))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == (INVALID, reason, ["filter"])


@pytest.mark.parametrize(
    "order_by",
    ["n,", "n descending", "= 1", "n desc asc", '"n', "record.none", "record", ",".join("abcdefghi"), "n; n"],
)
def test_order_by_what_is_no_name_is_refused(films: Drafts, order_by: str) -> None:
    refusal = films.refused("GetMerged", films.listing(order_by=order_by))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == (INVALID, "INVALID_FIELD", ["order_by"])
    assert "character" in refusal.message


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"page_size": -1}, "page_size"),
        ({"view": 9}, "view"),
        ({"record_ids": [f"m-{n}" for n in range(1_001)]}, "record_ids"),
        ({"record_ids": ["m-1", ""]}, "record_ids[1]"),
        ({"session_id": "a\n"}, "session_id"),
        ({"order_by": "a" * 4_097}, "order_by"),
        ({"page_token": "a" * 16_385}, "page_token"),
        ({"fields": ["a"] * 101}, "fields"),
        ({"response_encoding": 3}, "response_encoding"),
    ],
)
def test_query_that_breaks_a_rule_names_its_field(films: Drafts, query: dict[str, Any], field: str) -> None:
    refusal = films.refused("GetMerged", films.listing(**query))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == (INVALID, "INVALID_FIELD", [field])


QUERY: dict[str, Any] = {"filter": "n > 0", "order_by": "n", "page_size": 2}


@pytest.mark.parametrize(
    "change",
    [
        {"filter": "n > 00"},
        {"filter": ""},
        {"order_by": "n desc"},
        {"order_by": ""},
        {"record_ids": ["m-1"]},
        {"session_id": "one"},
        {"view": BASELINE},
        {"show_deleted": True},
    ],
)
def test_token_of_another_query_is_refused(films: Drafts, change: dict[str, Any]) -> None:
    token = films.page(**QUERY).next_page_token
    refusal = films.refused("GetMerged", films.listing(**{**QUERY, "page_token": token, **change}))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == (INVALID, "INVALID_FIELD", ["page_token"])


def test_token_allows_another_page_size_fields_and_encoding(films: Drafts) -> None:
    token = films.page(**QUERY).next_page_token
    shape = {"page_size": 3, "fields": ["n"], "response_encoding": types_pb2.ENCODING_STRUCT}
    page = films.page(**{**QUERY, **shape, "page_token": token})
    assert [each.record.record_id for each in page.records] == ["m-7", "m-6", "m-5"]


def test_token_of_another_user_tenant_or_collection_is_refused(films: Drafts, bob: Drafts, records: Records) -> None:
    token = films.page(**QUERY).next_page_token
    for other in (bob, films.of(tenant_id=f"{films.tenant_id}-2"), films.of(collection="series")):
        refusal = other.refused("GetMerged", other.listing(**QUERY, page_token=token))
        assert (refusal.code, list(refusal.fields)) == (INVALID, ["page_token"])


def test_token_that_was_tampered_with_is_refused(films: Drafts) -> None:
    token = films.page(**QUERY).next_page_token
    sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    forged = [bytes([*sealed[:at], sealed[at] ^ 1, *sealed[at + 1 :]]) for at in range(len(sealed))]
    tokens = [base64.urlsafe_b64encode(each).decode().rstrip("=") for each in forged]
    for broken in (*tokens, token[:-4], token[:10], token + "AAAA", "é", "a", "=", "\0", " " + token):
        refusal = films.refused("GetMerged", films.listing(**QUERY, page_token=broken))
        assert (refusal.code, list(refusal.fields)) == (INVALID, ["page_token"])


def test_undeclared_collection_lists_as_empty(ada: Drafts) -> None:
    page = ada.page(filter="a = 1", order_by="b", include_total_size=True)
    assert (list(page.records), page.next_page_token, page.total_size) == ([], "", 0)
