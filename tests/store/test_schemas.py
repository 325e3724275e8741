"""Expensive JSON Schemas are rejected, and do not delay other calls."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from draftline_server.domain.errors import InvalidFieldError, OverloadedError
from draftline_server.store.json_schema.pool import Schemas
from support.tenant_stores import COLLECTION, World

LIMIT_S = 0.2


@pytest.fixture
async def schemas() -> AsyncIterator[Schemas]:
    made = Schemas(LIMIT_S)
    yield made
    await made.close()


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def doubling(levels: int) -> dict[str, Any]:
    """References, twice as many at each level."""
    twice = {f"{n + 1}": {"allOf": [{"$ref": f"#/$defs/{n}"}] * 2} for n in range(levels)}
    return {"$ref": f"#/$defs/{levels}", "$defs": {"0": {}, **twice}}


TWICE_DEEPER = {"properties": {"a": {"$ref": "#"}}, "allOf": [{"properties": {"a": {"$ref": "#"}}}]}
COSTLY: dict[str, tuple[Any, str]] = {
    "references that double": (doubling(64), "{}"),
    "references that double with the content": (TWICE_DEEPER, nested(32)),
    "a pattern that tries everything": (
        {"additionalProperties": {"pattern": "(?=b?)(a+)+$"}},
        json.dumps({"a": "a" * 500_000 + "!"}),
    ),
    "many patterns of many values": (
        {"patternProperties": {f"(?=.*b{n})(a|aa)+$": {} for n in range(500)}},
        json.dumps({"a" * 1000 + str(n): 1 for n in range(1000)}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COSTLY)
async def test_check_that_takes_too_long_is_cut_off_and_others_go_on(schemas: Schemas, name: str) -> None:
    schema, content = COSTLY[name]
    text = json.dumps(schema)
    await schemas.check("acme", text)
    (violation,) = await schemas.violations("acme", text, [(content, "content")])
    assert violation is not None
    assert violation.fields == (("content", violation.fields[0][1]),)
    assert "more than 0.2 s" in violation.message
    assert await schemas.violations("acme", '{"required": ["a"]}', [('{"a": 1}', "content")]) == [None]


async def test_schema_that_takes_too_long_to_look_at_is_refused(schemas: Schemas) -> None:
    patterns = {f"{n}": {"pattern": f"(\\w{{1,200}}){{1,20}}{n}"} for n in range(5_000)}
    with pytest.raises(InvalidFieldError, match=r"more than 0\.2 s"):
        await schemas.check("acme", json.dumps({"properties": patterns}))
    await schemas.check("acme", "{}")


@pytest.mark.parametrize("schema", ['{"$ref": "#"}', json.dumps(doubling(9_000) | {"$ref": "#/$defs/0"})])
async def test_references_that_lead_nowhere_or_far_are_taken(schemas: Schemas, schema: str) -> None:
    assert await schemas.violations("acme", schema, [("{}", "content")]) == [None]


async def test_tenant_whose_checks_take_long_leaves_a_process_to_others(schemas: Schemas) -> None:
    text = json.dumps(doubling(64))
    costly = [asyncio.create_task(schemas.violations("acme", text, [("{}", "content")])) for _ in range(20)]
    assert await schemas.violations("other", "true", [("{}", "content")]) == [None]
    assert sum(each.done() for each in costly) < 20
    for each in costly:
        each.cancel()
    assert all(
        isinstance(ended, asyncio.CancelledError | list)
        for ended in await asyncio.gather(*costly, return_exceptions=True)
    )
    assert await schemas.violations("acme", "true", [("{}", "content")]) == [None]


async def test_process_that_somebody_kills_is_replaced(schemas: Schemas) -> None:
    assert await schemas.violations("acme", "true", [("{}", "content")]) == [None]
    (process,) = schemas._idle
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(OverloadedError, match="try again"):
        await schemas.violations("acme", "true", [("{}", "content")])
    assert await schemas.violations("acme", "true", [("{}", "content")]) == [None]


async def test_many_contents_are_told_one_by_one(schemas: Schemas) -> None:
    large = json.dumps({"a": "x" * 600_000})
    contents = [("{}", "0"), (large, "1"), ('{"a": 1}', "2"), (large, "3"), (large, "4"), ("{}", "5")]
    violations = await schemas.violations("acme", '{"required": ["a"]}', contents)
    assert [violation and violation.fields[0][0] for violation in violations] == ["0", None, None, None, None, "5"]


async def test_creation_goes_by_the_schema_of_the_moment(world: World) -> None:
    await world.declare('{"required": ["a"]}')
    await world.specs.load(world.tenant_id, [COLLECTION])
    await world.declare()  # as another server does
    await world.create("1", {})
