"""Lists that order entries serve are read by them: plans as PostgreSQL runs them, custom and generic."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.collections import CollectionSpec, IndexKey, IndexOrder
from draftline_server.domain.filters.ast import Field, FieldType, Path, SortKey
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.merged import MergedQuery, View
from draftline_server.store.collections.order_entries import SQL
from draftline_server.store.lists.branches import Entries, ListQueryKey, RelationKind
from draftline_server.store.lists.entries import EntryRange, choose, ranges_for
from draftline_server.store.lists.merged import MAX_PAGE_BYTES, _condition, _shape, _values
from draftline_server.store.lists.query import count_statement, page_statement
from draftline_server.store.relations.related_rows import related_statement
from draftline_server.store.relations.selected_keys import key_values
from support.query_plans import explained, nodes, rows_read
from support.servers import cloned
from support.tenant_stores import COLLECTION

TENANT, USER, PAGE = "t", "ada", 50
FIELDS: dict[Path, FieldType] = {
    ("title",): FieldType.TEXT, ("genre",): FieldType.TEXT, ("year",): FieldType.NUMBER, ("seen",): FieldType.BOOLEAN,
}  # fmt: skip
ORDERS: list[IndexOrder] = [
    *((IndexKey(path, type_),) for path, type_ in FIELDS.items()),
    (IndexKey(("year",), FieldType.NUMBER, True),),
    (IndexKey(("genre",), FieldType.TEXT), IndexKey(("year",), FieldType.NUMBER, True)),
]
READY = {order: number for number, order in enumerate(ORDERS, 1)}
CONTENT = """
    jsonb_build_object('title', md5(n::text), 'genre', 'g' || n % 20, 'seen', n % 3 = 0, 'year', 1900 + n % 120)
