"""Patches that are applied together, each with an outcome of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from draftline_server.domain.edits import Strategy
from draftline_server.domain.records import Delta, Patch, PatchResult
from draftline_server.store.database import Database
from support.batched_patches import Grouped, counting

Outcomes = dict[int, PatchResult | BaseException | None]


def adding(record_id: str, **options: Any) -> Patch:
    return Patch("films", record_id, Delta('{"m": 1}', Strategy.SHALLOW), **options)


async def apply(grouped: Grouped, patches: list[Patch]) -> Outcomes:
    outcomes: Outcomes = {}
    shared = [(grouped.actor, patch, "") for patch in patches]
    await grouped.store.patch_each(shared, lambda index, outcome: outcomes.update({index: outcome}))
    return outcomes


async def declare(grouped: Grouped, json_schema: str) -> None:
    """Store a spec of which the cached ones know nothing."""
    sql = """INSERT INTO draftline.collection
            (tenant_id, collection, version, fields, orders, indexed_text, json_schema, created_at, updated_at)
        VALUES ($1, 'films', 1, '[]', '[]', '[]', $2, now(), now())"""
    async with grouped.database.connections.acquire() as connection:
        await connection.execute(sql, grouped.actor.tenant_id, json_schema)


async def test_patches_that_arrive_together_share_one_statement(database: Database) -> None:
    grouped = Grouped(database)
    names = [f"r{n}" for n in range(20)]
    for name in names:
        await grouped.patch(counting(name))
    grouped.applier.groups.clear()
    outcomes = await apply(grouped, [adding(name) for name in names])
    assert grouped.applier.groups == [names]
    assert {index: outcome.record.version for index, outcome in outcomes.items()} == dict.fromkeys(range(20), 2)  # type: ignore[union-attr]


async def test_patch_that_fails_fails_alone(database: Database) -> None:
    grouped = Grouped(database)
    await grouped.patch(counting("a"))
    outcomes = await apply(grouped, [adding("a", expected_version=7), adding("missing"), adding("a")])
    reasons = [outcomes[index].error.reason for index in (0, 1)]  # type: ignore[union-attr]
    assert reasons == ["VERSION_MISMATCH", "RECORD_NOT_FOUND"]
    assert outcomes[2].record.version == 2  # type: ignore[union-attr]


async def test_patches_whose_spec_is_out_of_date_are_reported_as_undone(database: Database) -> None:
    grouped = Grouped(database)
    await grouped.patch(counting("a"))
    await declare(grouped, "")
    assert await apply(grouped, [adding("a")]) == {0: None}
    assert await grouped.number("a") == 1


async def test_patches_that_need_checks_since_they_were_prepared_are_reported_as_undone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spec may be replaced while the database is asked for the time."""
    grouped = Grouped(database)
    await grouped.patch(counting("a"))
    now = database.now

    async def slow_now() -> Any:
        monkeypatch.setattr(database, "now", now)
        await declare(grouped, '{"required": ["absent"]}')
        for specs in (grouped.store._specs, grouped.applier._specs):
            await specs.load(grouped.actor.tenant_id, ["films"])
        return await now()

    monkeypatch.setattr(database, "now", slow_now)
    assert await apply(grouped, [adding("a"), adding("b")]) == {0: None, 1: None}
    assert (await grouped.stored())[0]["version"] == 1


async def test_patches_that_create_or_have_a_condition_are_not_shared(database: Database) -> None:
    grouped = Grouped(database)
    assert grouped.store.is_shared(grouped.actor, adding("a"))
    assert not grouped.store.is_shared(grouped.actor, adding("a", allow_missing=True))


async def test_cancelled_patches_cancel_their_statement(database: Database) -> None:
    grouped = Grouped(database)
    for name in "ab":
        await grouped.patch(counting(name))
    sent = asyncio.Event()
    ended = asyncio.Event()

    async def hold(_: object) -> None:
        sent.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    grouped.applier.before = hold
    applying = asyncio.ensure_future(apply(grouped, [adding("a"), adding("b")]))
    await sent.wait()
    applying.cancel()
    await asyncio.wait([applying])
    await ended.wait()
    assert applying.cancelled()
