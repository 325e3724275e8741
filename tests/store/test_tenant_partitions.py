"""A tenant is given its own partitions, and is removed from every table that the catalogue has."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner, Result
from draftline_server.background.leader import run_once
from draftline_server.background.statistics_refresh import StatisticsRefresh
from draftline_server.cli import main
from draftline_server.ops import migrate
from draftline_server.partitions.conversion import partition_tables
from draftline_server.partitions.definitions import read_definition
from draftline_server.partitions.layout import MODULUS, TABLES, hash_partition, tenant_partition
from draftline_server.partitions.pace import Pace
from draftline_server.partitions.promotion import promote
from draftline_server.partitions.promotion_plan import promotion
from draftline_server.partitions.session import Session, open_session
from draftline_server.store.leases import Leases
from support.partitioned import partition_tables_at, plain_only
from support.servers import beside
from support.tenant_stores import connected

pytestmark = plain_only("they begin with plain tables")

TENANT, OTHER = "o'brien\\ä", "other"
TENANT_TABLES = """
    SELECT c.relname FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
    WHERE c.relnamespace = 'draftline'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.relname
"""
REQUIRED = """
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type FROM pg_attribute AS a
    WHERE a.attrelid = format('draftline.%I', $1::text)::regclass AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attnotnull AND (NOT a.atthasdef OR a.attname = 'state') ORDER BY a.attnum
"""
BY_TYPE = {"text": "n", "bigint": "n::bigint", "jsonb": "'{}'", "bytea": "n::bytea", "boolean": "true",
           "timestamp with time zone": "now()", "uuid": "gen_random_uuid()", "text[]": "ARRAY[n]"}  # fmt: skip
BY_NAME = {"tenant_id": "$1", "kind": "'CREATE'", "state": "'READY'", "version": "1"}


async def fill(connection: asyncpg.Connection, tenant_id: str, count: int) -> list[str]:
    """Insert rows of a tenant into every table that has a tenant, as the catalogue describes them."""
    names = [
        row["relname"]
        for row in await connection.fetch(f"{TENANT_TABLES.replace('ORDER', 'AND NOT c.relispartition ORDER')}")
        if not row["relname"].endswith(("_new", "_old", "_unmatched"))  # copies, while a tenant is promoted
    ]
    for name in names:
        columns = await connection.fetch(REQUIRED, name)
        values = {row["name"]: BY_NAME.get(row["name"], BY_TYPE[row["type"]]) for row in columns}
        if name == "sync_record":
            values["state"] = "'IDLE'"
        await connection.execute(
            f"INSERT INTO draftline.{name} ({', '.join(values)}) SELECT {', '.join(values.values())} "
            f"FROM (SELECT n::text FROM generate_series(1, {1 if list(values) == ['tenant_id'] else count}) AS n) AS g "
            "ON CONFLICT DO NOTHING",
            tenant_id,
        )
    return names


async def tables_with(connection: asyncpg.Connection, tenant_id: str) -> list[str]:
    """Return the tables, partitions included, that hold rows of a tenant."""
    names = [row["relname"] for row in await connection.fetch(TENANT_TABLES)]
    return [
        name
        for name in names
        if await connection.fetchval(f'SELECT EXISTS (SELECT FROM draftline."{name}" WHERE tenant_id = $1)', tenant_id)
    ]


async def named_in(connection: asyncpg.Connection, tenant_id: str) -> list[str]:
    """Return the tables, with or without a column for the tenant, that have its name in any value, and its comments."""
    names = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'draftline'::regnamespace AND relkind IN ('r', 'p')"
    )
    query = (
        'SELECT EXISTS (SELECT FROM draftline."{}" AS t, jsonb_each_text(to_jsonb(t)) AS c '
        "WHERE strpos(c.value, $1) > 0)"
    )
    found = [row["relname"] for row in names if await connection.fetchval(query.format(row["relname"]), tenant_id)]
    comments = "SELECT count(*) FROM pg_description WHERE strpos(description, $1) > 0"
    return found + ["comment"] * await connection.fetchval(comments, tenant_id)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands append to a log file in the working directory."""
    monkeypatch.chdir(tmp_path)


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "draftline-partitions.log").read_text().splitlines()]


