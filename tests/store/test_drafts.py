"""Drafts as they are saved: what each edit makes of each draft, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from draftline_server.domain.content import Limits
from draftline_server.domain.drafts import DraftEdit
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.errors import (
    DocumentTooLargeError,
    DraftDeletesRecordError,
    DraftlineError,
    DraftVersionMismatchError,
    InvalidOperationError,
    RecordDeletedError,
    RecordExistsError,
    RecordNotFoundError,
    VersionMismatchError,
)
from support.tenant_stores import World, change, creation, deletion, operate

CONTENT = {"title": "Alien", "year": 1979}
ACTIONS: dict[str, Any] = {
    "delta": lambda **rest: change("1", {"title": "Aliens"}, **rest),
    "operations": lambda **rest: operate("1", Operation("add", ("title",), value="Aliens"), **rest),
    "create": lambda **rest: creation("1", {"title": "Aliens"}, **rest),
    "delete": lambda **rest: deletion("1", **rest),
}
GONE = "the draft is gone"
NO_RECORD, DELETED, EXISTS = RecordNotFoundError, RecordDeletedError, RecordExistsError
DELETES = DraftDeletesRecordError
# Draft and record before; what delta, operations, create and delete make of the draft.
STATES: dict[tuple[str, str], tuple[Any, Any, Any, Any]] = {
    ("none", "missing"): (NO_RECORD, NO_RECORD, "CREATE", NO_RECORD),
    ("none", "live"): ("CHANGE", "CHANGE", EXISTS, "DELETE"),
    ("none", "deleted"): (DELETED, DELETED, DELETED, DELETED),
    ("CHANGE", "live"): ("CHANGE", "CHANGE", EXISTS, "DELETE"),
    ("CHANGE", "deleted"): ("CHANGE", "CHANGE", EXISTS, "DELETE"),
    ("CREATE", "missing"): ("CREATE", "CREATE", EXISTS, GONE),
    ("CREATE", "live"): ("CREATE", "CREATE", EXISTS, GONE),
    ("CREATE", "deleted"): ("CREATE", "CREATE", EXISTS, GONE),
    ("DELETE", "live"): (DELETES, DELETES, "CHANGE", "DELETE"),
    ("DELETE", "deleted"): (DELETES, DELETES, "CHANGE", "DELETE"),
}
# The same where the edit takes the place of the draft: as if there were none.
REPLACED = {state: STATES["none", state[1]] for state in STATES}


async def arrange(world: World, draft: str, record: str) -> None:
    """A draft of record 1, and what has become of the record since."""
    if draft == "CREATE":
        await world.save("ada", creation("1", {"title": "Mine", "kept": True}))
    if draft != "CREATE" and (draft != "none" or record != "missing"):
        await world.create("1", CONTENT)
    if draft == "CHANGE":
        await world.save("ada", change("1", {"kept": True}))
    if draft == "DELETE":
        await world.save("ada", deletion("1"))
    if draft == "CREATE" and record != "missing":
        await world.create("1", CONTENT)
    if record == "deleted":
        await world.delete("1")


@pytest.mark.parametrize("action", list(ACTIONS))
@pytest.mark.parametrize("replaces", [False, True], ids=["composed", "replacing"])
@pytest.mark.parametrize(("draft", "record"), list(STATES))
async def test_edit_makes_of_each_draft_what_is_documented(
    world: World, draft: str, record: str, replaces: bool, action: str
) -> None:
    await arrange(world, draft, record)
    before = await world.stored("draft")
    expected = (REPLACED if replaces else STATES)[draft, record][list(ACTIONS).index(action)]
    edit: DraftEdit = ACTIONS[action](replace=replaces)
    if isinstance(expected, type):
        with pytest.raises(expected):
            await world.save("ada", edit)
        assert await world.stored("draft") == before
        return
    saved = await world.save("ada", edit)
    stored = await world.draft("ada", "1")
    if expected is GONE:
        assert (saved, stored) == (None, None)
        return
    assert saved is not None
    assert stored is not None
    assert (saved.draft_kind, stored["kind"]) == (expected, expected)
    assert saved.draft_version == stored["version"] == 1 + (draft != "none")
    assert json.loads(saved.record.content) == stored["merged"]
    if action != "delete":
        kept = {"title": "Aliens"} if action == "create" else {**merged_before(draft, replaces), "title": "Aliens"}
        assert stored["merged"] == kept
    assert await world.differences() == []


def merged_before(draft: str, replaces: bool) -> dict[str, Any]:
    if replaces or draft == "none":
        return CONTENT
    return {"title": "Mine", "kept": True} if draft == "CREATE" else {**CONTENT, "kept": True}


async def test_edit_is_composed_onto_the_draft(world: World) -> None:
    await world.create("1", {"a": {"b": 1, "c": 2}, "d": [1]})
    await world.save("ada", change("1", {"a": {"b": 9}}, Strategy.DEEP))
    await world.save("ada", operate("1", Operation("add", ("d", "-"), value=2)))
    saved = await world.save("ada", change("1", {"a": {"c": None}}, Strategy.MERGE_PATCH), session_id="s", move=True)
    assert saved is not None
    assert json.loads(saved.record.content) == {"a": {"b": 9}, "d": [1, 2]}
    assert (saved.draft_version, saved.modified_fields, saved.session_id) == (3, ["a", "d"], "s")
    stored = await world.draft("ada", "1")
    assert stored is not None
    assert stored["base"] == {"m": {"a": {"s": {"b": 1, "c": 2}}}, "s": {"d": [1]}}


async def test_edit_that_replaces_starts_anew(world: World) -> None:
    await world.create("1", {"a": 1, "b": 1})
    await world.save("ada", change("1", {"a": 2}))
    await world.patch("1", {"a": 3})
    saved = await world.save("ada", change("1", {"b": 2}, replace=True))
    stored = await world.draft("ada", "1")
    assert saved is not None
    assert stored is not None
    assert json.loads(saved.record.content) == {"a": 3, "b": 2}
    assert (saved.draft_version, stored["base"], stored["base_version"]) == (2, {"s": {"b": 1}}, 2)


async def test_base_is_what_stood_there_when_the_path_was_first_edited(world: World) -> None:
    await world.create("1", {"a": 1, "b": 1, "c": {}})
    await world.save("ada", change("1", {"a": 2, "c": {"x": 1}}, Strategy.DEEP))
    await world.patch("1", {"a": 3, "b": 3, "c": 5})
    saved = await world.save("ada", change("1", {"a": 4, "b": 4}))
    stored = await world.draft("ada", "1")
    assert saved is not None
    assert stored is not None
    assert stored["base"] == {"s": {"a": 1, "b": 3}, "m": {"c": {"r": ["x"]}}}
    assert stored["base_version"] == 1
    assert [(conflict.path, conflict.base, conflict.mine, conflict.theirs) for conflict in saved.conflicts] == [
        ("/a", "1", "4", "3"),
        ("/c", "{}", '{"x": 1}', "5"),
    ]


async def test_value_set_back_to_its_base_is_an_edit_no_more(world: World) -> None:
    await world.create("1", {"a": 1, "b": 1})
    await world.save("ada", change("1", {"a": 2, "b": 2}))
    saved = await world.save("ada", change("1", {"a": 1}))
    stored = await world.draft("ada", "1")
    assert saved is not None
    assert stored is not None
    assert (stored["edit"], saved.modified_fields) == ({"s": {"b": 2}}, ["b"])


async def test_creation_that_is_deleted_again_leaves_nothing(world: World) -> None:
    results = await world.save_all("ada", [creation("1", {}), creation("2", {"a": 1})])
    assert [result.merged is not None and result.merged.record.version for result in results] == [0, 0]
    results = await world.save_all("ada", [deletion("1"), deletion("2")])
    assert [(result.merged, result.error) for result in results] == [(None, None)] * 2
    assert await world.stored("draft") == []


async def test_drafted_creation_stays_one_when_the_same_record_appears(world: World) -> None:
    await world.save("ada", creation("1", {"a": 1}))
    await world.create("1", {"a": 1, "b": 1})
    await world.save("ada", change("1", {"b": 1}))
    await world.patch("1", {"a": 7})
    stored = await world.draft("ada", "1")
    assert stored is not None
    assert (stored["kind"], stored["edit"], stored["base"]) == ("CREATE", {"v": {"a": 1, "b": 1}}, {})
    assert stored["merged"] == {"a": 1, "b": 1}
    assert await world.differences() == []


@pytest.mark.parametrize("expected", [0, 1, 2, 3])
async def test_expected_draft_version_lets_one_version_through(world: World, expected: int) -> None:
    await world.create("1", CONTENT)
    await world.save("ada", change("1", {"a": 1}))
    await world.save("ada", change("1", {"a": 2}))
    before = await world.stored("draft")
    if expected == 2:
        saved = await world.save("ada", change("1", {"a": 3}, expected_draft_version=expected))
        assert saved is not None
        assert saved.draft_version == 3
        return
    with pytest.raises(DraftVersionMismatchError) as refused:
        await world.save("ada", change("1", {"a": 3}, expected_draft_version=expected))
    assert refused.value.metadata == {"current_draft_version": "2", "record_id": "1"}
    assert await world.stored("draft") == before


async def test_expected_draft_version_zero_wants_no_draft(world: World) -> None:
    await world.create("1", CONTENT)
    saved = await world.save("ada", change("1", {"a": 1}, expected_draft_version=0))
    assert saved is not None
    with pytest.raises(DraftVersionMismatchError):
        await world.save("bob", change("1", {"a": 1}, expected_draft_version=1))


async def test_base_version_lets_the_records_own_version_through(world: World) -> None:
    await world.create("1", CONTENT)
    await world.patch("1", {"year": 1980})
    for stale in (1, 3):
        with pytest.raises(VersionMismatchError) as refused:
            await world.save("ada", change("1", {"a": 1}, base_version=stale))
        assert refused.value.metadata["current_version"] == "2"
    assert await world.stored("draft") == []
    assert await world.save("ada", change("1", {"a": 1}, base_version=2)) is not None


MIXED = [
    change("1", {"a": 1}),
    change("nothing", {"a": 1}),
    operate("1b", Operation("remove", ("nowhere",))),
    change("2", {"deep": {"a": {"b": {"c": {"d": 1}}}}}),
    creation("3", {}),
]


async def test_edits_are_all_saved_or_none(world: World) -> None:
    for record_id in ("1", "1b", "2"):
        await world.create(record_id, CONTENT)
    results = await world.save_all("ada", MIXED)
    assert [result.error is None for result in results] == [True, False, False, True, True]
    assert await world.stored("draft") == []


async def test_edits_are_saved_each_on_its_own_if_asked(database: Any, tenant_id: str) -> None:
    world = World(database, tenant_id, Limits(max_depth=4))
    for record_id in ("1", "1b", "2"):
        await world.create(record_id, CONTENT)
    results = await world.save_all("ada", MIXED, partial=True)
    errors = [type(result.error) for result in results]
    assert errors == [type(None), NO_RECORD, InvalidOperationError, DocumentTooLargeError, type(None)]
    assert [row["record_id"] for row in await world.stored("draft")] == ["1", "3"]


async def test_drafts_are_their_users_own(world: World) -> None:
    await world.create("1", CONTENT)
    await world.save("ada", change("1", {"year": 1}))
    saved = await world.save("bob", change("1", {"title": "x"}))
    assert saved is not None
    assert json.loads(saved.record.content) == {"title": "x", "year": 1979}
    assert (saved.draft_version, saved.modified_by) == (1, "bob")


async def test_edit_over_a_limit_is_refused(world: World) -> None:
    await world.create("1", CONTENT)
    nested: dict[str, Any] = {}
    for _ in range(32):
        nested = {"a": nested}
    with pytest.raises(DraftlineError) as refused:
        await world.save("ada", change("1", {"a": nested}))
    assert isinstance(refused.value, DocumentTooLargeError)
    assert await world.stored("draft") == []
