"""Sizes of tables by partition and the largest tenants: as metrics show them, and what the doctor makes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from draftline_server import storage_metrics
from draftline_server.doctor import storage as doctor
from draftline_server.doctor.results import Finding
from draftline_server.partitions.conversion import partition_tables
from draftline_server.partitions.layout import TABLES, tenant_partition
from draftline_server.storage_metrics import StorageSizes
from draftline_server.store.database import Database
from draftline_server.store.storage import read_table_parts
from support.log_capture import logged
from support.partition_switch import fill
from support.partitioned import plain_only
from support.servers import serving
from support.tenant_stores import connected

pytestmark = plain_only("they begin with plain tables")

OWN = tenant_partition("record", "t1")
USAGE = """
INSERT INTO draftline.tenant_usage (tenant_id, collections, records, bytes, drafts, counted_at)
SELECT tenant_id, 1, count(*), 10 * count(*), 0, now() FROM draftline.record GROUP BY tenant_id
"""
TREE = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('draftline.{table}')"


@pytest.fixture
async def database(database_url: str, connection: asyncpg.Connection) -> AsyncIterator[Database]:
    """A database of seven tenants, of which one has its own partitions, with dead rows in these alone."""
    await partition_tables(connection, ["t1"])
    await connection.execute(f"ALTER TABLE draftline.{OWN} SET (autovacuum_enabled = off)")
    await fill(connection, 700)
    await connection.execute(USAGE)
    await connection.execute("UPDATE draftline.record SET version = version + 1 WHERE tenant_id = 't1'")
    await analyze(connection, "record")
    async with connected(database_url) as opened:
        yield opened


async def analyze(connection: asyncpg.Connection, table: str) -> None:
    """Count rows, after the counts of this connection's writes are reported, which would be added to them later."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    await connection.execute(f"ANALYZE draftline.{table}")


async def findings(database: Database) -> list[Finding]:
    return [each async for each in doctor.storage(database)]


async def test_sizes_are_those_of_partitions_with_their_tenants(
    database: Database, connection: asyncpg.Connection
) -> None:
    parts = await read_table_parts(database)
    for table in TABLES:
        of_table = [each for each in parts if each.table == table]
        assert len(of_table) == 17
        assert sum(each.bytes for each in of_table) == await connection.fetchval(TREE.format(table=table))
        assert [each.tenant_id for each in of_table if each.part == tenant_partition(table, "t1")] == ["t1"]
        assert {each.tenant_id for each in of_table} == {"t1", None}
    (own,) = [each for each in parts if each.part == OWN]
    assert (own.rows, own.dead_rows) == (100, 100)
    others = [each for each in parts if each.table == "record" and each.part != OWN and each.rows]
    assert all(each.dead_rows == 0 for each in others)
    assert {each.part for each in parts if each.table == "collection"} == {""}


async def test_space_that_no_row_needs_is_estimated(database: Database, connection: asyncpg.Connection) -> None:
    async def unused() -> tuple[int, int]:
        (own,) = [each for each in await read_table_parts(database) if each.part == OWN]
        return own.unused_bytes, await connection.fetchval(f"SELECT pg_relation_size('draftline.{OWN}')")

    for _ in range(9):
        await connection.execute("UPDATE draftline.record SET version = version + 1 WHERE tenant_id = 't1'")
    await analyze(connection, OWN)
    found, size = await unused()
    assert size / 2 < found < size
    await connection.execute(f"VACUUM (FULL, ANALYZE) draftline.{OWN}")
    found, size = await unused()
    assert found < size / 2


async def test_metrics_have_a_bounded_number_of_series_and_name_no_tenant(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_metrics, "PARTITIONS", 3)
    sizes = StorageSizes(database)
    await sizes.read()
    families = {family.name: family.samples for family in sizes.collect()}
    size = {(each.labels["table"], each.labels["partition"]): each.value for each in families["draftline_table_bytes"]}
    partitions = [part for _, part in size if part not in ("", "others")]
    assert len(partitions) == 3
    assert {table for table, part in size if part == "others"} <= {*TABLES, "change"}
    assert sum(size.values()) == sum(each.bytes for each in await read_table_parts(database))
    records = {each.labels["rank"]: each.value for each in families["draftline_largest_tenant_records"]}
    assert records == dict.fromkeys("12345", 100)
    labels = {value for samples in families.values() for each in samples for value in each.labels.values()}
    assert not labels & {f"t{number}" for number in range(7)}


async def test_doctor_shows_partitions_and_the_largest_tenants(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "LOCKS", 1)
    sizes, tenants = await findings(database)
    assert (sizes.state, tenants.state) == ("ok", "ok")
    assert "in 102 partitions by tenant; the largest: " in sizes.message
    assert "t1 (100 records, 0.0 MiB, own partitions)" in tenants.message
    monkeypatch.setattr(doctor, "DEAD_ROWS", 50)
    monkeypatch.setattr(doctor, "LARGE_RECORDS", 100)
    sizes, tenants = await findings(database)
    assert (sizes.state, tenants.state) == ("warning", "warning")
    assert f"with many dead rows: {OWN} of tenant t1 (" in sizes.message
    assert f"run `VACUUM (ANALYZE) draftline.{OWN}`" in sizes.fix
    assert tenants.message.endswith("; without own partitions: t0, t2, t3, t4")
    assert tenants.fix == "run `draftline partitions promote t0`, likewise for each"


async def test_doctor_warns_of_too_few_locks_for_partitions(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "LOCKS", 1_000_000)
    locks, _ = await findings(database)
    assert locks.state == "warning"
    assert locks.message.startswith("statements lock all 102 partitions by tenant, and max_locks_per_transaction is ")
    assert locks.fix == "set max_locks_per_transaction to 1000000 or more in postgresql.conf, and restart PostgreSQL"


async def test_doctor_suggests_no_partitions_where_tables_are_plain(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "LOCKS", 1_000_000)  # of partitioned tables only
    monkeypatch.setattr(doctor, "LARGE_RECORDS", 100)
    monkeypatch.setattr(doctor, "UNUSED_BYTES", 0)
    async with connected(database_url) as opened:
        assert (await findings(opened))[1].message.startswith("not counted yet")
        await fill(connection, 700)
        await connection.execute(USAGE + "; ANALYZE")
        await connection.execute("DELETE FROM draftline.record WHERE tenant_id <> 't1'")
        await analyze(connection, "record")
        sizes, tenants = await findings(opened)
    assert sizes.state == "warning"
    assert "`VACUUM FULL draftline.record`, which locks it" in sizes.fix
    assert tenants.state == "ok"
    assert tenants.message.startswith("the largest: t0 (100 records, 0.0 MiB), t1")


async def test_server_starts_while_a_table_is_locked(database_url: str, connection: asyncpg.Connection) -> None:
    """VACUUM FULL of a table locks it, for which the reading of its size waits."""
    async with connection.transaction():
        await connection.execute("LOCK TABLE draftline.sync_event IN ACCESS EXCLUSIVE MODE")
        with logged() as events, serving(database_url):
            assert "storage_sizes_failed" not in [each["event"] for each in events]
