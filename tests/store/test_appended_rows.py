"""Reads and folds of tallies skip the appended rows that a fold has deleted, and no others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from draftline_server.domain.edits import Strategy
from draftline_server.domain.filters.ast import FieldType
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.records import Delta, Patch
from draftline_server.domain.statistics import Grain, StatisticsQuery
from draftline_server.store.collections.statistic_specs import from_json
from draftline_server.store.statements import Statement, load
from draftline_server.store.statistics.needs import needs_of
from draftline_server.store.statistics.query import statistics_statement
from support.query_plans import nodes
from support.races import Races
from support.statistics_oracle import groups_of
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, change

from .test_statistics import COUNT, EA, SUM, answer, expected, lists, problems
from .test_tallies import declared, statistics, tallies_of, wrong_groups

STATISTICS = json.dumps([
    {"name": "text", "keys": [{"path": ["ea"], "type": "TEXT"}], "measures": [["en"]]},
    {"name": "range", "keys": [{"path": ["en"], "type": "NUMBER_RANGE"}], "measures": [["en"]]},
])  # fmt: skip
QUERIES = [
    StatisticsQuery(COLLECTION, ((EA, Grain.VALUE),), (COUNT, SUM)),
    StatisticsQuery(COLLECTION, (), (COUNT, SUM), parse_filter("en > 1")),
]
APPEND = """
INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, records)
SELECT $1, $2, '', 'x', CASE n % 2 WHEN 0 THEN 1 ELSE -1 END FROM generate_series(1, 8000) AS n
"""
SETTINGS = "SET jit = off; SET enable_seqscan = off; SET plan_cache_mode = {mode}"


async def built(world: LoggedWorld) -> None:
    await declared(world, STATISTICS)
    await tallies_of(world.database).build(world.tenant_id, COLLECTION)


async def check(world: LoggedWorld) -> None:
    """Compare the tallies with records and drafts, and the answers with the merged list."""
    assert await wrong_groups(world) == []
    listed = await lists(world, "ada")
    for query in QUERIES:
        result = await answer(world, "ada", query)
        assert result.statistic
        assert problems(query, groups_of(result), expected(listed, query)) == []


async def test_reads_and_folds_skip_folded_rows_that_an_old_snapshot_keeps(world: LoggedWorld) -> None:
    await built(world)
    await world.create("1", {"ea": "x", "en": 1})
    statistic_id = next(row["statistic_id"] for row in await statistics(world) if row["name"] == "text")
    async with opened(world) as holder, opened(world) as other, holder.transaction(isolation="repeatable_read"):
        await holder.fetch("SELECT FROM draftline.statistic")
        await other.execute(APPEND, world.tenant_id, statistic_id)
        await tallies_of(world.database).fold(world.tenant_id, COLLECTION, statistic_id)
        for mode in ("force_custom_plan", "force_generic_plan"):
            await other.execute(SETTINGS.format(mode=mode))
            values = {"tenant_id": world.tenant_id, "collection": COLLECTION, "statistic_id": statistic_id}
            for statement, others in (a_read(), (load("statistics")["fold_tally"], {"k1_type": "TEXT", "limit": 9})):
                # 8,000 rows are on more than a hundred pages.
                assert await pages_read(other, statement, {**values, **others}) < 60
    await check(world)


@asynccontextmanager
async def opened(world: LoggedWorld) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(world.database.url, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


def a_read() -> tuple[Statement, dict[str, Any]]:
    """Return the statement of the first query for the first statistic, and values of it."""
    spec = from_json(json.loads(STATISTICS)[0])
    groups = needs_of(QUERIES[0], None, {EA: FieldType.TEXT, ("en",): FieldType.NUMBER}).groups
    statement, fixed = statistics_statement(QUERIES[0], None, spec, groups, "tally_rows")
    return statement, {**fixed, "user_id": "ada"}


async def pages_read(connection: asyncpg.Connection, statement: Statement, values: dict[str, Any]) -> int:
    """Return how many pages of tallies and of their index a statement reads."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.sql}"
    plan = json.loads(await connection.fetchval(explain, *statement.arguments(values)))[0]["Plan"]
    scans = [node for node in nodes(plan) if node.get("Relation Name", "").startswith("tally")]
    return sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in scans)


async def test_rows_of_a_write_that_outlasts_a_fold_are_counted(races: Races) -> None:
    world = races.world
    await built(world)
    await world.create("1", {"ea": "x", "en": 1})
    await world.create("2", {"ea": "x", "en": 1})
    held = Patch(COLLECTION, "1", Delta('{"ea": "y", "en": 5}', Strategy.SHALLOW))
    async with races.behind(races.holding.patch_all([held])):
        await world.patch("2", {"en": 3})  # a later transaction, which ends first
        await world.save("ada", change("2", {"en": 4}))
        await tallies_of(world.database).fold_all(limit=0)
        await check(world)
    await check(world)
    await tallies_of(world.database).fold_all(limit=0)
    await check(world)


async def test_rows_that_reads_would_skip_are_found_and_repaired(world: LoggedWorld) -> None:
    await built(world)
    await world.create("1", {"ea": "x", "en": 1})
    # As after a restore of the tables alone into a database with lower positions.
    ahead = "UPDATE draftline.statistic SET folded_before = 1000000000000000000 WHERE tenant_id = $1"
    await world.database.fetch(Statement("ahead", ahead, ("t",)), {"t": world.tenant_id})
    await world.patch("1", {"en": 2})
    tallies = tallies_of(world.database)
    wrong = [each for each in await tallies.differences() if each.tenant_id == world.tenant_id]
    assert {each.statistic_id for each in wrong} == {row["statistic_id"] for row in await statistics(world)}
    for each in await statistics(world):
        await tallies.repair(world.tenant_id, COLLECTION, each["statistic_id"])
    await world.patch("1", {"en": 7})
    await check(world)
