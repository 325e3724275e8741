"""The switchover to partitioned tables keeps both copies equal, whatever writes meanwhile, and changes nothing else."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import asyncpg
import pytest
from draftline import Client
from draftline_server.cli.partition_reports import plan_text
from draftline_server.ops import migrate
from draftline_server.partitions import pace as pace_module
from draftline_server.partitions import session
from draftline_server.partitions.conversion import partition_tables
from draftline_server.partitions.copying import KeyedCopy
from draftline_server.partitions.definitions import LayoutError, TableDefinition, read_definition
from draftline_server.partitions.layout import TABLES, hash_partition, tenant_partition
from draftline_server.partitions.mode import Mode, read_mode
from draftline_server.partitions.obstacles import ObstacleError
from draftline_server.partitions.pace import REST, Pace
from draftline_server.partitions.session import LockError
from draftline_server.partitions.switch_state import Phase
from draftline_server.partitions.switchover import PhaseError, Switchover
from draftline_server.partitions.switchover_reports import plan, sizes
from draftline_server.store.advisory_locks import AdvisoryLock
from support.partition_switch import fill, run, start, switchover, verified
from support.partitioned import plain_only
from support.servers import cloned, on_database, serving

pytestmark = plain_only("they begin with plain tables")

LEFT = (
    "SELECT count(*) FROM pg_class WHERE relnamespace = 'draftline'::regnamespace "
    "AND relname ~ '_(new|rest|unmatched|old)'"
)
RECORD = (
    "INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by, "
    "updated_at, updated_by) SELECT 't1', 'films', id, '{{}}', {version}, now(), 'u', now(), 'u' FROM {ids}"
)
INSERT, REPEAT = "(VALUES ('new')) AS n (id)", "(VALUES ('r1'), ('newer')) AS n (id)"
WRITES = {
    "insert": ("record", RECORD.format(version=1, ids=INSERT)),
    "update": (
        "record",
        "UPDATE draftline.record SET content = '{\"a\": 1.00}', version = version + 1 WHERE tenant_id IN ('t1', 't2')",
    ),
    "delete": ("record", "DELETE FROM draftline.record WHERE tenant_id = 't5'"),
    "duplicate insert": ("record", RECORD.format(version=9, ids=REPEAT) + " ON CONFLICT DO NOTHING"),
    "duplicate insert that updates": (
        "record",
        RECORD.format(version=9, ids=REPEAT)
        + " ON CONFLICT (tenant_id, collection, record_id) DO UPDATE SET version = record.version + 1",
    ),
    "bulk": (
        "record",
        RECORD.format(version=1, ids="(SELECT 'bulk-' || i FROM generate_series(1, 2000) AS i) AS n (id)"),
    ),
    "merge": (
        "record",
        "MERGE INTO draftline.record AS r USING (VALUES ('t1', 'r1'), ('t1', 'r8'), ('t1', 'r1000')) AS n (t, id) "
        "ON r.tenant_id = n.t AND r.record_id = n.id "
        "WHEN MATCHED AND n.id = 'r8' THEN DELETE WHEN MATCHED THEN UPDATE SET version = r.version + 1 "
        "WHEN NOT MATCHED THEN INSERT (tenant_id, collection, record_id, content, version, created_at, created_by, "
        "updated_at, updated_by) VALUES (n.t, 'films', n.id, '{}', 1, now(), 'u', now(), 'u')",
    ),
    "delete in a statement that inserts": (
        "order_entry",
        "WITH gone AS (DELETE FROM draftline.order_entry WHERE tenant_id = 't1' RETURNING *), made AS ("
        "INSERT INTO draftline.order_entry SELECT tenant_id, collection, order_id, key || 'x', record_id FROM gone) "
        "SELECT count(*) FROM gone",
    ),
    "append of rows without a key": (
        "tally",
        "INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, records) SELECT 't1', 1, '', 1 "
        "FROM generate_series(1, 3)",
    ),
    "fold of rows without a key": (
        "tally",
        "WITH gone AS (DELETE FROM draftline.tally WHERE tenant_id = 't1' AND NOT is_folded RETURNING *) "
        "INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, records, s1, is_folded) "
        "SELECT tenant_id, statistic_id, user_id, k1, sum(records), sum(s1), true FROM gone GROUP BY 1, 2, 3, 4",
    ),
    "delete of one of equal rows": (
        "tally",
        "DELETE FROM draftline.tally WHERE tenant_id = 't2' AND ctid = "
        "(SELECT min(ctid) FROM draftline.tally WHERE tenant_id = 't2')",
    ),
    "update of rows without a key": (
        "tally",
        "UPDATE draftline.tally SET records = records + 1 WHERE tenant_id = 't4'",
    ),
    "move of a unique value": (
        "sync_record",
        "UPDATE draftline.sync_record SET remote_id = NULL WHERE record_id = 'r7'; "
        "UPDATE draftline.sync_record SET remote_id = 'remote-r7' WHERE record_id = 'r14' AND tenant_id = 't0'",
    ),
    "write as a replica": (
        "draft",
        "SET LOCAL session_replication_role = replica; UPDATE draftline.draft SET version = 5; "
        "DELETE FROM draftline.draft WHERE tenant_id <> 't3'",
    ),
}


@pytest.fixture(scope="module")
def filled(postgres_url: str, template: str) -> Iterator[str]:
    with cloned(postgres_url, template) as url:
        asyncio.run(_filled(url))
        yield urlsplit(url).path.removeprefix("/")


async def _filled(url: str) -> None:
    connection = await asyncpg.connect(url)
    await fill(connection)
    await connection.close()


@pytest.fixture
def url(postgres_url: str, filled: str) -> Iterator[str]:
    with cloned(postgres_url, filled) as made:
        yield made


@pytest.fixture(scope="module")
def copied(postgres_url: str, filled: str) -> Iterator[str]:
    """The name of a database in phase COPIED, which is verified."""
    with cloned(postgres_url, filled) as url:
        asyncio.run(_copied(url))
        yield urlsplit(url).path.removeprefix("/")


async def _copied(url: str) -> None:
    assert await start(url, tenants=("t1",)) is Phase.COPIED
    assert (await verified(url)).is_ok


@pytest.fixture
def copied_url(postgres_url: str, copied: str) -> Iterator[str]:
    with cloned(postgres_url, copied) as made:
        yield made


@pytest.fixture
async def writer(request: pytest.FixtureRequest) -> AsyncIterator[asyncpg.Connection]:
    name = "copied_url" if "copied_url" in request.fixturenames else "url"
    url = request.getfixturevalue(name)
    connection = await asyncpg.connect(url, server_settings={"application_name": "a writer"})
    yield connection
    await connection.close()


async def definitions(connection: asyncpg.Connection) -> list[TableDefinition]:
    return [await read_definition(connection, table) for table in TABLES]


@pytest.fixture(scope="module")
def switched(postgres_url: str, copied: str) -> Iterator[str]:
    """The name of a database in phase SWITCHED."""
    with cloned(postgres_url, copied) as url:
        asyncio.run(run(url, Switchover.switch))
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture(params=[("copied", "_new"), ("switched", "_old")], ids=["before the switch", "after the switch"])
def synced(request: pytest.FixtureRequest, postgres_url: str) -> tuple[str, str]:
    """A database that the tests of this module share, and the suffix of the tables that the triggers write to."""
    name, other = request.param
    return on_database(postgres_url, request.getfixturevalue(name)), other


@pytest.mark.parametrize("kind", WRITES)
async def test_write_reaches_the_other_copy(synced: tuple[str, str], kind: str) -> None:
    """In both directions: to the partitioned copy before the switch, and to the plain one after it."""
    table, statement = WRITES[kind]
    url, other = synced
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    try:
        before = await connection.fetch(f"SELECT * FROM draftline.{table} AS t ORDER BY t::text")
        await connection.execute(statement)
        after = await connection.fetch(f"SELECT * FROM draftline.{table} AS t ORDER BY t::text")
        assert after != before
        assert await connection.fetch(f"SELECT * FROM draftline.{table}{other} AS t ORDER BY t::text") == after
        assert not await connection.fetchval(UNMATCHED)
    finally:
        await transaction.rollback()
        await connection.close()


UNMATCHED = "SELECT count(*) FROM draftline.tally_unmatched"


async def test_tenants_that_are_named_have_partitions_of_their_own(copied_url: str) -> None:
    result = await verified(copied_url)
    assert result.is_ok, result.as_json()
    assert "record_tenant_628b49d96dcde97a" in result.tables[0].partitions


async def test_rollback_keeps_what_was_written_after_the_switch(copied_url: str, writer: asyncpg.Connection) -> None:
    await run(copied_url, Switchover.switch)
    assert await read_mode(writer) is Mode.PARTITIONED
    await writer.execute("UPDATE draftline.record SET version = 77 WHERE record_id = 'r1'")
    await writer.execute("DELETE FROM draftline.draft WHERE tenant_id = 't0'")
    await run(copied_url, Switchover.rollback)
    assert await read_mode(writer) is Mode.PLAIN
    assert await writer.fetchval("SELECT version FROM draftline.record WHERE record_id = 'r1'") == 77
    assert await writer.fetchval("SELECT count(*) FROM draftline.draft WHERE tenant_id = 't0'") == 0


async def test_concurrent_writers_lose_nothing_on_either_side_of_the_switch(
    url: str, writer: asyncpg.Connection
) -> None:
    done = asyncio.Event()

    async def write(seed: int) -> None:
        choice = random.Random(seed)
        connection = await asyncpg.connect(url)
        while not done.is_set():
            n = choice.randrange(300)
            with suppress(asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                async with connection.transaction():
                    await connection.execute("SELECT FROM draftline.record WHERE record_id = $1 FOR UPDATE", f"r{n}")
                    await connection.execute(
                        "UPDATE draftline.record SET version = version + 1 WHERE record_id = $1", f"r{n}"
                    )
                    await connection.execute("DELETE FROM draftline.draft WHERE record_id = $1", f"r{n}")
                    await connection.execute(
                        "INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, records) VALUES ($1, 1, '', 1)",
                        f"t{n % 7}",
                    )
                    await connection.execute(
                        "WITH one AS MATERIALIZED (SELECT pg_advisory_xact_lock(1)) DELETE FROM draftline.tally WHERE "
                        "tenant_id = $1 AND ctid = ANY (ARRAY(SELECT t.ctid FROM one, draftline.tally AS t "
                        "WHERE t.tenant_id = $1 LIMIT 2))",
                        f"t{n % 7}",
                    )
        await connection.close()

    writers = [asyncio.create_task(write(seed)) for seed in range(3)]
    async with switchover(url) as commands:
        await commands.start((), 2, Pace(rest=0.5, rows=20, rows_per_s=4_000))
    assert (await verified(url)).is_ok
    await run(url, Switchover.switch)
    await run(url, Switchover.rollback)
    done.set()
    await asyncio.gather(*writers)
    result = await verified(url)
    assert result.is_ok, result.as_json()


async def test_draft_deleted_while_it_is_copied_does_not_come_back(url: str, writer: asyncpg.Connection) -> None:
    async with switchover(url) as commands:
        await commands.create([], 2)
        await commands.sync()
        (sync,) = (each for each in commands.forward if each.source == "draft")
        copy = KeyedCopy(commands.session, sync, commands.types["draft"], Pace(), lambda *_: None)
        transaction = commands.session.connection.transaction()
        await transaction.start()
        await copy._batch(None)
        deletion = asyncio.create_task(writer.execute("DELETE FROM draftline.draft WHERE tenant_id = 't0'"))
        waiting = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted"
        while not await commands.session.connection.fetchval(waiting, writer.get_server_pid()):
            assert not deletion.done(), "the deletion does not wait for the copy"
        await transaction.commit()
        await deletion
        await commands.start((), 2, Pace(rest=0.0))
        assert await writer.fetchval("SELECT count(*) FROM draftline.draft_new WHERE tenant_id = 't0'") == 0
    assert (await verified(url)).is_ok


async def test_interrupted_copy_resumes_at_its_stored_position(url: str, writer: asyncpg.Connection) -> None:
    class StoppedError(Exception):
        pass

    def stop(table: str, rows: int, _: int | None) -> None:
        if table == "order_entry" and rows > 50:
            raise StoppedError

    async with switchover(url) as commands:
        commands.progress = stop
        with pytest.raises(StoppedError):
            await commands.start((), 2, Pace(rest=0.0, rows=60))
    stored = await writer.fetchrow("SELECT phase, positions, copied FROM draftline.partition_switch")
    assert stored["phase"] == "SYNCED"
    assert '"record": "done"' in stored["positions"]
    assert '"order_entry": ["t' in stored["positions"]
    assert await start(url) is Phase.COPIED
    assert (await verified(url)).is_ok


async def test_properties_of_tables_are_the_same_after_switch_and_rollback(
    url: str, writer: asyncpg.Connection
) -> None:
    await writer.execute(
        "GRANT SELECT ON draftline.record TO pg_monitor; GRANT UPDATE (merged) ON draftline.draft TO pg_monitor; "
        "ALTER TABLE draftline.record ALTER COLUMN content SET STATISTICS 250; "
        "COMMENT ON INDEX draftline.record_deleted_idx IS 'deleted ones'"
    )
    before = await definitions(writer)
    await start(url, tenants=("t1", "t2"))
    await verified(url)
    await run(url, Switchover.switch)
    switched = await definitions(writer)
    for plain, partitioned in zip(before, switched, strict=True):
        assert partitioned.is_partitioned
        for name in ("name", "owner", "comment", "indexes", "grants", "replica_identity"):
            assert getattr(plain, name) == getattr(partitioned, name), (plain.name, name)
        assert set(plain.options) == set(partitioned.options)
        assert [(each.name, each.target) for each in plain.columns] == [
            (each.name, each.target) for each in partitioned.columns
        ]
    await run(url, Switchover.rollback)
    assert await definitions(writer) != switched
    await run(url, Switchover.cleanup)
    assert await definitions(writer) == before
    assert await writer.fetchval(LEFT) == 0


async def test_what_users_added_to_the_tables_follows_the_switch(url: str, writer: asyncpg.Connection) -> None:
    """Columns that PostgreSQL computes, tablespaces, and grants, of which copies get none by default privileges."""
    space = f"space_{uuid.uuid4().hex[:8]}"
    await writer.execute("SET allow_in_place_tablespaces = on")
    await writer.execute(f"CREATE TABLESPACE {space} LOCATION ''")
    try:
        await writer.execute(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA draftline GRANT SELECT, DELETE ON TABLES TO pg_monitor, PUBLIC; "
            "GRANT SELECT ON draftline.record TO pg_monitor; "
            "ALTER TABLE draftline.record ADD COLUMN size int GENERATED ALWAYS AS (length(record_id)) STORED; "
            "ALTER TABLE draftline.tally ADD COLUMN more bigint GENERATED ALWAYS AS (records + 1) STORED; "
            f"ALTER TABLE draftline.draft SET TABLESPACE {space}; "
            f"ALTER INDEX draftline.record_pkey SET TABLESPACE {space}"
        )
        before = await definitions(writer)
        await start(url, tenants=("t1",))
        for _, statement in WRITES.values():
            await writer.execute(f"BEGIN; {statement}; COMMIT")
        assert (await verified(url)).is_ok
        await run(url, Switchover.switch)
        for plain, switched in zip(before, await definitions(writer), strict=True):
            assert (plain.grants, plain.tablespace) == (switched.grants, switched.tablespace)
            assert [each.tablespace for each in plain.indexes] == [each.tablespace for each in switched.indexes]
            for leaf in (hash_partition(plain.name, 1), tenant_partition(plain.name, "t1")):
                found = await read_definition(writer, leaf)
                assert (plain.grants, plain.tablespace) == (found.grants, found.tablespace)
                assert sorted(each.tablespace or "" for each in plain.indexes) == sorted(
                    each.tablespace or "" for each in found.indexes
                )
        await run(url, Switchover.cleanup)
        assert await writer.fetchval("SELECT count(*) FROM draftline.record WHERE size = length(record_id)") > 300
    finally:
        await writer.execute("DROP SCHEMA draftline CASCADE")
        await writer.execute(f"DROP TABLESPACE {space}")


async def test_cleanup_after_the_switch_leaves_partitioned_tables_alone(
    copied_url: str, writer: asyncpg.Connection
) -> None:
    await run(copied_url, Switchover.switch)
    await run(copied_url, Switchover.cleanup)
    found = await writer.fetchval(LEFT + " AND relname !~ '_rest'")
    triggers = await writer.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal")
    functions = await writer.fetchval("SELECT count(*) FROM pg_proc WHERE proname ~ '_to_(plain|partitions)_'")
    assert (found, triggers, functions) == (0, 0, 0)
    assert await writer.fetchval("SELECT phase FROM draftline.partition_switch") == "DONE"
    with pytest.raises(PhaseError, match="not possible in phase DONE"):
        await run(copied_url, Switchover.rollback)


OBSTACLES = {
    "publication films on record": "CREATE PUBLICATION films FOR TABLE draftline.record",
    "publication everything on all tables": "CREATE PUBLICATION everything FOR ALL TABLES",
    "foreign key note_fkey of public.note on record": "CREATE TABLE public.note "
    '(a text COLLATE "C", b text COLLATE "C", c text COLLATE "C", '
    "CONSTRAINT note_fkey FOREIGN KEY (a, b, c) REFERENCES draftline.record)",
    "view public.films on record": "CREATE VIEW public.films AS SELECT * FROM draftline.record",
    "materialized view public.drafts on draft": "CREATE MATERIALIZED VIEW public.drafts AS "
    "SELECT * FROM draftline.draft",
    "policy own on draft": "CREATE POLICY own ON draftline.draft USING (true)",
    "trigger audit on tally": "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
    "CREATE TRIGGER audit AFTER INSERT ON draftline.tally EXECUTE FUNCTION audit()",
    "function public.films() on record": "CREATE FUNCTION public.films() RETURNS bigint LANGUAGE sql BEGIN ATOMIC "
    "SELECT count(*) FROM draftline.record; END",
    "function public.newest(draftline.record) on record": "CREATE FUNCTION public.newest(draftline.record) "
    "RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "extended statistics more on record": "CREATE STATISTICS more ON version, position FROM draftline.record",
    "child table public.child on record": "CREATE TABLE public.child () INHERITS (draftline.record)",
    "table record_rest exists, and its name is needed": "CREATE TABLE draftline.record_rest ()",
    "index of an earlier version draft_order_0123456789abcdef0123456789abcdef on draft": "CREATE INDEX "
    "draft_order_0123456789abcdef0123456789abcdef ON draftline.draft (tenant_id, user_id)",
    "rule quiet on record": "CREATE RULE quiet AS ON DELETE TO draftline.record WHERE false DO NOTHING",
    "row security enabled on sync_record": "ALTER TABLE draftline.sync_record ENABLE ROW LEVEL SECURITY",
    "constraint that is not validated late on record": "ALTER TABLE draftline.record ADD CONSTRAINT late "
    "CHECK (version > 1) NOT VALID",
    "constraint without inheritance here on draft": "ALTER TABLE draftline.draft ADD CONSTRAINT here "
    "CHECK (version > 0) NO INHERIT",
    "exclusion constraint alone on draft": "ALTER TABLE draftline.draft ADD CONSTRAINT alone "
    "EXCLUDE (tenant_id WITH =, user_id WITH =, collection WITH =, record_id WITH =)",
    "deferrable constraint once on draft": "ALTER TABLE draftline.draft ADD CONSTRAINT once "
    "UNIQUE (tenant_id, user_id, collection, record_id) DEFERRABLE",
    "object table public.kept on draft": "CREATE TABLE public.kept (last draftline.draft)",
    "object type public.one on tally": "CREATE DOMAIN public.one AS draftline.tally",
    "object sequence draftline.numbers on record": "CREATE SEQUENCE draftline.numbers "
    "OWNED BY draftline.record.version",
    "object cast from draftline.tally to character varying on tally": "CREATE CAST (draftline.tally AS varchar) "
    "WITH INOUT",
}


async def test_obstacles_are_named_before_anything_changes(url: str, writer: asyncpg.Connection) -> None:
    for statement in OBSTACLES.values():
        await writer.execute(statement)
    before = await writer.fetch("SELECT oid, relname FROM pg_class ORDER BY oid")
    with pytest.raises(ObstacleError) as raised:
        await start(url)
    for named in OBSTACLES:
        assert f"{named}: " in str(raised.value)
    assert len(raised.value.obstacles) == len(OBSTACLES)
    assert await writer.fetch("SELECT oid, relname FROM pg_class ORDER BY oid") == before
    assert await writer.fetchval("SELECT count(*) FROM draftline.partition_switch") == 0


async def test_subscription_is_named(url: str, writer: asyncpg.Connection) -> None:
    """Its row in the catalogue is inserted: PostgreSQL does so itself only when it has connected to a publisher."""
    await writer.execute(
        "CREATE SUBSCRIPTION away CONNECTION 'dbname=away' PUBLICATION films WITH (connect = false, slot_name = NONE)"
    )
    try:
        await writer.execute(
            "SET allow_system_table_mods = on; INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) "
            "SELECT oid, 'draftline.tally'::regclass, 'r' FROM pg_subscription WHERE subname = 'away'"
        )
        with pytest.raises(ObstacleError, match=r"subscription away on tally: .*drop the subscription"):
            await start(url)
        assert await writer.fetchval("SELECT count(*) FROM draftline.partition_switch") == 0
    finally:
        await writer.execute("DROP SUBSCRIPTION away")


async def test_obstacle_that_appears_after_the_start_stops_the_switch(
    copied_url: str, writer: asyncpg.Connection
) -> None:
    await writer.execute("GRANT SELECT ON draftline.draft TO pg_monitor")
    with pytest.raises(ObstacleError, match="the grants of draft and draft_new differ"):
        await run(copied_url, Switchover.switch)
    await writer.execute("REVOKE SELECT ON draftline.draft FROM pg_monitor")
    await writer.execute("ALTER TABLE draftline.draft DISABLE TRIGGER draft_to_partitions_delete")
    with pytest.raises(ObstacleError, match="trigger draft_to_partitions_delete is missing or does not fire always"):
        await run(copied_url, Switchover.switch)
    assert await read_mode(writer) is Mode.PLAIN


async def test_service_of_an_older_version_is_named(url: str, writer: asyncpg.Connection) -> None:
    await writer.fetch("SELECT pg_advisory_lock_shared($1)", int(AdvisoryLock.SERVICE))
    with pytest.raises(ObstacleError, match=f"service a writer at .*pid {writer.get_server_pid()}.*upgrade it first"):
        await start(url)


async def test_switch_names_the_session_that_holds_the_lock(copied_url: str, writer: asyncpg.Connection) -> None:
    async with writer.transaction():
        await writer.execute("SELECT FROM draftline.order_entry LIMIT 1")
        with pytest.raises(
            LockError, match=rf"SWITCHED needs a lock .*pid {writer.get_server_pid()} \(a writer, idle in"
        ):
            await run(copied_url, Switchover.switch, attempts=1)
    assert await read_mode(writer) is Mode.PLAIN
    await run(copied_url, Switchover.switch, attempts=20)


async def test_switch_waits_for_snapshots_from_before_the_end_of_the_copy(url: str, writer: asyncpg.Connection) -> None:
    async with writer.transaction(isolation="repeatable_read", readonly=True):
        await writer.execute("SELECT FROM draftline.collection")
        await start(url)
        await verified(url)
        with pytest.raises(LockError, match="began before the copy was complete"):
            await run(url, Switchover.switch, attempts=1)
    await run(url, Switchover.switch)


async def test_second_command_at_the_same_time_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "TOOL_LOCK_S", 0.0)
    async with switchover(url):
        with pytest.raises(LockError, match="another `draftline partitions` command"):
            await start(url)


async def test_truncate_is_refused_while_a_copy_is_kept(copied_url: str, writer: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.RaiseError, match="cannot be truncated"):
        await writer.execute("TRUNCATE draftline.draft")


@pytest.mark.parametrize("command", [None, Switchover.switch], ids=["copied", "switched"])
async def test_update_of_a_primary_key_is_refused_while_a_copy_is_kept(
    copied_url: str, writer: asyncpg.Connection, command: Callable[[Switchover], Awaitable[None]] | None
) -> None:
    """The triggers find rows of the copy by their key, so the copy would keep the row with the earlier one."""
    if command is not None:
        await run(copied_url, command)
    with pytest.raises(asyncpg.RaiseError, match=r"primary key in draftline\.record cannot be updated") as raised:
        await writer.execute("UPDATE draftline.record SET record_id = 'x' WHERE record_id = 'r1'")
    assert raised.value.hint is not None
    assert raised.value.hint.startswith("delete the rows and insert them again")
    with pytest.raises(asyncpg.RaiseError, match=r"draftline\.order_entry cannot be updated"):
        await writer.execute(
            "MERGE INTO draftline.order_entry AS e USING (VALUES ('r1')) AS n (id) ON e.record_id = n.id "
            "WHEN MATCHED THEN UPDATE SET key = 'x'"
        )
    await writer.execute("UPDATE draftline.tally SET tenant_id = 't2' WHERE tenant_id = 't1'")  # has no key
    assert (await verified(copied_url)).is_ok


async def test_other_changes_of_partitions_are_refused_while_a_switchover_is_under_way(
    copied_url: str, writer: asyncpg.Connection
) -> None:
    with pytest.raises(LayoutError, match=r"a switchover .* is under way \(phase COPIED\)"):
        await partition_tables(writer)
    await run(copied_url, Switchover.cleanup)
    await partition_tables(writer, ["t1"], 2)
    assert await read_mode(writer) is Mode.PARTITIONED


async def test_migration_is_refused_while_a_switchover_is_under_way(copied_url: str) -> None:
    with pytest.raises(migrate.MigrateError, match="a switchover to partitioned tables is under way"):
        await asyncio.to_thread(migrate.go_to, copied_url, "0022")


async def test_verification_finds_a_row_that_differs(copied_url: str, writer: asyncpg.Connection) -> None:
    await writer.execute("UPDATE draftline.record_new SET content = '{\"n\": 1.0}' WHERE record_id = 'r1'")
    await writer.execute("DELETE FROM draftline.tally_new WHERE ctid = (SELECT min(ctid) FROM draftline.tally_new)")
    result = await verified(copied_url)
    assert not result.is_ok
    assert "record (t1,films,r1)" in [row for table in result.tables for row in table.differing_rows]
    assert [table.table for table in result.tables if not table.is_equal] == ["record", "tally"]
    with pytest.raises(LayoutError, match="not verified"):
        await run(copied_url, Switchover.switch)


async def test_pace_follows_the_latency_of_the_service(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[str] = []
    monkeypatch.setattr(pace_module, "SCRAPE_S", 0.0)
    with serving(url, metrics_port=0) as server, Client(server.address, tenant_id="t1", user="u") as client:
        metrics_url = f"http://127.0.0.1:{server.app.metrics_port}/metrics"
        for limit_ms, is_slow in ((0.001, True), (1e6, False)):
            pace = Pace(metrics_url, max_p99_ms=limit_ms)
            await pace.begin(reports.append)
            await asyncio.to_thread(client.get_content, "films", "r1")
            await pace.after(0, 0.0)
            assert pace.p99_ms is not None
            assert (pace.rest > REST, pace.rest < REST) == (is_slow, not is_slow)
        (text,) = reports
        assert text.startswith("copying more slowly: the p99 of calls is ")
    await pace.after(0, 0.0)
    await pace.after(0, 0.0)
    assert pace.rest >= 4 * REST
    (_, text) = reports
    assert text.startswith("copying slowly, because the metrics of the service cannot be read: ")
    async with switchover(url) as commands:
        with pytest.raises(
            LayoutError, match=r"--metrics cannot be read: .*: correct the URL, or leave the option out"
        ):
            await commands.start((), 2, Pace(metrics_url))
        assert commands.state.phase is Phase.NONE


def test_pace_rests_longer_while_calls_are_slow() -> None:
    pace = Pace("http://127.0.0.1:1/metrics", max_p99_ms=100.0)
    for p99_ms in (150.0, 300.0):
        pace.adapt(p99_ms)
    assert pace.rest == 4.0
    pace.adapt(80.0)
    assert pace.rest == 4.0
    pace.adapt(20.0)
    assert pace.rest < 4.0


async def test_rows_of_tables_that_were_never_analyzed_are_unknown(postgres_url: str, template: str) -> None:
    """Report no estimate where PostgreSQL has none, as after a restore, also of partitions."""

    async def rows(connection: asyncpg.Connection) -> int | None:
        return {row["name"]: row["rows"] for row in await sizes(connection)}["record"]

    with cloned(postgres_url, template) as url:
        async with switchover(url) as commands:
            connection = commands.session.connection
            assert await rows(connection) is None
            await fill(connection, rows=70)
            await connection.execute("ANALYZE draftline.record")
            assert await rows(connection) == 70
            await connection.execute("CREATE TEMP TABLE kept AS TABLE draftline.record; TRUNCATE draftline.record")
            await partition_tables(connection, modulus=2)
            await connection.execute("INSERT INTO draftline.record SELECT * FROM kept")
            assert await rows(connection) is None
            (full, *_) = await connection.fetch("SELECT tableoid::regclass::text AS name FROM draftline.record")
            await connection.execute(f"ANALYZE {full['name']}")
            assert await rows(connection) is None  # of another partition nothing is known
            await connection.execute("ANALYZE draftline.record")
            assert await rows(connection) == 70
            await connection.execute("CREATE TABLE draftline.own PARTITION OF draftline.record FOR VALUES IN ('own')")
            assert await rows(connection) == 70  # PostgreSQL analyzes no empty partition by itself


async def test_plan_suggests_no_partitions_for_tenants_of_equal_size(postgres_url: str, template: str) -> None:
    """Compare each with the records of all, not only of the biggest, where the rows of the table are unknown."""
    with cloned(postgres_url, template) as url:
        async with switchover(url) as commands:
            connection = commands.session.connection
            await connection.execute(
                "INSERT INTO draftline.tenant_usage (tenant_id, collections, records, bytes, drafts, counted_at) "
                "SELECT 't' || n, 1, 100, 0, 0, now() FROM generate_series(1, 200) AS n"
            )
            report = await plan(commands)
            assert (len(report["tenants"]), report["records"], report["tables"][0]["rows"]) == (10, 20_000, None)
            assert "tenant t" not in plan_text(report)
            await connection.execute("UPDATE draftline.tenant_usage SET records = 10000 WHERE tenant_id = 't7'")
            assert "Suggested: draftline partitions start --tenant=t7" in plan_text(await plan(commands)).splitlines()
