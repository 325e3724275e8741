"""The sentences that refuse a JSON Schema: each names the place, and none holds words of a library."""

from __future__ import annotations

import json
from typing import Any

import pytest
from draftline_server.store.json_schema.process import compiled

DEFS = "put the definitions under $defs and refer to them as #/$defs/name"
# name: (schema, the beginning of the sentence)
REFUSED: dict[str, tuple[Any, str]] = {
    "remote": (
        {"properties": {"a/b": {"$ref": "https://example.org/s.json#/x"}}},
        "has a $ref at /properties/a~1b/$ref that leads to https://example.org/s.json#/x, "
        f"but must stay within the schema: {DEFS}",
    ),
    "file": ({"items": {"$ref": "file:///etc/passwd"}}, "has a $ref at /items/$ref that leads to file:///etc/passwd"),
    "urn": ({"anyOf": [True, {"$ref": "urn:a:b"}]}, "has a $ref at /anyOf/1/$ref that leads to urn:a:b"),
    "relative": ({"$ref": "other.json#/a"}, "has a $ref at /$ref that is relative, other.json#/a"),
    "relative to an id": ({"$id": "https://example.org/a", "$ref": "b"}, "has a $ref at /$ref that is relative, b"),
    "absolute to an id": (
        {"$id": "https://example.org/a", "$ref": "https://example.org/b"},
        "has a $ref at /$ref that leads to https://example.org/b",
    ),
    "pointer": ({"not": {"$ref": "#/$defs/none"}}, "has a $ref at /not/$ref that leads to #/$defs/none, which"),
    "anchor": ({"$ref": "#none"}, "has a $ref at /$ref that leads to #none, which the schema does not hold"),
    "dynamic": ({"$dynamicRef": "#none"}, "has a $dynamicRef at /$dynamicRef that leads to #none"),
    "dynamic remote": ({"$dynamicRef": "http://a.test/b"}, "has a $dynamicRef at /$dynamicRef that leads to http://a"),
    "second of two": (
        {"$defs": {"a": {}}, "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]},
        "has a $ref at /allOf/1/$ref that leads to #/$defs/b",
    ),
    "draft 7": (
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"$ref": "x.json"}}},
        "has a $ref at /definitions/a/$ref that is relative, x.json",
    ),
    "dialect": ({"$schema": "https://example.org/mine"}, "has at /$schema the unknown dialect https://example.org/mine"),
    "dialect, relative": ({"$schema": "draft-99"}, "has at /$schema the unknown dialect draft-99: the known ones are"),
    "dialect, no text": ({"$schema": 5}, "is not a valid JSON Schema at /$schema"),
    "pattern": (
        {"properties": {"a": {"pattern": "(?<x"}}},
        "has a pattern at /properties/a/pattern that is not a regular expression: (?<x",
    ),
    "pattern of a key": (
        {"patternProperties": {"[a/": {}}},
        "has a pattern at /patternProperties/[a~1 that is not a regular expression: [a/",
    ),
    "type": ({"items": {"type": "text"}}, "has an unknown type at /items/type: the types are array, boolean"),
    "value": ({"properties": {"a": {"minimum": "1"}}}, "is not a valid JSON Schema at /properties/a/minimum: "),
    "id": ({"$id": "::%%"}, "has a $ref or an $id that is not a URI reference"),
    "array": ([], "must be a JSON Schema: an object or a boolean"),
}  # fmt: skip
TEXTS = {
    "": "is not valid JSON: it cannot be parsed from line 1, column 1",
    '{"a": 1,\n "b"}': "is not valid JSON: it cannot be parsed from line 2, column 5",
    '{"const": NaN}': "is not valid JSON: NaN is not a JSON number",
    '{"const": "\\ud800"}': "must not hold lone surrogates",
    '{"\\udfff": {}}': "must not hold lone surrogates",
    '{"not":' * 20_000 + "true" + "}" * 20_000: "is not a valid JSON Schema: it is nested too deep",
}
FOREIGN = ("Error", "None", "ValidationError", "registry", "Traceback", "instance:")


@pytest.mark.parametrize("name", REFUSED)
def test_refused_schema_is_told_with_its_place(name: str) -> None:
    schema, told = REFUSED[name]
    problem = compiled(json.dumps(schema))
    assert isinstance(problem, str)
    assert problem.startswith(told)
    assert not any(word in problem for word in FOREIGN)


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_is_no_schema_is_told_why(text: str) -> None:
    assert compiled(text) == TEXTS[text]


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"},
        {"$id": "https://example.org/a", "$defs": {"c": {"$id": "c"}}, "$ref": "c"},
        {"$defs": {"a": {"$anchor": "here"}}, "$ref": "#here"},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"enum": [{"$ref": "http://example.org"}]},
        {"properties": {"$ref": {"type": "string"}, "$schema": {"type": "string"}}},
    ],
)
def test_references_within_the_schema_are_taken(schema: Any) -> None:
    assert not isinstance(compiled(json.dumps(schema)), str)
