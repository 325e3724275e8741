"""Merged lists keep to their indexes: what PostgreSQL really does for each order and filter on 100,000 records."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.filters.ast import Field, SortKey
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.merged import MergedQuery, View
from draftline_server.store.collections.cache import collection_spec_of
from draftline_server.store.lists.merged import MAX_PAGE_BYTES, _shape, _values
from draftline_server.store.lists.query import page_statement
from draftline_server.store.statements import load
from support.old_indexes import build_old_indexes, orders_of
from support.partitioned import plain_only
from support.query_plans import explained, nodes, rows_out, rows_read
from support.servers import cloned
from support.tenant_stores import COLLECTION, World, connected

pytestmark = plain_only("partitioned tables never have the indexes of versions before order entries")

TENANT, USER, PAGE = "t", "ada", 50
TYPES = {"title": "TEXT", "genre": "TEXT", "year": "NUMBER", "seen": "BOOLEAN", "released": "DATE"}
ORDERS = [["year desc"], ["genre", "year desc"], ["genre desc", "title"]]
CONTENT = """
    jsonb_build_object('title', md5(n::text), 'genre', 'g' || n % 20, 'seen', n % 3 = 0, 'rank', n % 1000,
        'released', (date '1950-01-01' + n % 20000)::text)
    || CASE WHEN n % 50 = 0 THEN '{}' ELSE jsonb_build_object('year', 1900 + n % 120) END
