"""Filters in SQL: compiled expressions and `draftline.matches` mean what the oracle means, and indexes serve them."""

import json
import unicodedata
from collections.abc import AsyncIterator
from decimal import Decimal
from functools import cache
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.filters.ast import RECORD_ATTRIBUTES, Field, FieldType
from draftline_server.domain.filters.conditions import to_json
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.filters.type_resolution import with_types
from draftline_server.store.fields import typed_field
from draftline_server.store.filters import FilterScope, compile_filter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from support.filter_oracle import is_mistyped, lower, satisfies
from support.filter_strategies import ATTRIBUTES, CORPUS, DECLARED, comparisons_of, contents, filters, render
from support.soak_scale import examples

SQL_TYPES = {FieldType.TEXT: "text", FieldType.NUMBER: "numeric", FieldType.TIMESTAMP: "timestamptz"}
COLUMNS = {name: column(name) for name in RECORD_ATTRIBUTES}


@pytest.fixture
async def connection(server: Any) -> AsyncIterator[asyncpg.Connection]:
    """To the database that tests share: what is made here is temporary."""
    connected = await asyncpg.connect(server.url)
    yield connected
    await connected.close()


def compiled(expression: ColumnElement[Any]) -> tuple[str, list[Any]]:
    statement = expression.compile(dialect=dialect.dialect())
    return str(statement), [statement.params[name] for name in statement.positiontup or ()]


def where(text: str) -> ColumnElement[bool]:
    tree = parse_filter(text)
    assert tree is not None
    return compile_filter(with_types(tree, DECLARED), FilterScope(column("content", JSONB), COLUMNS))


async def both(connection: asyncpg.Connection, text: str, documents: list[str]) -> tuple[list[bool], list[bool]]:
    """For each document: whether the compiled filter takes it, and whether `draftline.matches` does."""
    tree = parse_filter(text)
    assert tree is not None
    sql, values = compiled(where(text))
    columns = ", ".join(
        f"CAST(a ->> '{name}' AS {SQL_TYPES[type_]}) AS {name}"
        for name, type_ in RECORD_ATTRIBUTES.items()
        if name != "mistyped"
    )
    attributes, condition = json.dumps(ATTRIBUTES), json.dumps(to_json(with_types(tree, DECLARED)))
    n = len(values)
    rows = await connection.fetch(
        f"""
        SELECT ({sql}) IS TRUE, draftline.matches(a, content, ${n + 3}::text::jsonb)
        FROM unnest(${n + 1}::text[]) WITH ORDINALITY AS d(document, place),
            LATERAL (SELECT document::jsonb AS content, ${n + 2}::text::jsonb AS a OFFSET 0) AS r,
            LATERAL (SELECT {columns}) AS c
        ORDER BY place
        """,
        *values,
        documents,
        attributes,
        condition,
    )
    return [row[0] for row in rows], [row[1] for row in rows]


async def answer(connection: asyncpg.Connection, text: str, content: Any) -> bool:
    compiled_says, function_says = await both(connection, text, [json.dumps(content)])
    assert compiled_says == function_says
    return compiled_says[0]


@cache
def _decoded(document: str) -> Any:
    return json.loads(document, parse_float=Decimal)


async def assert_like_oracle(connection: asyncpg.Connection, tree: Any, documents: list[str]) -> None:
    decoded = [_decoded(document) for document in documents]
    expected = [satisfies(tree, content, ATTRIBUTES, DECLARED) for content in decoded]
    answers = zip(documents, expected, *await both(connection, render(tree), documents), strict=True)
    assert [answer for answer in answers if not answer[1] == answer[2] == answer[3]] == [], render(tree)


@pytest.mark.parametrize(("path", "type_"), [*DECLARED.items(), (("a",), None)])
async def test_comparison_equals_oracle(
    connection: asyncpg.Connection, path: tuple[str, ...], type_: FieldType | None
) -> None:
    for restriction in comparisons_of(Field(path), type_):
        await assert_like_oracle(connection, restriction, CORPUS)


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=filters, documents=st.lists(contents, max_size=4))
async def test_filter_equals_oracle(connection: asyncpg.Connection, tree: Any, documents: list[str]) -> None:
    await assert_like_oracle(connection, tree, [*documents, *CORPUS])


