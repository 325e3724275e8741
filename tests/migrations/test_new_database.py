"""The schema of a new database without its migrations."""

from __future__ import annotations

import asyncio
import subprocess

from draftline_server.embedded_postgres.process import find_binaries
from draftline_server.ops import migrate, revisions
from draftline_server.ops.new_database import create_schema
from support import sql
from support.servers import beside, on_database, run_sql

NEW = "draftline_new_database"
ROWS = """
    SELECT (SELECT array_agg(version_num) FROM draftline.alembic_version) AS revisions,
        (SELECT array_agg((name, length(value))::text) FROM draftline.secret) AS secrets,
        (SELECT array_agg(c::text) FROM draftline.change_log AS c) AS logs,
        (SELECT array_agg(relid::regclass::text ORDER BY 1) FROM pg_partition_tree('draftline.change')) AS partitions
"""
TABLES = """
    SELECT relid::regclass::text AS name FROM pg_stat_user_tables WHERE schemaname = 'draftline' ORDER BY 1
"""


def dumped(url: str) -> str:
    """Return the schema as pg_dump prints it, without weekly partitions and the lines that are random."""
    command = [str(find_binaries() / "pg_dump"), "--schema-only", "--exclude-table=draftline.change_[0-9]*", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith(("\\", "--")))


def filled(url: str) -> list[tuple[str, int]]:
    """Return the tables that have rows, and how many."""
    counts = [
        (row["name"], sql.fetch(url, f"SELECT count(*) FROM {row['name']}")[0][0]) for row in sql.fetch(url, TABLES)
    ]
    return [(name, count) for name, count in counts if count]


def test_new_database_is_what_the_migrations_leave(postgres_url: str, database_url: str) -> None:
    """Compare the schema, the rows and the partitions of both."""
    url = on_database(postgres_url, NEW)
    run_sql(postgres_url, f"CREATE DATABASE {NEW} TEMPLATE template0")
    try:
        assert beside(asyncio.run, create_schema(url)) == revisions.head()
        assert dumped(url) == dumped(database_url)
        assert sql.fetch(url, ROWS) == sql.fetch(database_url, ROWS)
        assert filled(url) == filled(database_url)
        assert beside(migrate.upgrade, url) == revisions.head()
    finally:
        run_sql(postgres_url, f"DROP DATABASE {NEW} WITH (FORCE)")
