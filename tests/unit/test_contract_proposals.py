"""Collection specs that are proposed from content."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest
from draftline.documents import decode
from draftline_server.contracts.proposals import MAX_FIELDS, Proposal, propose, report
from draftline_server.contracts.shapes import MAX_DISTINCT, MAX_KEYS, Shape
from hypothesis import given
from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b", "x y", "a/b", "~", ""]) | st.text(max_size=3)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
CONTENTS = st.lists(st.dictionaries(KEYS, VALUES, max_size=5), min_size=1, max_size=8)


def proposed(*contents: dict[str, Any]) -> Proposal:
    return propose(shape_of(contents))


def shape_of(contents: Any) -> Shape:
    root = Shape()
    for each in contents:
        root.add(each)
    return root


@given(CONTENTS)
def test_schema_accepts_every_content_that_it_was_inferred_from(contents: list[dict[str, Any]]) -> None:
    validator = jsonschema_rs.validator_for(proposed(*contents).json_schema)
    for each in contents:
        validator.validate(each)


@given(CONTENTS)
def test_report_counts_every_value(contents: list[dict[str, Any]]) -> None:
    rows = {row["path"]: row for row in report(shape_of(contents))}
    for key in {key for each in contents for key in each}:
        row = rows["/" + key.replace("~", "~0").replace("/", "~1")]
        having = [each[key] for each in contents if key in each]
        assert (row["count"], row["share"]) == (len(having), round(len(having) / len(contents), 4))
        assert sum(row["types"].values()) == len(having)
        numbers = [each for each in having if isinstance(each, int | float) and not isinstance(each, bool)]
        assert row.get("range") == ([min(numbers), max(numbers)] if numbers else None)


def test_keys_of_every_content_are_required() -> None:
    schema = proposed({"a": 1, "b": None}, {"a": 2}).json_schema
    assert schema["required"] == ["a"]
    assert schema["properties"] == {"a": {"type": "integer"}, "b": {"type": "null"}}


def test_mixed_types_become_a_union_and_are_named() -> None:
    found = proposed({"a": "x", "n": 1}, {"a": 1, "n": 1.5}, {"a": None, "n": 2})
    assert found.json_schema["properties"]["a"] == {"type": ["string", "integer", "null"]}
    assert found.json_schema["properties"]["n"] == {"type": "number"}
    assert [each.pointer for each in found.mixed] == ["/a"]
    assert [(each.pointer, each.type) for each in found.fields] == [("/n", "NUMBER")]


def test_field_with_few_values_of_another_type_counts_them() -> None:
    found = proposed(*({"a": f"x{number}"} for number in range(99)), {"a": 1})
    assert [(each.pointer, each.type, each.mistyped) for each in found.fields] == [("/a", "TEXT", 1)]


@pytest.mark.parametrize(
    ("texts", "type_"),
    [
        (["2026-11-20", "Nov 20 2026"], "DATE"),
        (["2026-11-20T10:00:00Z", "2026-11-20"], "TIMESTAMP"),
        (["2026-11-20", "soon"], "TEXT"),
        (["2026-13-20"], "TEXT"),
    ],
)
def test_texts_that_are_all_dates_become_a_dated_field(texts: list[str], type_: str) -> None:
    (field,) = proposed(*({"at": text} for text in texts)).fields
    assert (field.pointer, field.type) == ("/at", type_)


def test_nested_objects_and_arrays_are_described() -> None:
    found = proposed({"o": {"x": 1, "y": {"z": True}}, "l": [1, "a"]}, {"o": {"x": 2}, "l": []})
    assert found.json_schema["properties"] == {
        "o": {
            "type": "object",
            "properties": {
                "x": {"type": "integer"},
                "y": {"type": "object", "properties": {"z": {"type": "boolean"}}, "required": ["z"]},
            },
            "required": ["x"],
        },
        "l": {"type": "array", "items": {"type": ["string", "integer"]}},
    }
    assert [each.pointer for each in found.fields] == ["/o/x", "/o/y/z"]


def test_object_with_too_many_keys_is_a_map() -> None:
    found = proposed({"scores": {f"k{number}": number for number in range(MAX_KEYS + 1)}})
    assert found.json_schema["properties"] == {"scores": {"type": "object"}}
    assert report(shape_of([{"scores": dict.fromkeys(map(str, range(MAX_KEYS + 1)))}]))[0]["is_map"]


def test_fields_stop_at_the_limit_of_a_spec() -> None:
    found = proposed({f"k{number}": 1 for number in range(MAX_FIELDS + 5)})
    assert (len(found.fields), found.left_out) == (MAX_FIELDS, 5)


def test_distinct_values_are_counted_up_to_a_bound() -> None:
    (row,) = report(shape_of({"a": "x" * 100 + str(number)} for number in range(MAX_DISTINCT + 50)))
    assert (row["distinct"], row["distinct_is_exact"]) == (MAX_DISTINCT, False)
    assert all(len(each) <= 40 for each in row["examples"])


def test_exact_numbers_keep_their_digits() -> None:
    (row,) = report(shape_of([decode('{"n": 0.1234567890123456789}'), {"n": 1}]))
    assert row["range"] == [Decimal("0.1234567890123456789"), 1]


def test_all_films_satisfy_the_schema_inferred_from_them(films: Any) -> None:
    contents = json.loads(films.read_text())
    found = proposed(*contents)
    validator = jsonschema_rs.validator_for(found.json_schema)
    assert sum(validator.is_valid(each) for each in contents) == len(contents) == 3_201
    assert [each.pointer for each in found.mixed] == ["/Title"]
    assert ((("/Major Genre", False), ("/Release Date", True))) in found.orders


def test_paths_that_a_spec_does_not_accept_are_no_fields() -> None:
    content = {"": 1, "a\nb": 2, "\x85": 3, "k" * 512: 4, "k" * 511: 5, "a": {"": 6}, "z": 7}
    proposal = proposed(content)
    assert [each.pointer for each in proposal.fields] == [f"/{'k' * 511}", "/a/", "/z"]
    jsonschema_rs.validator_for(proposal.json_schema).validate(content)
