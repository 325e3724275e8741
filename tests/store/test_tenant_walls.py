"""The walls between tenants: how statements, functions, keys and tables are made. What is really sent is checked by a
fixture of the whole suite, as it is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator

import asyncpg
import pytest
from draftline_server.store import statements
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from support.tenant_binding import ALL_TENANTS, FUNCTIONS, MAINTENANCE, TABLES, Sent, breaches, function_breaches

# Tables that belong to none.
NO_TENANTS = {"alembic_version", "change_log", "partition_switch", "partition_switch_log", "secret"}


def fixed_statements() -> Iterator[Statement]:
    for file in (statements.files("draftline_server.store") / "sql").iterdir():
        yield from statements.load(file.name.removesuffix(".sql")).values()


BOUND = [each for each in fixed_statements() if each.name not in ALL_TENANTS]


@pytest.mark.parametrize("statement", BOUND, ids=lambda each: each.name)
def test_fixed_statement_is_bound_to_its_tenant(statement: Statement) -> None:
    assert breaches(statement.sql) == []
    bound = re.findall(r"tenant_id = (?:CAST\()?\$(\d+)", statement.sql)
    assert {statement.names[int(number) - 1] for number in bound} <= {"tenant_id"}


def test_statement_of_all_tenants_is_one_that_needs_to_be() -> None:
    named = {each.name: each.sql for each in fixed_statements() if each.name in ALL_TENANTS}
    assert set(named) == ALL_TENANTS
    for name, sql in named.items():
        nameless = sql.removeprefix(f"/* {name} */ ")
        assert breaches(nameless) or nameless == "ANALYZE draftline.record", f"{name} is no exception"


def test_statement_that_forgets_the_tenant_anywhere_is_found() -> None:
    """Each binding of each statement is taken away in turn."""
    forgotten = 0
    for statement in BOUND:
        for pattern, gone in (
            (r"tenant_id =( CAST\(| )\$\d+", r"tenant_id <>\1''"),
            (r"(SELECT |VALUES \()\$1\b", r"\1''"),
        ):
            for found in re.finditer(pattern, statement.sql):
                without = statement.sql[: found.start()] + found.expand(gone) + statement.sql[found.end() :]
                assert breaches(without), without
                forgotten += 1
    assert forgotten > 70


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM draftline.record",
        "SELECT 1 FROM record WHERE record_id = $1",
        "SELECT 1 FROM draftline.change_20261116 WHERE record_id = $1",
        "SELECT 1 FROM draftline.record WHERE tenant_id = $1 OR record_id = $2",
        "SELECT 1 FROM draftline.record WHERE NOT tenant_id = $1",
        "SELECT 1 FROM draftline.record WHERE tenant_id = 'acme'",
        "SELECT 1 FROM draftline.record WHERE tenant_id = tenant_id",
        "SELECT 1 FROM draftline.record WHERE tenant_id LIKE $1",
        "SELECT 1 FROM draftline.record AS r, draftline.draft AS d WHERE tenant_id = $1",
        "SELECT 1 FROM draftline.record AS r, draftline.draft AS d WHERE r.tenant_id = $1 AND d.tenant_id = $2",
        "SELECT 1 FROM draftline.record AS r JOIN draftline.draft AS d ON d.tenant_id = r.tenant_id",
        "SELECT 1 FROM draftline.record AS r LEFT JOIN draftline.draft AS d ON r.tenant_id = $1 AND d.tenant_id = $1",
        "SELECT 1 FROM draftline.record AS r FULL JOIN draftline.draft AS d ON r.tenant_id = $1 AND d.tenant_id = $1",
        "SELECT 1 FROM draftline.record AS r WHERE r.tenant_id = $1 AND EXISTS (SELECT 1 FROM draftline.draft)",
        "SELECT 1 FROM draftline.record AS r WHERE r.tenant_id = $1 UNION ALL SELECT 1 FROM draftline.record",
        "WITH r AS (SELECT 1 FROM draftline.record AS o) SELECT 1 FROM draftline.draft AS o WHERE o.tenant_id = $1",
        "SELECT (SELECT 1 FROM draftline.draft AS d, t AS r WHERE d.tenant_id = r.tenant_id) "
        "FROM draftline.record AS r WHERE r.tenant_id = $1",
        "INSERT INTO draftline.record (record_id) VALUES ($1)",
        "INSERT INTO draftline.record (tenant_id, record_id) VALUES ($1, 'a'), ('acme', 'b')",
        "INSERT INTO draftline.record (tenant_id) SELECT r.tenant_id FROM draftline.record AS r WHERE r.tenant_id = $1",
        "INSERT INTO draftline.record (tenant_id) VALUES ($1) ON CONFLICT (record_id) DO UPDATE SET version = 2",
        "INSERT INTO draftline.record DEFAULT VALUES",
        "UPDATE draftline.record SET version = 2 WHERE record_id = $1",
        "UPDATE draftline.record SET tenant_id = $2 WHERE tenant_id = $1",
        "UPDATE draftline.record AS r SET version = 2 FROM draftline.draft AS d WHERE d.tenant_id = $1",
        "DELETE FROM draftline.record WHERE record_id = $1",
        "MERGE INTO draftline.record AS r USING t ON r.tenant_id = $1 WHEN MATCHED THEN DELETE",
        "COPY draftline.record TO STDOUT",
        "TRUNCATE draftline.record",
        "SELECT draftline.content_at('acme', $1, $2, $3)",
        "SELECT draftline.drop_changes($1)",
    ],
)
def test_statement_that_is_not_bound_to_one_tenant_is_found(sql: str) -> None:
    assert breaches(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM draftline.record WHERE tenant_id = CAST($1 AS text)",
        "SELECT 1 FROM draftline.record AS r LEFT JOIN draftline.draft AS d ON d.tenant_id = r.tenant_id "
        "WHERE r.tenant_id = $1",
        "SELECT 1 FROM draftline.record AS r WHERE r.tenant_id = $1 "
        "AND EXISTS (SELECT 1 FROM draftline.draft AS d WHERE d.tenant_id = $1)",
        "INSERT INTO draftline.record (record_id, tenant_id) SELECT $2, $1 "
        "ON CONFLICT (tenant_id, record_id) DO UPDATE SET version = 2",
        "SELECT draftline.content_at($1, $2, $3, $4)",
        "CREATE INDEX CONCURRENTLY i ON draftline.record (tenant_id, record_id)",
    ],
)
def test_statement_that_is_bound_passes(sql: str) -> None:
    assert breaches(sql) == []


async def test_whatever_is_sent_is_looked_at(database: Database, sent: Sent) -> None:
    sent.check()
    await database.fetch(Statement("count_all", "/* count_all */ SELECT count(*) FROM draftline.record", ()), {})
    with pytest.raises(AssertionError, match="count_all"):
        sent.check()


async def test_functions_that_touch_tenants_tables_are_told_the_tenant(connection: asyncpg.Connection) -> None:
    functions = await connection.fetch(
        "SELECT proname, pg_get_functiondef(oid) AS definition, proargnames[1] AS first_argument FROM pg_proc "
        "WHERE pronamespace = 'draftline'::regnamespace"
    )
    named = re.compile(rf"\bdraftline\.({'|'.join(TABLES)}|%I)(?!\w|\()")
    touching = {each["proname"]: each for each in functions if named.search(each["definition"])}
    assert set(touching) - MAINTENANCE == FUNCTIONS
    for name in FUNCTIONS:
        spec, argument = touching[name]["definition"], touching[name]["first_argument"]
        assert function_breaches(spec, argument) == []
        for found in re.finditer(rf"= {argument}\b", spec):
            assert function_breaches(spec[: found.start()] + "<> ''" + spec[found.end() :], argument)


async def test_tables_belong_to_tenants(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT c.relname, EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " AND a.attnotnull) AS has_tenant FROM pg_class AS c "
        "WHERE c.relnamespace = 'draftline'::regnamespace AND c.relkind IN ('r', 'p')"
    )
    assert {each["relname"] for each in rows if not each["has_tenant"]} == NO_TENANTS
    assert {each["relname"] for each in rows} >= TABLES


async def test_unique_keys_begin_with_the_tenant(connection: asyncpg.Connection) -> None:
    """Else a write that is refused for one would tell what another tenant has."""
    rows = await connection.fetch(
        "SELECT t.relname AS table, i.relname AS index, a.attname AS first FROM pg_index AS x "
        "JOIN pg_class AS t ON t.oid = x.indrelid JOIN pg_class AS i ON i.oid = x.indexrelid "
        "LEFT JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = x.indkey[0] "
        "WHERE t.relnamespace = 'draftline'::regnamespace AND (x.indisunique OR x.indisexclusion)"
    )
    keys = {each["index"]: each["first"] for each in rows if each["table"] not in NO_TENANTS}
    assert {"record_pkey", "draft_pkey", "change_pkey", "collection_pkey", "request_pkey"} <= set(keys)
    assert set(keys.values()) == {"tenant_id"}
    references = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND connamespace = 'draftline'::regnamespace"
    assert await connection.fetch(references) == []
