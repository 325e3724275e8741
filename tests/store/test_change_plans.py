"""Lists of changes keep to their indexes: what PostgreSQL really does for each on 240,000 entries of the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from support.query_plans import explained, nodes, rows_read
from support.servers import cloned
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION

TENANT, PAGE = "t", 50
COMMIT_ID = "00000000-0000-4000-8000-{:012}"
# Four weeks of it. Of every second entry a draft was all there was, and of those most are eve's; of the changes every
# tenth is another tenant's. A record has a hundred versions, a commit twenty changes, and most are of no session.
FILL = """
    INSERT INTO draftline.change (tenant_id, log_xact, change_id, collection, record_id, version, kind, source, edit,
        base, user_id, session_id, commit_id, change_reason, created_at)
    SELECT CASE WHEN n % 20 = 1 THEN 'other' ELSE 't' END, n, n, 'films', CASE WHEN n % 2 = 0 THEN 'd' ELSE '' END
            || n % 1200, CASE WHEN n % 2 = 0 THEN 0 ELSE 2 + n / 1200 END,
        CASE WHEN n % 2 = 0 THEN 'DRAFT' ELSE 'UPDATE' END,
        CASE WHEN n % 2 = 0 THEN 'SAVE_DRAFT' WHEN n % 100 = 1 THEN 'COMMIT' ELSE 'PATCH_CONTENT' END,
        '{"s": {"a": 1}}', '{"s": {"a": 2}}', CASE WHEN n % 2 = 0 OR n % 500 = 3 THEN 'eve' ELSE 'u' || n % 50 END,
        CASE WHEN n % 2 = 0 THEN 's1' WHEN n % 40 = 3 THEN 's' || n % 400 / 40 ELSE '' END,
        CASE WHEN n % 40 = 7 THEN ('00000000-0000-4000-8000-' || to_char(n / 800, 'FM000000000000'))::uuid END, '',
        date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + interval '28 days' * n / 240001
    FROM generate_series(1, 240000) AS n
"""


class Capturing(Database):
    """Keeps what was sent last."""

    statement: Statement
    values: dict[str, object]

    async def fetch(self, statement: Statement, values: dict[str, object], *, idempotent: bool = False) -> Any:
        self.statement, self.values = statement, values
        return await super().fetch(statement, values, idempotent=idempotent)


@pytest.fixture(scope="module")
async def url(postgres_url: str, template: str) -> AsyncIterator[str]:
    with cloned(postgres_url, template) as made:
        connection = await asyncpg.connect(made)
        await connection.execute(FILL)
        await connection.execute("VACUUM ANALYZE draftline.change")
        await connection.close()
        yield made


@pytest.fixture(scope="module")
async def log(url: str) -> AsyncIterator[Capturing]:
    database = Capturing(url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    connected = await asyncpg.connect(
        url, server_settings={"jit": "off", "max_parallel_workers_per_gather": "0"}, statement_cache_size=0
    )
    yield connected
    await connected.close()


RECORD = {"collection": COLLECTION, "record_id": "607"}
LISTS: dict[str, tuple[dict[str, Any], str]] = {  # and the index
    "all": ({}, "pkey"),
    "of a record": (RECORD, "collection_record_id_version"),
    "of a record, by filter": (
        {"filter_text": 'collection = films AND record_id = "607"'}, "collection_record_id_version"
    ),
    "of a record by one user": ({**RECORD, "filter_text": "user_id = u7"}, "collection_record_id_version"),
    "of a user": ({"filter_text": "user_id = u7"}, "user_id"),
    "of a user of many drafts": ({"filter_text": "user_id = eve"}, "user_id"),
    "of a user and a kind": ({"filter_text": "user_id = u7 AND kind = UPDATE"}, "user_id"),
    "of a session": ({"filter_text": "session_id = s2"}, "session_id"),
    "of a session of many drafts": ({"filter_text": "session_id = s1"}, "session_id"),
    "of a commit": ({"filter_text": f'commit_id = "{COMMIT_ID.format(100)}"'}, "commit_id"),
}  # fmt: skip


@pytest.mark.parametrize("plan", ["custom", "generic"])
@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize("name", list(LISTS))
async def test_list_is_read_by_its_index(
    log: Capturing, connection: asyncpg.Connection, name: str, oldest_first: bool, plan: str
) -> None:
    query, index = LISTS[name]
    await connection.execute(f"SET plan_cache_mode = force_{plan}_plan")
    world, token = LoggedWorld(log, TENANT), ""
    for _ in ("first", "next"):
        page = await world.page(page_size=PAGE, token=token, oldest_first=oldest_first, **query)
        ran, rows = await explained(connection, log.statement, log.values)
        assert page.changes
        assert len(rows) >= len(page.changes)
        # Partitions that hold nothing of it may be looked at in any way.
        scans = [node for node in nodes(ran) if node.get("Relation Name", "").startswith("change_") and rows_read(node)]
        assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan"}
        assert all(index in node["Index Name"] for node in scans), {node["Index Name"] for node in scans}
        assert rows_read(ran) <= 4 * (PAGE + 1)
        token = page.next_page_token
        if not token:
            return


async def test_list_of_a_time_reads_its_weeks_alone(log: Capturing, connection: asyncpg.Connection) -> None:
    world = LoggedWorld(log, TENANT)
    (newest,) = (await world.page(page_size=1)).changes
    for plan in ("custom", "generic"):
        await connection.execute(f"SET plan_cache_mode = force_{plan}_plan")
        await world.page(f'create_time >= "{newest.created_at.isoformat()}"', page_size=PAGE, oldest_first=True)
        ran, rows = await explained(connection, log.statement, log.values)
        assert len(rows) == 1
        scanned = {node["Relation Name"] for node in nodes(ran) if node.get("Actual Loops") and "Relation Name" in node}
        assert len(scanned) <= 3  # of six: its week, the next, and the default
