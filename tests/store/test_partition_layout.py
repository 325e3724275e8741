"""The partitioned layout has everything that the plain tables have, as read from the catalogue."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from draftline_server.domain.visible_text import visible
from draftline_server.partitions.conversion import partition_tables
from draftline_server.partitions.definitions import LayoutError, TableDefinition, read_definition
from draftline_server.partitions.layout import MODULUS, TABLES, hash_partition, literal, tenant_partition
from draftline_server.partitions.mode import Mode, read_mode
from draftline_server.partitions.sync_triggers import Sync, functions
from support.partitioned import plain_only

pytestmark = plain_only("they begin with plain tables")

TEXTS = ("a", "it's", "\\u202e", "\\'", "\u202edlog", "\\\u2028", "'\x1b[2J\x9b\x7f\r", "a\nb\tc é 日本 😀")
TENANTS = ("big", "o'brien\\ä", "a" * 200)
CUSTOM = """
    CREATE INDEX "our own; USING" ON draftline.record (tenant_id, updated_at) WITH (fillfactor = 70) WHERE version > 3;
    COMMENT ON INDEX draftline."our own; USING" IS 'it''s ours';
    GRANT SELECT ON draftline.record TO PUBLIC;
    GRANT SELECT, INSERT ON draftline.record TO "{role}" WITH GRANT OPTION;
    GRANT UPDATE (content) ON draftline.record TO "{role}";
    ALTER TABLE draftline.record SET (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_enabled = off);
    ALTER TABLE draftline.record ALTER COLUMN updated_at SET STATISTICS 7, ALTER COLUMN content SET STORAGE EXTERNAL;
    ALTER TABLE draftline.record REPLICA IDENTITY FULL;
    CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
    CREATE TRIGGER observed AFTER INSERT ON draftline.record FOR EACH ROW WHEN (NEW.version > 0)
        EXECUTE FUNCTION public.nothing();
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by,
        updated_at, updated_by)
    SELECT t, 'films', n::text, '{{}}', 1, now(), 'u', now(), 'u'
    FROM unnest(ARRAY['big', 'small', $x$o'brien\\ä$x$]) AS t, generate_series(1, 50) AS n;
"""
# What pg_attribute and pg_constraint say of a table, apart from the names of its indexes.
SHAPE = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation, a.attstorage,
        a.attcompression, pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum),
        (SELECT array_agg(k.conname || ' ' || pg_get_constraintdef(k.oid) ORDER BY k.conname) FROM pg_constraint AS k
            WHERE k.conrelid = a.attrelid AND k.contype IN ('c', 'n'))
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


@pytest.fixture
async def role(connection: asyncpg.Connection) -> AsyncIterator[str]:
    name = f"Reader {uuid.uuid4().hex[:8]}"
    await connection.execute(f'CREATE ROLE "{name}"')
    yield name
    await connection.execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


async def definitions(connection: asyncpg.Connection) -> dict[str, TableDefinition]:
    return {table: await read_definition(connection, table) for table in TABLES}


async def test_partitioned_tables_have_what_the_plain_ones_had(connection: asyncpg.Connection, role: str) -> None:
    await connection.execute(CUSTOM.format(role=role))
    plain = await definitions(connection)
    shapes = {table: await connection.fetch(SHAPE, f"draftline.{table}") for table in TABLES}
    assert await read_mode(connection) is Mode.PLAIN

    await partition_tables(connection, TENANTS)

    assert await read_mode(connection) is Mode.PARTITIONED
    for table in TABLES:
        partitioned = await read_definition(connection, table)
        assert await connection.fetch(SHAPE, f"draftline.{table}") == shapes[table]
        assert without_parents_options(partitioned) == replace(plain[table], is_partitioned=True), table
        for leaf in (hash_partition(table, 3), tenant_partition(table, TENANTS[1])):
            found = await read_definition(connection, leaf)
            assert uncommented(await connection.fetch(SHAPE, f"draftline.{leaf}")) == uncommented(shapes[table])
            assert (found.columns, found.options) == (plain[table].columns, plain[table].options)
            assert (found.grants, found.replica_identity) == (plain[table].grants, plain[table].replica_identity)
            assert sorted(index.columns for index in found.indexes) == sorted(
                index.columns for index in partitioned.indexes
            )

    assert await connection.fetchval("SELECT count(*) FROM draftline.record") == 150
    for tenant_id in TENANTS[:2]:
        own = tenant_partition("record", tenant_id)
        assert [row[0] for row in await connection.fetch(f"SELECT DISTINCT tenant_id FROM draftline.{own}")] == [
            tenant_id
        ]
    leaves = await connection.fetchval("SELECT count(*) FROM pg_partition_tree('draftline.record') WHERE isleaf")
    assert leaves == MODULUS + len(TENANTS)
    assert await partition_tables(connection) == [], "the second time there is nothing to do"


def uncommented(shape: list[asyncpg.Record]) -> list[dict[str, object]]:
    return [{**row, "col_description": None} for row in shape]


def without_parents_options(definition: TableDefinition) -> TableDefinition:
    """Return the definition without the options that only parents of partitions have."""
    columns = [
        replace(column, options=tuple(each for each in column.options if "inherited" not in each))
        for column in definition.columns
    ]
    return replace(definition, columns=tuple(columns))


async def test_a_unique_index_without_the_tenant_is_refused_by_name(connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE UNIQUE INDEX ours ON draftline.draft (record_id)")
    with pytest.raises(LayoutError, match=r"unique index ours of .* does not contain tenant_id"):
        await partition_tables(connection)
    assert await read_mode(connection) is Mode.PLAIN, "nothing is changed"


async def test_equal_rows_of_a_copy_are_found_by_every_key_of_the_index(connection: asyncpg.Connection) -> None:
    definition = await read_definition(connection, "tally")
    required = "SELECT attname FROM pg_attribute WHERE attrelid = 'draftline.tally'::regclass AND attnotnull"
    columns = frozenset(row["attname"] for row in await connection.fetch(required))
    function = functions(Sync(definition, "tally", "tally", "tally_to_new", columns))[2]
    await connection.execute("SET enable_seqscan = off")
    # The search of the function, for the rows of the table itself.
    search = function[function.index("SELECT d.location, d.line") : function.index("), missing AS")]
    search = search.replace("FROM gone AS g WHERE g.tenant_id = tenant", "FROM draftline.tally AS g")
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {search}"))
    for condition in ("(tenant_id = ", "(statistic_id = ", "(user_id = ", "END = ", "(k1 = "):
        assert re.search(rf"Index Cond: .*{re.escape(condition)}", plan), f"{condition} in\n{plan}"


async def test_some_partitioned_tables_are_a_mixed_mode(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "DROP TABLE draftline.tally; CREATE TABLE draftline.tally (tenant_id text) PARTITION BY LIST (tenant_id)"
    )
    assert await read_mode(connection) is Mode.MIXED


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
@pytest.mark.parametrize("conforming", ["on", "off"])
async def test_literal_is_the_text_without_its_control_characters(
    connection: asyncpg.Connection, text: str, conforming: str
) -> None:
    """A dry run prints statements, so that an operator can run them."""
    await connection.execute(f"SET standard_conforming_strings = {conforming}")
    printed = literal(text)
    assert visible(printed) == printed
    assert await connection.fetchval(f"SELECT {printed}") == text
