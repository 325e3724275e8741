"""Random records, drafts and queries for tests of merged lists, and the comparison of a list with its oracle."""

from __future__ import annotations

import json
from typing import Any

from draftline_server.domain.content import equal
from draftline_server.domain.drafts import ChangeByDelta, Creation, DraftEdit, MergedRecord, edit_of_delta
from draftline_server.domain.edits import Strategy
from draftline_server.domain.filters.ast import MERGED_ATTRIBUTES, Field, SortKey
from draftline_server.domain.merged import MergedQuery, View
from draftline_server.store.statements import Statement
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from .edit_strategies import decode
from .filter_strategies import DECLARED, contents, filters, render
from .merged_oracle import merged_list
from .soak_scale import examples
from .tenant_stores import COLLECTION, World, deletion

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
ids = st.sampled_from(IDS)
stored_records = st.fixed_dictionaries(
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
        draw(st.just(()) | st.lists(ids, min_size=1, max_size=5, unique=True).map(tuple)),
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
    record_id = draw(ids)
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
