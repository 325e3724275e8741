"""Drafts edit paths below objects that others removed or replaced, and below missing ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from draftline_server.domain.drafts import ConflictPolicy, DraftEdit
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.errors import ConflictError
from support.tenant_changes import LoggedWorld
from support.tenant_stores import World, change, creation, operate

REJECT, KEEP_MINE, KEEP_THEIRS = ConflictPolicy
DEEP, MERGE_PATCH = Strategy.DEEP, Strategy.MERGE_PATCH
BEFORE = {"o": {"x": 1, "y": {"z": 1, "l": [1]}}, "k": 1}


async def content_of(world: World) -> Any:
    return json.loads((await world.record("1")).content)


def remove(*path: str) -> DraftEdit:
    return operate("1", Operation("remove", path))


REMOVALS = [
    remove("o", "x"),
    remove("o", "y", "z"),
    change("1", {"o": {"x": None}}, MERGE_PATCH),
    change("1", {"o": {"x": None, "y": {"z": None, "none": None}}}, MERGE_PATCH),
    operate("1", Operation("subtract", ("o", "y", "l"), value=[1])),
]
THEIRS = [{}, {"o": None}, {"o": "gone"}, {"o": [1]}]


@pytest.mark.parametrize("policy", list(ConflictPolicy))
@pytest.mark.parametrize("theirs", THEIRS)
@pytest.mark.parametrize("edit", REMOVALS)
async def test_removal_below_a_parent_that_is_gone_is_done_already(
    world: World, edit: DraftEdit, theirs: Any, policy: ConflictPolicy
) -> None:
    await world.create("1", BEFORE)
    await world.save("ada", edit)
    await world.patch("1", {**theirs, "k": 2}, Strategy.REPLACE)
    draft = await world.draft("ada", "1")
    assert draft is not None
    assert draft["merged"] == {**theirs, "k": 2}
    version = (await world.record("1")).version
    (result,) = await world.commit("ada", policy=policy)
    assert (result.conflicts, list(result.changed_fields), result.written) == ([], [], False)
    assert (await content_of(world), (await world.record("1")).version) == ({**theirs, "k": 2}, version)


@pytest.mark.parametrize("policy", list(ConflictPolicy))
async def test_removals_of_a_parent_and_of_its_part_both_count_in_either_order(
    world: World, policy: ConflictPolicy
) -> None:
    for first, second in (("ada", "bob"), ("bob", "ada")):
        await world.put("1", {"limits": {"cpu": 1, "mem": 2}})
        await world.save("ada", remove("limits", "cpu"))
        await world.save("bob", remove("limits"))
        await world.commit(first)
        if second == "bob":
            with pytest.raises(ConflictError):  # the other's removal changed what is removed
                await world.commit(second)
            await world.commit(second, policy=KEEP_MINE)
        else:
            await world.commit(second, policy=policy)
        assert await content_of(world) == {}
        assert await world.stored("draft") == []


ADDITIONS = [
    # the edit, the path of the conflict, its base, mine, and all of o that KEEP_MINE makes anew
    (change("1", {"o": {"n": 1}}, DEEP), "/o", "{}", '{"n": 1}', {"n": 1}),
    (change("1", {"o": {"x": 2}}, DEEP), "/o", '{"x": 1}', '{"x": 2}', {"x": 2}),
    (change("1", {"o": {"x": 2}}, DEEP, 2), "/o", '{"x": 1}', '{"x": 2}', {"x": 2}),
    (change("1", {"o": {"x": 2}}, MERGE_PATCH), "/o", '{"x": 1}', '{"x": 2}', {"x": 2}),
    (change("1", {"o": {"x": None, "n": 1}}, MERGE_PATCH), "/o", '{"x": 1}', '{"n": 1}', {"n": 1}),
    (change("1", {"o": {"y": {"z": 2}}}, DEEP), "/o", '{"y": {"z": 1}}', '{"y": {"z": 2}}', {"y": {"z": 2}}),
    (operate("1", Operation("add", ("o", "n"), value=1)), "/o", "{}", '{"n": 1}', {"n": 1}),
    (operate("1", Operation("replace", ("o", "x"), value=2)), "/o", '{"x": 1}', '{"x": 2}', {"x": 2}),
    (operate("1", Operation("increment", ("o", "x"), value=2)), "/o", '{"x": 1}', '{"x": 2}', {"x": 2}),
    (operate("1", Operation("add", ("o", "y", "l", "-"), value=2)), "/o", '{"y": {"l": [1]}}', '{"y": {"l": [2]}}',
     {"y": {"l": [2]}}),
]  # fmt: skip


@pytest.mark.parametrize("theirs", THEIRS)
@pytest.mark.parametrize(("edit", "path", "base", "mine", "anew"), ADDITIONS)
async def test_addition_below_a_parent_that_is_gone_is_a_conflict_at_the_parent(
    world: World, edit: DraftEdit, path: str, base: str, mine: str, anew: Any, theirs: Any
) -> None:
    async def arrange() -> None:
        await world.put("1", BEFORE)
        await world.save("ada", edit)
        await world.patch("1", theirs, Strategy.REPLACE)

    await arrange()
    with pytest.raises(ConflictError) as rejected:
        await world.commit("ada")
    (found,) = rejected.value.conflicts
    there = json.dumps(theirs["o"]) if "o" in theirs else None
    assert (found.path, found.base, found.mine, found.theirs) == (path, base, mine, there)
    await world.commit("ada", policy=KEEP_MINE)
    assert await content_of(world) == {"o": anew}
    await arrange()
    (result,) = await world.commit("ada", policy=KEEP_THEIRS)
    assert (await content_of(world), result.written) == (theirs, False)


@pytest.mark.parametrize("theirs", THEIRS)
@pytest.mark.parametrize(("edit", "path", "base", "mine", "anew"), ADDITIONS[:7])
async def test_addition_that_is_said_again_by_one_who_saw_the_parent_gone_makes_it_anew(
    world: World, edit: DraftEdit, path: str, base: str, mine: str, anew: Any, theirs: Any
) -> None:
    await world.create("1", BEFORE)
    await world.save("ada", change("1", {"o": {"x": 7}, "k": 7}, DEEP))
    await world.patch("1", theirs, Strategy.REPLACE)
    with pytest.raises(ConflictError):
        await world.commit("ada", validate_only=True)
    saved = await world.save("ada", replace(edit, base_version=2))
    assert saved is not None
    assert [each.path for each in saved.conflicts] == ["/k"]
    (result,) = await world.commit("ada", policy=KEEP_THEIRS)
    assert result.record is not None
    made = {key: value for key, value in {"x": 7, **anew}.items() if edit is not ADDITIONS[4][0] or key != "x"}
    assert json.loads(result.record.content) == {"o": made}


async def test_inner_parent_that_is_gone_is_the_place_of_the_conflict(world: World) -> None:
    await world.create("1", BEFORE)
    await world.save("ada", change("1", {"k": 2, "o": {"x": 5, "y": {"z": 2}}}, DEEP))
    await world.patch("1", {"o": {"y": None}}, MERGE_PATCH)
    with pytest.raises(ConflictError) as rejected:
        await world.commit("ada")
    assert [(each.path, each.theirs) for each in rejected.value.conflicts] == [("/o/y", None)]
    await world.commit("ada", policy=KEEP_THEIRS)
    assert await content_of(world) == {"o": {"x": 5}, "k": 2}


async def test_parent_that_was_never_there_is_made_and_joined(world: World) -> None:
    await world.create("1", {"k": 1})
    await world.save("ada", change("1", {"o": {"p": {"x": 1}}}, DEEP))
    await world.patch("1", {"k": 2})
    assert (await world.commit("ada", validate_only=True))[0].conflicts == []
    await world.patch("1", {"o": {"y": 2}})
    (result,) = await world.commit("ada")
    assert (result.conflicts, await content_of(world)) == ([], {"k": 2, "o": {"y": 2, "p": {"x": 1}}})


@pytest.mark.parametrize(
    "edit",
    [
        change("1", {"e": {}}, DEEP),
        change("1", {"e": {"none": None}}, MERGE_PATCH),
        change("1", {"e": {}}, MERGE_PATCH),
        operate("1", Operation("add", ("e",), value={})),
    ],
)
async def test_empty_object_that_was_asked_for_is_made(world: World, edit: DraftEdit) -> None:
    await world.create("1", {})
    await world.save("ada", edit)
    await world.commit("ada")
    assert await content_of(world) == {"e": {}}


async def test_what_was_added_and_removed_again_leaves_no_object_where_the_parent_is_gone(world: World) -> None:
    await world.create("1", BEFORE)
    await world.save("ada", change("1", {"o": {"n": 1}}, DEEP))
    await world.patch("1", {"o": None}, MERGE_PATCH)
    await world.save("ada", remove("o", "n"))
    draft = await world.draft("ada", "1")
    assert draft is not None
    assert (draft["edit"], draft["merged"]) == ({}, {"k": 1})
    assert not (await world.commit("ada"))[0].written


@pytest.mark.parametrize("policy", list(ConflictPolicy))
@pytest.mark.parametrize("content", [{"a": 1}, {"a": 2}])
async def test_creation_over_what_came_and_went_meanwhile_goes_through(
    world: LoggedWorld, policy: ConflictPolicy, content: Any
) -> None:
    await world.save("ada", creation("1", content))
    await world.create("1", {"a": 1, "b": 1})
    await world.patch("1", {"b": None}, MERGE_PATCH)
    await world.delete("1")
    (preview,) = await world.commit("ada", policy=policy, validate_only=True)
    (result,) = await world.commit("ada", policy=policy)
    for each in (preview, result):
        assert (each.conflicts, each.written) == ([], True)
        assert each.record is not None
        assert (json.loads(each.record.content), each.record.version, each.record.deleted_at) == (content, 4, None)
    assert (await world.states())["1"][:2] == (content, False)
    assert await world.stored("draft") == []
