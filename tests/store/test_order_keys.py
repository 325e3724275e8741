"""Sort keys: bytes that sort like the values, the same from PostgreSQL and from Python, and ranges of them."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from draftline.v1 import types_pb2
from draftline_server.domain.collections import KEY_BYTES, MAX_KEY_BYTES, IndexKey
from draftline_server.domain.content import Limits
from draftline_server.domain.filters.ast import Field, FieldType, Literal, LiteralKind, Operator, Path, SortKey
from draftline_server.domain.filters.conditions import Comparison, StartsWith
from draftline_server.domain.filters.type_resolution import with_types
from draftline_server.rpc.mapping.documents import document_contents
from draftline_server.store.collections.content_keys import ContentKeys
from draftline_server.store.lists import order_keys
from draftline_server.store.lists.order_keys import KeyRange
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.filter_oracle import MISSING, _fits, satisfies, typed, value_at
from support.filter_strategies import CORPUS, DECLARED, comparisons_of, contents, to_json_text
from support.merged_oracle import Row, in_order
from support.soak_scale import examples

MANY_NUMBERS = [
    "0", "-0", "1e-100", "-1e-100", "1e-101", "9e99", "-9e99", "1e100", "0.5", "0.05", "-0.05", "10", "100", "1000.001",
    "12345678901234567890.5", "-12345678901234567890.5", "9" * 100, f"0.{'9' * 100}", f"{'9' * 100}.{'9' * 100}",
    f"-{'9' * 100}.{'9' * 100}", f"1{'0' * 99}.{'0' * 99}1", "1.10", "1.1", "1.01", "-1.1", "-1.01", "19", "2", "1.9",
]  # fmt: skip
_keys = st.builds(
    lambda item, descending: IndexKey(item[0], item[1], descending),
    st.sampled_from(list(DECLARED.items())), st.booleans(),
)  # fmt: skip
_orders = st.lists(_keys, min_size=1, max_size=3, unique_by=lambda key: key.path).map(tuple)
_numbers = st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: f"{number:f}" if number else "0")


@pytest.fixture
async def connection(server: Any) -> AsyncIterator[asyncpg.Connection]:
    connected = await asyncpg.connect(server.url)
    yield connected
    await connected.close()


def as_json(order: Sequence[IndexKey]) -> str:
    return json.dumps([{"path": key.path, "type": key.type, "descending": key.descending} for key in order])


async def stored_keys(
    connection: asyncpg.Connection, order: Sequence[IndexKey], documents: Sequence[str]
) -> list[bytes]:
    rows = await connection.fetch(
        "SELECT draftline.order_key(d.document::jsonb, $2::text::jsonb)"
        " FROM unnest($1::text[]) WITH ORDINALITY AS d (document, ordinal) ORDER BY ordinal",
        list(documents), as_json(order),
    )  # fmt: skip
    return [row[0] for row in rows]


def value_of(content: Any, path: Path, type_: FieldType) -> Any:
    """The value that an index of the field holds; None if it holds none."""
    found = value_at(content, path)
    value = None if found is MISSING else typed(found, type_)
    if value is None or (type_ is FieldType.NUMBER and not _fits(value)):
        return None
    if type_ is FieldType.TEXT and len(value.encode()) > 800:
        return None
    return value.date() if type_ is FieldType.DATE and isinstance(value, datetime) else value


def decode(document: str) -> Any:
    return json.loads(document, parse_float=Decimal)


async def assert_sorts_like_oracle(
    connection: asyncpg.Connection, order: Sequence[IndexKey], documents: Sequence[str]
) -> None:
    decoded = list(map(decode, documents))
    keys = await stored_keys(connection, order, documents)
    assert keys == [
        order_keys.encoded([value_of(content, key.path, key.type) for key in order], order) for content in decoded
    ]
    assert keys == [key for content in decoded for key in ContentKeys([order])(content)]
    rows = [Row(content, {"record_id": f"{place:05}"}, None, 0, []) for place, content in enumerate(decoded)]
    by_id = {row.attributes["record_id"]: key for row, key in zip(rows, keys, strict=True)}
    sort_keys = [SortKey(Field(key.path), key.descending) for key in order]
    expected = [row.attributes["record_id"] for row in in_order(rows, sort_keys, DECLARED)]
    assert sorted(by_id, key=lambda id_: (by_id[id_], id_)) == expected


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("path", list(DECLARED), ids=".".join)
async def test_keys_of_every_value_sort_like_the_oracle(
    connection: asyncpg.Connection, path: Path, descending: bool
) -> None:
    numbers = [f'{{"number": {text}}}' for text in MANY_NUMBERS]
    texts = [to_json_text({"text": text}) for text in ("x" * 800, "x" * 799, "é" * 400, "\x01", "\x01\x01", "\x7f")]
    await assert_sorts_like_oracle(
        connection, (IndexKey(path, DECLARED[path], descending),), [*CORPUS, *numbers, *texts]
    )


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=_orders, documents=st.lists(contents, max_size=6), numbers=st.lists(_numbers, max_size=6), seed=st.randoms()
)
async def test_keys_of_any_order_sort_like_the_oracle(
    connection: asyncpg.Connection, order: Any, documents: Any, numbers: Any, seed: random.Random
) -> None:
    mixed = []
    for _ in range(40):  # documents whose fields come from different ones of the corpus
        parts = [decode(seed.choice(CORPUS)) for _ in DECLARED]
        mixed.append({path[0]: part.get(path[0]) for path, part in zip(DECLARED, parts, strict=True)})
    documents = [*documents, *(f'{{"number": {text}}}' for text in numbers), *map(json_text, mixed)]
    await assert_sorts_like_oracle(connection, order, documents)


def json_text(value: Any) -> str:
    """JSON of decoded JSON, with every digit of its numbers."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{json_text(item)}" for key, item in value.items()) + "}"
    return "[" + ",".join(map(json_text, value)) + "]" if isinstance(value, list) else json.dumps(value)


