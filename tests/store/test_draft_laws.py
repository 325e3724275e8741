"""The laws of a draft's edits, and that SQL and the oracle of tests/support/edit_oracle.py are one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.content import Limits, changed_fields, equal
from draftline_server.domain.drafts import edit_of_delta
from draftline_server.domain.edits import MISSING, Strategy, apply_delta, apply_operations, parse_pointer
from draftline_server.domain.errors import DraftlineError
from draftline_server.domain.records import Operations
from draftline_server.store.in_place_patches import edit_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import edit_oracle as oracle
from support.edit_strategies import contents, decode, deltas, operation_lists, to_text
from support.soak_scale import examples
from support.transform_oracle import commute, normal

LIMITS = Limits()
many = settings(
    max_examples=examples(100),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# Fewer keys than other contents have, so that edits of edits of contents meet.
_keys = st.sampled_from(["a", "b", "é/~"])
_scalars = st.sampled_from([None, True, 0, 1, "", "x"])
_values = st.recursive(
    _scalars | st.lists(_scalars, max_size=2), lambda inner: st.dictionaries(_keys, inner, max_size=3), max_leaves=6
)
documents = st.dictionaries(_keys, _values, max_size=3)


_items = st.lists(_scalars, max_size=2)
_numbers = st.sampled_from([-1, 0, 1, 2])
_lists = st.lists(
    st.tuples(st.sampled_from(["union", "subtract", "append"]), _items).map(lambda step: {step[0]: step[1]}),
    min_size=1, max_size=3,
)  # fmt: skip
steps = st.builds(lambda number: [{"increment": number}], _numbers) | _lists.map(normal)


def _disjoint(members: tuple[Any, ...]) -> oracle.Edit:
    """A node in which a key stands once, and that says so if it makes an object without putting anything into it."""
    sets, removals, merges, transforms, makes = members
    transforms = {key: some for key, some in transforms.items() if key not in merges}
    taken = {*merges, *transforms}
    sets = {key: value for key, value in sets.items() if key not in taken}
    edit = oracle.node(sets, [key for key in removals if key not in taken and key not in sets], merges, transforms)
    return edit | {"o": True} if makes and not oracle.puts(edit) else edit


def _node(inner: st.SearchStrategy[oracle.Edit]) -> st.SearchStrategy[oracle.Edit]:
    members = st.tuples(
        st.dictionaries(_keys, _values, max_size=2),
        st.lists(_keys, max_size=2, unique=True),
        st.dictionaries(_keys, inner, max_size=2),
        st.dictionaries(_keys, steps, max_size=2),
        st.booleans(),
    )
    return members.map(_disjoint)


nodes = st.recursive(_node(st.just({})), _node, max_leaves=5)
edits = nodes | nodes | nodes | documents.map(lambda document: {"v": document})


@pytest.fixture(scope="module")
async def connection(server: Any) -> AsyncIterator[asyncpg.Connection]:
    """The functions under test keep nothing: one connection serves all."""
    connected = await asyncpg.connect(server.url)
    yield connected
    await connected.close()


async def call(connection: asyncpg.Connection, function: str, *arguments: Any) -> Any:
    """Call an SQL function on jsonb; MISSING is NULL."""
    places = ", ".join(f"${place}::text::jsonb" for place in range(1, len(arguments) + 1))
    texts = [None if argument is MISSING else to_text(argument) for argument in arguments]
    answer = await connection.fetchval(f"SELECT draftline.{function}({places})::text", *texts)
    return MISSING if answer is None else decode(answer)


def as_written(edit: Any) -> Any:
    """An edit with its removals in one order: theirs means nothing."""
    if "v" in edit:
        return edit
    sets, removals, merges, transforms = oracle.parts(edit)
    written = oracle.node(sets, sorted(removals), {key: as_written(child) for key, child in merges.items()}, transforms)
    return written | {name: True for name in ("o", "n") if name in edit}


def unmarked(base: Any) -> Any:
    """A base without what tells that there was nothing."""
    if "v" in base:
        return base
    sets, removals, merges, _ = oracle.parts(base)
    return oracle.node(sets, sorted(removals), {key: unmarked(child) for key, child in merges.items()})


def keeps_a_key_once(edit: Any) -> bool:
    if "v" in edit:
        return len(edit) == 1
    members = oracle.parts(edit)
    keys = [key for member in members for key in member]
    return len(keys) == len(set(keys)) and all(keeps_a_key_once(child) for child in members[2].values())


@many
@given(edit=edits, content=documents)
async def test_apply_equals_oracle(connection: asyncpg.Connection, edit: Any, content: Any) -> None:
    assert equal(await call(connection, "apply_edit", edit, content), oracle.apply(edit, content))


@many
@given(a=edits, b=edits, content=documents)
async def test_composed_edit_does_what_one_edit_after_the_other_does(
    connection: asyncpg.Connection, a: Any, b: Any, content: Any
) -> None:
    composed = await call(connection, "compose", a, b)
    assert equal(as_written(composed), as_written(oracle.compose(a, b)))
    assert keeps_a_key_once(composed)
    one_by_one = await call(connection, "apply_edit", b, await call(connection, "apply_edit", a, content))
    assert equal(await call(connection, "apply_edit", composed, content), one_by_one)


@settings(many, max_examples=examples(60))
@given(a=edits, b=edits, c=edits, content=documents)
async def test_composition_is_associative_in_what_it_does(
    connection: asyncpg.Connection, a: Any, b: Any, c: Any, content: Any
) -> None:
    left = oracle.compose(oracle.compose(a, b), c)
    right = oracle.compose(a, oracle.compose(b, c))
    assert equal(oracle.apply(left, content), oracle.apply(right, content))
    assert equal(await call(connection, "apply_edit", left, content), oracle.apply(right, content))


@pytest.mark.parametrize(
    ("strategy", "depth"),
    [(Strategy.DEEP, depth) for depth in range(4)] + [(each, 0) for each in Strategy if each != "DEEP"],
)
@settings(many, max_examples=examples(60))
@given(data=st.data(), content=contents, other=contents)
async def test_edit_of_a_delta_does_to_any_content_what_the_merge_does(
    connection: asyncpg.Connection, strategy: Strategy, depth: int, data: Any, content: Any, other: Any
) -> None:
    delta = data.draw(deltas(content))
    edit = edit_of_delta(delta, strategy, depth)
    for each in (content, other):
        expected = apply_delta(each, delta, strategy, depth)
        assert equal(oracle.apply(edit, each), expected)
        assert equal(await call(connection, "apply_edit", edit, each), expected)


@many
@given(data=st.data(), content=contents)
async def test_edit_of_operations_does_to_its_content_what_they_do(
    connection: asyncpg.Connection, data: Any, content: Any
) -> None:
    steps = data.draw(operation_lists(content))
    row = await connection.fetchrow(
        """
        SELECT content::text, failure::text
        FROM draftline.edit_of_operations($1::text::jsonb, $2::text::jsonb, $3, $4)
        """,
        to_text(content), edit_of(Operations(steps))[1], LIMITS.max_bytes, LIMITS.max_depth,
    )  # fmt: skip
    try:
        expected = apply_operations(content, steps, LIMITS)
    except DraftlineError:
        assert (row["content"], row["failure"] is None) == (None, False)
        return
    edit = decode(row["content"])
    assert equal(as_written(edit), as_written(oracle.edit_of_operations(content, steps, LIMITS)))
    assert equal(await call(connection, "apply_edit", edit, content), expected)


@many
@given(edit=edits, content=documents)
async def test_pruned_edit_does_the_same_and_changes_every_value_that_it_holds(
    connection: asyncpg.Connection, edit: Any, content: Any
) -> None:
    pruned = await call(connection, "prune", edit, content, content)
    assert equal(as_written(pruned), as_written(oracle.prune(edit, content, content)))
    assert equal(await call(connection, "apply_edit", pruned, content), oracle.apply(edit, content))
    if "v" in pruned:
        assert not equal(pruned["v"], content)
    for path, value in oracle.leaves(pruned) if "v" not in pruned else ():
        assert not oracle.same(value, value_at(content, path))


@many
@given(edit=edits, first=edits, content=documents, data=st.data())
async def test_value_that_differs_from_the_base_or_from_the_content_is_never_pruned(
    connection: asyncpg.Connection, edit: Any, first: Any, content: Any, data: Any
) -> None:
    stored = oracle.prune(first, content, content)
    base = oracle.inverse(stored, content)
    later = data.draw(documents | edits.map(lambda theirs: oracle.apply(theirs, content)))
    basis = oracle.restore(base, later)
    composed = oracle.compose(stored, edit)
    pruned = await call(connection, "prune", composed, basis, later)
    assert equal(as_written(pruned), as_written(oracle.prune(composed, basis, later)))
    merged, expected = oracle.apply(pruned, later), oracle.apply(composed, later)
    for path, mine in oracle.leaves(composed) if "v" not in composed else ():
        assert oracle.same(value_at(merged, path), value_at(expected, path))
        assert oracle.same(value_at(merged, path), mine)
    rebased = await connection.fetchrow(
        "SELECT edit::text, base::text FROM draftline.rebase($1::text::jsonb, $2::text::jsonb, $3::text::jsonb)",
        to_text(composed), to_text(basis), to_text(later),
    )  # fmt: skip
    assert equal(as_written(decode(rebased["edit"])), as_written(pruned))
    assert equal(as_written(decode(rebased["base"])), as_written(oracle.inverse(pruned, basis)))


REBASED = """
    SELECT edit::text, base::text, fields
    FROM draftline.rebase_sets($1::text::jsonb, $2::text::jsonb, $3::text::jsonb)
