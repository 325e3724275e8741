"""Commits that meet a conflict: four kinds, three ways to settle each, and a preview that tells the truth."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from draftline_server.domain.drafts import CommitResult, ConflictKind, ConflictPolicy
from draftline_server.domain.edits import Strategy
from draftline_server.domain.errors import ConflictError, SchemaViolationError
from support.tenant_stores import World, change, creation, deletion

REJECT, KEEP_MINE, KEEP_THEIRS = ConflictPolicy
VALUE, DELETED, CREATED, CHANGED = ConflictKind


async def value(world: World) -> None:
    await world.create("1", {"a": 1, "b": 1, "c": 1})
    await world.save("ada", change("1", {"a": 2, "b": 2}))
    await world.patch("1", {"a": 3, "c": 3})


async def deleted(world: World) -> None:
    await world.create("1", {"a": 1})
    await world.save("ada", change("1", {"a": 2}))
    await world.delete("1")


async def created(world: World) -> None:
    await world.save("ada", creation("1", {"a": 2}))
    await world.create("1", {"a": 3, "c": 3})


async def changed(world: World) -> None:
    await world.create("1", {"a": 1})
    await world.save("ada", deletion("1"))
    await world.patch("1", {"a": 3})


ARRANGE: dict[ConflictKind, Callable[[World], Awaitable[None]]] = {
    VALUE: value, DELETED: deleted, CREATED: created, CHANGED: changed
}  # fmt: skip
CONFLICTS: dict[ConflictKind, tuple[str, Any, Any, Any]] = {  # path, base, mine, theirs
    VALUE: ("/a", "1", "2", "3"),
    DELETED: ("", '{"a": 1}', '{"a": 2}', None),
    CREATED: ("", None, '{"a": 2}', '{"a": 3, "c": 3}'),
    CHANGED: ("", '{"a": 1}', None, '{"a": 3}'),
}
# What the record is afterwards: content, version, whether it is deleted; and the changed fields of the answer.
OUTCOMES: dict[tuple[ConflictKind, ConflictPolicy], tuple[Any, int, bool, list[str]]] = {
    (VALUE, KEEP_MINE): ({"a": 2, "b": 2, "c": 3}, 3, False, ["a", "b"]),
    (VALUE, KEEP_THEIRS): ({"a": 3, "b": 2, "c": 3}, 3, False, ["b"]),
    (DELETED, KEEP_MINE): ({"a": 2}, 3, False, ["a"]),
    (DELETED, KEEP_THEIRS): ({"a": 1}, 2, True, []),
    (CREATED, KEEP_MINE): ({"a": 2}, 2, False, ["a", "c"]),
    (CREATED, KEEP_THEIRS): ({"a": 3, "c": 3}, 1, False, []),
    (CHANGED, KEEP_MINE): ({"a": 3}, 3, True, []),
    (CHANGED, KEEP_THEIRS): ({"a": 3}, 2, False, []),
}


async def tables(world: World) -> Any:
    return await world.stored("record"), await world.stored("draft")


def timeless(results: Sequence[CommitResult]) -> list[CommitResult]:
    """Results without the moments of their records, which no preview can know."""
    never = datetime.min
    return [
        replace(each, record=each.record and replace(each.record, updated_at=never, created_at=never,
                                                     deleted_at=each.record.deleted_at and never))
        for each in results
    ]  # fmt: skip


def conflict_of(error: ConflictError) -> Any:
    (found,) = error.conflicts
    return found.kind, (found.path, found.base, found.mine, found.theirs)


@pytest.mark.parametrize("kind", list(ConflictKind))
async def test_conflict_is_rejected_with_what_differs_and_nothing_changes(world: World, kind: ConflictKind) -> None:
    await ARRANGE[kind](world)
    before = await tables(world)
    for validate_only in (True, False):
        with pytest.raises(ConflictError) as rejected:
            await world.commit("ada", validate_only=validate_only)
        assert conflict_of(rejected.value) == (kind, CONFLICTS[kind])
        assert await tables(world) == before


@pytest.mark.parametrize(("kind", "policy"), list(OUTCOMES))
async def test_conflict_is_settled_by_the_policy_as_the_preview_told(
    world: World, kind: ConflictKind, policy: ConflictPolicy
) -> None:
    await ARRANGE[kind](world)
    before = await tables(world)
    preview = await world.commit("ada", policy=policy, validate_only=True)
    assert await tables(world) == before
    results = await world.commit("ada", policy=policy)
    assert timeless(results) == timeless(preview)
    content, version, is_deleted, changed_fields = OUTCOMES[kind, policy]
    record = await world.record("1")
    assert (json.loads(record.content), record.version, record.deleted_at is not None) == (content, version, is_deleted)
    (result,) = results
    assert (result.record, list(result.changed_fields)) == (record, changed_fields)
    assert [(each.kind, (each.path, each.base, each.mine, each.theirs)) for each in result.conflicts] == [
        (kind, CONFLICTS[kind])
    ]
    assert await world.stored("draft") == []


@pytest.mark.parametrize("policy", list(ConflictPolicy))
async def test_what_both_did_is_no_conflict(world: World, policy: ConflictPolicy) -> None:
    await world.create("value", {"a": 1})
    await world.create("gone", {"a": 1})
    await world.save_all("ada", [change("value", {"a": 2}), deletion("gone"), creation("made", {"x": 1})])
    await world.patch("value", {"a": 2})
    await world.delete("gone")
    await world.create("made", {"x": 1})
    before = await world.stored("record")
    results = await world.commit("ada", policy=policy)
    assert [(each.record_id, each.conflicts, list(each.changed_fields)) for each in results] == [
        ("gone", [], []), ("made", [], []), ("value", [], [])
    ]  # fmt: skip
    assert await tables(world) == (before, [])


@pytest.mark.parametrize("policy", list(ConflictPolicy))
async def test_edits_of_different_paths_merge_silently(world: World, policy: ConflictPolicy) -> None:
    await world.create("1", {"a": {"b": 1, "c": 1}, "d": 1})
    await world.save("ada", change("1", {"a": {"b": 2}}, Strategy.DEEP))
    await world.patch("1", {"a": {"c": 3}, "d": 3})
    (result,) = await world.commit("ada", policy=policy)
    assert result.record is not None
    assert json.loads(result.record.content) == {"a": {"b": 2, "c": 3}, "d": 3}
    assert result.conflicts == []


async def test_drafts_in_conflict_stay_while_the_others_are_committed_if_asked(world: World) -> None:
    await value(world)
    await world.save("ada", creation("2", {"x": 1}))
    before = await tables(world)
    preview = await world.commit("ada", allow_partial=True, validate_only=True)
    assert await tables(world) == before
    results = await world.commit("ada", allow_partial=True)
    assert [type(each.error) for each in results] == [ConflictError, type(None)]
    assert [conflict.path for conflict in results[0].conflicts] == ["/a"]
    told = [[replace(each, error=None) for each in some] for some in (timeless(preview), timeless(results))]
    assert told[0] == told[1]
    assert [row["record_id"] for row in await world.stored("draft")] == ["1"]
    assert json.loads((await world.record("2")).content) == {"x": 1}


async def test_base_survives_a_later_save_of_another_path(world: World) -> None:
    await world.create("1", {"a": {"b": {}}, "c": 1})
    await world.save("ada", change("1", {"a": {"b": {"x": 1}}}, Strategy.DEEP))
    await world.patch("1", {"a": {"b": 5}})
    await world.save("ada", change("1", {"c": 2}))
    with pytest.raises(ConflictError) as rejected:
        await world.commit("ada")
    assert conflict_of(rejected.value) == (VALUE, ("/a/b", "{}", '{"x": 1}', "5"))


async def test_settled_value_that_breaks_the_schema_is_refused(world: World) -> None:
    await world.create("1", {"a": 1, "b": 1})
    await world.save("ada", change("1", {"a": 5, "b": 2}))
    await world.patch("1", {"a": 20})
    await world.declare('{"properties": {"a": {"maximum": 10}}}')
    before = await tables(world)
    with pytest.raises(SchemaViolationError):
        await world.commit("ada", policy=KEEP_THEIRS)
    assert await tables(world) == before
    await world.commit("ada", policy=KEEP_MINE)
    assert json.loads((await world.record("1")).content) == {"a": 5, "b": 2}
