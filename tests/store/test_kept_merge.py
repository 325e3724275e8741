"""The invariant of drafts: the kept merge is the edit applied to the record's content, whoever wrote what."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from draftline_server.domain.drafts import ConflictPolicy, DraftEdit, Selection
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.errors import DraftlineError
from draftline_server.domain.records import Delta, ImportMode, Operations, Patch
from draftline_server.store.database import Database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.edit_strategies import to_text
from support.soak_scale import examples
from support.tenant_stores import COLLECTION, World, change, creation, deletion, operate

IDS = ["1", "2", "😀"]
USERS = ["ada", "bob", "cleo"]
SESSIONS = ["", "s"]
# As few keys and values as make edits meet.
_keys = st.sampled_from(["a", "b"])
_scalars = st.sampled_from([None, 0, 1, "x"])
_lists = st.lists(_scalars, max_size=2)
_values = st.recursive(_scalars | _lists, lambda inner: st.dictionaries(_keys, inner, max_size=2), max_leaves=4)
documents = st.dictionaries(_keys, _values, max_size=2)
_ids, _users, _sessions = st.sampled_from(IDS), st.sampled_from(USERS), st.sampled_from(SESSIONS)
_strategies, _policies = st.sampled_from(list(Strategy)), st.sampled_from(list(ConflictPolicy))
_paths = st.lists(_keys, min_size=1, max_size=2).map(tuple)
_steps = st.one_of(
    st.builds(Operation, st.just("add"), _paths, value=_values),
    st.builds(Operation, st.just("remove"), _paths),
    st.builds(Operation, st.just("move"), _paths, _paths),
    st.builds(Operation, st.just("increment"), _paths, value=st.sampled_from([-1, 1])),
    st.builds(Operation, st.sampled_from(["union", "subtract"]), _paths, value=_lists),
    st.builds(Operation, st.just("add"), _paths.map(lambda path: (*path, "-")), value=_scalars),
)


@dataclass
class Step:
    """One call; its arguments are for the falsifying example."""

    name: str
    arguments: tuple[Any, ...]
    run: Callable[[World], Any] = field(repr=False)


def step(name: str, make: Callable[..., Callable[[World], Any]], *arguments: st.SearchStrategy[Any]) -> Any:
    return st.tuples(*arguments).map(lambda drawn: Step(name, drawn, make(*drawn)))


_changes = st.one_of(
    st.builds(lambda delta, strategy: Delta(to_text(delta), strategy), documents, _strategies),
    st.lists(_steps, min_size=1, max_size=2).map(Operations),
)
_patches = st.builds(
    lambda record_id, change, missing: Patch(COLLECTION, record_id, change, allow_missing=missing),
    _ids, _changes, st.booleans(),
)  # fmt: skip


def _edits(record_ids: st.SearchStrategy[str]) -> st.SearchStrategy[DraftEdit]:
    replaces = st.sampled_from([False, False, False, True])
    return st.one_of(
        st.builds(change, record_ids, documents, _strategies, replace=replaces),
        st.builds(operate, record_ids, _steps),
        st.builds(creation, record_ids, documents, replace=replaces),
        st.builds(deletion, record_ids, replace=replaces),
    )


def _batch(patches: list[Patch], partial: bool) -> Callable[[World], Any]:
    distinct = list({patch.record_id: patch for patch in patches}.values())
    return lambda world: world.patch_all(distinct, partial=partial)


def _save(user: str, edits: list[DraftEdit], session: str, partial: bool) -> Callable[[World], Any]:
    distinct = list({edit.record_id: edit for edit in edits}.values())
    return lambda world: world.save_all(user, distinct, session_id=session, partial=partial)


def _of(session: str | None) -> Selection:
    return Selection(session_id=session or None)


saves = step("save", _save, _users, st.lists(_edits(_ids), min_size=1, max_size=3), _sessions, st.booleans())
writes = st.one_of(
    step("patch", lambda patch: _batch([patch], False), _patches),
    step("batch", _batch, st.lists(_patches, min_size=1, max_size=3), st.booleans()),
    step(
        "import",
        lambda records, mode: lambda world: world.load(records, mode),
        st.dictionaries(_ids, documents, max_size=2), st.sampled_from(list(ImportMode)),
    ),
    step(
        "commit",
        lambda user, session, policy, partial: lambda world: world.commit(
            user, _of(session), policy, allow_partial=partial
        ),
        _users, _sessions, _policies, st.booleans(),
    ),
    step("delete", lambda record_id: lambda world: world.delete(record_id), _ids),
    step("undelete", lambda record_id: lambda world: world.undelete(record_id), _ids),
    step("discard", lambda user, session: lambda world: world.discard(user, _of(session)), _users, _sessions),
)  # fmt: skip
programs = st.lists(saves | writes | writes, min_size=1, max_size=12)


@pytest.mark.parametrize("partial_updates", [True, False], ids=["in_place", "replacing"])
@settings(max_examples=examples(60), deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs, initial=st.dictionaries(_ids, documents, min_size=1))
async def test_merge_is_the_edit_of_the_content_after_whatever_calls(
    database: Database, partial_updates: bool, program: list[Step], initial: dict[str, Any]
) -> None:
    world = World(database, f"kept-{uuid.uuid4().hex}", partial_updates=partial_updates)
    await world.load(initial)
    for each in program:
        try:
            await each.run(world)
        except DraftlineError:
            continue  # refused: nothing may have changed, and if it did the next look finds it
        assert await world.differences() == [], each
    assert await world.differences() == []


async def test_every_kind_of_write_reaches_every_users_draft(world: World) -> None:
    await world.create("1", {"a": 1, "b": 1})
    for user, key in zip(USERS, ("a", "x", "y"), strict=True):
        await world.save(user, change("1", {key: user}))

    async def seen() -> list[Any]:
        assert await world.differences() == []
        return [row["merged"] for row in await world.stored("draft")]

    await world.patch("1", {"b": 2})
    assert await seen() == [{"a": "ada", "b": 2}, {"a": 1, "b": 2, "x": "bob"}, {"a": 1, "b": 2, "y": "cleo"}]
    await world.load({"1": {"b": 3}})
    assert await seen() == [{"a": "ada", "b": 3}, {"b": 3, "x": "bob"}, {"b": 3, "y": "cleo"}]
    await world.commit("bob")
    assert await seen() == [{"a": "ada", "b": 3, "x": "bob"}, {"b": 3, "x": "bob", "y": "cleo"}]
    await world.delete("1")
    await world.undelete("1")
    await world.load({"2": {}}, ImportMode.SNAPSHOT)
    await world.load({"1": {"b": 4}})
    assert await seen() == [{"a": "ada", "b": 4}, {"b": 4, "y": "cleo"}]
