"""Conflicts that a person decided, one by one: applied, or asked again where the record changed since."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from draftline_server.domain.content import equal
from draftline_server.domain.drafts import ConflictKind, ConflictPolicy, Resolution, Side
from draftline_server.domain.edits import Strategy
from draftline_server.domain.errors import ConflictError, DocumentTooLargeError, InvalidFieldError, SchemaViolationError
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from hypothesis import given, settings
from hypothesis import strategies as st
from support.soak_scale import examples
from support.tenant_changes import LoggedWorld
from support.tenant_stores import World, change, creation, deletion, moving, of_records

REJECT, KEEP_MINE, KEEP_THEIRS = ConflictPolicy
MINE, THEIRS = Side
FORGET = Statement("forget", "DELETE FROM draftline.change WHERE tenant_id = $1", ("tenant_id",))


def mine(path: str, version: int = 2, record_id: str = "1") -> Resolution:
    return Resolution(record_id, path, version, MINE)


def theirs(path: str, version: int = 2, record_id: str = "1") -> Resolution:
    return Resolution(record_id, path, version, THEIRS)


def value(path: str, value: Any, version: int = 2, record_id: str = "1") -> Resolution:
    return Resolution(record_id, path, version, value=value)


async def arrange(world: World) -> None:
    """Conflicts at /a, /o/x, /gone and record.position; /free and record.parent_id are mine alone."""
    content = {"a": 1, "o": {"x": 1, "y": 1}, "gone": 1, "free": 1}
    await world.create("1", content, parent_id="p", position=1)
    await world.save("ada", moving("1", edit={"a": 2, "free": 2}, parent_id="q", position=2))
    await world.save("ada", change("1", {"o": {"x": 2}, "gone": None}, Strategy.MERGE_PATCH))
    await world.load({"1": {"a": 3, "o": {"x": 3, "y": 3}, "gone": 3, "free": 1}})
    await world.move("1", "p", 3)


PATHS = ["/a", "/gone", "/o/x", "record.position"]


async def open_paths(world: World, *resolutions: Resolution, **options: Any) -> list[str]:
    with pytest.raises(ConflictError) as rejected:
        await world.commit("ada", resolutions=resolutions, **options)
    assert rejected.value.metadata["conflicts_count"] == str(len(rejected.value.conflicts))
    return [each.path for each in rejected.value.conflicts]


async def version_of(world: World) -> int:
    return (await world.record("1")).version


async def test_each_conflict_is_decided_on_its_own_as_the_preview_told(world: LoggedWorld) -> None:
    await arrange(world)
    seen = await version_of(world)
    assert await open_paths(world) == PATHS
    decided = [theirs("/a", seen), value("/gone", [1, {"n": 1.50}], seen), mine("/o/x", seen)]
    decided.append(theirs("record.position", seen))
    before = await world.stored("record")
    (preview,) = await world.commit("ada", resolutions=decided, validate_only=True)
    assert await world.stored("record") == before
    (result,) = await world.commit("ada", resolutions=decided)
    record = await world.record("1")
    content = {"a": 3, "o": {"x": 2, "y": 3}, "gone": [1, {"n": 1.5}], "free": 2}
    assert json.loads(record.content) == content
    assert preview.record is not None
    assert json.loads(preview.record.content) == content
    assert (record.parent_id, record.position, record.version) == ("q", 3, seen + 1)
    assert (list(result.changed_fields), list(result.changed_attributes)) == (["free", "gone", "o"], ["parent_id"])
    assert [each.path for each in result.conflicts] == PATHS
    assert await world.stored("draft") == []
    logged = (await world.history("1"))[-1]
    assert [each.path for each in logged.paths] == ["/free", "/gone", "/o/x"]


async def test_commit_with_a_part_decided_tells_the_rest(world: LoggedWorld) -> None:
    await arrange(world)
    seen = await version_of(world)
    assert await open_paths(world, theirs("/a", seen)) == PATHS[1:]
    assert await open_paths(world, theirs("/a", seen), mine("record.position", seen)) == ["/gone", "/o/x"]
    (partial,) = await world.commit("ada", resolutions=[theirs("/a", seen)], allow_partial=True)
    assert [each.path for each in partial.conflicts] == PATHS[1:]
    assert isinstance(partial.error, ConflictError)
    assert len(await world.stored("draft")) == 1


@pytest.mark.parametrize("policy", [KEEP_MINE, KEEP_THEIRS])
async def test_policy_decides_what_nobody_decided(world: LoggedWorld, policy: ConflictPolicy) -> None:
    await arrange(world)
    seen = await version_of(world)
    decided = theirs("/a", seen) if policy is KEEP_MINE else mine("/a", seen)
    await world.commit("ada", policy=policy, resolutions=[decided])
    record = await world.record("1")
    if policy is KEEP_MINE:
        assert json.loads(record.content) == {"a": 3, "o": {"x": 2, "y": 3}, "free": 2}
    else:
        assert json.loads(record.content) == {"a": 2, "o": {"x": 3, "y": 3}, "gone": 3, "free": 2}
    assert (record.parent_id, record.position) == ("q", 2 if policy is KEEP_MINE else 3)


async def test_what_was_decided_is_asked_again_only_where_the_record_changed_since(world: LoggedWorld) -> None:
    await arrange(world)
    seen = await version_of(world)
    decided = [theirs("/a", seen), mine("/gone", seen), theirs("/o/x", seen), mine("record.position", seen)]
    await world.patch("1", {"free2": 1, "o": {"y": 9}})
    await world.patch("1", {"a": 4})
    assert await open_paths(world, *decided) == ["/a"]
    await world.move("1", position=8)
    assert await open_paths(world, *decided) == ["/a", "record.position"]
    now = await version_of(world)
    decided[0], decided[3] = theirs("/a", now), theirs("record.position", now)
    await world.commit("ada", resolutions=decided)
    record = await world.record("1")
    assert json.loads(record.content) == {"a": 4, "o": {"x": 3, "y": 9}, "free": 2, "free2": 1}
    assert record.position == 8


async def test_change_above_or_below_a_decided_path_asks_again(world: LoggedWorld) -> None:
    await world.create("1", {"a": {"b": 1}, "o": {"x": {"y": 1}}})
    await world.save("ada", change("1", {"a": {"b": 2}}, Strategy.DEEP))
    await world.save("ada", change("1", {"o": {"x": {"y": 2}}}, Strategy.DEEP))
    await world.save("ada", change("1", {"whole": 1}))
    await world.patch("1", {"a": {"b": 3}, "o": {"x": {"y": 3}}})
    decided = [mine("/a/b"), mine("/o/x/y")]
    await world.load({"1": {"a": 5, "o": {"x": {"y": 3}}}})
    assert await open_paths(world, *decided) == ["/a"]


async def test_decision_for_theirs_that_changed_back_meanwhile_is_asked_again(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1})
    await world.save("ada", change("1", {"a": 2}))
    await world.patch("1", {"a": 3})
    await world.patch("1", {"a": 1})
    assert await open_paths(world, theirs("/a")) == ["/a"]
    assert await open_paths(world, value("/a", 9)) == ["/a"]
    await world.commit("ada", resolutions=[theirs("/a", 3)])
    assert json.loads((await world.record("1")).content) == {"a": 1}


async def test_decision_is_asked_again_where_the_log_does_not_tell(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1})
    await world.save("ada", change("1", {"a": 2}))
    await world.patch("1", {"a": 3})
    await world.patch("1", {"b": 3})
    await world.database.fetch(FORGET, {"tenant_id": world.tenant_id})
    assert await open_paths(world, mine("/a")) == ["/a"]
    await world.commit("ada", resolutions=[mine("/a", 3)])
    assert json.loads((await world.record("1")).content) == {"a": 2, "b": 3}


async def test_record_that_was_purged_and_created_again_is_asked_about(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1})
    await world.save("ada", change("1", {"a": 2}))
    await world.patch("1", {"a": 3})
    assert await open_paths(world, mine("/a", 99)) == ["/a"]


# Kinds of whole records: what decides, and what the record is then: content, whether it is deleted.
WHOLE: dict[str, tuple[Any, Any, dict[str, tuple[Any, bool]]]] = {
    "deleted": (change("1", {"a": 2}), "delete", {
        "mine": ({"a": 2}, False), "theirs": ({"a": 1}, True), "value": ({"v": 1}, False),
    }),
    "changed": (deletion("1"), "patch", {"mine": ({"a": 3}, True), "theirs": ({"a": 3}, False)}),
    "created": (creation("1", {"a": 2}), "create", {
        "mine": ({"a": 2}, False), "theirs": ({"a": 1}, False), "value": ({"v": 1}, False),
    }),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(WHOLE))
async def test_whole_records_are_decided(world: LoggedWorld, kind: str) -> None:
    edit, act, outcomes = WHOLE[kind]
    for decision, outcome in outcomes.items():
        one = World(world.database, f"{world.tenant_id}-{decision}")
        if act != "create":
            await one.create("1", {"a": 1})
        await one.save("ada", edit)
        await {"delete": one.delete, "patch": partial(one.patch, delta={"a": 3}),
               "create": partial(one.create, content={"a": 1})}[act]("1")  # fmt: skip
        seen = await version_of(one)
        decide = {"mine": mine, "theirs": theirs, "value": lambda path, at: value(path, {"v": 1}, at)}[decision]
        if seen > 1:
            assert await open_paths(one, decide("", 1)) == [""]
        await one.commit("ada", resolutions=[decide("", seen)])
        record = await one.record("1")
        assert (json.loads(record.content), record.deleted_at is not None) == outcome
        assert await one.stored("draft") == []


REFUSED: dict[str, tuple[list[Resolution], str]] = {
    "another record": ([mine("/a"), mine("/a", record_id="2")], "resolutions[1].record_id"),
    "a record without a draft": ([mine("/a", record_id="none")], "resolutions[0].record_id"),
    "a path that is not drafted": ([mine("/b")], "resolutions[0].path"),
    "a path below": ([mine("/a/b")], "resolutions[0].path"),
    "no pointer": ([mine("a")], "resolutions[0].path"),
    "an attribute that is not drafted": ([mine("record.position")], "resolutions[0].path"),
    "an attribute that there is not": ([mine("record.version")], "resolutions[0].path"),
    "a path twice": ([mine("/a"), theirs("/a")], "resolutions[1].path"),
    "a whole that is no object": ([value("", 1)], "resolutions[0].value"),
}


@pytest.mark.parametrize("name", list(REFUSED))
async def test_resolution_of_what_is_not_drafted_names_its_field(world: LoggedWorld, name: str) -> None:
    resolutions, field = REFUSED[name]
    await world.create("1", {"a": 1, "b": 1})
    await world.create("2", {"a": 1})
    await world.save_all("ada", [change("1", {"a": 2}), change("2", {"a": 2})])
    await world.patch("1", {"a": 3})
    for options in ({}, {"validate_only": True}, {"allow_partial": True}):
        with pytest.raises(InvalidFieldError) as refused:
            await world.commit("ada", of_records("1"), resolutions=resolutions, **options)
        assert [name for name, _ in refused.value.fields] == [field]
    assert len(await world.stored("draft")) == 2


@pytest.mark.parametrize(("path", "given"), [
    ("record.parent_id", 1), ("record.parent_id", "x" * 129), ("record.parent_id", "a\nb"),
    ("record.position", "1"), ("record.position", True), ("record.position", 2**63), ("record.position", 1.5),
])  # fmt: skip
async def test_value_that_an_attribute_cannot_hold_is_refused(world: LoggedWorld, path: str, given: Any) -> None:
    await world.create("1", {})
    await world.save("ada", moving("1", parent_id="q", position=2))
    await world.move("1", "r", 3)
    with pytest.raises(InvalidFieldError) as refused:
        await world.commit("ada", resolutions=[value(path, given)])
    assert refused.value.fields[0][0] == "resolutions[0].value"


async def test_attributes_are_decided_for_values(world: LoggedWorld) -> None:
    await world.create("1", {}, parent_id="p", position=1)
    await world.save("ada", moving("1", parent_id="q", position=2))
    await world.move("1", "r", 3)
    await world.commit("ada", resolutions=[value("record.parent_id", ""), value("record.position", 2**63 - 1)])
    record = await world.record("1")
    assert (record.parent_id, record.position) == (None, 2**63 - 1)


async def test_deletion_takes_no_value(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1})
    await world.save("ada", deletion("1"))
    await world.patch("1", {"a": 3})
    with pytest.raises(InvalidFieldError):
        await world.commit("ada", resolutions=[value("", {"a": 1})])


async def test_decided_value_is_held_to_the_limits_and_the_schema(world: LoggedWorld) -> None:
    await world.create("1", {"a": 1})
    await world.save("ada", change("1", {"a": 2}))
    await world.patch("1", {"a": 3})
    with pytest.raises(DocumentTooLargeError):
        await world.commit("ada", resolutions=[value("/a", "x" * 2_000_000)])
    await world.declare('{"properties": {"a": {"maximum": 5}}}')
    with pytest.raises(SchemaViolationError):
        await world.commit("ada", resolutions=[value("/a", 9)])
    await world.commit("ada", resolutions=[value("/a", 5)])
    assert json.loads((await world.record("1")).content) == {"a": 5}


keys = st.sampled_from(["a", "b", "c"])
documents = st.dictionaries(keys, st.recursive(
    st.integers(0, 2), lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=4
), max_size=3)  # fmt: skip


@settings(max_examples=examples(60), deadline=None, database=None)
@given(before=documents, delta=documents, after=documents, data=st.data())
async def test_conflicts_decided_one_by_one_come_to_what_a_policy_makes_of_all(
    database: Database, before: Any, delta: Any, after: Any, data: st.DataObject
) -> None:
    """All decided for one side is that policy; decided each for its own, no path follows another's decision."""
    world = World(database, f"tenant-{uuid.uuid4()}")
    await world.create("1", before)
    strategy = data.draw(st.sampled_from([Strategy.DEEP, Strategy.SHALLOW, Strategy.MERGE_PATCH]))
    await world.save("ada", change("1", delta, strategy))
    await world.load({"1": after})
    seen = await version_of(world)
    previews: dict[Any, Any] = {}
    for policy in (KEEP_MINE, KEEP_THEIRS):
        (preview,) = await world.commit("ada", policy=policy, validate_only=True)
        previews[policy] = json.loads(preview.record.content)
        paths = [each.path for each in preview.conflicts]
    for side, policy in ((MINE, KEEP_MINE), (THEIRS, KEEP_THEIRS)):
        decided = [Resolution("1", path, seen, side) for path in paths]
        (preview,) = await world.commit("ada", resolutions=decided, validate_only=True)
        assert equal(json.loads(preview.record.content), previews[policy])
    sides = {path: data.draw(st.sampled_from(Side)) for path in paths}
    decided = [Resolution("1", path, seen, side) for path, side in sides.items()]
    (result,) = await world.commit("ada", resolutions=decided)
    written = json.loads(result.record.content)
    for path, side in sides.items():
        assert at(written, path) == at(previews[KEEP_MINE if side is MINE else KEEP_THEIRS], path)


