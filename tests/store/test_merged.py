"""Merged lists are exact: walked page by page, they are what merging, filtering and sorting everything would give."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from draftline_server.domain.content import equal
from draftline_server.domain.drafts import ChangeByDelta, Creation, DraftEdit, MergedRecord, edit_of_delta
from draftline_server.domain.edits import Strategy
from draftline_server.domain.filters.ast import MERGED_ATTRIBUTES, Field, SortKey
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.merged import MergedQuery, View
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.edit_strategies import decode
from support.filter_strategies import CORPUS, DECLARED, contents, filters, render
from support.merged_oracle import merged_list
from support.soak_scale import examples
from support.tenant_stores import COLLECTION, World, change, creation, deletion

FIELDS = json.dumps([{"path": path, "type": type_} for path, type_ in DECLARED.items()])
INSERT = """
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, deleted_at)
    SELECT $1, 'films', r ->> 'id', r -> 'content', (r ->> 'version')::int, r ->> 'parent_id', (r ->> 'position')::int,
        (r ->> 'time')::timestamptz, r ->> 'user', (r ->> 'time')::timestamptz, r ->> 'user',
        CASE WHEN (r ->> 'deleted')::boolean THEN (r ->> 'time')::timestamptz END
    FROM jsonb_array_elements($2::text::jsonb) AS r
"""
IDS = ["a", "aB", "b", "é", "\uffff", "😀", "\U0010ffff"]
_ids = st.sampled_from(IDS)
_records = st.fixed_dictionaries(
    {
        "content": contents,
        "version": st.integers(1, 2),
        "parent_id": st.sampled_from([None, "a", "b"]),
        "position": st.sampled_from([None, 1, 2]),
        "time": st.sampled_from(["2026-11-20T10:00:00Z", "2026-11-20T00:00:00Z", "0001-01-01T00:00:00.000001Z"]),
        "user": st.sampled_from(["a", "b"]),
        "deleted": st.sampled_from([False, False, True]),
    }
)
_paths = st.sampled_from([*DECLARED, ("a",), ("0",), ("in side",), ("0", "a"), ("in side", "-1"), ("é'\"\\%(x)s:y$1",)])
_attributes = st.sampled_from([name for name in MERGED_ATTRIBUTES if name != "mistyped"])
_fields = _paths.map(Field) | _attributes.map(lambda name: Field((name,), of_record=True))
orders = st.lists(
    st.builds(SortKey, _paths.map(Field) | _fields, st.booleans()), max_size=3, unique_by=lambda key: key.field
).map(tuple)
_deltas = st.tuples(contents, st.sampled_from([Strategy.SHALLOW, Strategy.MERGE_PATCH, Strategy.REPLACE]))


@st.composite
def queries(draw: st.DrawFn) -> MergedQuery:
    tree, order = draw(st.none() | filters), draw(orders)
    return MergedQuery(
        COLLECTION, tree, render(tree) if tree else "", order, repr(order),
        draw(st.just(()) | st.lists(_ids, min_size=1, max_size=5, unique=True).map(tuple)),
        draw(st.sampled_from(["", "", "s"])), draw(st.sampled_from(View)), draw(st.booleans()),
    )  # fmt: skip


async def insert(world: World, records: dict[str, dict[str, Any]]) -> None:
    rows = [json.dumps({**row, "id": id_, "content": 0})[:-1] + f', "content": {row["content"]}}}'
            for id_, row in records.items()]  # fmt: skip
    values: dict[str, object] = {"tenant_id": world.tenant_id, "rows": "[" + ",".join(rows) + "]"}
    await world.database.fetch(Statement("insert", INSERT, ("tenant_id", "rows")), values)


async def walk(
    world: World, user: str, query: MergedQuery, page_size: int
) -> tuple[list[MergedRecord], list[int], int | None]:
    """Everything, the sizes of the pages, and the count."""
    found: list[MergedRecord] = []
    sizes: list[int] = []
    token, total = "", None
    while True:
        page = await world.merged.page(world.actor(user), query, page_size, token, include_total_size=not sizes)
        total = total if sizes else page.total_size
        found += page.records
        sizes.append(len(page.records))
        token = page.next_page_token
        if not token:
            return found, sizes, total


def told(merged: MergedRecord) -> tuple[Any, ...]:
    record = merged.record
    return (
        record.record_id, record.version, merged.draft_kind, merged.draft_version, list(merged.modified_fields),
        decode(record.content), record.parent_id, record.position, list(merged.modified_attributes),
    )  # fmt: skip


async def assert_exact(world: World, user: str, query: MergedQuery, page_size: int) -> None:
    expected = merged_list(await world.stored("record"), await world.stored("draft"), user, query, DECLARED)
    found, sizes, total = await walk(world, user, query, page_size)
    assert [each.record.record_id for each in found] == [row.attributes["record_id"] for row in expected]
    for each, row in zip(found, expected, strict=True):
        assert told(each)[:5] == row.told[:5]
        assert equal(told(each)[5], row.told[5])
        assert told(each)[6:] == row.told[6:]
    assert total == len(expected)
    assert all(size == page_size for size in sizes[:-1])
    assert sizes[-1] <= page_size


_attributes = st.fixed_dictionaries(
    {}, optional={"parent_id": st.sampled_from([None, "a", "b"]), "position": st.sampled_from([None, 1, 2])}
)


@st.composite
def drafts(draw: st.DrawFn) -> DraftEdit:
    record_id = draw(_ids)
    match draw(st.integers(0, 4)):
        case 0:
            return deletion(record_id)
        case 1:
            action = Creation(draw(contents))
            return DraftEdit(record_id, action, attributes=draw(_attributes), allow_deleted=draw(st.booleans()))
    text, strategy = draw(_deltas)
    action = ChangeByDelta(edit_of_delta(decode(text), strategy))
    return DraftEdit(record_id, action, attributes=draw(_attributes), allow_deleted=draw(st.booleans()))


_saves = st.tuples(st.sampled_from(["ada", "bob"]), st.lists(drafts(), max_size=4), st.sampled_from(["", "s"]))


async def save_some(world: World, user: str, edits: list[DraftEdit], session: str) -> None:
    distinct = list({edit.record_id: edit for edit in edits}.values())
    await world.save_all(user, distinct, session_id=session, partial=True, move=True)


many = settings(
    max_examples=examples(40), deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


@many
@given(
    records=st.dictionaries(_ids, _records, max_size=7),
    saved=st.lists(
        st.tuples(st.sampled_from(["ada", "bob"]), st.lists(drafts(), max_size=4), st.sampled_from(["", "s"])),
        max_size=3,
    ),
    deleted=st.lists(_ids, max_size=2, unique=True),
    asked=st.lists(st.tuples(queries(), st.integers(1, 4)), min_size=1, max_size=3),
)
async def test_list_of_random_records_and_drafts_equals_oracle(
    database: Database, records: Any, saved: Any, deleted: Any, asked: Any
) -> None:
    world = World(database, f"merged-{uuid.uuid4().hex}")
    await world.declare(fields=FIELDS, indexed_text="[]")
    await insert(world, records)
    for user, edits, session in saved:
        await save_some(world, user, edits, session)
    for record_id in deleted:
        if record_id in records and not records[record_id]["deleted"]:
            await world.delete(record_id)
    for query, page_size in asked:
        await assert_exact(world, "ada", query, page_size)


@pytest.fixture(scope="module")
async def corpus(database: Database) -> World:
    """A record for every value of the pools, some drafted by ada and some by bob to hold the next one's value."""
    world = World(database, f"merged-{uuid.uuid4().hex}")
    await world.declare(fields=FIELDS, indexed_text="[]")
    base = {"version": 1, "parent_id": None, "position": 1, "time": "2026-11-20T10:00:00Z", "user": "a"}
    records = {
        f"{place:03}": {**base, "content": content, "deleted": place % 11 == 0} for place, content in enumerate(CORPUS)
    }
    await insert(world, records)
    for first, user, session in ((1, "ada", ""), (2, "ada", "s"), (1, "bob", "s")):
        edits = [
            DraftEdit(f"{place:03}", ChangeByDelta({"v": decode(CORPUS[(place + 7) % len(CORPUS)])}))
            for place in range(first, len(CORPUS), 5)
        ]
        await save_some(world, user, edits, session)
    await save_some(world, "ada", [deletion(f"{place:03}") for place in range(3, len(CORPUS), 20)], "s")
    await save_some(world, "ada", [creation(f"new{n}", {"text": "a", "number": n}) for n in range(5)], "")
    return world


