"""The layout that migrations create, and that comparisons with the declared tables know partitions."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator

import asyncpg
import pytest
from draftline_server.ops import migrate, revisions
from draftline_server.partitions.conversion import partition_if_empty
from draftline_server.partitions.definitions import TableDefinition, read_definition
from draftline_server.partitions.layout import TABLES
from draftline_server.partitions.mode import Mode, read_mode
from support import sql
from support.partitioned import partition_tables_at
from support.server_process import invoked
from support.servers import beside, on_database, run_sql

OLDEST = "0022"  # all tables of the layout exist
RECORD = """
INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by, updated_at,
    updated_by)
SELECT t, 'films', '1', '{}', 1, now(), 'u', now(), 'u' FROM unnest(ARRAY['t', 'big']) AS t
"""
ROWS = "SELECT tableoid::regclass::text, to_jsonb(r) - 'log_xact' FROM draftline.record AS r ORDER BY 1, 2"
OTHERS = """
CREATE INDEX record_order_0123456789abcdef0123456789abcdef ON draftline.record (tenant_id, updated_at);
CREATE TABLE draftline.record_new (LIKE draftline.record INCLUDING ALL);
CREATE TABLE draftline.tally_unmatched (LIKE draftline.tally)
"""


def mode_of(url: str) -> Mode:
    async def read() -> Mode:
        connection = await asyncpg.connect(url)
        try:
            return await read_mode(connection)
        finally:
            await connection.close()

    return asyncio.run(read())


@pytest.fixture
def empty_url(postgres_url: str) -> Iterator[str]:
    name = f"draftline_empty_{uuid.uuid4().hex}"
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0")
    yield on_database(postgres_url, name)
    run_sql(postgres_url, f"DROP DATABASE {name}")


def test_migration_of_an_empty_database_creates_the_layout_of_the_setting(empty_url: str) -> None:
    for value, mode in (("false", Mode.PLAIN), ("true", Mode.PARTITIONED), ("false", Mode.PARTITIONED)):
        done = invoked("migrate", "--json", database_url=empty_url, use_partitioned_tables=value)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"revision": revisions.head()}
        assert beside(mode_of, empty_url) is mode


async def test_database_with_rows_keeps_its_layout(database_url: str) -> None:
    run_sql(database_url, RECORD)
    assert not await partition_if_empty(database_url)
    assert beside(mode_of, database_url) is Mode.PLAIN


async def test_processes_that_create_the_layout_at_once_do_it_once(database_url: str) -> None:
    done = await asyncio.gather(*(partition_if_empty(database_url) for _ in range(3)))
    assert sorted(done) == [False, False, True]


def test_partitions_and_other_tables_of_commands_are_no_differences(database_url: str) -> None:
    beside(partition_tables_at, database_url, ["big"])
    run_sql(database_url, OTHERS)
    assert beside(migrate.differences, database_url) == []
    run_sql(database_url, "ALTER TABLE draftline.record ADD COLUMN more text; CREATE TABLE draftline.unknown (id text)")
    found = str(beside(migrate.differences, database_url))
    assert "more" in found
    assert "unknown" in found


async def test_revisions_change_partitioned_tables_as_plain_ones(database_url: str) -> None:
    """Go back to OLDEST and to each later revision with partitions and rows in them, and end as a new database does."""
    beside(partition_tables_at, database_url, ["big"])
    run_sql(database_url, RECORD)
    before, rows = await definitions(database_url), sql.fetch(database_url, ROWS)
    assert len(rows) == 2
    beside(migrate.go_to, database_url, OLDEST)
    assert beside(mode_of, database_url) is Mode.PARTITIONED
    for revision in reversed(revisions.between(OLDEST, revisions.head())):
        assert beside(migrate.go_to, database_url, revision) == revision
    assert beside(migrate.differences, database_url) == []
    assert await definitions(database_url) == before
    assert sql.fetch(database_url, ROWS) == rows


async def definitions(url: str) -> dict[str, TableDefinition]:
    """Return what the catalogue says of each partitioned table and of each of its partitions."""
    connection = await asyncpg.connect(url)
    try:
        leaves = "SELECT c.relname FROM pg_partition_tree($1::text::regclass) JOIN pg_class AS c ON c.oid = relid"
        names = [row[0] for table in TABLES for row in await connection.fetch(leaves, f"draftline.{table}")]
        return {name: await read_definition(connection, name) for name in names}
    finally:
        await connection.close()