def range_of(condition: Any, key: IndexKey, prefix: bytes) -> KeyRange | None:
    match condition:
        case Comparison(lowered=False):
            return order_keys.compared(prefix, key, condition.operator, condition.value)
        case StartsWith():
            return order_keys.starting_with(prefix, key, condition.prefix)
    return None


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("path", list(DECLARED), ids=".".join)
async def test_range_of_every_comparison_holds_exactly_the_keys_that_satisfy_it(
    connection: asyncpg.Connection, path: Path, descending: bool
) -> None:
    type_ = DECLARED[path]
    key = IndexKey(path, type_, descending)
    first = IndexKey(("a",), FieldType.NUMBER)
    documents = [*CORPUS, *(f'{{"number": {text}, "a": 1}}' for text in MANY_NUMBERS)]
    decoded = list(map(decode, documents))
    alone = await stored_keys(connection, (key,), documents)
    second = await stored_keys(connection, (first, key, IndexKey(("text",), FieldType.TEXT)), documents)
    comparisons = list(comparisons_of(Field(path), type_))
    if type_ is FieldType.NUMBER:
        literals = [Literal(LiteralKind.NUMBER, text) for text in [*MANY_NUMBERS, "1e-900", "-1e999", "1e999"]]
        operators = [operator for operator in Operator if operator not in (Operator.NE, Operator.HAS)]
        comparisons += [replace(comparisons[-1], operator=op, literal=each) for each in literals for op in operators]
    count = 0
    for restriction in comparisons:
        condition = with_types(restriction, DECLARED)
        found = range_of(condition, key, b"")
        if found is None or restriction.operator is Operator.NE:
            continue
        count += 1
        expected = [satisfies(restriction, content, {}, DECLARED) for content in decoded]
        assert [found.low <= each < found.high for each in alone] == expected, restriction
        prefix = order_keys.encoded([Decimal(1)], (first,))
        later = range_of(condition, key, prefix)
        assert later is not None
        both = [
            ok and value_of(each, ("a",), FieldType.NUMBER) == 1 for ok, each in zip(expected, decoded, strict=True)
        ]
        assert [later.low <= each < later.high for each in second] == both, restriction
    assert count > 1


