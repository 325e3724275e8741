"""Sort keys as plain SQL expressions: the same bytes as from draftline.order_key."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

import asyncpg
from draftline_server.domain.collections import IndexKey, IndexOrder
from draftline_server.domain.filters.ast import FieldType
from draftline_server.store.collections.key_expressions import with_keys
from draftline_server.store.statements import DIALECT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Integer, column, text
from sqlalchemy.dialects.postgresql import JSONB
from support.filter_strategies import CORPUS, DECLARED, contents
from support.soak_scale import examples

from .test_order_keys import MANY_NUMBERS, _numbers, as_json, connection, decode, json_text  # noqa: F401  a fixture

DATES = [
    "2026-11-20", "0001-01-01", "9999-12-31", "0000-01-01", "2026-02-28", "2026-02-29", "2024-02-29", "2026-13-01",
    "2026-00-10", "2026-01-00", "2026--1-01", "2026-1-001", "20261-1-01", "1999-12-31", "Nov 20 2026", " 2026-1-01",
    "٢٠٢٦-01-01", "2026-11-20\\n", "2026-11-2é",
]  # fmt: skip
TEXTS = ["\\\\", "\\\\000", "a\\\\b", "\\u0001", "\\u007f", "é", "😀", "x" * 800, "x" * 801, "é" * 401, "'", ":a", ""]
ODD = [
    *(f'{{"number": {text}}}' for text in MANY_NUMBERS),
    *(f'{{"number": {text}}}' for text in ("12345678901", "123456789012", "-0.00", "0." + "0" * 99, "1." + "0" * 100)),
    *(f'{{"date": "{text}"}}' for text in DATES),
    *(f'{{"text": "{text}"}}' for text in TEXTS),
]


async def assert_same_keys(
    connected: asyncpg.Connection, orders: Sequence[IndexOrder], documents: Sequence[str]
) -> None:
    source = text(
        "SELECT number, CAST(document AS jsonb) AS content FROM unnest(CAST($1 AS text[]))"
        " WITH ORDINALITY AS u (document, number)"
    ).columns(column("number", Integer), column("content", JSONB))
    statement = str(with_keys(source.subquery(), orders).compile(dialect=DIALECT))
    functions = ", ".join(f"draftline.order_key(content, ${i + 2}::text::jsonb)" for i in range(len(orders)))
    expected = await connected.fetch(
        f"SELECT {functions} FROM (SELECT document::jsonb AS content, number"
        " FROM unnest($1::text[]) WITH ORDINALITY AS u (document, number)) AS d ORDER BY number",
        list(documents), *map(as_json, orders),
    )  # fmt: skip
    found = await connected.fetch(f"{statement} ORDER BY number", list(documents))
    assert [tuple(row)[2:] for row in found] == [tuple(row) for row in expected]


async def test_keys_of_every_type_and_direction_are_those_of_the_function(connection: asyncpg.Connection) -> None:  # noqa: F811
    orders = [
        (IndexKey(path, type_, descending),)
        for (path, type_), descending in product(DECLARED.items(), (False, True))
    ]  # fmt: skip
    wrong = [(IndexKey(path, type_, False),) for path, type_ in product(DECLARED, FieldType)]
    await assert_same_keys(connection, [*orders, *wrong], [*CORPUS, *ODD])


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=st.lists(contents, max_size=6), numbers=st.lists(_numbers, max_size=6), seed=st.randoms())
async def test_keys_of_several_orders_are_those_of_the_function(
    connection: asyncpg.Connection,  # noqa: F811
    documents: list[str],
    numbers: list[str],
    seed: random.Random,
) -> None:
    keys = [IndexKey(path, type_, descending) for (path, type_), descending in product(DECLARED.items(), (False, True))]
    orders = [tuple(seed.sample(keys, seed.randrange(1, 4))) for _ in range(4)]
    mixed = []
    for _ in range(30):  # documents whose fields come from different ones of the corpus
        parts = [decode(seed.choice([*CORPUS, *ODD])) for _ in DECLARED]
        mixed.append(json_text({path[0]: part.get(path[0]) for path, part in zip(DECLARED, parts, strict=True)}))
    await assert_same_keys(connection, orders, [*documents, *mixed, *(f'{{"number": {text}}}' for text in numbers)])
