"""Changes taken back: one or a commit's, as they were before, and only as far as nobody changed them since."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from draftline_server.domain.changes import Change, ChangeKind, ChangeSource
from draftline_server.domain.content import equal
from draftline_server.domain.drafts import ConflictKind, ConflictPolicy
from draftline_server.domain.edits import MISSING, format_pointer, parse_pointer
from draftline_server.domain.errors import ConflictError
from draftline_server.domain.records import Patch
from hypothesis import given
from hypothesis import strategies as st
from support.change_strategies import IDS, ran, relaxed
from support.tenant_changes import (
    LoggedWorld,
    State,
    conflicts_told,
    content_of,
    create_and_patch,
    exact,
    replayed,
    same_state,
)
from support.tenant_stores import COLLECTION

REJECT, KEEP_MINE, KEEP_THEIRS = ConflictPolicy


@relaxed
@given(data=st.data())
async def test_changes_reverted_from_the_newest_on_give_back_what_was_before_each(
    database: Any, data: st.DataObject
) -> None:
    world = LoggedWorld(database, f"tenant-{uuid.uuid4()}")
    await ran(data, world)
    for record_id in IDS:
        states: list[State] = []
        for each in await world.history(record_id):
            states.append(replayed(states[-1] if states else None, each))
        for version in range(len(states), 1, -1):
            result = await world.revert_version(record_id, version)
            assert (result.error, list(result.conflicts), result.written) == (None, [], True)
            assert same_state((await world.states())[record_id], states[version - 2])
        if states:
            await world.revert_version(record_id, 1)
            assert (await world.states())[record_id][1]
        # The reverts are in the log as well, and it still tells the truth.
        state: State | None = None
        for each in await world.history(record_id):
            state = replayed(state, each)
        if state is not None:
            assert same_state(state, (await world.states())[record_id])
    assert await world.differences() == []


def at(content: Any, tokens: Sequence[str]) -> tuple[Any, int]:
    """The value at a path, and how many of its tokens lead through objects; MISSING where nothing is."""
    for place, token in enumerate(tokens):
        if not isinstance(content, dict):
            return MISSING, place
        content = content.get(token, MISSING)
    return content, len(tokens)


def same(one: Any, other: Any) -> bool:
    return one is other if MISSING in (one, other) else equal(one, other)


def put(content: Any, tokens: Sequence[str], value: Any) -> None:
    """Sets or removes what is at a path. Objects are made on the way to a value, never on the way to none."""
    *above, last = tokens
    for token in above:
        if not isinstance(content.get(token, MISSING), dict):
            if value is MISSING:
                return
            content[token] = {}
        content = content[token]
    if value is MISSING:
        content.pop(last, None)
    else:
        content[last] = value


def taken_back(change: Change, content: Any, policy: ConflictPolicy) -> tuple[Any, set[str]]:
    """Return the content after the update is reverted, and the paths in conflict."""
    left, conflicts = copy.deepcopy(content), set()
    for path in change.paths:
        tokens = parse_pointer(path.path, "path")
        theirs, reached = at(content, tokens)
        was, before = exact(path.new_value), exact(path.old_value)
        if reached < len(tokens):  # nothing, or something else, is where an object was
            if before is not MISSING:
                conflicts.add(format_pointer(tokens[:reached]))
        elif not same(theirs, was) and not same(theirs, before):
            conflicts.add(path.path)
        elif policy is KEEP_THEIRS:
            put(left, tokens, before)
        if policy is not KEEP_THEIRS:
            put(left, tokens, before)
    return left, conflicts


def attributes_taken_back(change: Change, theirs: Sequence[Any], policy: ConflictPolicy) -> tuple[list[Any], set[str]]:
    """The same of the parent and the position."""
    left, conflicts = list(theirs), set()
    for each in change.attributes:
        index = ("parent_id", "position").index(each.name)
        before, after = (None if value is None else json.loads(value) for value in (each.old_value, each.new_value))
        is_conflict = theirs[index] not in (before, after)
        if is_conflict:
            conflicts.add(f"record.{each.name}")
        if not (is_conflict and policy is KEEP_THEIRS):
            left[index] = before
    return left, conflicts


@relaxed
@given(data=st.data())
async def test_any_update_is_taken_back_as_an_oracle_has_it(database: Any, data: st.DataObject) -> None:
    world = LoggedWorld(database, f"tenant-{uuid.uuid4()}")
    await ran(data, world)
    records = await world.states()
    for record_id in IDS:
        updates = [each for each in await world.history(record_id) if each.kind is ChangeKind.UPDATE]
        if record_id not in records or records[record_id][1]:
            continue
        for each in updates[-6:]:
            for policy in ConflictPolicy:
                left, paths = taken_back(each, records[record_id][0], policy)
                attributes, own_paths = attributes_taken_back(each, records[record_id][2:], policy)
                paths |= own_paths
                result = await world.revert_version(
                    record_id, each.version, policy, validate_only=True, allow_partial=True
                )
                assert {conflict.path for conflict in result.conflicts} == paths
                assert isinstance(result.error, ConflictError) == (policy is REJECT and bool(paths))
                if result.error is None:
                    assert result.record is not None
                    assert equal(exact(result.record.content), left)
                    assert [result.record.parent_id, result.record.position] == attributes


async def test_revert_takes_back_its_own_paths_and_leaves_what_came_since(world: LoggedWorld) -> None:
    await create_and_patch(world, {"a": 2, "b": None, "o": {"x": 2, "y": 1}}, {"o": {"z": 1}, "n": 1})
    result = await world.revert_version("1", 2, user="bob", change_reason="why")
    assert await content_of(world) == {"a": 1, "b": 1, "o": {"x": 1, "z": 1}, "n": 1}
    record = await world.record("1")
    assert (result.record, list(result.changed_fields), conflicts_told(result)) == (record, ["a", "b", "o"], [])
    assert (record.version, record.updated_by) == (4, "bob")
    logged = (await world.history("1"))[-1]
    assert (logged.kind, logged.source, logged.user_id) == (ChangeKind.UPDATE, ChangeSource.REVERT_CHANGE, "bob")
    assert (logged.change_reason, logged.commit_id, logged.created_at) == ("why", world.commit_id, record.updated_at)
    assert [path.path for path in logged.paths] == ["/a", "/b", "/o/x", "/o/y"]


async def test_what_is_as_it_was_before_is_left_alone(world: LoggedWorld) -> None:
    await create_and_patch(world, {"a": 2}, {"a": 1})
    before = await world.stored("record"), len(await world.history("1"))
    result = await world.revert_version("1", 2)
    assert (result.record, conflicts_told(result), result.written) == (await world.record("1"), [], False)
    assert (await world.stored("record"), len(await world.history("1"))) == before
    assert world.commit_id == ""


async def test_taking_back_an_addition_makes_no_object_where_there_is_none(world: LoggedWorld) -> None:
    await create_and_patch(world, {"o": {"y": 1}}, {"o": None})
    assert not (await world.revert_version("1", 2)).written
    assert await content_of(world) == {"a": 1, "b": 1}


async def test_taking_back_a_removal_below_a_removed_parent_is_a_conflict_at_the_parent(world: LoggedWorld) -> None:
    await create_and_patch(world, {"o": {"x": None}}, {"o": None})
    with pytest.raises(ConflictError):
        await world.revert_version("1", 2)
    kept = await world.revert_version("1", 2, KEEP_THEIRS)
    assert conflicts_told(kept) == [(ConflictKind.VALUE, "/o", "{}", '{"x": 1}', None)]
    assert not kept.written
    assert await content_of(world) == {"a": 1, "b": 1}
    await world.revert_version("1", 2, KEEP_MINE)
    assert await content_of(world) == {"a": 1, "b": 1, "o": {"x": 1}}


CONFLICTS = [
    # what was done since, the conflict, what each policy leaves
    ({"a": 3}, ("/a", "2", "1", "3"), {"a": 1, "b": 1}, {"a": 3, "b": 1}),
    ({"a": None}, ("/a", "2", "1", None), {"a": 1, "b": 1}, {"b": 1}),
    ({"b": 3}, ("/b", None, "1", "3"), {"a": 1, "b": 1}, {"a": 1, "b": 3}),
    ({"c": 3}, ("/c", "2", None, "3"), {"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 3}),
]


@pytest.mark.parametrize(("since", "conflict", "mine", "theirs"), CONFLICTS)
async def test_path_that_was_changed_since_is_a_conflict_for_the_policy(
    world: LoggedWorld, since: Any, conflict: Any, mine: Any, theirs: Any
) -> None:
    await create_and_patch(world, {"a": 2, "b": None, "c": 2, "o": None}, since)
    before = await world.stored("record"), await world.history("1")
    for validate_only in (True, False):
        with pytest.raises(ConflictError) as rejected:
            await world.revert_version("1", 2, validate_only=validate_only)
        (found,) = rejected.value.conflicts
        assert (found.kind, found.path, found.base, found.mine, found.theirs) == (ConflictKind.VALUE, *conflict)
        assert (found.collection, found.record_id) == (COLLECTION, "1")
        assert (await world.stored("record"), await world.history("1")) == before
    for policy, expected in ((KEEP_MINE, mine), (KEEP_THEIRS, theirs)):
        preview = await world.revert_version("1", 2, policy, validate_only=True)
        assert conflicts_told(preview) == [(ConflictKind.VALUE, *conflict)]
        assert preview.record is not None
        assert json.loads(preview.record.content) == {**expected, "o": {"x": 1}}
        assert (await world.stored("record"), await world.history("1")) == before
    await world.revert_version("1", 2, KEEP_THEIRS)
    assert await content_of(world) == {**theirs, "o": {"x": 1}}


async def created(world: LoggedWorld) -> int:
    await world.create("1", {"a": 1})
    return 1


async def undeleted(world: LoggedWorld) -> int:
    await world.create("1", {"a": 0})
    await world.delete("1")
    await world.load({"1": {"a": 1}})
    return 3


@pytest.mark.parametrize(("arrange", "before"), [(created, {"a": 1}), (undeleted, {"a": 0})])
async def test_coming_into_being_is_taken_back_by_a_deletion(world: LoggedWorld, arrange: Any, before: Any) -> None:
    version = await arrange(world)
    await world.patch("1", {"a": 2})
    await world.patch("1", {"a": 1})  # as it was left: no conflict
    result = await world.revert_version("1", version)
    assert (await world.states())["1"][:2] == (before, True)
    assert (result.record, conflicts_told(result)) == (await world.record("1"), [])
    logged = (await world.history("1"))[-1]
    assert logged.kind is ChangeKind.DELETE
    # And that by an undeletion, with the content of before.
    await world.revert_version("1", logged.version)
    assert (await world.states())["1"][:2] == ({"a": 1}, False)
    assert (await world.history("1"))[-1].kind is ChangeKind.UNDELETE


@pytest.mark.parametrize("arrange", [created, undeleted])
async def test_coming_into_being_of_what_was_changed_since_is_a_conflict(world: LoggedWorld, arrange: Any) -> None:
    version = await arrange(world)
    await world.patch("1", {"a": 2})
    with pytest.raises(ConflictError):
        await world.revert_version("1", version)
    kept = await world.revert_version("1", version, KEEP_THEIRS)
    assert conflicts_told(kept) == [(ConflictKind.CHANGED, "", '{"a": 1}', None, '{"a": 2}')]
    assert (kept.written, (await world.states())["1"][:2]) == (False, ({"a": 2}, False))
    await world.revert_version("1", version, KEEP_MINE)
    assert (await world.states())["1"][1]


@pytest.mark.parametrize("arrange", [created, undeleted])
async def test_coming_into_being_of_what_is_deleted_again_is_left_alone(world: LoggedWorld, arrange: Any) -> None:
    version = await arrange(world)
    await world.delete("1")
    before = await world.stored("record")
    assert not (await world.revert_version("1", version)).written
    assert await world.stored("record") == before


async def test_deletion_is_taken_back_unless_it_was_before(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1})
    await world.delete("1")
    result = await world.revert_version("1", 2)
    assert result.record == await world.record("1")
    assert (result.written, result.record.deleted_at, result.record.version) == (True, None, 3)
    await world.patch("1", {"a": 2})
    assert not (await world.revert_version("1", 2)).written
    assert await content_of(world) == {"a": 2}


async def test_update_of_what_was_deleted_since_is_a_conflict(world: LoggedWorld) -> None:
    await create_and_patch(world, {"a": 2})
    await world.delete("1")
    with pytest.raises(ConflictError):
        await world.revert_version("1", 2)
    kept = await world.revert_version("1", 2, KEEP_THEIRS)
    left, before = (f'{{"a": {a}, "b": 1, "o": {{"x": 1}}}}' for a in (2, 1))
    assert conflicts_told(kept) == [(ConflictKind.DELETED, "", left, before, None)]
    assert not kept.written
    brought_back = await world.revert_version("1", 2, KEEP_MINE)
    assert brought_back.record is not None
    assert (brought_back.record.content, brought_back.record.deleted_at) == (before, None)
    assert (await world.history("1"))[-1].kind is ChangeKind.UNDELETE


async def test_update_that_has_nothing_to_take_back_brings_no_record_back(world: LoggedWorld) -> None:
    await create_and_patch(world, {"a": 2}, {"a": 1})
    await world.delete("1")
    assert not (await world.revert_version("1", 2)).written


async def move(world: LoggedWorld, parent_id: str | None = None, position: int | None = None) -> None:
    await world.patch_all([Patch(COLLECTION, "1", parent_id=parent_id, position=position)])


async def test_attributes_are_taken_back_where_they_are_as_they_were_left(world: LoggedWorld) -> None:
    await world.create("1", {})
    await move(world, "p", 2**63 - 1)
    await move(world, position=3)
    result = await world.revert_version("1", 3)
    assert (await world.states())["1"] == ({}, False, "p", 2**63 - 1)
    assert (result.written, list(result.changed_fields)) == (True, [])
    assert [each.name for each in (await world.history("1"))[-1].attributes] == ["position"]
    assert (await world.revert_version("1", 2)).written
    assert (await world.states())["1"] == ({}, False, None, None)
    assert not (await world.revert_version("1", 2)).written


@pytest.mark.parametrize("validate_only", [True, False])
@pytest.mark.parametrize("policy", list(ConflictPolicy))
async def test_attribute_that_was_set_again_since_is_a_conflict(
    world: LoggedWorld, policy: ConflictPolicy, validate_only: bool
) -> None:
    await world.create("1", {"a": 1})
    await move(world, "p", 1)
    await move(world, "q", 1)
    result = await world.revert_version("1", 2, policy, validate_only=validate_only, allow_partial=True)
    assert conflicts_told(result) == [(ConflictKind.VALUE, "record.parent_id", '"p"', None, '"q"')]
    assert [each.version for each in result.conflicts] == [3]
    if policy is REJECT:
        assert isinstance(result.error, ConflictError)
        with pytest.raises(ConflictError):
            await world.revert_version("1", 2, policy, validate_only=validate_only)
    else:
        assert result.record is not None
        parent_id = {KEEP_MINE: None, KEEP_THEIRS: "q"}[policy]
        assert (result.record.parent_id, result.record.position) == (parent_id, None)
    stays = policy is REJECT or validate_only
    state = ("q", 1) if stays else ({KEEP_MINE: None, KEEP_THEIRS: "q"}[policy], None)
    assert (await world.states())["1"][2:] == state


@pytest.mark.parametrize("policy", list(ConflictPolicy))
async def test_creation_of_a_record_that_was_moved_since_is_in_conflict(
    world: LoggedWorld, policy: ConflictPolicy
) -> None:
    await world.create("1", {"a": 1})
    await move(world, "p")
    await move(world, "q", 2)
    result = await world.revert_version("1", 1, policy, allow_partial=True)
    assert conflicts_told(result) == [
        (ConflictKind.CHANGED, "record.parent_id", None, None, '"q"'),
        (ConflictKind.CHANGED, "record.position", None, None, "2"),
    ]
    assert isinstance(result.error, ConflictError) == (policy is REJECT)
    assert (await world.states())["1"][1] == (policy is KEEP_MINE)
