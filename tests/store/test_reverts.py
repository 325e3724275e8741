"""Changes taken back: one or a commit's, as they were before, and only as far as nobody changed them since."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
from change_strategies import IDS, ran, relaxed
from change_world import LoggedWorld, State, replayed, same_state
from draft_world import COLLECTION, change, creation, deletion
from draftline_server.domain import changes as changes_domain
from draftline_server.domain.changes import ChangeKind, ChangeRef, ChangeSource, RevertResult
from draftline_server.domain.content import Limits
from draftline_server.domain.drafts import ConflictKind, ConflictPolicy
from draftline_server.domain.edits import Strategy
from draftline_server.domain.errors import (
    ChangeNotFoundError,
    ConflictError,
    DocumentTooLargeError,
    HistoryNotKeptError,
    IndexedTextTooLongError,
    SchemaViolationError,
    SelectionTooLargeError,
)
from draftline_server.domain.records import ImportMode, Patch
from draftline_server.store import reverts as reverts_store
from hypothesis import given
from hypothesis import strategies as st

REJECT, KEEP_MINE, KEEP_THEIRS = ConflictPolicy


@pytest.fixture
def world(database: Any, tenant_id: str) -> LoggedWorld:
    return LoggedWorld(database, tenant_id)


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


async def create_and(world: LoggedWorld, *patches: dict[str, Any]) -> None:
    """A record at version 1 of {"a": 1, "b": 1, "o": {"x": 1}}, then patched."""
    await world.create("1", {"a": 1, "b": 1, "o": {"x": 1}})
    for patch in patches:
        await world.patch("1", patch, Strategy.MERGE_PATCH)


async def content(world: LoggedWorld, record_id: str = "1") -> Any:
    return json.loads((await world.record(record_id)).content)


def told(result: RevertResult) -> list[tuple[ConflictKind, str, str | None, str | None, str | None]]:
    return [(each.kind, each.path, each.base, each.mine, each.theirs) for each in result.conflicts]


async def test_revert_takes_back_its_own_paths_and_leaves_what_came_since(world: LoggedWorld) -> None:
    await create_and(world, {"a": 2, "b": None, "o": {"x": 2, "y": 1}}, {"o": {"z": 1}, "n": 1})
    result = await world.revert_version("1", 2, user="bob", change_reason="why")
    assert await content(world) == {"a": 1, "b": 1, "o": {"x": 1, "z": 1}, "n": 1}
    record = await world.record("1")
    assert (result.record, list(result.changed_fields), told(result)) == (record, ["a", "b", "o"], [])
    assert (record.version, record.updated_by) == (4, "bob")
    logged = (await world.history("1"))[-1]
    assert (logged.kind, logged.source, logged.user_id) == (ChangeKind.UPDATE, ChangeSource.REVERT_CHANGE, "bob")
    assert (logged.change_reason, logged.commit_id, logged.created_at) == ("why", world.commit_id, record.updated_at)
    assert [path.path for path in logged.paths] == ["/a", "/b", "/o/x", "/o/y"]


async def test_what_is_as_it_was_before_is_left_alone(world: LoggedWorld) -> None:
    await create_and(world, {"a": 2}, {"a": 1})
    before = await world.stored("record"), len(await world.history("1"))
    result = await world.revert_version("1", 2)
    assert (result.record, told(result), result.written) == (await world.record("1"), [], False)
    assert (await world.stored("record"), len(await world.history("1"))) == before
    assert world.commit_id == ""


async def test_taking_back_an_addition_makes_no_object_where_there_is_none(world: LoggedWorld) -> None:
    await create_and(world, {"o": {"y": 1}}, {"o": None})
    assert not (await world.revert_version("1", 2)).written
    assert await content(world) == {"a": 1, "b": 1}


async def test_taking_back_a_removal_makes_the_object_that_it_needs(world: LoggedWorld) -> None:
    await create_and(world, {"o": {"x": None}}, {"o": None})
    await world.revert_version("1", 2)
    assert await content(world) == {"a": 1, "b": 1, "o": {"x": 1}}


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
    await create_and(world, {"a": 2, "b": None, "c": 2, "o": None}, since)
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
        assert told(preview) == [(ConflictKind.VALUE, *conflict)]
        assert preview.record is not None
        assert json.loads(preview.record.content) == {**expected, "o": {"x": 1}}
        assert (await world.stored("record"), await world.history("1")) == before
    await world.revert_version("1", 2, KEEP_THEIRS)
    assert await content(world) == {**theirs, "o": {"x": 1}}


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
    assert (result.record, told(result)) == (await world.record("1"), [])
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
    assert told(kept) == [(ConflictKind.CHANGED, "", '{"a": 1}', None, '{"a": 2}')]
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
    assert await content(world) == {"a": 2}


async def test_update_of_what_was_deleted_since_is_a_conflict(world: LoggedWorld) -> None:
    await create_and(world, {"a": 2})
    await world.delete("1")
    with pytest.raises(ConflictError):
        await world.revert_version("1", 2)
    kept = await world.revert_version("1", 2, KEEP_THEIRS)
    left, before = (f'{{"a": {a}, "b": 1, "o": {{"x": 1}}}}' for a in (2, 1))
    assert told(kept) == [(ConflictKind.DELETED, "", left, before, None)]
    assert not kept.written
    brought_back = await world.revert_version("1", 2, KEEP_MINE)
    assert brought_back.record is not None
    assert (brought_back.record.content, brought_back.record.deleted_at) == (before, None)
    assert (await world.history("1"))[-1].kind is ChangeKind.UNDELETE


async def test_update_that_has_nothing_to_take_back_brings_no_record_back(world: LoggedWorld) -> None:
    await create_and(world, {"a": 2}, {"a": 1})
    await world.delete("1")
    assert not (await world.revert_version("1", 2)).written


async def test_attributes_are_taken_back_where_they_are_as_they_were_left(world: LoggedWorld) -> None:
    async def move(parent_id: str | None = None, position: int | None = None) -> None:
        await world.patch_all([Patch(COLLECTION, "1", parent_id=parent_id, position=position)])

    await world.create("1", {})
    await move("p", 2**63 - 1)
    await move(position=3)
    result = await world.revert_version("1", 2)
    assert (await world.states())["1"] == ({}, False, None, 3)
    assert (result.written, list(result.changed_fields)) == (True, [])
    assert [each.name for each in (await world.history("1"))[-1].attributes] == ["parent_id"]
    assert not (await world.revert_version("1", 2)).written
    await world.revert_version("1", 3)
    assert (await world.states())["1"][3] == 2**63 - 1


async def hundred(world: LoggedWorld) -> str:
    """A commit over 100 records, of which three were changed since, one of them at another path; its id."""
    await world.load({f"{n:03}": {"n": n, "t": 0} for n in range(100)})
    await world.save_all("ada", [change(f"{n:03}", {"n": -n, "t": 1}) for n in range(100)], session_id="s")
    await world.commit("ada")
    (commit_id,) = {each.commit_id for each in await world.all() if each.source is ChangeSource.COMMIT}
    for record_id, delta in {"003": {"n": 7}, "050": {"n": 7, "t": 7}, "099": {"t": 7}, "098": {"other": 7}}.items():
        await world.patch(record_id, delta)
    return commit_id


async def test_commit_over_a_hundred_records_is_reverted_as_the_policy_has_it(world: LoggedWorld) -> None:
    commit_id = await hundred(world)
    before = await world.stored("record")
    with pytest.raises(ConflictError) as rejected:
        await world.revert(commit_id)
    assert [(each.record_id, each.path, each.base, each.mine, each.theirs) for each in rejected.value.conflicts] == [
        ("003", "/n", "-3", "3", "7"),
        ("050", "/n", "-50", "50", "7"),
        ("050", "/t", "1", "0", "7"),
        ("099", "/t", "1", "0", "7"),
    ]
    assert rejected.value.message.startswith("3 of 100 records")
    assert await world.stored("record") == before

    kept = await world.revert(commit_id, KEEP_THEIRS)
    assert [each.record_id for each in kept] == [f"{n:03}" for n in range(100)]
    changed = {"003": {"n": 7}, "050": {"n": 7, "t": 7}, "099": {"t": 7}, "098": {"other": 7}}
    contents = {record_id: state[0] for record_id, state in (await world.states()).items()}
    assert contents == {f"{n:03}": {"n": n, "t": 0} | changed.get(f"{n:03}", {}) for n in range(100)}
    assert [each.record_id for each in kept if not each.written] == ["050"]
    assert {each.commit_id for each in await world.all() if each.source is ChangeSource.REVERT_CHANGE} == {
        world.commit_id
    }


async def test_commit_is_reverted_whole_where_mine_is_kept(world: LoggedWorld) -> None:
    await world.revert(await hundred(world), KEEP_MINE)
    contents = {record_id: state[0] for record_id, state in (await world.states()).items()}
    expected: dict[str, Any] = {f"{n:03}": {"n": n, "t": 0} for n in range(100)}
    expected["098"]["other"] = 7
    assert contents == expected


async def test_records_without_conflict_are_reverted_if_that_is_allowed(world: LoggedWorld) -> None:
    commit_id = await hundred(world)
    results = await world.revert(commit_id, allow_partial=True)
    stuck = {each.record_id: [conflict.path for conflict in each.conflicts] for each in results if each.error}
    assert stuck == {"003": ["/n"], "050": ["/n", "/t"], "099": ["/t"]}
    assert sum(each.written for each in results) == 97
    states = await world.states()
    assert (states["050"][0], states["051"][0]) == ({"n": 7, "t": 7}, {"n": 51, "t": 0})


async def test_commit_of_every_kind_is_reverted_and_that_in_turn(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1})
    await world.create("2", {"b": 1})
    await world.save_all("ada", [change("1", {"a": 2}), deletion("2"), creation("3", {"c": 1})])
    before = await world.states()
    await world.commit("ada")
    after = await world.states()
    (commit_id,) = {each.commit_id for each in await world.all() if each.source is ChangeSource.COMMIT}
    await world.revert(commit_id)
    assert await world.states() == {**before, "3": ({"c": 1}, True, None, None)}
    first = world.commit_id
    await world.revert(first)
    assert await world.states() == after
    await world.revert(world.commit_id)
    assert (await world.states())["1"] == before["1"]


async def test_import_and_batch_are_reverted_as_a_whole(world: LoggedWorld) -> None:
    await world.create("old", {"a": 1})
    await world.load({"new": {"b": 1}}, ImportMode.SNAPSHOT)
    (imported,) = {each.commit_id for each in await world.all() if each.commit_id}
    await world.revert(imported)
    assert await world.states() == {"old": ({"a": 1}, False, None, None), "new": ({"b": 1}, True, None, None)}
    other = [Patch(name, "1", allow_missing=True, position=1) for name in ("b", "a")]
    await world.patch_all(other)
    (batch,) = {each.commit_id for each in await world.all() if each.source is ChangeSource.BATCH_PATCH_CONTENT}
    assert [(each.collection, each.record_id) for each in await world.revert(batch)] == [("a", "1"), ("b", "1")]


async def test_drafts_of_all_show_what_was_reverted(world: LoggedWorld) -> None:
    await create_and(world, {"a": 2, "o": {"x": 2}})
    await world.save("ada", change("1", {"b": 5}))
    await world.save("bob", change("1", {"o": {"y": 5}}, Strategy.DEEP))
    await world.revert_version("1", 2)
    assert await world.differences() == []
    assert (await world.draft("bob", "1") or {})["merged"] == {"a": 1, "b": 1, "o": {"x": 1, "y": 5}}


async def test_values_that_were_not_kept_cannot_be_put_back(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1})
    await world.keep_paths_only()
    await world.patch("1", {"a": 2})
    await world.delete("1")
    await world.create("2", {})
    for validate_only in (True, False):
        with pytest.raises(HistoryNotKeptError):
            await world.revert_version("1", 2, KEEP_MINE, validate_only=validate_only)
    # What needs no values works all the same, but who knows what the creation had left?
    await world.revert_version("1", 3)
    assert told(await world.revert_version("1", 1, KEEP_THEIRS)) == [(ConflictKind.CHANGED, "", None, None, '{"a": 2}')]
    await world.revert_version("2", 1)
    assert (await world.states())["2"][1]


async def test_records_whose_values_were_kept_are_reverted_if_that_is_allowed(world: LoggedWorld) -> None:
    await world.keep_paths_only()
    await world.load({"1": {"a": 1}})
    await world.load({"1": {"a": 2}, "2": {"a": 2}})
    commit_id = (await world.history("2"))[0].commit_id
    first, second = await world.revert(commit_id, allow_partial=True)
    assert (type(first.error), second.written) == (HistoryNotKeptError, True)
    assert (await world.states())["1"][0] == {"a": 2}


async def test_what_is_not_in_the_log_is_not_found(world: LoggedWorld, database: Any) -> None:
    other = LoggedWorld(database, f"{world.tenant_id}-other")
    await other.load({"1": {}})
    foreign = (await other.history("1"))[0].commit_id
    await world.create("1", {})
    await world.save("ada", change("1", {"a": 1}))
    for target in (foreign, str(uuid.uuid4()), *(ChangeRef(COLLECTION, *it) for it in (("1", 2), ("1", 0), ("2", 1)))):
        with pytest.raises(ChangeNotFoundError):
            await world.revert(target)


async def test_commit_of_too_many_changes_is_refused(world: LoggedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    assert changes_domain.MAX_REVERTED == 10_000
    monkeypatch.setattr(reverts_store, "MAX_REVERTED", 2)
    await world.load({str(n): {} for n in range(3)})
    too_many = (await world.history("1"))[0].commit_id
    with pytest.raises(SelectionTooLargeError) as refused:
        await world.revert(too_many)
    assert refused.value.metadata == {"limit": "2"}
    await world.load({str(n): {"a": 1} for n in range(2)})
    assert len(await world.revert((await world.history("1"))[1].commit_id)) == 2


async def test_reverted_content_is_held_to_the_schema(world: LoggedWorld) -> None:
    await create_and(world, {"a": 2})
    await world.create("2", {"a": 5})
    await world.load({"1": {"a": 2, "b": 0}, "2": {"b": 0}})
    commit_id = (await world.history("2"))[1].commit_id
    await world.declare('{"properties": {"a": {"maximum": 4}}}')
    before = await world.stored("record")
    with pytest.raises(SchemaViolationError):
        await world.revert(commit_id)
    assert await world.stored("record") == before
    results = await world.revert(commit_id, allow_partial=True)
    assert [type(each.error) for each in results] == [type(None), SchemaViolationError]
    assert (await world.states())["2"][0] == {"b": 0}
    # What goes is not held to it, what comes back is.
    await world.load({"2": {"b": 0}}, ImportMode.SNAPSHOT)
    await world.delete("2")
    await world.declare('{"required": ["c"]}')
    with pytest.raises(SchemaViolationError):
        await world.revert_version("2", (await world.record("2")).version)


async def test_reverted_content_is_held_to_the_limits(database: Any, tenant_id: str) -> None:
    world = LoggedWorld(database, tenant_id, Limits(max_bytes=100))
    await world.create("1", {"mine": "x" * 60})
    await world.patch("1", {"mine": ""})
    await world.patch("1", {"theirs": "y" * 60})
    with pytest.raises(DocumentTooLargeError):
        await world.revert_version("1", 2)
    assert await content(world) == {"mine": "", "theirs": "y" * 60}


async def test_reverted_content_is_held_to_the_length_of_indexed_texts(world: LoggedWorld) -> None:
    await world.create("1", {"t": "x" * 801})
    await world.patch("1", {"t": ""})
    await world.declare("", fields='[{"path": ["t"], "type": "TEXT"}]', indexed_text='[["t"]]')
    with pytest.raises(IndexedTextTooLongError):
        await world.revert_version("1", 2)


async def test_reverts_at_once_write_once(world: LoggedWorld) -> None:
    commit_id = await hundred(world)
    runs = await asyncio.gather(*(world.revert(commit_id, KEEP_MINE) for _ in range(4)))
    assert sorted(sum(each.written for each in run) for run in runs) == [0, 0, 0, 100]