"""
FILL = [
    f"""INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by,
        updated_at, updated_by)
    SELECT '{TENANT}', '{COLLECTION}', to_char(n, 'FM0000000'), {CONTENT}, 1, now(), 'a', now(), 'a'
    FROM generate_series(1, 40000) AS n""",
    *(
        f"""INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version,
            merged, version, session_id, change_reason, created_at, updated_at)
        SELECT r.tenant_id, {user}, r.collection, r.record_id, 'CHANGE', e.edit, '{{}}', 1,
            draftline.apply_edit(e.edit, r.content), 1, '', '', now(), now()
        FROM (SELECT r.*, row_number() OVER (ORDER BY record_id) AS n FROM draftline.record AS r
              WHERE tenant_id = '{TENANT}') AS r,
            LATERAL (SELECT jsonb_build_object('s', jsonb_build_object('year', 2020 - n % 120, 'genre', 'g' || n % 19))
                     AS edit) AS e
        WHERE n % {step} = 1"""
        for user, step in (("'ada'", 20), ("'u' || n % 10", 10))
    ),
    """INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
    SELECT r.tenant_id, r.collection, o.order_id, draftline.order_key(r.content, o.keys), r.record_id
    FROM draftline.record AS r, draftline.collection_order AS o ON CONFLICT DO NOTHING""",
    """INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
    SELECT d.tenant_id, d.user_id, d.collection, o.order_id, draftline.order_key(d.merged, o.keys), d.record_id
    FROM draftline.draft AS d, draftline.collection_order AS o ON CONFLICT DO NOTHING""",
]


@pytest.fixture(scope="module")
async def crowded(postgres_url: str, template: str) -> AsyncIterator[asyncpg.Connection]:
    """A database with 40,000 records of a tenant, 2,000 drafts of a user, and the entries of their orders."""
    with cloned(postgres_url, template) as url:
        settings = {"jit": "off", "max_parallel_workers_per_gather": "0", "enable_seqscan": "off"}  # as the service
        connection = await asyncpg.connect(url, server_settings=settings, statement_cache_size=0)
        for order, order_id in READY.items():
            keys = ", ".join(
                f"""{{"path": ["{key.path[0]}"], "type": "{key.type}", "descending": {str(key.descending).lower()}}}"""
                for key in order
            )
            await connection.execute(
                f"""INSERT INTO draftline.collection_order (tenant_id, collection, order_id, keys, fields, state,
                    created_at) VALUES ('{TENANT}', '{COLLECTION}', {order_id}, '[{keys}]', '{{}}', 'READY', now())"""
            )
        for statement in FILL:
            await connection.execute(statement)
        await connection.execute("VACUUM ANALYZE")
        yield connection
        await connection.close()


def query_of(filter_text: str, order_text: str, **rest: Any) -> MergedQuery:
    keys = [text.partition(" ") for text in order_text.split(", ") if text]
    order = tuple(SortKey(Field((name,)), direction == "desc") for name, _, direction in keys)
    return MergedQuery(COLLECTION, parse_filter(filter_text), filter_text, order, order_text, **rest)


class _Actor:
    tenant_id, user_id = TENANT, USER


class Page:
    """The statement of a page from entries, planned and run."""

    def __init__(self, connection: asyncpg.Connection, query: MergedQuery) -> None:
        self.connection, self.query = connection, query
        self.shape, _ = _shape(query, FIELDS)
        condition = _condition(query, FIELDS)
        choice = choose(ranges_for(READY, condition, self.shape.order, [TENANT, COLLECTION, USER]))
        chosen = choice.in_order or choice.narrow[0]
        self.entries: EntryRange = chosen
        self.statement_key, self.values = chosen.query_of(self.shape, condition)

    async def run(self, end: asyncpg.Record | None) -> tuple[dict[str, Any], asyncpg.Record | None]:
        """Return the plan as it ran, and the row with which the page ended."""
        key, values = self.statement_key, {**self.values, **_values(_Actor, self.query, None)}  # type: ignore[arg-type]
        if end is not None:
            key = replace(key, after=())
            values |= {"after_key": end["entry_key"], "after_id": end["record_id"]}
        statement, fixed = page_statement(key)
        values = {**fixed, **values, "limit": PAGE + 1, "max_bytes": MAX_PAGE_BYTES}
        plan, rows = await explained(self.connection, statement, values)
        return plan, rows[PAGE - 1] if len(rows) > PAGE else None


def index_of_look_up(node: Mapping[str, Any]) -> str | None:
    """Return the index by which rows of a table are looked up; None if they are found in another way.

    PostgreSQL may look one row of a partition up by a bitmap.
    """
    if node["Node Type"] == "Bitmap Heap Scan":
        (bitmap,) = node["Plans"]
        return bitmap.get("Index Name") if bitmap["Actual Rows"] <= 1 else None
    return node["Index Name"] if node["Node Type"] in ("Index Scan", "Index Only Scan") else None


def problems(plan: Mapping[str, Any]) -> list[str]:
    """Everything but index-only scans of entries, look-ups by primary key, and merges of ordered rows."""
    found = []
    for node in nodes(dict(plan)):
        relation, kind = node.get("Relation Name"), node["Node Type"]
        if relation in ("order_entry", "draft_order_entry"):
            if kind != "Index Only Scan" or node["Index Name"] != f"{relation}_pkey":
                found.append(f"{kind} of {relation}")
        elif relation == "collection_order":  # which has a few rows for a tenant
            continue
        elif relation is not None:
            if index_of_look_up(node) != f"{relation}_pkey":
                found.append(f"{kind} of {relation} by {node.get('Index Name')} {node.get('Alias')}")
        elif "Sort" in kind or "Hash" in kind:
            found.append(kind)
    return found


SHAPES = [
    ("", "title"),
    ("", "year desc"),
    ("", "genre, year desc"),
    ("genre = g3", ""),
    ("genre = g3", "genre"),
    ("genre = g3", "year desc"),
    ("genre = g3 AND year > 1950", "year desc"),
    ("genre = g3 AND year > 1950 AND seen = true", "genre, year desc"),
    ("year = 1999", "year"),
    ("year > 1990 AND year <= 2000", "year"),
    ('title = "ab*"', "title"),
    ("seen != true", "year desc"),
    ("year in (1990, 1999, 1995)", "year"),
    ("genre = g3 AND year in (1990, 1999)", "genre, year desc"),
    ("genre in (g3, g4)", "title"),
]


@pytest.mark.parametrize("plan", ["custom", "generic"])
@pytest.mark.parametrize("view", list(View))
@pytest.mark.parametrize(("filter_text", "order_text"), SHAPES)
async def test_page_reads_entries_alone_and_looks_its_rows_up(
    crowded: asyncpg.Connection, filter_text: str, order_text: str, view: View, plan: str
) -> None:
    await crowded.execute(f"SET plan_cache_mode = force_{plan}_plan")
    page = Page(crowded, query_of(filter_text, order_text, view=view))
    assert page.statement_key.entries is Entries.IN_ORDER
    end: asyncpg.Record | None = None
    for _ in range(3):
        ran, end = await page.run(end)
        assert problems(ran) == []
        assert rows_read(ran) <= 40 * (PAGE + 1)
        if end is None:
            return


@pytest.mark.parametrize("plan", ["custom", "generic"])
async def test_page_of_several_values_reads_from_the_least_to_the_greatest(
    crowded: asyncpg.Connection, plan: str
) -> None:
    await crowded.execute(f"SET plan_cache_mode = force_{plan}_plan")
    page = Page(crowded, query_of("genre = g3 AND year in (1999, 1997)", "rank"))
    assert page.statement_key.entries is Entries.IN_RANGE
    ran, _ = await page.run(None)
    assert {problem for problem in problems(ran) if "Sort" not in problem} == set()
    assert rows_read(ran) < 3_000


@pytest.mark.parametrize("plan", ["custom", "generic"])
async def test_page_that_no_order_sorts_reads_the_range_alone(crowded: asyncpg.Connection, plan: str) -> None:
    await crowded.execute(f"SET plan_cache_mode = force_{plan}_plan")
    page = Page(crowded, query_of("genre = g3 AND year = 1999", "rank"))
    assert page.statement_key.entries is Entries.IN_RANGE
    ran, _ = await page.run(None)
    assert {problem for problem in problems(ran) if "Sort" not in problem} == set()
    assert rows_read(ran) < 2_000


async def test_count_of_a_range_reads_no_record(crowded: asyncpg.Connection) -> None:
    query = query_of("genre = g3 AND year > 1990", "", view=View.BASELINE)
    shape, _ = _shape(query, FIELDS)
    condition = _condition(query, FIELDS)
    chosen = max(ranges_for(READY, condition, (), [TENANT]), key=lambda each: each.rank)
    key, bound = chosen.query_of(shape, condition)
    statement, fixed = count_statement(key)
    values = {**fixed, **bound, **_values(_Actor, query, None)}  # type: ignore[arg-type]
    ran, rows = await explained(crowded, statement, values)
    assert rows[0]["total_size"] == await crowded.fetchval(
        "SELECT count(*) FROM draftline.record WHERE content ->> 'genre' = 'g3' AND (content -> 'year')::int > 1990"
    )
    assert {node["Relation Name"] for node in nodes(ran) if node.get("Relation Name")} == {
        "order_entry", "collection_order"
    }  # fmt: skip


def test_order_is_chosen_by_equalities_then_ranges_then_the_sort() -> None:
    spec = CollectionSpec(COLLECTION, FIELDS, ready_orders=READY)

    def chosen(filter_text: str, order_text: str) -> tuple[str, list[str]]:
        shape, _ = _shape(query_of(filter_text, order_text), FIELDS)
        tree = _condition(query_of(filter_text, order_text), FIELDS)
        choice = choose(ranges_for(spec.ready_orders, tree, shape.order, ["t", "c", "u"]))
        return name(choice.in_order), [name(each) for each in choice.narrow]

    def name(entries: EntryRange | None) -> str:
        keys = entries.order if entries else ()
        return ", ".join(f"{key.path[0]}{' desc' if key.descending else ''}" for key in keys)

    assert chosen("genre = g3 AND year > 1950", "year desc") == ("genre, year desc", [])
    assert chosen("genre = g3", "title") == ("title", ["genre"])
    assert chosen("genre = g3 AND year = 1999", "title") == ("title", ["genre, year desc"])
    assert chosen("year > 1999 AND seen = true", "title") == ("title", ["seen", "year"])
    assert chosen("rank = 3", "title") == ("title", [])
    assert chosen("genre = g3 OR year = 1999", "rank") == ("", [])
    assert chosen("genre in (g3, g5)", "title") == ("title", ["genre"])
    assert chosen("genre in (g3, g5)", "genre, year desc") == ("genre, year desc", [])
    assert chosen("genre = g3 AND year in (1999, 1980)", "title") == ("title", ["genre, year desc"])
    assert chosen('genre in (g3, null) OR genre = "g*"', "rank") == ("", [])
    assert chosen("NOT year in (1999, 1980)", "rank") == ("", [])
    assert chosen("NOT genre = g3", "") == ("", [])


@pytest.mark.parametrize(
    ("filter_text", "order_text"), [("", "title"), ("genre = g3", "year desc"), ("rank > 3", "title")]
)
async def test_plan_made_while_tables_are_empty_reads_by_the_entries(
    connection: asyncpg.Connection, filter_text: str, order_text: str
) -> None:
    await connection.execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off")
    page = Page(connection, query_of(filter_text, order_text))
    for position in (None, {"entry_key": b"\x10", "record_id": "1"}):
        ran, _ = await page.run(position)  # type: ignore[arg-type]
        assert problems(ran) == []


async def test_building_the_entries_of_drafts_reads_one_batch_at_a_time(crowded: asyncpg.Connection) -> None:
    for after in ("", "0010000"):
        values = {
            "tenant_id": TENANT, "collection": COLLECTION, "order_ids": [1], "limit": 100, "after": after,
        }  # fmt: skip
        plan, rows = await explained(crowded, SQL["fill_drafts"], values)
        assert rows[0]["count"] >= 100
        assert rows_read(plan) < 1_000


RELATED = """
WITH entries AS (
    INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
    SELECT tenant_id, collection, 99, convert_to(content ->> 'genre', 'UTF8'), record_id FROM draftline.record
)
INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
SELECT tenant_id, user_id, collection, 99, convert_to(merged ->> 'genre', 'UTF8'), record_id FROM draftline.draft
"""
# Drafts of other users, and a session of the caller.
OTHERS = """
INSERT INTO draftline.draft (
    tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged, version, session_id,
    change_reason, created_at, updated_at)
