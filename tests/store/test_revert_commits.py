"""Commits taken back as a whole, what keeps them from it, and what else shows it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from draftline_server.domain import changes as changes_domain
from draftline_server.domain.changes import ChangeKind, ChangeRef, ChangeSource
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
from support.tenant_changes import LoggedWorld, conflicts_told, content_of, create_and_patch
from support.tenant_stores import COLLECTION, change, creation, deletion

from .test_order_entries import purge

REJECT, KEEP_MINE, KEEP_THEIRS = ConflictPolicy


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
    await create_and_patch(world, {"a": 2, "o": {"x": 2}})
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
    assert conflicts_told(await world.revert_version("1", 1, KEEP_THEIRS)) == [
        (ConflictKind.CHANGED, "", None, None, '{"a": 2}')
    ]
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
    await create_and_patch(world, {"a": 2})
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
    assert await content_of(world) == {"mine": "", "theirs": "y" * 60}


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


async def test_record_created_after_the_lock_is_not_reverted(world: LoggedWorld) -> None:
    await world.create("1", {"n": 1})
    await world.save_all("ada", [change("1", {"n": 2}), creation("2", {"n": 2})])
    await world.commit("ada")
    (commit_id,) = {each.commit_id for each in await world.all() if each.source is ChangeSource.COMMIT}
    await world.delete("2")
    await purge(world, "2")
    other = LoggedWorld(world.database, world.tenant_id)
    (purged,) = [each for each in await world.history("2") if each.kind is ChangeKind.PURGE]

    class Interrupted(reverts_store.RevertStore):
        async def _violations(self, *arguments: Any) -> Any:
            await other.create("2", {"n": 9})
            return await super()._violations(*arguments)

    world.reverts = Interrupted(world.specs, Limits())
    with pytest.raises(ChangeNotFoundError):
        await world.revert_version("2", purged.version)
    (reverted,) = await world.revert(commit_id)
    assert (reverted.record_id, reverted.written) == ("1", True)
    assert (await world.states())["2"][0] == {"n": 9}
