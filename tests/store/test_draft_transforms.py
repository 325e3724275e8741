"""Transforms stay transforms in drafts: they are applied to what is there when the draft is committed."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from draftline_server.domain.content import Limits, equal
from draftline_server.domain.drafts import ConflictPolicy
from draftline_server.domain.edits import Operation, Strategy, apply_operations, parse_pointer
from draftline_server.domain.errors import ConflictError, DraftlineError
from draftline_server.domain.records import Operations, Patch
from draftline_server.store.database import Database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.edit_strategies import operation_lists
from support.soak_scale import examples
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, World, change, operate

REJECT, KEEP_MINE, KEEP_THEIRS = ConflictPolicy


def op(name: str, path: str, value: Any = None, source: str = "") -> Operation:
    return Operation(name, parse_pointer(path, "path"), parse_pointer(source, "from"), value)


async def content_of(world: World) -> Any:
    return json.loads((await world.record("1")).content)


async def patched(world: World, *steps: Operation, user: str = "bob") -> None:
    (result,) = await world.patch_all([Patch(COLLECTION, "1", Operations(steps))], user=user)
    assert result.error is None


async def drafted(world: World, *steps: Operation, user: str = "ada") -> Any:
    """The merged content."""
    merged = await world.save(user, operate("1", *steps))
    assert merged is not None
    return json.loads(merged.record.content)


async def refused(world: World, user: str = "ada") -> list[tuple[str, Any, Any, Any]]:
    """Path, base, mine and theirs of the conflicts that refuse a commit."""
    with pytest.raises(ConflictError) as rejected:
        await world.commit(user)
    told = [
        tuple(None if text is None else json.loads(text) for text in (each.base, each.mine, each.theirs))
        for each in rejected.value.conflicts
    ]
    return [(each.path, *values) for each, values in zip(rejected.value.conflicts, told, strict=True)]


@pytest.fixture(params=[True, False], ids=["in_place", "replacing"])
def either(request: pytest.FixtureRequest, database: Database, tenant_id: str) -> LoggedWorld:
    """A world whose patches are made in the database, or in the service."""
    return LoggedWorld(database, tenant_id, partial_updates=request.param)


TOGETHER = [
    # the content, what each of two users does, what comes of both
    ({"n": 1}, op("increment", "/n", 1), op("increment", "/n", 1), {"n": 3}),
    ({"o": {"n": 1}}, op("increment", "/o/n", 2), op("increment", "/o/n", -5), {"o": {"n": -2}}),
    ({}, op("increment", "/n", 1), op("increment", "/n", 1), {"n": 2}),
    ({"l": ["a"]}, op("union", "/l", ["b"]), op("union", "/l", ["c", "b"]), {"l": ["a", "b", "c"]}),
    ({}, op("union", "/l", ["b"]), op("union", "/l", ["c"]), {"l": ["b", "c"]}),
    ({"l": [1, 2, 3]}, op("subtract", "/l", [1]), op("subtract", "/l", [1, 3]), {"l": [2]}),
    ({"l": ["a"]}, op("add", "/l/-", "x"), op("add", "/l/-", "x"), {"l": ["a", "x", "x"]}),
    ({"l": ["a"]}, op("union", "/l", ["x"]), op("add", "/l/-", "y"), {"l": ["a", "x", "y"]}),
    ({"l": ["a", "b"]}, op("subtract", "/l", ["a"]), op("union", "/l", ["c"]), {"l": ["b", "c"]}),
    ({"l": [], "v": 7}, op("copy", "/l/-", source="/v"), op("add", "/l/-", 8), {"l": [7, 8], "v": 7}),
]


@pytest.mark.parametrize("by", ["patch", "commit", "batch"])
@pytest.mark.parametrize(("before", "theirs", "mine", "both"), TOGETHER)
async def test_transforms_of_two_users_both_count(
    either: LoggedWorld, before: Any, theirs: Operation, mine: Operation, both: Any, by: str
) -> None:
    await either.create("1", before)
    await either.create("2", {})
    await drafted(either, mine)
    if by == "patch":
        await either.patches.patch(
            either.actor("bob"), Patch(COLLECTION, "1", Operations([theirs])), change_reason="", validate_only=False
        )
    elif by == "batch":
        patches = [Patch(COLLECTION, record_id, Operations([op("add", "/x", 1)])) for record_id in "12"]
        await either.patch_all([Patch(COLLECTION, "1", Operations([theirs])), patches[1]])
    else:
        await drafted(either, theirs, user="bob")
        await either.commit("bob")
    draft = await either.draft("ada", "1")
    assert draft is not None
    assert draft["merged"] == both
    assert await either.differences() == []
    (result,) = await either.commit("ada")
    assert result.conflicts == []
    assert (await content_of(either), list(result.changed_fields)) == (both, list(both)[:1])
    last = (await either.history("1"))[-1]
    assert json.loads(last.paths[0].new_value or "null") == (both.get("n") or both.get("l") or both["o"]["n"])


async def test_transforms_of_many_users_all_count_in_any_order(world: LoggedWorld) -> None:
    await world.create("1", {"n": 0, "l": []})
    users = [f"user{place}" for place in range(6)]
    for user in users:
        await drafted(world, op("increment", "/n", 1), op("union", "/l", [user]), user=user)
        await drafted(world, op("increment", "/n", 1), user=user)
    for user in reversed(users):
        await world.commit(user)
    assert await content_of(world) == {"n": 12, "l": users[::-1]}


async def test_change_that_is_committed_can_be_taken_back(world: LoggedWorld) -> None:
    await world.create("1", {"n": 1, "m": 1})
    await drafted(world, op("increment", "/n", 1))
    await patched(world, op("increment", "/n", 5))
    await world.commit("ada")
    assert await content_of(world) == {"n": 7, "m": 1}
    await world.revert_version("1", 3)
    assert await content_of(world) == {"n": 6, "m": 1}


async def set_by_patch(world: LoggedWorld, content: Any) -> None:
    await world.patch("1", content, Strategy.MERGE_PATCH)


async def set_by_operation(world: LoggedWorld, content: Any) -> None:
    ((key, value),) = content.items()
    await patched(world, op("remove", f"/{key}") if value is None else op("add", f"/{key}", value))


async def set_by_import(world: LoggedWorld, content: Any) -> None:
    await world.load({"1": {key: value for key, value in content.items() if value is not None}})


async def set_by_commit(world: LoggedWorld, content: Any) -> None:
    await world.save("bob", change("1", content, Strategy.MERGE_PATCH))
    await world.commit("bob", policy=KEEP_MINE)


async def set_after_a_transform(world: LoggedWorld, content: Any) -> None:
    await patched(world, op("add", "/other", 1))
    await set_by_patch(world, {**content, "other": None})


async def set_by_revert(world: LoggedWorld, content: Any) -> None:
    """The content was there before."""
    await set_by_patch(world, content)
    version = (await world.record("1")).version
    await set_by_patch(world, {key: 1 if key == "n" else ["a"] for key in content})
    await world.revert_version("1", version + 1)


SETS = [set_by_patch, set_by_operation, set_by_import, set_by_commit, set_after_a_transform, set_by_revert]
APART = [
    # the content, mine, theirs, the conflict, and what KEEP_MINE makes of it
    ({"n": 1}, op("increment", "/n", 1), {"n": 10}, ("/n", 1, 11, 10), {"n": 11}),
    ({"n": 1}, op("increment", "/n", 1), {"n": 2}, ("/n", 1, 3, 2), {"n": 3}),
    ({"n": 1}, op("increment", "/n", 1), {"n": None}, ("/n", 1, 1, None), {"n": 1}),
    ({"n": 1}, op("increment", "/n", 1), {"n": "x"}, ("/n", 1, 1, "x"), {"n": 1}),
    ({"l": ["a"]}, op("union", "/l", ["b"]), {"l": ["c"]}, ("/l", ["a"], ["c", "b"], ["c"]), {"l": ["c", "b"]}),
    ({"l": ["a"]}, op("union", "/l", ["b"]), {"l": None}, ("/l", ["a"], ["b"], None), {"l": ["b"]}),
    ({"l": ["a"]}, op("add", "/l/-", "b"), {"l": ["b"]}, ("/l", ["a"], ["b", "b"], ["b"]), {"l": ["b", "b"]}),
    ({"l": ["a"]}, op("subtract", "/l", ["a"]), {"l": ["a", "b"]}, ("/l", ["a"], ["b"], ["a", "b"]), {"l": ["b"]}),
]


@pytest.mark.parametrize("write", SETS)
@pytest.mark.parametrize(("before", "mine", "theirs", "conflict", "kept"), APART)
async def test_transform_of_what_another_has_set_is_a_conflict(
    world: LoggedWorld, before: Any, mine: Operation, theirs: Any, conflict: Any, kept: Any, write: Any
) -> None:
    await world.create("1", before)
    await drafted(world, mine)
    await write(world, theirs)
    left = await content_of(world)
    assert await refused(world) == [conflict]
    draft = await world.draft("ada", "1")
    assert draft is not None
    assert draft["merged"] == kept
    (preview,) = await world.commit("ada", policy=KEEP_MINE, validate_only=True)
    assert preview.record is not None
    assert json.loads(preview.record.content) == kept
    await world.commit("ada", policy=KEEP_THEIRS)
    assert await content_of(world) == left
    assert await world.stored("draft") == []


async def test_what_is_subtracted_from_a_list_that_is_gone_is_done(world: LoggedWorld) -> None:
    await world.create("1", {"l": ["a"], "m": 1})
    await drafted(world, op("subtract", "/l", ["a"]))
    await world.patch("1", {"l": None}, Strategy.MERGE_PATCH)
    await world.commit("ada")
    assert await content_of(world) == {"m": 1}


async def test_set_of_what_another_has_transformed_is_a_conflict(world: LoggedWorld) -> None:
    await world.create("1", {"n": 1})
    await world.save("ada", change("1", {"n": 5}))
    await patched(world, op("increment", "/n", 1))
    assert await refused(world) == [("/n", 1, 5, 2)]


async def test_what_one_adds_and_another_takes_away_is_a_conflict(world: LoggedWorld) -> None:
    await world.create("1", {"l": ["a", "b"]})
    await drafted(world, op("subtract", "/l", ["a"]), op("union", "/l", ["c"]))
    await patched(world, op("subtract", "/l", ["b"]))
    await patched(world, op("union", "/l", ["d", "c"]))  # both add c
    assert (await world.commit("ada", validate_only=True))[0].conflicts == []
    await patched(world, op("subtract", "/l", ["c"]))
    assert await refused(world) == [("/l", ["a", "d", "c"], ["d", "c"], ["a", "d"])]


NOTHING = [
    [op("increment", "/n", 0)],
    [op("union", "/l", [])],
    [op("union", "/l", ["a"])],
    [op("subtract", "/l", ["z"])],
    [op("subtract", "/none", ["a"])],
    [op("increment", "/n", 1), op("increment", "/n", -1)],
    [op("union", "/l", ["z"]), op("subtract", "/l", ["z"])],
    [op("add", "/x", 1), op("increment", "/x", 1), op("remove", "/x")],
    [op("test", "/n", 1)],
]


WHOLE = [
    [op("add", "", {"m": 1})],
    [op("copy", "", source="/o")],
    [op("move", "", source="/o")],
    [op("replace", "", {"m": 1})],
    [op("increment", "/n", 1), op("add", "", {"n": 1}), op("increment", "/n", 1)],
    [op("replace", "", None), op("add", "", {})],
    [op("replace", "", [1]), op("add", "/-", 2), op("add", "", {"m": 1})],
]


@pytest.mark.parametrize("steps", WHOLE)
async def test_operations_on_the_whole_content_are_drafted(world: LoggedWorld, steps: Sequence[Operation]) -> None:
    content: Any = {"n": 1, "o": {"n": 2}}
    await world.create("1", content)
    await drafted(world, *steps)
    draft = await world.draft("ada", "1")
    assert draft is not None
    assert draft["merged"] == apply_operations(content, steps, Limits())
    await world.commit("ada")
    assert await content_of(world) == draft["merged"]


@pytest.mark.parametrize("saves", [1, 2])
@pytest.mark.parametrize("steps", NOTHING)
async def test_operations_that_come_to_nothing_are_no_edit(
    world: LoggedWorld, steps: Sequence[Operation], saves: int
) -> None:
    await world.create("1", {"n": 1, "l": ["a"]})
    for part in [steps] if saves == 1 else [[step] for step in steps]:
        await drafted(world, *part)
    draft = await world.draft("ada", "1")
    assert draft is not None
    assert (draft["edit"], draft["base"]) == ({}, {})
    await world.patch("1", {"n": 5, "l": ["b"]})
    (result,) = await world.commit("ada")
    assert (result.conflicts, result.written) == ([], False)


async def test_transforms_are_folded_into_what_the_same_draft_sets(world: LoggedWorld) -> None:
    await world.create("1", {"n": 1, "items": [{"n": 1}]})
    await drafted(world, op("add", "/a", 1), op("add", "/l", []))
    await drafted(world, op("increment", "/a", 2), op("add", "/l/-", "x"), op("increment", "/items/0/n", 1))
    await drafted(world, op("increment", "/n", 1), op("move", "/m", source="/n"), op("increment", "/m", 1))
    await drafted(world, op("copy", "/c", source="/m"), op("increment", "/c", 1))
    draft = await world.draft("ada", "1")
    assert draft is not None
    assert draft["merged"] == {"a": 3, "l": ["x"], "m": 3, "c": 4, "items": [{"n": 2}]}
    assert draft["edit"].keys() == {"s", "r"}


@settings(max_examples=examples(40), deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_draft_of_operations_shows_and_commits_what_they_make_of_what_their_user_saw(
    database: Database, data: st.DataObject
) -> None:
    world = LoggedWorld(database, f"tenant-{uuid.uuid4()}")
    content: Any = {"a": {"b": 1, "c": [1]}, "n": 1, "l": [1, "x"]}
    await world.create("1", content)
    for _ in range(data.draw(st.integers(1, 3))):
        steps = data.draw(operation_lists(content, max_size=4))
        try:
            expected = apply_operations(content, steps, Limits())
        except DraftlineError:
            with pytest.raises(DraftlineError):
                await drafted(world, *steps)
            continue
        if await world.save("ada", operate("1", *steps)) is not None:
            content = expected
        draft = await world.draft("ada", "1")
        assert draft is not None
        assert equal(draft["merged"], content)
    if await world.stored("draft"):
        await world.commit("ada")
    assert equal((await world.stored("record"))[0]["content"], content)


async def test_transforms_committed_at_once_all_count(world: LoggedWorld) -> None:
    await world.create("1", {"n": 0})
    users = [f"user{place}" for place in range(8)]
    await asyncio.gather(*(drafted(world, op("increment", "/n", 1), user=user) for user in users))
    await asyncio.gather(
        *(world.commit(user) for user in users), *(patched(world, op("increment", "/n", 10)) for _ in range(8))
    )
    assert await content_of(world) == {"n": 88}
    assert await world.differences() == []


_steps = st.one_of(
    st.integers(-2, 2).map(lambda number: op("increment", "/o/n", number)),
    st.lists(st.integers(0, 4), max_size=2).map(lambda items: op("union", "/u", items)),
    st.integers(0, 1).map(lambda item: op("add", "/l/-", item)),
    st.lists(st.integers(10, 13), max_size=2).map(lambda items: op("subtract", "/u", items)),
)
_calls = st.tuples(st.sampled_from(["draft", "draft", "patch", "commit"]), st.sampled_from(["ada", "bob"]), _steps)


@pytest.mark.parametrize("partial_updates", [True, False], ids=["in_place", "replacing"])
@settings(max_examples=examples(25), deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(calls=st.lists(_calls, min_size=2, max_size=10))
async def test_transforms_of_whatever_calls_all_count_and_none_is_in_conflict(
    database: Database, partial_updates: bool, calls: list[tuple[str, str, Operation]]
) -> None:
    world = LoggedWorld(database, f"tenant-{uuid.uuid4()}", partial_updates=partial_updates)
    await world.create("1", {"o": {"n": 0}, "u": [10, 11, 12], "l": []})
    done: list[Operation] = []
    for name, user, step in calls:
        if name == "commit":
            assert all(not each.conflicts for each in await world.commit(user))
            continue
        done.append(step)
        await (drafted if name == "draft" else patched)(world, step, user=user)
        assert await world.differences() == []
    for user in ("ada", "bob"):
        assert all(not each.conflicts for each in await world.commit(user))
    values = {name: [step.value for step in done if step.op == name] for name in ("increment", "add")}
    items = {name: {item for step in done if step.op == name for item in step.value} for name in ("union", "subtract")}
    content = await content_of(world)
    assert content["o"]["n"] == sum(values["increment"])
    assert sorted(content["l"]) == sorted(values["add"])
    assert sorted(content["u"]) == sorted({10, 11, 12} - items["subtract"] | items["union"])