SELECT d.tenant_id, 'other' || n, d.collection, d.record_id, d.kind, d.edit, d.base, d.base_version, d.merged,
    d.version, d.session_id, d.change_reason, d.created_at, d.updated_at
FROM draftline.draft AS d CROSS JOIN generate_series(1, 3) AS n
WHERE d.user_id = 'USER';
UPDATE draftline.draft SET session_id = 'one' WHERE user_id = 'USER';
ANALYZE draftline.draft
"""
EACH = 10  # related records of a target at most


@pytest.mark.parametrize("session_id", ["", "one"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_related_records_are_read_by_their_entries_and_keys_alone(
    crowded: asyncpg.Connection, mode: str, session_id: str
) -> None:
    transaction = crowded.transaction()
    await transaction.start()
    try:
        await crowded.execute(RELATED)
        await crowded.execute(OTHERS.replace("USER", USER))
        await crowded.execute(f"SET plan_cache_mode = {mode}")
        # The caller has drafts of all records of g1, which the statement must skip.
        targets = {
            RelationKind.INVERSE: [f"g{n}" for n in range(2, 20)],
            RelationKind.NAMED: [f"{n:07}" for n in range(1, 360, 2)],
        }
        for (kind, ids), key_count, only_small in itertools.product(targets.items(), (None, 1, 2), (True, False)):
            shape = ListQueryKey(
                "", None, (), View.MERGED, False, False, bool(session_id), related=kind, key_count=key_count
            )
            statement, fixed = related_statement(shape, only_small=only_small)
            values = {
                **fixed, "tenant_id": TENANT, "user_id": USER, "collection": COLLECTION, "session_id": session_id,
                "with_drafts": True, "show_deleted": False, "order_id": 99, "targets": ids, "related_limit": EACH,
                "max_bytes": MAX_PAGE_BYTES, **key_values(["n", "genre"]),
            }  # fmt: skip
            plan, found = await explained(crowded, statement, values)
            rows = [row for row in found if row["record_id"] is not None]
            assert len(rows) == 180
            assert 0 < sum(row["draft"] is not None for row in rows) < 180
            assert problems(plan) == [], kind
            assert rows_read(plan) <= 5 * len(rows)
    finally:
        await transaction.rollback()