def partitions(url: str, *arguments: str) -> Result:
    return beside(CliRunner().invoke, main, ["partitions", *arguments], None, {"DRAFTLINE_DATABASE_URL": url})


def figures(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("layout", ["plain", "shared", "own"])
async def test_dropped_tenant_is_in_no_table_and_others_stay(
    database_url: str, connection: asyncpg.Connection, layout: str
) -> None:
    if layout != "plain":
        beside(partition_tables_at, database_url, [TENANT] if layout == "own" else [])
    names = await fill(connection, TENANT, 30)
    await fill(connection, OTHER, 30)
    assert set(names) <= set(await tables_with(connection, TENANT)), "every table has rows of the tenant"
    others = await tables_with(connection, OTHER)

    shown = figures(partitions(database_url, "drop-tenant", TENANT, "--dry-run", "--json"))
    assert set(shown["rows"]) == set(names)
    assert any("DETACH PARTITION" in statement for statement in shown["sql"]) == (layout == "own")
    refused = partitions(database_url, "drop-tenant", TENANT)
    assert refused.exit_code == 2
    assert "record: 30 rows" in refused.stderr
    assert "pass --yes" in refused.stderr
    assert set(names) <= set(await tables_with(connection, TENANT)), "neither has changed anything"

    dropped = figures(partitions(database_url, "drop-tenant", TENANT, "--yes", "--json"))
    assert dropped["rows"]["record"] == 30
    assert await tables_with(connection, TENANT) == []
    assert await tables_with(connection, OTHER) == others
    assert await named_in(connection, TENANT) == []
    own = [
        await connection.fetchval("SELECT to_regclass($1)", f"draftline.{tenant_partition(t, TENANT)}") for t in TABLES
    ]
    assert own == [None] * len(TABLES)
    (event,) = [each for each in logged(Path()) if each["event"] == "tenant removed"]
    assert event["rows"] == dropped["rows"]
    stored = await connection.fetch("SELECT detail FROM draftline.partition_switch_log WHERE event = 'tenant removed'")
    assert [json.loads(row["detail"])["rows"] for row in stored] == [event["rows"]]
    again = partitions(database_url, "drop-tenant", TENANT, "--yes")
    assert again.exit_code == 0
    assert "nothing is stored of tenant" in again.stdout


async def test_promoted_tenant_has_its_rows_in_its_own_partitions(
    database_url: str, connection: asyncpg.Connection
) -> None:
    refused = partitions(database_url, "promote", TENANT)
    assert refused.exit_code == 1
    assert "the tables are not partitioned: run `draftline partitions start`" in refused.stderr
    beside(partition_tables_at, database_url)
    await fill(connection, TENANT, 30)
    await fill(connection, OTHER, 30)
    before = [await connection.fetch(f"SELECT * FROM draftline.{table} ORDER BY {table}::text") for table in TABLES]

    assert figures(partitions(database_url, "promote", TENANT, "--dry-run", "--json"))["dry_run"]
    assert not [name for name in await tables_with(connection, TENANT) if "_tenant_" in name]
    outcome = figures(partitions(database_url, "promote", TENANT, "--json"))

    assert outcome["rows"] == dict.fromkeys(TABLES, 30)
    assert [event["rows"] for event in logged(Path()) if event["event"] == "promoted"] == [outcome["rows"]]
    after = [await connection.fetch(f"SELECT * FROM draftline.{table} ORDER BY {table}::text") for table in TABLES]
    assert after == before
    for table in TABLES:
        own = await read_definition(connection, tenant_partition(table, TENANT))
        other = await read_definition(connection, hash_partition(table, 0))
        assert (own.columns, own.options, own.grants, own.owner) == (
            other.columns, other.options, other.grants, other.owner,
        )  # fmt: skip
        assert sorted(index.definition for index in own.indexes) == sorted(index.definition for index in other.indexes)
    assert await connection.fetchval(CONSTRAINTS) == 0
    held = set(await tables_with(connection, TENANT))
    for table in TABLES:
        assert {tenant_partition(table, TENANT), table} <= held
        assert not [name for name in held if name.startswith(f"{table}_rest")]
    repeated = partitions(database_url, "promote", TENANT)
    assert (repeated.exit_code, "has its own partitions already: 180 rows" in repeated.stdout) == (0, True)
    assert figures(partitions(database_url, "promote", TENANT, "--dry-run", "--json"))["sql"] == []


async def test_tenant_of_which_nothing_is_stored_gets_empty_partitions_and_a_hint(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await partition_tables(connection, [], 2)
    for name in ("", "n" * 129, "a\nb"):
        refused = partitions(database_url, "promote", name)
        assert (refused.exit_code, "1 to 128 characters" in refused.stderr) == (2, True)
    promoted = partitions(database_url, "promote", OTHER)
    assert promoted.exit_code == 0, promoted.output
    assert f"tenant {OTHER} has its own partitions, which are empty: check its name: 0 rows" in promoted.stdout
    await fill(connection, OTHER, 3)
    assert {tenant_partition(table, OTHER) for table in TABLES} <= set(await tables_with(connection, OTHER))


async def test_promotion_reads_only_the_partition_that_it_replaces_under_its_lock(
    database_url: str, connection: asyncpg.Connection
) -> None:
    """PostgreSQL reports for each partition of the rest whether it can skip the search for rows of the tenant."""
    beside(partition_tables_at, database_url)
    await fill(connection, TENANT, 30)
    await fill(connection, OTHER, 30)
    plan = await promotion(connection, TENANT)
    exclusions = [statement for table in TABLES for statement in plan.exclusions[table]]
    assert len(exclusions) == len(plan.validations) == len(TABLES) * (MODULUS - 1)
    for statement in [*exclusions, *plan.validations]:
        await connection.execute(statement)
    again = await promotion(connection, TENANT)
    assert (again.exclusions, again.validations, again.ends) == ({}, [], plan.ends)
    skipped: list[str] = []
    connection.add_log_listener(lambda _, message: skipped.append(str(message)))
    async with connection.transaction():
        for statement in [*plan.creation, *(each for split in plan.splits for each in split.triggers)]:
            await connection.execute(statement)
        await connection.execute("SET LOCAL client_min_messages = debug1")
        for split in plan.splits:
            exchange = split.exchange()
            assert len(exchange) <= 16, "what can be done without the lock is done without it"
            await connection.execute("; ".join(exchange))
    await connection.execute("SELECT 1")
    implied = {each for each in skipped if "is implied by existing constraints" in each}
    of_rest = {each for each in implied if "default partition" in each}
    assert len(of_rest) == len(TABLES) * MODULUS
    assert len(implied - of_rest) == len(TABLES), "nor does it read the rows of the tenant again"
    for table in TABLES:
        await connection.execute("; ".join(plan.ends[table]))
    assert await connection.fetchval(CONSTRAINTS) == 0


CONSTRAINTS = "SELECT count(*) FROM pg_constraint WHERE conname = 'rows_of_one_tenant' OR conname ~ '^not_tenant_'"


@pytest.mark.parametrize(
    ("killed_at", "end"),
    [("promote: draft", "promote"), ("promote: draft", "cleanup"), ("complete promote: draft", "drop-tenant")],
)
async def test_promotion_that_is_killed_between_two_tables_is_completed_or_ended(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, killed_at: str, end: str
) -> None:
    await partition_tables(connection, [], 2)
    await fill(connection, TENANT, 30)
    await fill(connection, OTHER, 30)
    before = await everything(connection)
    original = Session.run_locked

    async def run_locked(
        self: Session, tables: Any, mode: str, statements: Any, event: str, *more: Any, **detail: Any
    ) -> Any:
        if event == killed_at:
            raise KeyboardInterrupt
        return await original(self, tables, mode, statements, event, *more, **detail)

    async with open_session(database_url) as session:
        with monkeypatch.context() as patch:
            patch.setattr(Session, "run_locked", run_locked)
            with pytest.raises(KeyboardInterrupt):
                await promote(session, TENANT, 10.0, Pace(rest=0.0), lambda *_: None)
    assert await everything(connection) == before
    assert tenant_partition("record", TENANT) in await tables_with(connection, TENANT)
    assert partitions(database_url, end, *([TENANT] if end != "cleanup" else []), *YES[end]).exit_code == 0
    assert await connection.fetchval(CONSTRAINTS) == 0
    assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relname ~ '_new$|_old$|_unmatched'") == 0
    if end == "drop-tenant":
        assert await tables_with(connection, TENANT) == []
        await fill(connection, TENANT, 30)  # into the shared partitions
        return
    assert await everything(connection) == before
    own = {tenant_partition(table, TENANT) for table in TABLES}
    assert (own <= set(await tables_with(connection, TENANT))) == (end == "promote")


YES = {"promote": [], "cleanup": ["--yes"], "drop-tenant": ["--yes"]}
CHANGES = {
    "record": "version = version + 1",
    "draft": "version = version + 1",
    "order_entry": "record_id = gen_random_uuid()::text",
    "draft_order_entry": "record_id = gen_random_uuid()::text",
    "tally": "records = records + 1",
    "sync_record": "remote_id = 'n'",
}


async def write(connection: asyncpg.Connection, tenant_id: str, count: int) -> None:
    """Insert, update and delete rows of a tenant in each table."""
    await fill(connection, tenant_id, count)
    for table in TABLES:
        first = f"(SELECT min(ctid) FROM draftline.{table} WHERE tenant_id = $1)"
        where = f"WHERE tenant_id = $1 AND ctid = {first}"
        with suppress(asyncpg.RaiseError):  # of a table with no columns but the key
            await connection.execute(f"UPDATE draftline.{table} SET {CHANGES[table]} {where}", tenant_id)
        await connection.execute(f"DELETE FROM draftline.{table} {where}", tenant_id)


async def test_writes_during_a_promotion_are_kept(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each step of the command, of the tenant and of another one in the same partition."""
    await partition_tables(connection, [], 1)
    await fill(connection, TENANT, 30)
    await fill(connection, OTHER, 30)
    rows: list[list[list[asyncpg.Record]]] = []
    original = Session.log

    async def log(self: Session, event: str, **detail: object) -> None:
        await original(self, event, **detail)
        if event.startswith("promote:"):
            for tenant_id in (TENANT, OTHER):
                await write(connection, tenant_id, 31 + len(rows))
            rows.append(await everything(connection))

    monkeypatch.setattr(Session, "log", log)
    async with open_session(database_url) as session:
        promoted, _ = await promote(session, TENANT, 10.0, Pace(rest=0.0, rows=20), lambda *_: None)
    assert len(rows) == 3 * len(TABLES) + 1, "each in sync, each copied, verified, each exchanged"
    assert await everything(connection) == rows[-1] != rows[-2]
    of_tenant = [sum(row["tenant_id"] == TENANT for row in found) for found in rows[-1]]
    assert promoted == dict(zip(TABLES, of_tenant, strict=True))
    held = await tables_with(connection, TENANT)
    assert not [name for name in held if "_rest_" in name]
    assert {tenant_partition(table, TENANT) for table in TABLES} <= set(held)


async def everything(connection: asyncpg.Connection) -> list[list[asyncpg.Record]]:
    return [await connection.fetch(f"SELECT * FROM draftline.{table} AS t ORDER BY t::text") for table in TABLES]


async def test_interrupted_promotion_begins_again_or_is_ended(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await partition_tables(connection, [], 1)
    await fill(connection, TENANT, 30)
    await fill(connection, OTHER, 30)
    before = await connection.fetch(CATALOGUE)
    plan = await promotion(connection, TENANT)

    async def interrupt() -> None:
        for statement in [*plan.creation, *(each for split in plan.splits for each in split.triggers)]:
            await connection.execute(statement)

    await interrupt()
    await connection.execute("UPDATE draftline.record SET version = 7")
    with pytest.raises(migrate.MigrateError, match="the promotion of a tenant was interrupted: run"):
        await asyncio.to_thread(migrate.go_to, database_url, "0022")
    assert "was interrupted: run it again, or `cleanup` drops" in partitions(database_url, "status").stdout
    ended = partitions(database_url, "cleanup", "--yes")
    assert ended.exit_code == 0, ended.output
    assert "what the interrupted promotion left is dropped; the service uses the partitioned tables" in ended.stdout
    assert await connection.fetch(CATALOGUE) == before
    assert "not possible in phase NONE" in partitions(database_url, "cleanup").stderr, "without a question"
    await interrupt()
    outcome = figures(partitions(database_url, "promote", TENANT, "--json"))
    assert outcome["rows"] == dict.fromkeys(TABLES, 30)
    assert await connection.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0
    assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relname ~ '_new$|_old$|_unmatched'") == 0
    assert await connection.fetchval("SELECT count(*) FROM draftline.record WHERE version = 7") == 60


async def test_promotion_names_what_refers_to_a_partition_that_it_replaces(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await partition_tables(connection, [], 1)
    await fill(connection, TENANT, 3)
    await connection.execute("CREATE VIEW public.part AS SELECT * FROM draftline.record_rest_00")
    await connection.execute("CREATE INDEX mine ON draftline.draft_rest_00 (updated_at)")
    await connection.execute("ALTER TABLE draftline.draft_rest_00 ADD CONSTRAINT own CHECK (version > 0)")
    refused = partitions(database_url, "promote", TENANT)
    assert refused.exit_code == 1
    assert "view public.part on record_rest_00: drop the view" in refused.stderr
    assert "index of the partition mine on draft_rest_00: drop it, or create it on the table" in refused.stderr
    assert "constraint of the partition own on draft_rest_00: drop it, or add it to the table" in refused.stderr


async def test_properties_of_a_shared_partition_are_those_of_both_that_replace_it(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await partition_tables(connection, [], 2)
    await fill(connection, TENANT, 3)
    rows = await connection.fetch("SELECT DISTINCT tableoid::regclass::text AS name FROM draftline.record")
    leaf = rows[0]["name"].removeprefix("draftline.")
    await connection.execute(
        f"ALTER TABLE draftline.{leaf} SET (autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_enabled = false);"
        f"ALTER TABLE draftline.{leaf} ALTER COLUMN content SET STATISTICS 17;"
        f"GRANT SELECT ON draftline.{leaf} TO PUBLIC; COMMENT ON TABLE draftline.{leaf} IS 'mine'"
    )
    before = await read_definition(connection, leaf)
    assert partitions(database_url, "promote", TENANT).exit_code == 0
    others = await read_definition(connection, leaf)
    own = await read_definition(connection, tenant_partition("record", TENANT))
    for after in (others, own):
        assert (after.options, after.columns, after.grants, after.owner) == (
            before.options, before.columns, before.grants, before.owner,
        )  # fmt: skip
    assert (others.comment, own.comment) == ("mine", f"tenant {TENANT}")
    await connection.execute(f"CREATE VIEW public.own AS SELECT * FROM draftline.{own.name}")
    refused = partitions(database_url, "drop-tenant", TENANT, "--yes")
    assert (refused.exit_code, f"view public.own on {own.name}: drop it" in refused.stderr) == (1, True)
    assert own.name in await tables_with(connection, TENANT)


async def test_removed_tenant_is_not_in_the_statistics_of_shared_tables(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await fill(connection, TENANT, 30)
    await fill(connection, OTHER, 30)
    await connection.execute("ANALYZE")
    known = "SELECT count(*) FROM pg_stats WHERE strpos(concat(most_common_vals, histogram_bounds), $1) > 0"
    assert await connection.fetchval(known, "brien") > 0
    assert partitions(database_url, "drop-tenant", TENANT, "--yes").exit_code == 0
    assert await connection.fetchval(known, "brien") == 0


CATALOGUE = (
    "SELECT relname::text FROM pg_class WHERE relnamespace = 'draftline'::regnamespace UNION ALL "
    "SELECT tgname FROM pg_trigger UNION ALL SELECT proname FROM pg_proc ORDER BY 1"
)


async def test_promotion_that_gets_no_lock_names_the_holder_and_changes_nothing(
    database_url: str, connection: asyncpg.Connection
) -> None:
    beside(partition_tables_at, database_url)
    await connection.execute("SET application_name = 'a report'")
    async with connection.transaction():
        await connection.fetch("SELECT FROM draftline.record")
        refused = partitions(database_url, "promote", TENANT, "--attempts", "2")
    assert refused.exit_code == 1
    assert f"pid {connection.get_server_pid()} (a report" in refused.stderr
    assert not [name for name in await tables_with(connection, TENANT) if "_tenant_" in name]


WRITER = """
CREATE SEQUENCE public.writes;
CREATE FUNCTION public.write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO draftline.tenant_quota (tenant_id, changed_at, changed_by)
    SELECT 'o''brien\\ä', now(), 'u' WHERE nextval('public.writes') <= {times};
    RETURN NULL;
END $$;
CREATE TRIGGER writer AFTER DELETE ON draftline.tenant_quota FOR EACH STATEMENT EXECUTE FUNCTION public.write();
"""


@pytest.mark.parametrize("times", [2, 100])
async def test_tenant_that_gets_rows_while_it_is_removed_is_reported_if_any_are_left(
    database_url: str, connection: asyncpg.Connection, times: int
) -> None:
    """Each deletion is followed by another row, so often: in two of three rounds, or in all of them."""
    await connection.execute(
        "INSERT INTO draftline.tenant_quota (tenant_id, changed_at, changed_by) VALUES ($1, now(), 'u')", TENANT
    )
    await connection.execute(WRITER.format(times=times))
    dropped = partitions(database_url, "drop-tenant", TENANT, "--yes")
    events = [event["event"] for event in logged(Path())]
    if times == 2:
        assert (dropped.exit_code, await tables_with(connection, TENANT), events) == (0, [], ["tenant removed"])
    else:
        assert (dropped.exit_code, events) == (1, [])
        assert "gets new rows in tenant_quota: take its tokens and service keys away" in dropped.stderr


@pytest.mark.parametrize("layout", ["plain", "partitioned"])
async def test_import_refreshes_the_statistics_of_the_tenants_partition(
    database_url: str, connection: asyncpg.Connection, layout: str
) -> None:
    if layout == "partitioned":
        beside(partition_tables_at, database_url, [TENANT])
    await fill(connection, TENANT, 30)
    await fill(connection, OTHER, 30)
    task = StatisticsRefresh()
    task.request_for(TENANT)
    async with connected(database_url) as database:
        assert await run_once(Leases(database), task)
    analyzed = await connection.fetch(
        "SELECT relname, reltuples FROM pg_class WHERE relname ~ '^record' AND relkind = 'r' AND reltuples >= 0"
    )
    expected = {tenant_partition("record", TENANT): 30.0} if layout == "partitioned" else {"record": 60.0}
    assert dict(analyzed) == expected
    whole = "SELECT count(*) FROM pg_statistic WHERE starelid = 'draftline.record'::regclass"
    assert await connection.fetchval(whole) > 0


async def test_tenant_is_not_dropped_while_tables_have_a_second_copy(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await fill(connection, TENANT, 3)
    await connection.execute("CREATE TABLE draftline.record_new (LIKE draftline.record)")
    refused = partitions(database_url, "drop-tenant", TENANT, "--yes")
    assert refused.exit_code == 1
    assert "second copy of tables: record_new: run `draftline partitions cleanup`" in refused.stderr
    assert await connection.fetchval("SELECT count(*) FROM draftline.record") == 3


async def test_plan_shows_control_characters_of_tenants_as_escapes(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "INSERT INTO draftline.tenant_usage (tenant_id, collections, records, bytes, drafts, counted_at) "
        "VALUES ($1, 1, 100, 0, 0, now())", "\u202emca",
    )  # fmt: skip
    planned = partitions(database_url, "plan").stdout
    assert (r"tenant \u202emca: 100 records" in planned, "\u202e" in planned) == (True, False)
