"""Answers of statistics read their tally by its index, and no record but those that the caller's drafts create."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.statistics import Function, Grain, Measure, StatisticsQuery
from draftline_server.store.collections.statistic_specs import from_json
from draftline_server.store.statistics.needs import needs_of
from draftline_server.store.statistics.query import statistics_statement
from support.query_plans import explained, nodes
from support.servers import cloned

from .test_entry_plans import COLLECTION, FIELDS, FILL, TENANT, USER

SPEC = {"name": "s", "keys": [{"path": ["genre"], "type": "TEXT"}], "measures": [["year"]]}
STATISTICS = [
    f"""INSERT INTO draftline.statistic (tenant_id, collection, statistic_id, name, spec, fields, k1_path, k1_type,
        m1_path, state, created_at)
    SELECT '{TENANT}', '{COLLECTION}', n, n, '{json.dumps(SPEC)}', '{{genre,year}}', '{{genre}}', 'TEXT', '{{year}}',
        'READY', now() FROM generate_series(1, 8) AS n""",
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
        settings = {"jit": "off", "max_parallel_workers_per_gather": "0", "enable_seqscan": "off"}  # as the service
        connection = await asyncpg.connect(url, server_settings=settings, statement_cache_size=0)
        for statement in FILL[:3] + STATISTICS:
            await connection.execute(statement)
        await connection.execute("VACUUM ANALYZE")
        yield connection
        await connection.close()


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