"""


@many
@given(sets=documents, basis=documents, content=documents)
async def test_edit_that_sets_alone_is_based_as_any_other(
    connection: asyncpg.Connection, sets: Any, basis: Any, content: Any
) -> None:
    row = await connection.fetchrow(REBASED, to_text(sets), to_text(basis), to_text(content))
    pruned = oracle.prune({"s": sets}, basis, content)
    assert equal(decode(row["edit"]), pruned)
    assert equal(as_written(decode(row["base"])), as_written(oracle.inverse(pruned, basis)))
    assert sorted(row["fields"]) == changed_fields(content, oracle.apply(pruned, content))


@many
@given(first=nodes, step=nodes, content=documents, data=st.data())
async def test_what_is_said_by_one_who_looked_at_the_content_is_not_in_conflict_with_it(
    connection: asyncpg.Connection, first: Any, step: Any, content: Any, data: Any
) -> None:
    stored = oracle.prune(first, content, content)
    base = oracle.inverse(stored, content)
    later = data.draw(documents | edits.map(lambda theirs: oracle.apply(theirs, content)))
    edited = oracle.compose(stored, step)
    basis = await call(connection, "seen_basis", step, edited, oracle.restore(base, later), later)
    edit = oracle.prune(edited, basis, later)
    found = await conflicts(connection, edit, oracle.inverse(edit, basis), later)
    lost = [parse_pointer(path, "path") for path, *_ in found]
    for path, mine in oracle.leaves(step):
        if mine is not MISSING:
            assert not any(path[: len(at)] == at for at in lost)
    assert equal(await call(connection, "seen_basis", edit, edit, later, later), later)


def value_at(content: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        content = oracle.at(content, key)
    return content


@many
@given(edit=edits, content=documents)
async def test_base_put_back_undoes_the_edit(connection: asyncpg.Connection, edit: Any, content: Any) -> None:
    pruned = oracle.prune(edit, content, content)
    base = await call(connection, "inverse", pruned, content)
    assert equal(as_written(base), as_written(oracle.inverse(pruned, content)))
    applied = oracle.apply(pruned, content)
    restored = await call(connection, "restore", base, applied)
    assert equal(restored, oracle.restore(base, applied))
    assert equal(without_what_was_made(restored, content), content)


def without_what_was_made(restored: Any, content: Any) -> Any:
    """Remove the empty objects that are left where the edit created an object from nothing."""
    if not (isinstance(restored, dict) and isinstance(content, dict)):
        return restored
    return {
        key: without_what_was_made(value, content.get(key))
        for key, value in restored.items()
        if key in content or not emptied(value)
    }


def emptied(value: Any) -> bool:
    return isinstance(value, dict) and all(emptied(inner) for inner in value.values())


@many
@given(edit=edits, first=documents, later=documents)
async def test_base_stays_what_it_was_whatever_becomes_of_the_content(
    connection: asyncpg.Connection, edit: Any, first: Any, later: Any
) -> None:
    pruned = oracle.prune(edit, first, first)
    base = oracle.inverse(pruned, first)
    basis = await call(connection, "restore", base, later)
    assert equal(basis, oracle.restore(base, later))
    again = await call(connection, "prune", pruned, basis, later)
    assert equal(as_written(again), as_written(pruned))
    assert equal(unmarked(await call(connection, "inverse", again, basis)), unmarked(base))


async def conflicts(connection: asyncpg.Connection, edit: Any, base: Any, content: Any) -> list[Any]:
    found = await connection.fetchval(
        "SELECT draftline.conflicts('CHANGE', $1::text::jsonb, $2::text::jsonb, $3::text::jsonb, false)::text",
        to_text(edit), to_text(base), to_text(content),
    )  # fmt: skip
    return [(each["path"], *(each.get(name, MISSING) for name in ("base", "mine", "theirs"))) for each in decode(found)]


def paired(one: list[Any], other: list[Any]) -> bool:
    ordered = sorted(one, key=lambda each: each[0]), sorted(other, key=lambda each: each[0])
    return len(one) == len(other) and all(
        left[0] == right[0] and all(map(oracle.same, left[1:], right[1:])) for left, right in zip(*ordered, strict=True)
    )


@many
@given(edit=edits, first=documents, data=st.data())
async def test_conflicts_are_the_leaves_where_base_mine_and_theirs_differ(
    connection: asyncpg.Connection, edit: Any, first: Any, data: Any
) -> None:
    pruned = oracle.prune(edit, first, first)
    base = oracle.inverse(pruned, first)
    assert await conflicts(connection, pruned, base, first) == []
    later = data.draw(documents | edits.map(lambda theirs: oracle.apply(theirs, first)))
    found = await conflicts(connection, pruned, base, later)
    assert paired(found, oracle.conflicts(pruned, base, later))
    assert all(oracle.differ(*three) for _, *three in found)


@many
@given(edit=edits, first=documents, data=st.data())
async def test_settled_conflicts_leave_theirs_and_every_other_leaf_mine(
    connection: asyncpg.Connection, edit: Any, first: Any, data: Any
) -> None:
    pruned = oracle.prune(edit, first, first)
    base = oracle.inverse(pruned, first)
    later = data.draw(documents | edits.map(lambda theirs: oracle.apply(theirs, first)))
    settled = await call(connection, "settle", pruned, base, later)
    assert equal(settled, oracle.settle(pruned, base, later))
    if "v" in pruned:
        return
    lost = [parse_pointer(path, "path") for path, *_ in oracle.conflicts(pruned, base, later)]
    for path, mine in oracle.leaves(pruned):
        if at := next((each for each in lost if path[: len(each)] == each), None):
            assert oracle.same(value_at(settled, at), value_at(later, at))
        else:
            assert oracle.same(value_at(settled, path), mine)


async def test_settled_conflict_makes_no_object_where_theirs_removed_it(connection: asyncpg.Connection) -> None:
    edit, base = {"m": {"a": {"s": {"b": 2}}}}, {"m": {"a": {"s": {"b": 1}}}}
    assert await call(connection, "settle", edit, base, {"c": 1}) == {"c": 1}


async def steps_done(connection: asyncpg.Connection, edit: Any, old: Any, new: Any) -> Any:
    done = await call(connection, "steps_done", edit, old, new)
    return {} if done is MISSING else done


@many
@given(mine=nodes, theirs=nodes, content=documents)
async def test_base_follows_the_transforms_of_others_that_go_together_with_its_own(
    connection: asyncpg.Connection, mine: Any, theirs: Any, content: Any
) -> None:
    edit = oracle.prune(mine, content, content)
    base = oracle.inverse(edit, content)
    later = oracle.apply(theirs, content)
    done = await steps_done(connection, theirs, content, later)
    assert equal(as_written(done), as_written(oracle.steps_done(theirs, content, later)))
    followed = await call(connection, "follow", base, edit, done)
    assert equal(as_written(followed), as_written(oracle.follow(base, edit, done)))
    assert equal(as_written(await call(connection, "follow", base, edit, MISSING)), as_written(base))


@many
@given(mine=steps, theirs=steps, value=st.just(MISSING) | _scalars | st.lists(_scalars, max_size=3))
async def test_transforms_that_go_together_are_never_in_conflict_and_others_are(
    connection: asyncpg.Connection, mine: Any, theirs: Any, value: Any
) -> None:
    content = {} if value is MISSING else {"a": value}
    edit, other = oracle.prune({"t": {"a": mine}}, content, content), {"t": {"a": theirs}}
    if not edit:
        return
    mine, later = edit["t"]["a"], oracle.apply(other, content)
    base = oracle.inverse(edit, content)
    followed = await call(connection, "follow", base, edit, other)
    found = await conflicts(connection, edit, followed, later)
    if commute(mine, theirs):
        assert found == []
    elif not oracle.same(oracle.at(later, "a"), value):
        assert paired(found, oracle.conflicts(edit, base, later))
    both = oracle.apply(edit, later)
    assert equal(await call(connection, "settle", edit, followed, later), both if not found else later)
