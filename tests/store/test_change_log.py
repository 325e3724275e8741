"""The log as it is listed: it tells every write, exactly, in order, and to its own tenant alone."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from draftline_server.domain.changes import Change, PathChange
from draftline_server.domain.edits import Strategy
from draftline_server.domain.records import Delta, Patch
from draftline_server.store.change_log import changes
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement, load
from hypothesis import given
from hypothesis import strategies as st
from support.change_strategies import IDS, ran, relaxed
from support.tenant_changes import LoggedWorld, State, replayed, same_state, some_of_everything
from support.tenant_stores import COLLECTION, change


async def histories(world: LoggedWorld) -> dict[str, list[Change]]:
    return {record_id: await world.history(record_id) for record_id in IDS}


def plain(change: Change) -> Any:
    """A change without what no two runs share."""
    return replace(
        change, created_at=datetime.min, commit_id=bool(change.commit_id),
        paths=[(path.path, *map(_value, (path.old_value, path.new_value))) for path in change.paths],
    )  # fmt: skip


def _value(text: str | None) -> Any:
    return text if text is None else ("value", json.loads(text))


@relaxed
@given(data=st.data())
async def test_replayed_changes_give_the_record_at_every_version(database: Any, data: st.DataObject) -> None:
    in_place, replacing = (
        LoggedWorld(database, f"tenant-{uuid.uuid4()}", partial_updates=partial_updates)
        for partial_updates in (True, False)
    )
    seen = await ran(data, in_place, replacing)
    logged = await histories(in_place)
    for record_id, changes_of_record in logged.items():
        versions = [each.version for each in changes_of_record]
        assert versions == list(range(1, max(seen[record_id], default=0) + 1))
        state: State | None = None
        for each in changes_of_record:
            state = replayed(state, each)
            if each.version in seen[record_id]:  # a step may write twice
                assert same_state(state, seen[record_id][each.version]), each
        if state is not None:
            assert each.version in seen[record_id]
    # Fetched, merged and replaced, the same is logged.
    for record_id, changes_of_record in (await histories(replacing)).items():
        assert list(map(plain, changes_of_record)) == list(map(plain, logged[record_id]))


async def test_notices_of_drafts_and_changes_of_others_are_never_shown(world: LoggedWorld, database: Any) -> None:
    other = LoggedWorld(database, f"{world.tenant_id}x")
    for each in (world, other):
        await some_of_everything(each)
    mine, theirs = [await each.all() for each in (world, other)]
    assert len(mine) == len(theirs) == sum(row["version"] for row in await world.stored("record"))
    assert not {each.commit_id for each in mine if each.commit_id} & {each.commit_id for each in theirs}
    notices = [row for row in await world.stored("change") if row["kind"] == "DRAFT"]
    assert {row["source"] for row in notices} == {"SAVE_DRAFT", "DISCARD"}
    commit_id = next(each.commit_id for each in theirs if each.commit_id)
    assert await world.all(filter_text=f'commit_id = "{commit_id}"') == []
    # Nor are they where everything about them is named.
    assert await world.all(collection=COLLECTION, record_id="1", filter_text="user_id = ada AND version = 0") == []


async def test_changes_tell_who_wrote_them_and_why(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1}, user="ada")
    await world.save_all("bob", [change("1", {"a": 2})], session_id="s", reason="why")
    await world.commit("bob")
    created, committed = await world.history("1")
    assert (created.user_id, created.session_id, created.commit_id, created.change_reason) == ("ada", "", "", "")
    assert (committed.user_id, committed.session_id, committed.change_reason) == ("bob", "s", "why")
    assert uuid.UUID(committed.commit_id).version == 7
    record = await world.record("1")
    assert (created.created_at, committed.created_at) == (record.created_at, record.updated_at)


@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize("query", [{}, {"filter_text": "user_id = sys"}, {"collection": COLLECTION, "record_id": "1"}])
async def test_pages_hold_each_change_once_while_others_are_written(
    world: LoggedWorld, query: Any, oldest_first: bool
) -> None:
    await world.load({str(n): {} for n in range(5)})
    for n in range(10):
        await world.patch_all([Patch(COLLECTION, str(key), position=n) for key in range(5)])
    before = await world.all(oldest_first=oldest_first, **query)
    seen: list[Change] = []
    writes = 0
    async for page in world.pages(3, oldest_first=oldest_first, **query):
        seen += page
        if writes < 10:
            await world.patch("1", {"a": writes})
            writes += 1
    keys = [(each.collection, each.record_id, each.version) for each in seen]
    assert len(set(keys)) == len(keys)
    assert [each for each in seen if each in before] == before
    if oldest_first:  # what was written meanwhile comes last
        assert len(seen) > len(before)
        assert seen == (await world.all(oldest_first=True, **query))[: len(seen)]
    else:
        assert seen == before


@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize(
    "query",
    [
        {},
        {"filter_text": "version = 4"},
        {"filter_text": "user_id = nobody"},
        {"filter_text": "version > 2 AND version < 5", "collection": COLLECTION},
        {"filter_text": "version = 1", "collection": COLLECTION, "record_id": "1"},
    ],
)
async def test_pages_that_look_at_few_changes_hold_the_same_as_one_that_looks_at_all(
    world: LoggedWorld, monkeypatch: pytest.MonkeyPatch, query: Any, oldest_first: bool
) -> None:
    await world.load({str(n): {} for n in range(3)})
    for n in range(5):
        await world.patch_all([Patch(COLLECTION, str(key), position=n) for key in range(3)])
    await world.save("ada", change("1", {"a": 1}))
    expected = await world.all(oldest_first=oldest_first, **query)
    monkeypatch.setattr(changes, "MAX_SCANNED", 2)
    for search_s in (0.0, changes.MAX_SEARCH_S):
        monkeypatch.setattr(changes, "MAX_SEARCH_S", search_s)
        pages = [list(page) async for page in world.pages(3, oldest_first=oldest_first, **query)]
        assert [each for page in pages for each in page] == expected
        if search_s:
            assert all(pages[:-1])  # it looks on until it finds something


async def test_transaction_that_ends_late_puts_nobodys_page_out_of_order(
    world: LoggedWorld, database: Database
) -> None:
    """A page shows what is there; what commits later with an earlier number is listed where it belongs."""
    await world.create("1", {})
    async with database.transaction() as late:
        held = Statement("held", "SELECT draftline.log_xact()", ())
        await late.fetch(held, {})
        await world.create("2", {})
        first = await world.page(page_size=1)
        assert [each.record_id for each in first.changes] == ["2"]
        statement = load("content")["create_content"]
        await late.fetch(
            statement, {**CREATION, "tenant_id": world.tenant_id, "record_id": "late", "now": datetime.now(UTC)}
        )
    assert [each.record_id for each in await world.all()] == ["2", "late", "1"]
    rest = await world.page(page_size=10, token=first.next_page_token)
    assert [each.record_id for each in rest.changes] == ["late", "1"]


CREATION = {
    "makes_id": False,
    "collection": COLLECTION, "content": "{}", "parent_id": None, "position": None, "user_id": "sys",
    "change_reason": "", "request_id": None, "fingerprint": None, "definition_version": 0,
    "max_bytes": 100, "max_depth": 9, "max_indexed_text_bytes": 9,
}  # fmt: skip


async def test_page_ends_at_its_bytes(world: LoggedWorld) -> None:
    text = "x" * 1_000_000
    await world.load({str(n): {"t": text} for n in range(7)})
    for place in range(3):
        await world.patch("1", {"t": f"{place}{text}"})
    pages = [list(page) async for page in world.pages(1000, oldest_first=True)]
    assert [len(page) for page in pages] == [4, 3, 2, 1]
    assert [each for page in pages for each in page] == await world.all(oldest_first=True)
    assert [len(page) async for page in world.pages(1000, omit_values=True)] == [10]


async def test_change_of_paths_without_end_is_told_by_its_fields(world: LoggedWorld) -> None:
    """Long keys make the paths below them long: together far longer than the content that they lead to."""
    long = {"k" * 20_000: {str(n): 0 for n in range(1000)}}
    await world.create("1", {"a": 1, "b": {"x": long}})
    changed = {"k" * 20_000: {str(n): 1 for n in range(1000)}}
    await world.patch("1", {"a": 2, "b": {"x": changed}})
    told = (await world.history("1"))[1]
    assert told.values_omitted
    assert told.paths == [PathChange("/a", None, None), PathChange("/b", None, None)]
    await world.revert_version("1", 2)
    assert json.loads((await world.record("1")).content) == {"a": 1, "b": {"x": long}}


async def test_values_that_were_not_kept_are_omitted_with_what_takes_them_to_tell(world: LoggedWorld) -> None:
    await world.create("1", {"a": {"b": 1}, "c": 1})
    await world.keep_paths_only()
    await world.patch("1", {"a": {"b": 2, "d": 3}})
    await world.patch("1", {"c": None}, Strategy.MERGE_PATCH)
    await world.load({"1": {"e": 1}, "2": {"x": 1}})
    await world.delete("1")
    created, patched, removed, imported, deleted = await world.history("1")
    assert (created.paths, created.values_omitted) == ([PathChange("", None, None)], True)
    assert (patched.paths, patched.values_omitted) == (
        [PathChange("/a/b", None, None), PathChange("/a/d", None, None)],
        True,
    )
    assert [path.path for path in removed.paths] == ["/c"]
    assert [path.path for path in imported.paths] == ["/a", "/e"]
    assert removed.values_omitted
    assert imported.values_omitted
    assert (deleted.paths, deleted.values_omitted) == ([], False)
    (other,) = await world.history("2")
    assert (other.paths, other.values_omitted) == ([PathChange("", None, '{"x": 1}')], False)


async def test_values_are_left_out_if_they_are_not_asked_for(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1})
    await world.patch("1", {"a": {"b": [1]}, "c": 1})
    await world.delete("1")
    told = await world.all(oldest_first=True, omit_values=True)
    assert [([tuple_of(path) for path in each.paths], each.values_omitted) for each in told] == [
        ([("", None, None)], True), ([("/a", None, None), ("/c", None, None)], True), ([], False)
    ]  # fmt: skip


def tuple_of(path: PathChange) -> tuple[str, str | None, str | None]:
    return path.path, path.old_value, path.new_value


async def test_values_are_exact_and_paths_in_code_point_order(world: LoggedWorld) -> None:
    await world.create("1", {"~/": None, "b": {"\uffff": 1, "\U0001f600": 1}, "gone": "x"})
    await world.patch_all([Patch(COLLECTION, "1", Delta(
        '{"~/": 1.10, "b": {"\\uffff": 12345678901234567890.0, "\\ud83d\\ude00": {"x": "é"}, "": null}, "gone": null}',
        Strategy.MERGE_PATCH,
    ))])  # fmt: skip
    changed = (await world.history("1"))[1]
    assert [tuple_of(path) for path in changed.paths] == [
        ("/b/\uffff", "1", "12345678901234567890.0"),
        ("/b/\U0001f600", "1", '{"x": "é"}'),
        ("/gone", '"x"', None),
        ("/~0~1", "null", "1.10"),
    ]