"""
FILL = [
    f"""
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by,
        updated_at, updated_by)
    SELECT CASE WHEN n % 10 = 0 THEN 'other' ELSE '{TENANT}' END, '{COLLECTION}', to_char(n, 'FM0000000'), {CONTENT},
        1, now(), 'a', now(), 'a'
    FROM generate_series(1, 112000) AS n
    """,
    # Every 50th record is ada's, and every 5th one of ten others'; each draft moves its record to another place.
    *(
        f"""
        INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged,
            version, session_id, change_reason, created_at, updated_at)
        SELECT r.tenant_id, {user}, r.collection, r.record_id, 'CHANGE', e.edit, '{{}}', 1,
            draftline.apply_edit(e.edit, r.content), 1, CASE WHEN n / 50 % 2 = 0 THEN 's' ELSE '' END, '', now(), now()
        FROM (SELECT r.*, row_number() OVER (ORDER BY record_id) AS n FROM draftline.record AS r
              WHERE tenant_id = '{TENANT}') AS r,
            LATERAL (SELECT jsonb_build_object('s', jsonb_build_object('year', 2020 - n % 120, 'genre', 'g' || n % 19))
                     AS edit) AS e
        WHERE n % {step} = 1
        """
        for user, step in (("'ada'", 50), ("'u' || n % 10", 5))
    ),
]


@pytest.fixture(scope="module")
async def crowded(postgres_url: str, template: str) -> AsyncIterator[asyncpg.Connection]:
    """A database with indexes as they are declared, 100,000 records of a tenant, 2,000 drafts and 20,000 of others."""
    with cloned(postgres_url, template) as url:
        settings = {"jit": "off", "max_parallel_workers_per_gather": "0"}
        connection = await asyncpg.connect(url, server_settings=settings, statement_cache_size=0)
        await fill(connection, url)
        yield connection
        await connection.close()


async def fill(connection: asyncpg.Connection, url: str) -> None:
    for statement in FILL:
        await connection.execute(statement)
    async with connected(url) as database:
        orders = [[key_of(text) for text in order] for order in ORDERS]
        await World(database, TENANT).declare(
            fields=json.dumps([{"path": [path], "type": type_} for path, type_ in TYPES.items()]),
            orders=json.dumps([[{"path": [path], "descending": desc} for path, desc in order] for order in orders]),
        )
        rows = await connection.fetch("SELECT keys::text FROM draftline.collection_order WHERE tenant_id = $1", TENANT)
        await build_old_indexes(connection, COLLECTION, orders_of([row[0] for row in rows]))
    await connection.execute("VACUUM ANALYZE draftline.record, draftline.draft")


def key_of(text: str) -> tuple[str, bool]:
    name, _, direction = text.partition(" ")
    return name, direction == "desc"


def query_of(filter_text: str, order_text: str, **rest: Any) -> MergedQuery:
    order = tuple(
        SortKey(Field((name,)), descending) for name, descending in map(key_of, filter(None, order_text.split(", ")))
    )
    return MergedQuery(COLLECTION, parse_filter(filter_text), filter_text, order, order_text, **rest)


# Every order that an index holds, with the filters that it serves.
SHAPES = [
    *(("", order) for order in ("", *TYPES, "year desc", "genre, year desc", "genre desc, title")),
    ("genre = g3", ""),
    ("genre = g3", "genre"),
    ("genre = g3", "year desc"),
    ("genre = g3", "genre, year desc"),
    ("genre = g3 AND year > 1950", "year desc"),
    ("genre = g3 AND year > 1950 AND year <= 1990", "genre, year desc"),
    ("year = 1999", "year"),
    ("year = 1999", ""),
    ("year > 1990", "year"),
    ("year <= 1990", "year"),
    ("year >= 1950 AND year < 1990", "year desc"),
    ("year < 1950", "year desc"),
    ('title = "ab*"', "title"),
    ('title = "a*" AND seen = true', "title"),
    ("released > 1990-01-01", "released"),
    ("seen = true", "seen"),
    ("seen = true", ""),
    ("seen != true", "year desc"),
    ("record.state = DRAFT", "year"),
    ("genre != g3", "title"),
]
# What no index knows of: the planner guesses its share, so such a page keeps to the order as the service plans it,
# which is without a look at the values.
GUESSED = [("genre = g3 AND rank < 500", "year desc"), ("rank < 500", "title"), ("rank:*", "")]
OWN_DRAFTS = 2_016


class Explained:
    """The real statement of a page, prepared and planned as asked, and run."""

    def __init__(self, connection: asyncpg.Connection, query: MergedQuery, fields: Mapping[Any, Any]) -> None:
        self.connection, self.query = connection, query
        self.shape, self.lifted_values = _shape(query, fields)

    async def run(self, position: list[Any] | None) -> tuple[dict[str, Any], list[Any] | None]:
        """The plan as it ran, and where the page ended."""
        shape = self.shape
        if position is not None:
            shape = replace(shape, after=tuple(value is None for value in position[1:]))
        statement, fixed = page_statement(shape)
        values = {**fixed, **_values(World.actor(self, USER), self.query, position)}  # type: ignore[arg-type]
        values |= {**self.lifted_values, "limit": PAGE + 1, "max_bytes": MAX_PAGE_BYTES}
        plan, rows = await explained(self.connection, statement, values)
        end = rows[PAGE - 1] if len(rows) > PAGE else None
        keys = end and [end["record_id"], *(end[f"key_{place}"] for place in range(len(shape.order)))]
        return plan, keys

    tenant_id = TENANT


def problems(plan: dict[str, Any]) -> list[str]:
    """Sequential scans, and sorts that take more than a page of each range that they bring together."""
    found = []
    for node in nodes(plan):
        if node["Node Type"] == "Seq Scan" and node.get("Relation Name") in ("record", "draft"):
            found.append(f"Seq Scan of {node['Relation Name']}")
        if "Sort" in node["Node Type"]:
            ranges = sum(inner["Node Type"] == "Limit" for inner in nodes(node)) or 1
            taken = rows_out(node["Plans"][0])
            if taken > ranges * (PAGE + 1):
                found.append(f"{node['Node Type']} of {taken:.0f} rows by {node['Sort Key']}")
    return found


async def assert_keeps_to_indexes(connection: asyncpg.Connection, query: MergedQuery, plan: str) -> None:
    """The first page and the next: a few pages of rows are read, or the caller's drafts where those are cheap to read.

    That is with a custom plan, and for a session, which no index knows of.
    """
    await connection.execute(f"SET plan_cache_mode = force_{plan}_plan")
    (row,) = await connection.fetch(load("collections")["get_definitions"].sql, TENANT, [COLLECTION])
    explained = Explained(connection, query, collection_spec_of(row).fields)
    limit = 10 * (PAGE + 1) + (OWN_DRAFTS if plan == "custom" or query.session_id else 0)
    position: list[Any] | None = None
    for _ in ("first", "next"):
        ran, position = await explained.run(position)
        assert problems(ran) == []
        assert rows_read(ran) <= limit
        if position is None:
            return


@pytest.mark.parametrize("plan", ["custom", "generic"])
@pytest.mark.parametrize("view", list(View))
@pytest.mark.parametrize(("filter_text", "order_text"), SHAPES)
async def test_page_is_read_by_its_indexes(
    crowded: asyncpg.Connection, filter_text: str, order_text: str, view: View, plan: str
) -> None:
    await assert_keeps_to_indexes(crowded, query_of(filter_text, order_text, view=view), plan)


@pytest.mark.parametrize("view", list(View))
@pytest.mark.parametrize(("filter_text", "order_text"), GUESSED)
async def test_page_with_a_filter_of_an_undeclared_field_is_read_in_order(
    crowded: asyncpg.Connection, filter_text: str, order_text: str, view: View
) -> None:
    await assert_keeps_to_indexes(crowded, query_of(filter_text, order_text, view=view), "generic")


@pytest.mark.parametrize("plan", ["custom", "generic"])
@pytest.mark.parametrize(("filter_text", "order_text"), [("", "year"), ("genre = g3", "year desc"), ("", "")])
async def test_page_of_a_session_is_read_by_its_indexes(
    crowded: asyncpg.Connection, filter_text: str, order_text: str, plan: str
) -> None:
    await assert_keeps_to_indexes(crowded, query_of(filter_text, order_text, session_id="s"), plan)
