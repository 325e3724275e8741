"""Answers of statistics read their tally by its index, and no record but those that the caller's drafts create."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.filters.type_resolution import with_types
from draftline_server.domain.statistics import Function, Grain, GroupOrder, Measure, Side, StatisticsQuery
from draftline_server.store.collections.statistic_specs import from_json
from draftline_server.store.statements import load
from draftline_server.store.statistics.needs import needs_of
from draftline_server.store.statistics.query import statistics_statement
from support.query_plans import explained, nodes
from support.servers import cloned

from .test_entry_plans import COLLECTION, FIELDS, FILL, TENANT, USER

SQL = load("statistics")
SETTINGS = {"jit": "off", "max_parallel_workers_per_gather": "0", "enable_seqscan": "off"}  # as the service
SPEC = {"name": "s", "keys": [{"path": ["genre"], "type": "TEXT"}], "measures": [["year"]]}
STATISTICS = [
    f"""INSERT INTO draftline.statistic (tenant_id, collection, statistic_id, name, spec, fields, k1_path, k1_type,
        m1_path, state, created_at)
    SELECT '{TENANT}', '{COLLECTION}', n, n, '{json.dumps(SPEC)}', '{{genre,year}}', '{{genre}}', 'TEXT', '{{year}}',
        'READY', now() FROM generate_series(1, 9) AS n""",
    f"""INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, records, c1, s1)
    SELECT '{TENANT}', n % 8, CASE WHEN n % 3 = 0 THEN '' ELSE 'u' || n % 50 END, 'g' || n % 20, 1, 1, 1900
    FROM generate_series(1, 60000) AS n""",
    f"""INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, records)
    VALUES ('{TENANT}', 1, '{USER}', 'g1', 1)""",
]


@pytest.fixture(scope="module")
async def crowded(postgres_url: str, template: str) -> AsyncIterator[asyncpg.Connection]:
    """A database with 40,000 records of a tenant, 2,000 drafts of a user, and 60,000 rows of tallies."""
    with cloned(postgres_url, template) as url:
        connection = await asyncpg.connect(url, server_settings=SETTINGS, statement_cache_size=0)
        for statement in FILL[:3] + STATISTICS:
            await connection.execute(statement)
        await connection.execute("VACUUM ANALYZE")
        yield connection
        await connection.close()


RANGE = {"name": "r", "keys": [{"path": ["year"], "type": "NUMBER_RANGE"}], "measures": []}


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_answer_reads_the_tally_by_its_index_and_no_other_record(crowded: asyncpg.Connection, mode: str) -> None:
    await crowded.execute(f"SET plan_cache_mode = {mode}")
    measures = (Measure(Function.COUNT), Measure(Function.SUM, ("year",)))
    query = StatisticsQuery(COLLECTION, ((("genre",), Grain.VALUE),), measures)
    spec = from_json(SPEC)
    statement, fixed = statistics_statement(query, None, spec, needs_of(query, None, FIELDS).groups, "tally_rows")
    values: dict[str, Any] = {"tenant_id": TENANT, "collection": COLLECTION, "statistic_id": 1, "user_id": USER}
    plan, rows = await explained(crowded, statement, {**fixed, **values})
    assert rows[0]["is_ready"]
    found = {(node["Relation Name"], node.get("Index Name")) for node in nodes(plan) if "Relation Name" in node}
    bitmaps = {node["Index Name"] for node in nodes(plan) if node["Node Type"] == "Bitmap Index Scan"}
    assert found <= {
        ("tally", "tally_idx"), ("tally", None), ("statistic", "statistic_pkey"), ("draft", "draft_create_idx"),
        ("record", "record_pkey"),
    }  # fmt: skip
    assert ("tally", "tally_idx") in found or bitmaps == {"tally_idx"}
    assert not [node for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
    read = sum(node["Actual Rows"] for node in nodes(plan) if node.get("Relation Name") in ("record", "draft"))
    assert read == 0
    by_key = [node for node in nodes(plan) if node.get("Index Name") == "record_pkey"]
    assert all("record_id" in node["Index Cond"] for node in by_key)


async def test_columns_are_in_the_order_of_the_groups_without_another_sort(crowded: asyncpg.Connection) -> None:
    measures = (Measure(Function.COUNT), Measure(Function.MIN, ("genre",)))
    order = (GroupOrder(0, Side.MERGED, descending=True),)
    query = StatisticsQuery(COLLECTION, ((("genre",), Grain.VALUE),), measures, order=order)
    groups = needs_of(query, None, FIELDS).groups
    statement, fixed = statistics_statement(query, None, from_json(SPEC), groups, "tally_rows")
    assert len(re.findall("(?:array|string)_agg", statement.sql)) == 1 + 2 * 3
    assert statement.sql.count(" ORDER BY x.order_1 DESC NULLS LAST, x.order_2 ASC NULLS LAST)") == 1 + 2 * 3
    values: dict[str, Any] = {"tenant_id": TENANT, "collection": COLLECTION, "statistic_id": 1, "user_id": USER}
    plan, _ = await explained(crowded, statement, {**fixed, **values})
    if crowded.get_server_version().major >= 16:
        assert "Sort" not in [node["Node Type"] for node in plan["Plans"]]


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_range_reads_its_nodes_by_their_index(crowded: asyncpg.Connection, mode: str) -> None:
    async with rolled_back(crowded):
        await crowded.execute(f"SET plan_cache_mode = {mode}")
        await crowded.execute(NODES)
        condition = with_types(parse_filter("year > 1912 AND year <= 1987"), FIELDS, {})
        query = StatisticsQuery(
            COLLECTION, (), (Measure(Function.COUNT),), parse_filter("year > 1912 AND year <= 1987")
        )
        needs = needs_of(query, condition, FIELDS)
        statement, fixed = statistics_statement(query, condition, from_json(RANGE), needs.groups, "tally_rows")
        values: dict[str, Any] = {"tenant_id": TENANT, "collection": COLLECTION, "statistic_id": 9, "user_id": USER}
        plan, rows = await explained(crowded, statement, {**fixed, **values})
        assert (rows[0]["baseline_1"], rows[0]["merged_1"]) == (str(20 * 75), str(20 * 75))
        assert not [node for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
        scans = [node for node in nodes(plan) if node.get("Index Name") == "tally_idx"]
        assert any("k1" in node["Index Cond"] for node in scans)
        assert sum(node["Actual Rows"] * node["Actual Loops"] for node in scans) < 60


async def test_fold_reads_what_was_appended_and_the_sums_that_change(crowded: asyncpg.Connection) -> None:
    async with rolled_back(crowded):
        await crowded.execute(NODES)
        await crowded.execute(
            f"""INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, records)
            SELECT '{TENANT}', 9, '', 'x' || n % 2, 1 FROM generate_series(1, 30) AS n"""
        )
        values: dict[str, Any] = {"tenant_id": TENANT, "collection": COLLECTION, "statistic_id": 9, "limit": 100}
        plan, _ = await explained(crowded, SQL["fold_tally"], {**values, "k1_type": "NUMBER_RANGE"})
        assert not await crowded.fetchval(
            "SELECT count(*) FROM draftline.tally WHERE statistic_id = 9 AND NOT is_folded"
        )
        assert not [node for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
        scans = [node for node in nodes(plan) if node.get("Index Name") == "tally_idx"]
        assert sum(node["Actual Rows"] * node["Actual Loops"] for node in scans) < 100


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "not analyzed"])
async def test_fold_of_many_groups_looks_up_each_once(postgres_url: str, template: str, analyzed: bool) -> None:
    with cloned(postgres_url, template) as url:
        connection = await asyncpg.connect(url, server_settings=SETTINGS, statement_cache_size=0)
        await connection.execute(STATISTICS[0])
        for is_folded in (True, False):
            await connection.execute(
                f"""INSERT INTO draftline.tally (tenant_id, statistic_id, is_folded, user_id, k1, k2, records)
                SELECT '{TENANT}', 9, {is_folded}, '', 'g' || n, nullif(n % 3, 0)::text, 1
                FROM generate_series(1, 300) AS n"""
            )
        if analyzed:
            await connection.execute("ANALYZE draftline.tally")
        values: dict[str, Any] = {"tenant_id": TENANT, "collection": COLLECTION, "statistic_id": 9, "limit": 300}
        plan, _ = await explained(connection, SQL["fold_tally"], {**values, "k1_type": "TEXT"})
        sql = "SELECT count(*), min(records), max(records) FROM draftline.tally WHERE is_folded"
        assert tuple(await connection.fetchrow(sql)) == (300, 2, 2)
        assert max(node["Actual Loops"] for node in nodes(plan)) <= 300
        await connection.close()


async def test_rows_of_a_tally_are_deleted_by_their_locations_alone(postgres_url: str, template: str) -> None:
    """Without the settings of the function, an index whose rows are compared with all locations looks cheaper."""
    with cloned(postgres_url, template) as url:
        connection = await asyncpg.connect(url, statement_cache_size=0)
        await connection.execute(
            f"""INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, records)
            SELECT '{TENANT}', 9, '', 'g' || n, 1 FROM generate_series(1, 300) AS n"""
        )
        locations = await connection.fetchval("SELECT array_agg(ctid)::text FROM draftline.tally WHERE k1 < 'g2'")
        found = await connection.fetchrow("SELECT prosrc, proconfig FROM pg_proc WHERE proname = 'delete_tally_rows'")
        (body,) = re.findall(r"DELETE FROM.*?(?=;)", found["prosrc"], re.DOTALL)
        for number, name in enumerate(("tenant", "statistic", "locations"), 1):
            body = re.sub(rf"(= |\(){name}\b", rf"\g<1>${number}", body)
        await connection.execute(f"PREPARE deletion (text, bigint, tid[]) AS {body}")
        for setting in found["proconfig"]:
            await connection.execute("SELECT set_config($1, $2, false)", *setting.split("="))
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            execute = f"EXECUTE deletion ('{TENANT}', 9, '{locations}')"
            plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {execute}"))[0]["Plan"]
            assert {node["Node Type"] for node in nodes(plan) if "Scan" in node["Node Type"]} == {"Tid Scan"}
        await connection.close()


NODES = f"""
INSERT INTO draftline.tally (tenant_id, statistic_id, is_folded, user_id, k1, records)
SELECT '{TENANT}', 9, true, '', n.k1, 20 * count(*)
FROM generate_series(1900, 2000) AS year
CROSS JOIN LATERAL unnest(draftline.group_nodes(draftline.group_key(to_jsonb(year), 'NUMBER_RANGE'), 'NUMBER_RANGE'))
    AS n (k1)
GROUP BY n.k1
"""


@asynccontextmanager
async def rolled_back(connection: asyncpg.Connection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()