def at(content: Any, path: str) -> Any:
    for token in path.split("/")[1:]:
        content = content.get(token) if isinstance(content, dict) else None
    return content


async def test_outcome_kinds_are_those_of_the_conflict(world: LoggedWorld) -> None:
    await arrange(world)
    with pytest.raises(ConflictError) as rejected:
        await world.commit("ada")
    assert {each.kind for each in rejected.value.conflicts} == {ConflictKind.VALUE}
    assert {each.version for each in rejected.value.conflicts} == {await version_of(world)}


STRATEGIES = [Strategy.DEEP, Strategy.SHALLOW, Strategy.MERGE_PATCH, Strategy.REPLACE]


@settings(max_examples=examples(60), deadline=None, database=None)
@given(before=documents, first=documents, second=documents, after=documents, data=st.data())
async def test_save_for_the_current_version_is_in_no_conflict_where_it_edits(
    database: Database, before: Any, first: Any, second: Any, after: Any, data: st.DataObject
) -> None:
    world = World(database, f"tenant-{uuid.uuid4()}")
    await world.create("1", before)
    strategies = data.draw(st.tuples(st.sampled_from(STRATEGIES), st.sampled_from(STRATEGIES)))
    await world.save("ada", change("1", first, strategies[0]))
    await world.load({"1": after})
    edits = [change("1", first, strategies[0]), change("1", second, strategies[1])]
    saved = await world.save("ada", edits[1], session_id="")
    assert saved is not None
    known = {each.path for each in saved.conflicts}
    for edit in reversed(edits):
        version = await version_of(world)
        saved = await world.save("ada", replace(edit, base_version=version))
        assert saved is not None
        assert {each.path for each in saved.conflicts} <= known | {""}
    # The two are all that was ever edited, and each was saved for this version.
    assert saved.conflicts == []