@settings(many, max_examples=examples(40))
@given(query=queries(), page_size=st.sampled_from([17, 60, 1000]))
async def test_list_of_every_value_equals_oracle(corpus: World, query: MergedQuery, page_size: int) -> None:
    await assert_exact(corpus, "ada", replace(query, record_ids=()), page_size)


@pytest.mark.parametrize("path", [*DECLARED, ("a",)], ids=".".join)
@pytest.mark.parametrize("descending", [False, True])
async def test_order_by_every_field_equals_oracle(corpus: World, path: Any, descending: bool) -> None:
    order = (SortKey(Field(path), descending),)
    await assert_exact(corpus, "ada", MergedQuery(COLLECTION, order=order, order_text=repr(order)), 13)


STATES = {
    "record.state = DRAFT": {"1", "2", "new"},
    "record.state = PRISTINE": {"3"},
    "record.state != DRAFT": {"3"},
    "record.draft_version = 2": {"1"},
    "record.draft_version = null": {"3"},
    "record.modified_by = ada": {"1", "2", "new"},
    "record.modified_by = bob": set(),
    "record.session_id = s": {"2"},
    "NOT record.session_id:*": {"1", "3", "new"},
    "record.modify_time > 2020-01-01": {"1", "2", "new"},
    "record.version = 0": {"new"},
    "g = Drama": {"1", "new"},
    "g = Comedy": {"2", "3"},
}


@pytest.mark.parametrize("text", list(STATES))
async def test_filter_sees_the_drafts_attributes_and_its_merged_values(world: World, text: str) -> None:
    for record_id, genre in (("1", "Comedy"), ("2", "Drama"), ("3", "Comedy")):
        await world.create(record_id, {"g": genre})
    await world.save("ada", change("1", {"x": 1}))
    await world.save("ada", change("1", {"g": "Drama"}))
    await world.save("ada", change("2", {"g": "Comedy"}), session_id="s")
    await world.save("ada", creation("new", {"g": "Drama"}))
    await world.save("bob", change("3", {"g": "Drama"}), session_id="s")
    query = MergedQuery(COLLECTION, parse_filter(text), text)
    found, _, total = await walk(world, "ada", query, 2)
    assert {each.record.record_id for each in found} == STATES[text]
    assert total == len(STATES[text])
    assert all(each.modified_at is None or each.modified_at <= datetime.now(UTC) for each in found)