@pytest.mark.parametrize(
    ("text", "content", "expected"),
    [
        ("a != 1", {}, True),
        ("a != 1", {"a": "1"}, True),
        ("NOT a < 1", {"a": None}, True),
        ("NOT (NOT a = 1)", {"a": 1.0}, True),
        ("a = null", {"a": None}, True),
        ("a = null", {}, True),
        ("a != null", {"a": False}, True),
        ("a:*", {"a": []}, True),
        ('a.b."1":*', {"a": {"b": [0, 1]}}, False),
        ('a.b."1":*', {"a": {"b": {"1": 0}}}, True),
        ('a.b."-1" = 1', {"a": {"b": [0, 1]}}, False),
        ('a.b."-1" = 1', {"a": {"b": {"-1": 1}}}, True),
        ('items.sku:"y"', {"items": [{"sku": "x"}, {"sku": "y"}]}, True),
        ('NOT items.sku:"y"', {"items": [{"sku": "x"}, {"sku": "y"}]}, False),
        ('items.sku = "y"', {"items": [{"sku": "y"}]}, False),
        ("items.sku:y", {"items": [{"sku": ["x", "y"]}]}, True),
        ("items.sku:y", {"items": [{"sku": {"y": 0}}]}, True),
        ("items.sku:y", {"items": [[{"sku": "y"}]]}, False),
        ("items.sku:*", {"items": [{"sku": None}, {"sku": 1}]}, True),
        ("items.sku:*", {"items": [{"sku": None}, {}, 1]}, False),
        ("items.lots.n:7", {"items": [{"lots": [{"n": 6}]}, {"lots": [{"n": 7.0}]}]}, True),
        ('items."0".n:7', {"items": [{"n": 7}]}, False),
        ('items."0".n:7', {"items": [{"0": {"n": 7}}]}, True),
        ('"in side".text:y', {"in side": [{"text": "x"}, {"text": "y"}]}, True),
        ("text:y", {"text": ["x", "y"]}, True),
        ('date:"Nov 20 2026"', {"date": ["2026-11-20"]}, True),
        ('items.sku:"*y*"', {"items": [{"sku": "xyz"}]}, True),
        ('lower(items.sku):"*Y*"', {"items": [{"sku": "xyz"}]}, True),
        ('a = "*Wars"', {"a": "Star Wars"}, True),
        ('a = "*ar W*"', {"a": "Star Wars"}, True),
        ('a = "S*r*s"', {"a": "Star Wars"}, True),
        ('a = "*100%*"', {"a": "1000"}, False),
        ('a = "*a_b*"', {"a": "axb"}, False),
        ("lower(a) = ÉTÉ", {"a": "Été"}, True),
        ('lower(a) != "*É*"', {"a": "Été"}, False),
        ("lower(text) = abc", {"text": "ABC"}, True),
        ("record.mistyped = true", {"date": "2026-11-20T10:00:00Z"}, True),
        ("record.mistyped = true", {"time": "2026-11-20T10:00:00"}, True),
        ("record.mistyped = true", {"text": None, "number": 1, "time": "Nov 20 2026", "a": 1}, False),
        ("record.mistyped = true", {"text": "x" * 801}, True),
        ("record.mistyped = true", {"in side": [{"text": 1}]}, False),
        ("time = 2026-11-20", {"time": "2026-11-20"}, True),
        ('time = "2026-11-20T00:00:00Z"', {"time": "Nov 20 2026"}, True),
        ('time < "2026-11-20T00:00:01Z"', {"time": "2026-11-20 00:00:00z"}, True),
        ('time = "2017-01-01T00:00:00Z"', {"time": "2016-12-31T23:59:60Z"}, True),
        ('time = "2016-12-31T23:59:60Z"', {"time": "2017-01-01"}, True),
        ("time:*", {"time": "2026-11-20T10:00:60Z"}, True),
        ('time != "2016-12-31T23:59:60Z"', {"time": "2026-11-20T10:00:60Z"}, True),
        ("a:1", {"a": ["1", 2]}, False),
        ("a:1", {"a": [1.0]}, True),
        ("a:x", {"a": {"x": None}}, True),
        ("a:1", {"a": {"1": 0}}, True),
        ("a:x", {"a": "x"}, True),
        ("a:x", {"a": [["x"], {"x": 1}, "xy"]}, False),
        ("a:true", {"a": ["true"]}, False),
        ('a = "Star*"', {"a": "Star Wars"}, True),
        ('a != "Star*"', {"a": 5}, True),
        (r'a = "Star\*"', {"a": "Star Wars"}, False),
        ("text = 1776", {"text": "1776"}, True),
        ("text = 1776", {"text": 1776}, False),
        ("a < 😀", {"a": "\uffff"}, True),
        ('date = "Jun 12 1998"', {"date": "1998-06-12"}, True),
        ("time >= 2026-11-20", {"time": "2026-11-19T23:30:00-01:00"}, True),
        ("record.parent_id = null", {}, True),
        ("record.update_time = 2026-11-20T10:00:00Z", {}, True),
        ("record.version < 7 record.created_by = b", {}, True),
    ],
)
async def test_condition_holds_as_documented(
    connection: asyncpg.Connection, text: str, content: Any, expected: bool
) -> None:
    assert await answer(connection, text, content) is expected


async def test_no_condition_is_satisfied(connection: asyncpg.Connection) -> None:
    assert await connection.fetchval("SELECT draftline.matches('{}', '{}', NULL)") is True