@pytest.mark.parametrize("descending", [False, True])
async def test_first_fields_of_an_order_are_a_prefix_of_its_keys(
    connection: asyncpg.Connection, descending: bool
) -> None:
    order = tuple(IndexKey(path, type_, descending) for path, type_ in DECLARED.items())
    whole = await stored_keys(connection, order, CORPUS)
    for count in range(1, len(order)):
        prefixes = await stored_keys(connection, order[:count], CORPUS)
        for prefix, key in zip(prefixes, whole, strict=True):
            assert key.startswith(prefix)
        assert all(order_keys.all_keys(order).low <= key < order_keys.all_keys(order).high for key in whole)
        for prefix in set(prefixes):  # no value is a prefix of another one
            equal = [place for place, key in enumerate(whole) if key.startswith(prefix)]
            assert equal == [place for place, each in enumerate(prefixes) if each == prefix]


async def test_longest_keys_stay_within_the_bytes_that_declarations_count(connection: asyncpg.Connection) -> None:
    number = f"-{'9' * 100}.{'9' * 100}"
    longest = {
        FieldType.TEXT: json.dumps("😀" * 200, ensure_ascii=False),
        FieldType.NUMBER: number,
        FieldType.BOOLEAN: "true",
        FieldType.DATE: '"9999-12-31"',
        FieldType.TIMESTAMP: '"9999-12-31T23:59:59Z"',
    }
    for type_, text in longest.items():
        (key,) = await stored_keys(connection, (IndexKey(("v",), type_),), [f'{{"v": {text}}}'])
        assert len(key) <= KEY_BYTES[type_]
    assert 2 * KEY_BYTES[FieldType.TEXT] <= MAX_KEY_BYTES


@pytest.mark.parametrize("letter", ["x", "é", "字", "😀"])
async def test_entry_that_is_said_to_fit_does_fit(connection: asyncpg.Connection, letter: str) -> None:
    chosen = random.Random(letter)
    noise = chosen.randbytes(MAX_KEY_BYTES)  # which PostgreSQL cannot compress
    async with connection.transaction():
        for length in (1, 20, 64, 100, 128):
            ids = ["".join(chr(ord(letter) + chosen.randrange(20)) for _ in range(length)) for _ in range(4)]
            room = 2600 - len("".join(ids).encode())
            for size in {min(room, MAX_KEY_BYTES), min(room + 1, MAX_KEY_BYTES)}:
                fits = await connection.fetchval(
                    "SELECT draftline.order_entry_fits($1, $2)", noise[:size], "".join(ids)
                )
                assert fits == (size <= room)
                if fits:
                    await connection.execute(
                        "INSERT INTO draftline.draft_order_entry VALUES ($1, $2, $3, 1, $4, $5)",
                        *ids[:3], noise[:size], ids[3],
                    )  # fmt: skip


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
async def test_keys_of_numbers_of_a_struct_are_those_of_their_texts(
    connection: asyncpg.Connection, numbers: list[float]
) -> None:
    order = (IndexKey(("number",), FieldType.NUMBER),)
    documents = [types_pb2.Document() for _ in numbers]
    for document, number in zip(documents, numbers, strict=True):
        document.struct["number"] = number
    contents_ = [document_contents(document, Limits(), "content") for document in documents]
    keys = await stored_keys(connection, order, [text for text, _ in contents_])
    assert keys == [key for _, value in contents_ for key in ContentKeys([order])(value)]


def test_import_learns_of_texts_that_are_too_long_for_an_index() -> None:
    keys = ContentKeys([(IndexKey(("a", "b"), FieldType.TEXT),)], max_text_bytes=4)
    assert [keys({"a": {"b": text}}) for text in ("xxxx", "éé")] == [[b"\x10xxxx\0"], ["\x10éé\0".encode()]]
    assert not keys.has_long_text
    keys({"a": {"b": "xxé"}, "b": "xxxxxx"})
    assert not keys.has_long_text
    keys({"a": {"b": "xéé"}})
    assert keys.has_long_text
