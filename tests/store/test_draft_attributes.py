"""Drafts of parents and positions: based, merged, in conflict and committed as values are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from draftline_server.domain.changes import ChangeKind, ChangeSource
from draftline_server.domain.drafts import ConflictKind, ConflictPolicy, DraftKind
from draftline_server.domain.edits import Operation
from draftline_server.domain.errors import (
    ConflictError,
    RecordDeletedError,
    RecordExistsError,
    SchemaViolationError,
)
from draftline_server.domain.filters.ast import Field, SortKey
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.merged import MergedQuery, View
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, change, creation, deletion, moving, operate

REJECT, KEEP_MINE, KEEP_THEIRS = ConflictPolicy


async def attributes(world: LoggedWorld, record_id: str = "1") -> tuple[str | None, int | None]:
    record = await world.record(record_id)
    return record.parent_id, record.position


def told(conflicts: Any) -> list[tuple[Any, ...]]:
    return [(each.kind, each.path, each.base, each.mine, each.theirs, each.version) for each in conflicts]


async def test_attributes_are_drafted_merged_and_committed(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1}, parent_id="p", position=1)
    saved = await world.save("ada", moving("1", parent_id="q", position=5))
    assert saved is not None
    assert (saved.record.parent_id, saved.record.position) == ("q", 5)
    assert (list(saved.modified_attributes), list(saved.modified_fields)) == (["parent_id", "position"], [])
    assert await attributes(world) == ("p", 1)
    (result,) = await world.commit("ada")
    assert result.record == await world.record("1")
    assert (list(result.changed_attributes), list(result.changed_fields)) == (["parent_id", "position"], [])
    assert await attributes(world) == ("q", 5)
    logged = (await world.history("1"))[-1]
    assert (logged.kind, logged.source, logged.paths) == (ChangeKind.UPDATE, ChangeSource.COMMIT, [])
    assert [(each.name, each.old_value, each.new_value) for each in logged.attributes] == [
        ("parent_id", '"p"', '"q"'), ("position", "1", "5")
    ]  # fmt: skip
    await world.revert_version("1", 2)
    assert await attributes(world) == ("p", 1)


async def test_attributes_are_cleared_composed_and_drafted_no_more(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1}, parent_id="p", position=1)
    await world.save("ada", moving("1", edit={"a": 2}, parent_id=None))
    saved = await world.save("ada", moving("1", position=None))
    assert saved is not None
    assert (saved.record.parent_id, saved.record.position, json.loads(saved.record.content)) == (None, None, {"a": 2})
    saved = await world.save("ada", moving("1", parent_id="p"))
    assert saved is not None
    assert (saved.record.parent_id, list(saved.modified_attributes)) == ("p", ["position"])
    (dropped,) = await world.discard("ada", validate_only=True)
    assert (dropped.record.position, list(dropped.modified_attributes)) == (None, ["position"])
    await world.commit("ada")
    assert await attributes(world) == ("p", None)


async def test_replacing_save_and_deletion_forget_the_attributes(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1}, parent_id="p")
    await world.save("ada", moving("1", parent_id="q"))
    saved = await world.save("ada", change("1", {"a": 2}, replace=True))
    assert saved is not None
    assert (saved.record.parent_id, list(saved.modified_attributes)) == ("p", [])
    await world.save("ada", moving("1", parent_id="q"))
    saved = await world.save("ada", deletion("1"))
    assert saved is not None
    assert (saved.record.parent_id, list(saved.modified_attributes)) == ("p", [])


async def test_others_changes_of_attributes_show_in_the_draft_unless_it_sets_them(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1}, parent_id="p", position=1)
    await world.save("ada", moving("1", parent_id="q"))
    await world.move("1", "r", 7)
    page = await world.merged.page(world.actor("ada"), MergedQuery(COLLECTION), 10, "")
    (merged,) = page.records
    assert (merged.record.parent_id, merged.record.position) == ("q", 7)
    assert told(merged.conflicts) == [(ConflictKind.VALUE, "record.parent_id", '"p"', '"q"', '"r"', 2)]


@pytest.mark.parametrize("validate_only", [True, False])
@pytest.mark.parametrize("policy", list(ConflictPolicy))
async def test_attribute_in_conflict_is_settled_by_the_policy(
    world: LoggedWorld, policy: ConflictPolicy, validate_only: bool
) -> None:
    await world.create("1", {"a": 1}, parent_id="p", position=1)
    await world.save("ada", moving("1", edit={"a": 2}, parent_id="q", position=5))
    await world.move("1", "r")
    (result,) = await world.commit("ada", policy=policy, validate_only=validate_only, allow_partial=True)
    assert told(result.conflicts) == [(ConflictKind.VALUE, "record.parent_id", '"p"', '"q"', '"r"', 2)]
    if policy is REJECT:
        assert isinstance(result.error, ConflictError)
        with pytest.raises(ConflictError):
            await world.commit("ada", validate_only=validate_only)
    else:
        assert result.record is not None
        parent_id = "q" if policy is KEEP_MINE else "r"
        assert (result.record.parent_id, result.record.position) == (parent_id, 5)
        assert json.loads(result.record.content) == {"a": 2}
        assert list(result.changed_attributes) == (["parent_id", "position"] if policy is KEEP_MINE else ["position"])
    is_written = policy is not REJECT and not validate_only
    assert (await world.record("1")).version == 2 + is_written


async def test_attribute_that_both_set_alike_is_in_no_conflict(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1}, parent_id="p")
    await world.save("ada", moving("1", parent_id="q"))
    await world.move("1", "q", 3)
    (result,) = await world.commit("ada")
    assert (list(result.conflicts), list(result.changed_attributes)) == ([], [])
    assert (await world.record("1")).version == 2


async def test_value_set_back_to_its_base_while_another_changed_it_is_an_edit(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1}, position=1)
    await world.save("ada", moving("1", position=2))
    await world.move("1", position=3)
    saved = await world.save("ada", moving("1", position=1))
    assert saved is not None
    assert saved.record.position == 1
    assert told(saved.conflicts) == [(ConflictKind.VALUE, "record.position", "1", "1", "3", 2)]
    await world.commit("ada", policy=KEEP_MINE)
    assert await attributes(world) == (None, 1)


async def test_save_for_the_current_version_is_based_on_it(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1, "b": 1, "o": {"x": 1}}, position=1)
    await world.save("ada", moving("1", edit={"a": 2, "b": 2, "o": {"x": 2}}, position=2))
    await world.patch("1", {"a": 3, "b": 3, "o": {"x": 3}})
    await world.move("1", position=3)
    saved = await world.save("ada", moving("1", edit={"a": 4, "o": {"x": 4}}, position=4, base_version=3))
    assert saved is not None
    assert told(saved.conflicts) == [(ConflictKind.VALUE, "/b", "1", "2", "3", 3)]
    saved = await world.save("ada", change("1", {"b": 2}, base_version=3))
    assert saved is not None
    assert list(saved.conflicts) == []
    await world.commit("ada")
    assert json.loads((await world.record("1")).content) == {"a": 4, "b": 2, "o": {"x": 4}}
    assert await attributes(world) == (None, 4)


async def test_creation_saved_for_the_version_that_came_meanwhile_changes_it(world: LoggedWorld) -> None:
    await world.save("ada", creation("1", {"a": 1}))
    await world.create("1", {"a": 2, "b": 2})
    saved = await world.save("ada", change("1", {"a": 3}, base_version=1))
    assert saved is not None
    assert (saved.draft_kind, list(saved.conflicts)) == (DraftKind.CHANGE, [])
    await world.commit("ada")
    assert json.loads((await world.record("1")).content) == {"a": 3}


async def test_deletion_saved_for_the_current_version_is_in_no_conflict(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1}, parent_id="p")
    await world.save("ada", deletion("1"))
    await world.patch("1", {"a": 2})
    await world.move("1", "q")
    saved = await world.save("ada", deletion("1"))
    assert saved is not None
    assert [(each.kind, each.path) for each in saved.conflicts] == [
        (ConflictKind.CHANGED, ""), (ConflictKind.CHANGED, "record.parent_id")
    ]  # fmt: skip
    saved = await world.save("ada", deletion("1", base_version=3))
    assert saved is not None
    assert list(saved.conflicts) == []
    await world.commit("ada")
    assert (await world.record("1")).deleted_at is not None


@pytest.mark.parametrize("policy", list(ConflictPolicy))
async def test_deletion_of_a_record_that_was_moved_is_in_conflict(world: LoggedWorld, policy: ConflictPolicy) -> None:
    await world.create("1", {"a": 1}, parent_id="p")
    await world.save("ada", deletion("1"))
    await world.move("1", "q")
    (result,) = await world.commit("ada", policy=policy, allow_partial=True)
    assert told(result.conflicts) == [(ConflictKind.CHANGED, "record.parent_id", '"p"', None, '"q"', 2)]
    assert ((await world.record("1")).deleted_at is not None) == (policy is KEEP_MINE)


async def test_creation_has_its_attributes(world: LoggedWorld) -> None:
    edit = creation("1", {"a": 1}, attributes={"parent_id": "p", "position": 4})
    saved = await world.save("ada", edit)
    assert saved is not None
    assert (saved.record.parent_id, saved.record.position) == ("p", 4)
    assert list(saved.modified_attributes) == ["parent_id", "position"]
    (result,) = await world.commit("ada")
    assert list(result.changed_attributes) == ["parent_id", "position"]
    assert await attributes(world) == ("p", 4)
    (logged,) = await world.history("1")
    assert [each.name for each in logged.attributes] == ["parent_id", "position"]


@pytest.mark.parametrize("policy", [KEEP_MINE, KEEP_THEIRS])
async def test_creation_of_a_record_that_exists_by_now_conflicts_in_its_attributes(
    world: LoggedWorld, policy: ConflictPolicy
) -> None:
    await world.save("ada", creation("1", {"a": 1}, attributes={"parent_id": "p"}))
    await world.create("1", {"a": 1}, parent_id="q")
    with pytest.raises(ConflictError) as rejected:
        await world.commit("ada")
    assert told(rejected.value.conflicts) == [(ConflictKind.CREATED, "record.parent_id", None, '"p"', '"q"', 1)]
    await world.commit("ada", policy=policy)
    assert await attributes(world) == ("p" if policy is KEEP_MINE else "q", None)


ORDER = (SortKey(Field(("position",), of_record=True)),)
SHELF = MergedQuery(
    COLLECTION, parse_filter('record.parent_id = "p"'), "f", order=ORDER, order_text="record.position"
)  # fmt: skip


async def test_lists_filter_and_sort_by_the_drafted_attributes_page_by_page(world: LoggedWorld) -> None:
    for place, record_id in enumerate("abcd"):
        await world.create(record_id, {}, parent_id="p" if record_id != "d" else "q", position=place)
    await world.save_all(
        "ada", [moving("a", position=9), moving("c", parent_id="q"), moving("d", parent_id="p", position=-1)]
    )
    for user, expected in (("ada", ["d", "b", "a"]), ("bob", ["a", "b", "c"])):
        found, token = [], ""
        while True:
            page = await world.merged.page(world.actor(user), SHELF, 1, token, include_total_size=True)
            found += [each.record.record_id for each in page.records]
            assert page.total_size == 3
            token = page.next_page_token
            if not token:
                break
        assert found == expected


async def gone(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1, "b": 1}, parent_id="p", position=1)
    await world.delete("1")


REVIVALS: dict[str, tuple[Any, dict[str, Any], tuple[Any, Any]]] = {
    "creation": (creation("1", {"a": 2}, allow_deleted=True), {"a": 2}, (None, None)),
    "creation with attributes": (
        creation("1", {"a": 2}, allow_deleted=True, attributes={"position": 3}), {"a": 2}, (None, 3)
    ),
    "change": (change("1", {"a": 2}, allow_deleted=True), {"a": 2, "b": 1}, ("p", 1)),
    "nothing changed": (change("1", {}, allow_deleted=True), {"a": 1, "b": 1}, ("p", 1)),
    "attributes": (moving("1", position=2, allow_deleted=True), {"a": 1, "b": 1}, ("p", 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REVIVALS))
async def test_draft_brings_a_deleted_record_back(world: LoggedWorld, name: str) -> None:
    edit, content, kept = REVIVALS[name]
    await gone(world)
    saved = await world.save("ada", edit)
    assert saved is not None
    assert (saved.draft_kind, saved.record.version, saved.record.deleted_at) == (DraftKind.CREATE, 2, None)
    page = await world.merged.page(world.actor("ada"), MergedQuery(COLLECTION), 10, "")
    (merged,) = page.records
    assert (json.loads(merged.record.content), list(merged.conflicts)) == (content, [])
    assert ((merged.record.parent_id, merged.record.position), merged.record.deleted_at) == (kept, None)
    assert (await world.merged.page(world.actor("bob"), MergedQuery(COLLECTION), 10, "")).records == []
    (result,) = await world.commit("ada")
    record = await world.record("1")
    assert result.record == record
    assert (json.loads(record.content), record.version, record.deleted_at) == (content, 3, None)
    assert (record.parent_id, record.position) == kept
    history = await world.history("1")
    assert [each.kind for each in history] == [ChangeKind.CREATE, ChangeKind.DELETE, ChangeKind.UNDELETE]
    assert await world.differences() == []


async def test_deleted_record_is_brought_back_only_when_that_is_allowed(world: LoggedWorld) -> None:
    await gone(world)
    for edit in (creation("1", {}), change("1", {"a": 2}), moving("1", position=2), deletion("1")):
        with pytest.raises(RecordDeletedError):
            await world.save("ada", edit)
    await world.undelete("1")
    with pytest.raises(RecordExistsError):
        await world.save("ada", creation("1", {}, allow_deleted=True))
    saved = await world.save("ada", change("1", {"a": 2}, allow_deleted=True))
    assert saved is not None
    assert saved.draft_kind is DraftKind.CHANGE


@pytest.mark.parametrize("policy", list(ConflictPolicy))
async def test_record_that_came_back_meanwhile_is_in_conflict_with_its_drafted_creation(
    world: LoggedWorld, policy: ConflictPolicy
) -> None:
    await gone(world)
    await world.save("ada", creation("1", {"a": 2}, allow_deleted=True, attributes={"parent_id": "q"}))
    await world.undelete("1")
    (result,) = await world.commit("ada", policy=policy, allow_partial=True)
    assert [(each.kind, each.path, each.version) for each in result.conflicts] == [
        (ConflictKind.CREATED, "", 3), (ConflictKind.CREATED, "record.parent_id", 3)
    ]  # fmt: skip
    record = await world.record("1")
    mine = policy is KEEP_MINE
    assert (json.loads(record.content), record.parent_id) == (({"a": 2}, "q") if mine else ({"a": 1, "b": 1}, "p"))


async def test_creation_whose_record_was_created_and_deleted_meanwhile_goes_through(world: LoggedWorld) -> None:
    await world.save("ada", creation("1", {"a": 1}))
    await world.create("1", {"b": 1}, parent_id="p")
    await world.delete("1")
    view = MergedQuery(COLLECTION, view=View.DRAFTS_ONLY)
    (merged,) = (await world.merged.page(world.actor("ada"), view, 10, "")).records
    assert list(merged.conflicts) == []
    (result,) = await world.commit("ada", policy=KEEP_THEIRS)
    assert list(result.conflicts) == []
    record = await world.record("1")
    assert (json.loads(record.content), record.version, record.parent_id) == ({"a": 1}, 3, None)


async def test_record_that_is_brought_back_is_held_to_the_schema(world: LoggedWorld) -> None:
    await gone(world)
    await world.declare('{"properties": {"a": {"maximum": 0}}}')
    await world.save("ada", change("1", {}, allow_deleted=True))
    with pytest.raises(SchemaViolationError):
        await world.commit("ada")
    assert (await world.record("1")).deleted_at is not None


async def test_transform_saved_for_the_current_version_is_in_no_conflict(world: LoggedWorld) -> None:
    await world.create("1", {"n": 1, "o": {"l": [1]}})
    steps = Operation("increment", ("n",), value=1), Operation("union", ("o", "l"), value=[2])
    await world.save("ada", operate("1", *steps))
    await world.load({"1": {"n": 10}})
    saved = await world.save("ada", operate("1", steps[0], base_version=2))
    assert saved is not None
    assert [each.path for each in saved.conflicts] == ["/o"]
    saved = await world.save("ada", operate("1", Operation("remove", ("o",)), base_version=2))
    assert saved is not None
    assert list(saved.conflicts) == []
    await world.commit("ada")
    assert json.loads((await world.record("1")).content) == {"n": 12}


async def test_committed_return_of_a_record_is_taken_back_whole(world: LoggedWorld) -> None:
    await gone(world)
    await world.save("ada", creation("1", {"a": 2}, allow_deleted=True, attributes={"position": 3}))
    await world.commit("ada")
    result = await world.revert_version("1", 3)
    assert (result.error, list(result.conflicts)) == (None, [])
    record = await world.record("1")
    assert (json.loads(record.content), record.parent_id, record.position) == ({"a": 1, "b": 1}, "p", 1)
    assert record.deleted_at is not None
