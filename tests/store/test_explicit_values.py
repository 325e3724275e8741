"""A value that a user says is an edit wherever it differs from what is there, whatever the draft was based on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from draftline_server.domain.drafts import ConflictPolicy, DraftEdit
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.errors import ConflictError
from support.tenant_stores import World, change, creation, deletion, operate

REJECT, KEEP_MINE, KEEP_THEIRS = ConflictPolicy
SHALLOW, DEEP, MERGE_PATCH, REPLACE = Strategy
BEFORE = {"a": 1, "o": {"x": 1}}
DRAFTED = change("1", {"a": 2, "o": {"x": 2, "n": 2}, "n": 2}, DEEP)
SINCE = {"a": 3, "o": {"x": 3, "n": 3}, "n": 3}

WAYS = [
    # what is said, the path, and what is at the path before; each says the base again
    (change("1", {"a": 1}), ("a",), 1),
    (change("1", {"a": 1}, DEEP), ("a",), 1),
    (change("1", {"a": 1}, MERGE_PATCH), ("a",), 1),
    (operate("1", Operation("replace", ("a",), value=1)), ("a",), 1),
    (operate("1", Operation("add", ("a",), value=1)), ("a",), 1),
    (operate("1", Operation("increment", ("a",), value=-1)), ("a",), 1),
    (operate("1", Operation("copy", ("a",), ("m",)), Operation("remove", ("m",))), ("a",), 1),
    (change("1", {"o": {"x": 1}}, DEEP), ("o", "x"), 1),
    (change("1", {"o": {"x": 1}}, MERGE_PATCH), ("o", "x"), 1),
    (operate("1", Operation("replace", ("o", "x"), value=1)), ("o", "x"), 1),
    (operate("1", Operation("remove", ("n",))), ("n",), None),
    (change("1", {"n": None}, MERGE_PATCH), ("n",), None),
    (operate("1", Operation("remove", ("o", "n"))), ("o", "n"), None),
    (change("1", {"o": {"n": None}}, MERGE_PATCH), ("o", "n"), None),
]


def at(content: Any, path: tuple[str, ...]) -> Any:
    for token in path:
        content = content.get(token)
    return content


@pytest.mark.parametrize("with_base_version", [False, True])
@pytest.mark.parametrize(("edit", "path", "said"), WAYS)
async def test_base_that_is_said_again_is_an_edit_once_another_has_changed_it(
    world: World, edit: DraftEdit, path: tuple[str, ...], said: Any, with_base_version: bool
) -> None:
    async def arrange() -> Any:
        await world.put("1", BEFORE | {"m": 1})
        await world.save("ada", DRAFTED)
        await world.patch("1", SINCE)
        version = (await world.record("1")).version
        saved = await world.save("ada", replace(edit, base_version=version if with_base_version else None))
        assert saved is not None
        return saved

    saved = await arrange()
    assert at(json.loads(saved.record.content), path) == said
    assert path[0] in saved.modified_fields
    pointer = "/" + "/".join(path)
    told = [(each.base, each.mine, each.theirs) for each in saved.conflicts if each.path == pointer]
    value = None if said is None else str(said)
    assert told == ([] if with_base_version else [(value, value, "3")])
    if not with_base_version:
        with pytest.raises(ConflictError):
            await world.commit("ada")
    await world.commit("ada", policy=KEEP_MINE)
    assert at(json.loads((await world.record("1")).content), path) == said
    if not with_base_version:
        await arrange()
        await world.commit("ada", policy=KEEP_THEIRS)
        assert at(json.loads((await world.record("1")).content), path) == 3


@pytest.mark.parametrize(
    "edits",
    [
        [change("1", {"a": 2}, REPLACE), change("1", BEFORE, REPLACE)],
        [deletion("1"), creation("1", BEFORE)],
        [change("1", {"a": 2}), change("1", BEFORE, REPLACE)],
    ],
)
async def test_whole_content_that_is_said_again_is_an_edit(world: World, edits: list[DraftEdit]) -> None:
    await world.create("1", BEFORE)
    await world.save("ada", edits[0])
    await world.patch("1", {"a": 3})
    await world.save("ada", edits[1])
    draft = await world.draft("ada", "1")
    assert draft is not None
    assert draft["merged"] == BEFORE
    with pytest.raises(ConflictError) as rejected:
        await world.commit("ada")
    assert [each.path for each in rejected.value.conflicts] == [""]
    await world.commit("ada", policy=KEEP_MINE)
    assert json.loads((await world.record("1")).content) == BEFORE


@pytest.mark.parametrize("strategy", [SHALLOW, DEEP, MERGE_PATCH])
async def test_draft_that_is_replaced_holds_what_differs_from_the_record(world: World, strategy: Strategy) -> None:
    await world.create("1", BEFORE)
    await world.save("ada", change("1", {"a": 2}))
    await world.patch("1", {"a": 3})
    await world.save("ada", change("1", {"a": 1}, strategy, replace=True))
    (result,) = await world.commit("ada")
    assert (list(result.conflicts), list(result.changed_fields)) == ([], ["a"])
    assert json.loads((await world.record("1")).content) == BEFORE


async def test_value_that_all_agree_on_by_now_is_no_conflict_and_nothing_to_write(world: World) -> None:
    await world.create("1", {"a": 1})
    await world.save("ada", change("1", {"a": 2}))
    await world.patch("1", {"a": 3})
    await world.save("ada", change("1", {"a": 1}))
    await world.patch("1", {"a": 1})
    (result,) = await world.commit("ada")
    assert (result.conflicts, result.written) == ([], False)


async def test_value_that_is_taken_back_while_nobody_else_changed_it_is_no_edit(world: World) -> None:
    await world.create("1", BEFORE)
    await world.save("ada", DRAFTED)
    await world.save("ada", operate("1", Operation("remove", ("n",)), Operation("remove", ("o", "n"))))
    await world.save("ada", change("1", {"a": 1, "o": {"x": 1}}, DEEP))
    draft = await world.draft("ada", "1")
    assert draft is not None
    assert (draft["edit"], draft["base"]) == ({}, {})
