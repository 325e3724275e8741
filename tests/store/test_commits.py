"""Commits and discards: what is selected, what is written, and what becomes of others' drafts."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from draftline_server.domain import drafts as drafts_domain
from draftline_server.domain.content import Limits
from draftline_server.domain.drafts import DraftKind, Selection
from draftline_server.domain.errors import (
    DocumentTooLargeError,
    DraftNotFoundError,
    DraftVersionMismatchError,
    IndexedTextTooLongError,
    SchemaViolationError,
    SelectionTooLargeError,
)
from draftline_server.store import drafts as drafts_store
from draftline_server.store.statements import Statement
from support.tenant_stores import World, change, creation, deletion, of_records

LATER = Statement(
    "later",
    "UPDATE draftline.draft SET updated_at = updated_at + $2::interval WHERE tenant_id = $1",
    ("tenant_id", "ahead"),
)


async def three_drafts(world: World) -> None:
    """A change and a deletion of session s, a creation of session t."""
    await world.create("1", {"a": 1})
    await world.create("2", {"b": 1})
    await world.save_all("ada", [change("1", {"a": 2}), deletion("2")], session_id="s")
    await world.save_all("ada", [creation("3", {"c": 1})], session_id="t", reason="why")


async def contents(world: World) -> dict[str, Any]:
    """The live records."""
    return {row["record_id"]: row["content"] for row in await world.stored("record") if row["deleted_at"] is None}


async def test_commit_writes_changes_creations_and_deletions(world: World) -> None:
    await three_drafts(world)
    results = await world.commit("ada")
    assert await contents(world) == {"1": {"a": 2}, "3": {"c": 1}}
    assert [(each.record_id, list(each.changed_fields), each.record and each.record.version) for each in results] == [
        ("1", ["a"], 2), ("2", [], 2), ("3", ["c"], 1)
    ]  # fmt: skip
    for each in results:
        assert each.record == await world.record(each.record_id)
        assert each.record.updated_by == "ada"
    assert await world.stored("draft") == []


async def test_commit_of_what_changes_nothing_writes_nothing(world: World) -> None:
    await world.create("1", {"a": 1})
    await world.save("ada", change("1", {"a": 1}))
    before = await world.stored("record")
    (result,) = await world.commit("ada")
    assert (list(result.changed_fields), result.record and result.record.version) == ([], 1)
    assert (await world.stored("record"), await world.stored("draft")) == (before, [])


async def test_committed_creation_of_a_record_that_was_deleted_again_is_a_way_out(world: World) -> None:
    await world.save("ada", creation("1", {"a": 1}))
    await world.create("1", {"a": 1})
    await world.delete("1")
    (result,) = await world.commit("ada", policy=drafts_domain.ConflictPolicy.KEEP_MINE)
    assert result.record is not None
    assert (result.record.deleted_at, result.record.version) == (None, 3)


SELECTIONS: dict[str, tuple[Selection, list[str]]] = {
    "all": (Selection(), ["1", "2", "3"]),
    "a session": (Selection(session_id="s"), ["1", "2"]),
    "no session": (Selection(session_id="none"), []),
    "records": (of_records("3", "1"), ["1", "3"]),
    "records at their versions": (Selection({"1": 1, "2": None}), ["1", "2"]),
}


@pytest.mark.parametrize("name", list(SELECTIONS))
@pytest.mark.parametrize("action", ["commit", "discard"])
async def test_selection_takes_the_drafts_that_it_names(world: World, action: str, name: str) -> None:
    selection, expected = SELECTIONS[name]
    await three_drafts(world)
    await world.save("bob", change("1", {"b": 1}), session_id="s")
    taken = await (world.commit if action == "commit" else world.discard)("ada", selection)
    record_ids = [each.record_id if action == "commit" else each.record.record_id for each in taken]
    assert record_ids == expected
    left = [row["record_id"] for row in await world.stored("draft") if row["user_id"] == "ada"]
    assert left == [record_id for record_id in ("1", "2", "3") if record_id not in expected]
    assert await world.draft("bob", "1") is not None


REFUSED: dict[str, tuple[Selection, Any]] = {
    "a draft that is not there": (of_records("1", "4"), DraftNotFoundError),
    "another user's draft": (of_records("1", "5"), DraftNotFoundError),
    "a stale version": (Selection({"1": 1, "2": 2}), DraftVersionMismatchError),
}


@pytest.mark.parametrize("name", list(REFUSED))
@pytest.mark.parametrize("action", ["commit", "discard"])
async def test_selection_that_does_not_hold_changes_nothing(world: World, action: str, name: str) -> None:
    selection, error = REFUSED[name]
    await three_drafts(world)
    await world.save("bob", creation("5", {}))
    before = await world.stored("record"), await world.stored("draft")
    with pytest.raises(error):
        await (world.commit if action == "commit" else world.discard)("ada", selection)
    assert (await world.stored("record"), await world.stored("draft")) == before


@pytest.mark.parametrize("action", ["commit", "discard"])
async def test_selection_that_is_too_large_is_refused(
    world: World, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three_drafts(world)
    take = world.commit if action == "commit" else world.discard
    monkeypatch.setattr(drafts_store, "MAX_SELECTED", 2)
    with pytest.raises(SelectionTooLargeError) as refused:
        await take("ada")
    assert refused.value.metadata == {"limit": "2"}
    assert len(await world.stored("draft")) == 3
    assert len(await take("ada", Selection(session_id="s"))) == 2


async def test_others_drafts_show_the_commit_and_keep_their_base(world: World) -> None:
    await world.create("1", {"a": 1, "b": 1})
    await world.save("ada", change("1", {"a": 2, "c": 2}))
    await world.save("bob", change("1", {"b": 5}))
    await world.save("cleo", deletion("1"))
    before = {user: await world.draft(user, "1") for user in ("bob", "cleo")}
    await world.commit("ada")
    for user, merged in (("bob", {"a": 2, "b": 5, "c": 2}), ("cleo", {"a": 2, "b": 1, "c": 2})):
        assert await world.draft(user, "1") == {**before[user], "merged": merged}
    assert await world.differences() == []


async def test_commit_that_revives_a_record_shows_in_others_drafts(world: World) -> None:
    await world.create("1", {"a": 1, "b": 1})
    for user, key in (("ada", "a"), ("bob", "b")):
        await world.save(user, change("1", {key: 2}))
    await world.delete("1")
    await world.commit("ada", policy=drafts_domain.ConflictPolicy.KEEP_MINE)
    (result,) = await world.commit("bob")
    assert result.record is not None
    assert json.loads(result.record.content) == {"a": 2, "b": 2}


async def test_commit_is_held_to_the_schema(world: World) -> None:
    await three_drafts(world)
    await world.declare('{"properties": {"a": {"maximum": 1}}}')
    before = await world.stored("record"), await world.stored("draft")
    with pytest.raises(SchemaViolationError):
        await world.commit("ada")
    assert (await world.stored("record"), await world.stored("draft")) == before
    results = await world.commit("ada", allow_partial=True)
    assert [type(each.error) for each in results] == [SchemaViolationError, type(None), type(None)]
    assert await contents(world) == {"1": {"a": 1}, "3": {"c": 1}}
    assert [row["record_id"] for row in await world.stored("draft")] == ["1"]


async def test_commit_is_held_to_the_limits(database: Any, tenant_id: str) -> None:
    world = World(database, tenant_id, Limits(max_bytes=100))
    await world.create("1", {})
    await world.save("ada", change("1", {"mine": "x" * 60}))
    await world.patch("1", {"theirs": "y" * 60})
    with pytest.raises(DocumentTooLargeError):
        await world.commit("ada")
    assert await contents(world) == {"1": {"theirs": "y" * 60}}
    assert len(await world.stored("draft")) == 1


async def test_deletion_is_not_held_to_the_limits_of_what_it_deletes(database: Any, tenant_id: str) -> None:
    await World(database, tenant_id).create("1", {"a": {"b": {"c": {}}}})
    shallow = World(database, tenant_id, Limits(max_depth=2))
    await shallow.save("ada", deletion("1"))
    await shallow.commit("ada")
    assert await contents(shallow) == {}


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(hours=1)])
async def test_commit_is_held_to_the_length_of_indexed_texts(world: World, ahead: timedelta) -> None:
    """Whatever the clock says of the server that saved the draft."""
    await world.create("1", {"a": 1})
    await world.save("ada", change("1", {"t": "x" * 801}))
    await world.database.fetch(LATER, {"tenant_id": world.tenant_id, "ahead": ahead})
    await world.declare("", fields='[{"path": ["t"], "type": "TEXT"}]', indexed_text='[["t"]]')
    with pytest.raises(IndexedTextTooLongError):
        await world.commit("ada")
    await world.save("ada", change("1", {"t": "x" * 800}))
    await world.commit("ada")


@pytest.mark.parametrize("validate_only", [True, False])
async def test_discard_answers_what_the_drafts_were(world: World, validate_only: bool) -> None:
    await three_drafts(world)
    before = await world.stored("draft")
    dropped = await world.discard("ada", validate_only=validate_only)
    told = [
        (each.record.record_id, json.loads(each.record.content), each.record.version, each.draft_kind,
         each.draft_version, list(each.modified_fields), each.session_id, each.change_reason, each.modified_by)
        for each in dropped
    ]  # fmt: skip
    assert told == [
        ("1", {"a": 2}, 1, DraftKind.CHANGE, 1, ["a"], "s", "", "ada"),
        ("2", {"b": 1}, 1, DraftKind.DELETE, 1, ["b"], "s", "", "ada"),
        ("3", {"c": 1}, 0, DraftKind.CREATE, 1, ["c"], "t", "why", "ada"),
    ]
    assert await world.stored("draft") == (before if validate_only else [])
    assert await contents(world) == {"1": {"a": 1}, "2": {"b": 1}}
