"""Merged lists are exact: walked page by page, they are what merging, filtering and sorting everything would give."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from draftline_server.domain.drafts import ChangeByDelta, DraftEdit
from draftline_server.domain.filters.ast import Field, SortKey
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.merged import MergedQuery
from draftline_server.store.database import Database
from hypothesis import given, settings
from hypothesis import strategies as st
from support.edit_strategies import decode
from support.filter_strategies import CORPUS, DECLARED
from support.merged_lists import (
    FIELDS,
    assert_exact,
    drafts,
    ids,
    insert,
    many,
    queries,
    save_some,
    stored_records,
    walk,
)
from support.soak_scale import examples
from support.tenant_stores import COLLECTION, World, change, creation, deletion


@many
@given(
    records=st.dictionaries(ids, stored_records, max_size=7),
    saved=st.lists(
        st.tuples(st.sampled_from(["ada", "bob"]), st.lists(drafts(), max_size=4), st.sampled_from(["", "s"])),
        max_size=3,
    ),
    deleted=st.lists(ids, max_size=2, unique=True),
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