async def test_condition_not_understood_raises(connection: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await connection.fetchval('SELECT draftline.matches(\'{}\', \'{}\', \'{"op": "glob", "path": "{a}"}\')')


async def test_deepest_filter_fits_the_stack(connection: asyncpg.Connection) -> None:
    text = "a=1"
    for _ in range(32):
        text = f"-(b=1 AND b=1 OR {text})"
    assert await answer(connection, text, {"a": 1, "b": 2}) is True


async def test_long_text_is_compared_but_kept_out_of_indexes(connection: asyncpg.Connection) -> None:
    long = "é" * 401
    assert await answer(connection, f'a = "{long}"', {"a": long}) is True
    read = "SELECT draftline.indexed_text_at($1::text::jsonb, '{a}')"
    assert await connection.fetchval(read, json.dumps({"a": long})) is None
    assert await connection.fetchval(read, json.dumps({"a": long[:400]})) == long[:400]


async def test_no_stored_value_fails_an_index(connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TEMP TABLE odd (content jsonb NOT NULL)")
    for type_ in FieldType:
        sql, _ = compiled(typed_field(column("content", JSONB), ("a",), type_))
        await connection.execute(f"CREATE INDEX ON odd (({sql}))")
    long = "".join(chr(0x4E00 + n * 37 % 20000) for n in range(3000))
    numbers = ["9" * 1000 + "." + "7" * 1000, "-0", "1e999", "1e-1000"]
    odd = [*numbers, json.dumps(long), "null", "true", '""', "[]", "{}", '"9999-99-99"', '"2026-02-30T25:61:61Z"']
    await connection.execute("INSERT INTO odd SELECT jsonb_build_object('a', v::jsonb) FROM unnest($1::text[]) v", odd)
    assert await connection.fetchval("SELECT count(*) FROM odd") == len(odd)


@pytest.fixture
async def films(connection: asyncpg.Connection) -> asyncpg.Connection:
    """2,000 rows in a temporary table with an index for each declared field, named after it."""
    await connection.execute("CREATE TEMP TABLE film (content jsonb NOT NULL)")
    await connection.execute(
        """
        INSERT INTO film SELECT jsonb_build_object('text', md5(n::text), 'number', n, 'boolean', n = 1,
            'date', to_char(date '2000-01-01' + n, 'YYYY-MM-DD'), 'in side', jsonb_build_object('text', n || '%'),
            'time', to_char(timestamp '2000-01-01' + n * interval '1 hour', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
        FROM generate_series(1, 2000) n
        """
    )
    for path, type_ in DECLARED.items():
        sql, _ = compiled(typed_field(column("content", JSONB), path, type_))
        await connection.execute(f'CREATE INDEX "film {".".join(path)}" ON film (({sql}))')
    await connection.execute("ANALYZE film")
    return connection


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("text = abc", "text"),
        ('text = "abc*"', "text"),
        ("text >= fff", "text"),
        ('"in side".text = "7%"', "in side.text"),
        ("number = 7", "number"),
        ("number > 1990 boolean = false", "number"),
        ("boolean = true", "boolean"),
        ("date < 2000-01-09", "date"),
        ("time = 2000-01-09", "time"),
        ("NOT number = 3 AND text = abc", "text"),
    ],
)
@pytest.mark.parametrize("plan", ["force_custom_plan", "force_generic_plan"])
async def test_index_serves_filter(films: asyncpg.Connection, text: str, field: str, plan: str) -> None:
    sql, values = compiled(where(text))
    await films.execute(f"SET plan_cache_mode = {plan}")
    if plan == "force_generic_plan":  # whose guesses at selectivity are coarse; what matters is that it can
        await films.execute("SET enable_seqscan = off")
    await films.execute(f"PREPARE filtered AS SELECT count(*) FROM film WHERE {sql}")
    arguments = ", ".join(f"'{value}'" for value in values)
    lines = [row[0] for row in await films.fetch(f"EXPLAIN EXECUTE filtered({arguments})")]
    assert any(f'"film {field}"' in line or f"film_{field}" in line for line in lines), lines
    assert any("Index Cond" in line for line in lines), lines


async def test_index_serves_order(films: asyncpg.Connection) -> None:
    sql, _ = compiled(typed_field(column("content", JSONB), ("text",), FieldType.TEXT))
    lines = [row[0] for row in await films.fetch(f"EXPLAIN SELECT 1 FROM film ORDER BY {sql} LIMIT 10")]
    assert not any("Sort" in line for line in lines), lines


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=contents)
async def test_refused_content_is_the_mistyped_one(connection: asyncpg.Connection, content: str) -> None:
    checked = [{"path": path, "type": type_} for path, type_ in DECLARED.items()]
    failure = await connection.fetchval(
        "SELECT draftline.field_failure($1::text::jsonb, $2::text::jsonb, 800)", content, json.dumps(checked)
    )
    assert (failure is not None) == is_mistyped(json.loads(content, parse_float=Decimal), DECLARED)


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cn"]), max_size=60))
async def test_lower_case_equals_oracle(connection: asyncpg.Connection, text: str) -> None:
    assert await connection.fetchval("SELECT draftline.lower_text($1)", text) == lower(text)


async def test_every_letter_has_the_lower_case_of_the_oracle(connection: asyncpg.Connection) -> None:
    every = map(chr, range(1, 0x110000))
    letters = "".join(each for each in every if unicodedata.category(each) not in ("Cn", "Cs"))
    assert await connection.fetchval("SELECT draftline.lower_text($1)", letters) == lower(letters)
