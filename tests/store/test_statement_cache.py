"""Statements of merged lists are made once a form of query, whatever its values, and stay small."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from draftline_server.domain.filters.ast import MERGED_ATTRIBUTES, Field, FieldType, Path, SortKey
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.filters.type_resolution import with_types
from draftline_server.domain.merged import MergedQuery
from draftline_server.store.filter_templates import parameterize
from draftline_server.store.lists.merged import _shape
from draftline_server.store.lists.order import MAX_RANGED_KEYS
from draftline_server.store.lists.query import count_statement, page_statement
from support.tenant_stores import COLLECTION, World, change

DECLARED: Mapping[Path, FieldType] = {(str(type_).lower(),): type_ for type_ in FieldType}
LAST = "\U0010ffff"
RECORDS = {
    "1": {"text": "ab", "number": 1, "boolean": True, "date": "0001-01-01", "timestamp": "0001-01-01T00:00:00Z",
          "a": ["x", 1], "s": "ab", "n": 1},
    "2": {"text": "b" + LAST, "number": 2.5, "boolean": False, "date": "9999-12-31",
          "timestamp": "9999-12-31T23:59:59.999999Z", "a": {"y": 0}, "s": LAST + "b", "n": 2.5},
    "3": {},
}  # fmt: skip
# Two filters of one form, and the records that each finds.
PAIRS = [
    ("text = ab", "1", f"text = b{LAST}", "2"),
    ("number > 1", "2", "number > 0.5", "12"),
    ("boolean = true", "1", "boolean = false", "2"),
    ("date <= 0001-01-01", "1", "date <= 9999-12-31", "12"),
    ("timestamp >= 0001-01-01T00:00:00Z", "12", "timestamp >= 9999-12-31T23:59:59.999999Z", "2"),
    ('text = "a*"', "1", f'text = "b{LAST}*"', "2"),
    ('s = "ab*"', "1", 's = "c*"', ""),
    ("n = 1", "1", "n = 2.5", "2"),
    ("a:x", "1", "a:y", "2"),
    ("a:1", "1", "a:2", ""),
    ('s = "*a*"', "1", 's = "*b"', "12"),
    ("lower(s) = AB", "1", "lower(s) = CD", ""),
    ("NOT (text = ab OR number = 2.5)", "3", "NOT (text = no OR number = 1)", "23"),
    ("number = 1 OR number = 2.5", "12", "number = 1 OR number = 1", "1"),
    ("record.record_id = 2", "2", "record.record_id = 3", "3"),
    ('record.record_id = "1*"', "1", 'record.record_id = "2*"', "2"),
    ("record.version >= 1", "123", "record.version >= 9", ""),
    ("record.create_time > 2020-01-01", "123", "record.create_time > 9999-12-31", ""),
    ("record.state = DRAFT", "3", "record.state = PRISTINE", "12"),
]
OTHERS = [
    "text = a", "text < a", "date = 2026-11-20", "timestamp = 2026-11-20", "s = a", "NOT text = a", "text = a s = a",
    "text = a OR s = a", 'text = "a*"', f'text = "{LAST}*"', "s:a", "s:*", "record.parent_id = a",
]  # fmt: skip


def query_of(text: str) -> MergedQuery:
    return MergedQuery(COLLECTION, parse_filter(text), text)


async def found(world: World, text: str) -> str:
    page = await world.merged.page(world.actor("ada"), query_of(text), 10, "", include_total_size=True)
    assert page.total_size == len(page.records)
    return "".join(each.record.record_id for each in page.records)


@pytest.mark.parametrize(("one", "ones", "other", "others"), PAIRS)
async def test_filters_that_differ_in_values_share_a_statement(
    world: World, one: str, ones: str, other: str, others: str
) -> None:
    shape, values = _shape(query_of(one), DECLARED)
    other_shape, other_values = _shape(query_of(other), DECLARED)
    assert values != other_values
    assert page_statement(shape)[0] is page_statement(other_shape)[0]
    assert count_statement(shape)[0] is count_statement(other_shape)[0]
    await world.declare(fields=json.dumps([{"path": path, "type": type_} for path, type_ in DECLARED.items()]))
    await world.load(RECORDS)
    await world.save("ada", change("3", {"other": 1}))
    made = page_statement.cache_info().misses
    answers = [await found(world, text) for text in (one, other, one)]
    assert answers == [ones, others, ones]
    assert page_statement.cache_info().misses <= made + 1


def test_filters_of_other_forms_have_statements_of_their_own() -> None:
    statements = {page_statement(_shape(query_of(text), DECLARED)[0])[0].sql for text in OTHERS}
    assert len(statements) == len(OTHERS)


async def test_prefix_of_the_last_code_point_is_a_form_of_its_own(world: World) -> None:
    await world.load(RECORDS)
    assert await found(world, f's = "{LAST}*"') == "2"
    assert await found(world, 's = "a*"') == "1"


def test_form_holds_no_value_and_names_each() -> None:
    tree = parse_filter('text = secret AND (text = "secret*" OR NOT a:secret) AND date > 2026-11-20 AND s:*')
    assert tree is not None
    form, values = parameterize(with_types(tree, DECLARED, MERGED_ATTRIBUTES))
    assert "secret" not in repr(form)
    assert "2026" not in repr(form)
    assert values == {
        "value_0": "secret", "value_1": "secret", "value_2": "secreu", "value_3": "secret", "value_4": "secret",
        "value_5": "2026-11-20",
    }  # fmt: skip


def test_order_of_many_keys_keeps_its_statement_small() -> None:
    sizes = []
    for count in (MAX_RANGED_KEYS, 8):
        declared = {(f"k{place}",): FieldType.NUMBER for place in range(count)}
        query = replace(query_of(""), order=tuple(SortKey(Field(path)) for path in declared))
        shape, _ = _shape(query, declared)
        statement, _ = page_statement(replace(shape, after=(False,) * count))
        sizes.append(statement.sql.count("UNION ALL") + 1)
    assert sizes == [2 * (2 * MAX_RANGED_KEYS + 1), 2]
