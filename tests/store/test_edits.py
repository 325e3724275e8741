"""The edits in SQL are those of `draftline_server.domain.edits`: the same results, and the same failures."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.content import Limits, changed_fields, check_value, equal
from draftline_server.domain.edits import Operation, Strategy, apply_delta, apply_operations
from draftline_server.domain.errors import DocumentTooLargeError, DraftlineError, InvalidDocumentError
from draftline_server.domain.records import Operations
from draftline_server.store.in_place_patches import edit_of
from draftline_server.store.record_errors import error_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.edit_cases import MERGE_PATCH_EXAMPLES, OPERATION_EXAMPLES, operations_of
from support.edit_strategies import contents, decode, deltas, operation_lists, to_text, values
from support.soak_scale import examples

LIMITS = Limits()
EDIT = """
    SELECT content::text AS content, failure::text AS failure
    FROM draftline.edit($1::text::jsonb, $2, $3::text::jsonb, $4, $5, $6)
"""


@pytest.fixture(scope="module")
async def connection(server: Any) -> AsyncIterator[asyncpg.Connection]:
    """The functions under test keep nothing: one connection serves all."""
    connected = await asyncpg.connect(server.url)
    yield connected
    await connected.close()


many = settings(
    max_examples=examples(100),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


async def in_sql(
    connection: asyncpg.Connection, content: Any, kind: str, edit: str | None, depth: int = 0, limits: Limits = LIMITS
) -> Any:
    """The content, or the error that a caller gets."""
    row = await connection.fetchrow(
        EDIT, to_text(content), kind, edit, depth, limits.max_bytes, limits.max_depth
    )  # fmt: skip
    return decode(row["content"]) if row["failure"] is None else error_of(row["failure"], "c", "id", "operations")


def by_oracle(content: Any, steps: list[Operation], limits: Limits = LIMITS) -> Any:
    try:
        return apply_operations(content, steps, limits)
    except DraftlineError as error:
        return error


def told(outcome: Any) -> Any:
    """All that a caller can see of an error; a content as it is."""
    if isinstance(outcome, DraftlineError):
        return {
            "type": type(outcome).__name__,
            "message": outcome.message,
            "fields": [list(field) for field in outcome.fields],
            "metadata": dict(outcome.metadata),
        }
    return outcome


async def operations_in_sql(
    connection: asyncpg.Connection, content: Any, steps: list[Operation], limits: Limits = LIMITS
) -> Any:
    kind, edit, depth = edit_of(Operations(steps))
    return await in_sql(connection, content, kind, edit, depth, limits)


@many
@given(data=st.data(), content=contents, strategy=st.sampled_from(list(Strategy)), depth=st.integers(0, 5))
async def test_delta_gives_what_the_oracle_gives(
    connection: asyncpg.Connection, data: st.DataObject, content: Any, strategy: Strategy, depth: int
) -> None:
    delta = data.draw(deltas(content))
    expected = apply_delta(content, delta, strategy, depth)
    assert equal(await in_sql(connection, content, strategy, to_text(delta), depth), expected)


@settings(many, max_examples=examples(300))
@given(data=st.data(), content=contents, max_depth=st.integers(2, 8))
async def test_operations_give_what_the_oracle_gives(
    connection: asyncpg.Connection, data: st.DataObject, content: Any, max_depth: int
) -> None:
    steps = data.draw(operation_lists(content))
    limits = Limits(max_depth=max_depth)
    found = await operations_in_sql(connection, content, steps, limits)
    assert equal(told(found), told(by_oracle(content, steps, limits)))


@pytest.mark.parametrize(("target", "patch", "result"), MERGE_PATCH_EXAMPLES)
async def test_merge_patch_gives_the_result_of_rfc_7396(
    connection: asyncpg.Connection, target: Any, patch: Any, result: Any
) -> None:
    assert equal(await in_sql(connection, target, "MERGE_PATCH", to_text(patch)), result)


@pytest.mark.parametrize(("document", "steps", "expected"), OPERATION_EXAMPLES.values(), ids=OPERATION_EXAMPLES.keys())
async def test_operations_give_the_result_of_rfc_6902(
    connection: asyncpg.Connection, document: Any, steps: list[dict[str, Any]], expected: Any
) -> None:
    found = await operations_in_sql(connection, document, operations_of(steps))
    assert type(found) is expected if isinstance(expected, type) else equal(found, expected)


async def test_no_edit_gives_the_content(connection: asyncpg.Connection) -> None:
    assert await in_sql(connection, {"a": 1}, "NONE", None) == {"a": 1}


@many
@given(old=contents, data=st.data())
async def test_changed_fields_are_those_of_the_oracle(
    connection: asyncpg.Connection, old: Any, data: st.DataObject
) -> None:
    new = {**old, **data.draw(deltas(old))} if data.draw(st.booleans()) else data.draw(contents)
    found = await connection.fetchval(
        "SELECT draftline.changed_fields($1::text::jsonb, $2::text::jsonb)", to_text(old), to_text(new)
    )
    assert found == changed_fields(old, new)


@many
@given(value=values, max_depth=st.integers(0, 6))
async def test_depth_is_that_of_the_oracle(connection: asyncpg.Connection, value: Any, max_depth: int) -> None:
    deeper = await connection.fetchval("SELECT draftline.is_deeper($1::text::jsonb, $2)", to_text(value), max_depth)
    try:
        check_value(value, Limits(max_depth=max_depth), "content")
    except DocumentTooLargeError:
        assert deeper
    else:
        assert not deeper


async def failure_of(connection: asyncpg.Connection, content: str, indexed: str, *limits: int) -> Any:
    failure = await connection.fetchval(
        "SELECT draftline.content_failure($1::text::jsonb, $2::text::jsonb, $3, $4, $5, $6)::text",
        content,
        indexed,
        *(limits if len(limits) == 4 else [*limits, LIMITS.max_nodes]),
    )
    return None if failure is None else decode(failure)


@many
@given(content=contents)
async def test_content_is_refused_from_the_first_byte_over_its_limit(
    connection: asyncpg.Connection, content: Any
) -> None:
    text = to_text(content)
    size = await connection.fetchval("SELECT octet_length($1::text::jsonb::text)", text)
    assert await failure_of(connection, text, "[]", size, 32, 800) is None
    refused = await failure_of(connection, text, "[]", size - 1, 32, 800)
    assert refused == {"reason": "DOCUMENT_TOO_LARGE", "what": "size", "limit": size - 1}


@many
@given(content=contents, max_depth=st.integers(1, 6), max_nodes=st.integers(1, 40))
async def test_content_is_refused_where_the_oracle_refuses_it(
    connection: asyncpg.Connection, content: Any, max_depth: int, max_nodes: int
) -> None:
    failure = await failure_of(connection, to_text(content), "[]", 1_000_000, max_depth, 800, max_nodes)
    limits = Limits(max_depth=max_depth, max_nodes=max_nodes)
    try:
        check_value(content, limits, "content")
    except DocumentTooLargeError:
        assert failure is not None
        allowed = {"depth": max_depth, "count": max_nodes}
        assert (failure["reason"], failure["limit"]) == ("DOCUMENT_TOO_LARGE", allowed[failure["what"]])
    else:
        assert failure is None


@many
@given(digits=st.integers(990, 1010), sign=st.sampled_from(["", "-"]), fraction=st.sampled_from(["", ".5"]))
async def test_number_is_refused_where_the_oracle_refuses_it(
    connection: asyncpg.Connection, digits: int, sign: str, fraction: str
) -> None:
    text = f'{{"a": [{{"n": {sign}{"9" * digits}{fraction}}}]}}'
    failure = await failure_of(connection, text, "[]", 1_000_000, 32, 800)
    try:
        check_value(decode(text), LIMITS, "content")
    except InvalidDocumentError:
        assert failure == {"reason": "NUMBER_TOO_LONG", "limit": 1000}
    else:
        assert failure is None


async def test_content_is_refused_from_the_first_level_over_its_limit(connection: asyncpg.Connection) -> None:
    content = '{"a": [{"b": 1}]}'
    assert await failure_of(connection, content, "[]", 1000, 3, 800) is None
    refused = await failure_of(connection, content, "[]", 1000, 2, 800)
    assert refused == {"reason": "DOCUMENT_TOO_LARGE", "what": "depth", "limit": 2}


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"a": {"b/c": "é" * 5}}, "/a/b~1c"),
        ({"a": {"b/c": "é" * 4 + "x"}}, None),
        ({"a": {"b/c": [100_000_000_000]}}, None),
        ({"a": "é" * 5, "t": "x" * 9}, None),
        ({"t": "x" * 10}, "/t"),
        ({"l": ["x" * 10]}, None),
        ({"l": ["x" * 9]}, None),
        ({"l": {"0": "x" * 10}}, "/l/0"),
        ({"l": "x" * 10}, None),
    ],
)
async def test_indexed_text_is_refused_from_the_first_byte_over_its_limit(
    connection: asyncpg.Connection, content: Any, path: str | None
) -> None:
    found = await failure_of(connection, to_text(content), '[["a", "b/c"], ["t"], ["l", "0"]]', 1000, 3, 9)
    expected = path and {"reason": "INDEXED_TEXT_TOO_LONG", "path": path, "limit": 9}
    assert found == expected


def doubling(value: Any, times: int) -> list[dict[str, Any]]:
    """Steps that copy a value into twice as many of itself, again and again."""
    steps: list[dict[str, Any]] = [{"op": "add", "path": "/a", "value": [value]}]
    for _ in range(times):
        steps.append({"op": "add", "path": "/b", "value": []})
        steps += [{"op": "copy", "from": "/a", "path": "/b/-"}] * 2
        steps.append({"op": "move", "from": "/b", "path": "/a"})
    return steps


@pytest.mark.parametrize("value", [1, "x" * 1000, 10**900, {"a" * 100: None}], ids=["int", "text", "number", "key"])
async def test_doubling_copies_are_refused_while_the_content_is_small(
    connection: asyncpg.Connection, value: Any
) -> None:
    # 240 doublings would need more memory than there is; that this ends at all is the test.
    steps = operations_of(doubling(value, 240))
    wide = Limits(max_depth=1000)
    expected = by_oracle({}, steps, wide)
    assert type(expected) is DocumentTooLargeError
    assert told(await operations_in_sql(connection, {}, steps, wide)) == told(expected)


async def test_doubling_copies_are_refused_by_depth(connection: asyncpg.Connection) -> None:
    steps = operations_of(doubling(1, 40))
    small = Limits(max_depth=6)
    expected = by_oracle({}, steps, small)
    assert told(expected)["metadata"] == {"limit": "6"}
    assert told(await operations_in_sql(connection, {}, steps, small)) == told(expected)


async def test_operations_that_nest_step_by_step_are_refused_while_the_content_is_flat(
    connection: asyncpg.Connection,
) -> None:
    nested: dict[str, Any] = {}
    for _ in range(29):
        nested = {"": nested}
    steps = operations_of({"op": "add", "path": "/" * (30 * n + 1), "value": nested} for n in range(60))
    expected = by_oracle({}, steps)
    assert told(expected)["metadata"] == {"limit": "32"}
    assert told(await operations_in_sql(connection, {}, steps)) == told(expected)


DIFFERENCE = """
    SELECT d.edit::text AS edit, d.base::text AS base, d.fields,
        draftline.apply_node(d.edit, $1::text::jsonb)::text AS after,
        draftline.apply_node(d.base, $2::text::jsonb)::text AS before
    FROM (VALUES ($1::text::jsonb, $2::text::jsonb, $3::text::jsonb)) AS v (old, new, touched)
    CROSS JOIN draftline.difference_at(v.old, v.new, v.touched) AS d
"""


@many
@given(old=contents, data=st.data(), others=contents)
async def test_difference_leads_there_and_back(
    connection: asyncpg.Connection, old: Any, data: st.DataObject, others: Any
) -> None:
    delta = data.draw(deltas(old))
    new = {**old, **delta}
    row = await connection.fetchrow(DIFFERENCE, to_text(old), to_text(new), to_text({**others, **delta}))
    if equal(old, new):
        assert row is None
        return
    assert equal(decode(row["after"]), new)
    assert equal(decode(row["before"]), old)
    assert sorted(row["fields"]) == changed_fields(old, new)
    # Whatever else was looked at.
    whole = await connection.fetchrow(DIFFERENCE, to_text(old), to_text(new), to_text({**old, **new}))
    assert [decode(whole[name]) for name in ("edit", "base")] == [decode(row[name]) for name in ("edit", "base")]
