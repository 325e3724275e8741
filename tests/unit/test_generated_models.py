"""Contracts that are generated from collection specs: they accept the contents, and keep them exactly."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema_rs
import pytest
from draftline import Collection, DeclaredField
from draftline._core.model_adapters import ModelAdapter
from draftline._core.model_changes import same, unknown_keys
from draftline_server.contracts.generation import ContractKind, contract, difference
from draftline_server.contracts.proposals import propose
from draftline_server.contracts.shapes import Shape
from draftline_server.domain.visible_text import visible
from hypothesis import given, settings
from hypothesis import strategies as st
from support.soak_scale import examples

KINDS = [ContractKind.DATACLASS, ContractKind.TYPEDDICT, ContractKind.PYDANTIC, ContractKind.MSGSPEC]
KEYS = st.sampled_from(
    [
        "a",
        "b",
        "x y",
        "class",
        "a/b",
        "copy",
        "model_a",
        "model_dump",
        "register",
        "Any",
        "UNSET",
        'q"\\',
        "é",
        "日本",
        "",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=4)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
CONTENTS = st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=4)


def spec(json_schema: dict[str, Any] | None, *fields: DeclaredField, version: int = 1) -> Collection:
    return Collection("acme", "movies", fields, (), json_schema, version, (), None, None)


def inferred(contents: list[dict[str, Any]]) -> Collection:
    root = Shape()
    for each in contents:
        root.add(each)
    return spec(propose(root).json_schema)


def model_of(text: str, name: str = "Movie") -> Any:
    module = ModuleType(f"generated_{abs(hash(text))}")
    sys.modules[module.__name__] = module
    exec(compile(text, "<generated>", "exec"), module.__dict__)
    return getattr(module, name)


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith("generated_")]:
        del sys.modules[name]


@given(contents=CONTENTS)
@settings(max_examples=examples(25))
@pytest.mark.parametrize("kind", KINDS)
def test_models_of_inferred_specs_keep_every_content_exactly(
    kind: ContractKind, contents: list[dict[str, Any]]
) -> None:
    adapter = ModelAdapter(model_of(contract(inferred(contents), kind)))
    for each in contents:
        encoded = adapter.encode(adapter.decode(each))
        lost = unknown_keys(each, encoded)
        assert same(encoded, each) or (kind is ContractKind.MSGSPEC and all('"' in path for path in lost) and lost)


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_hide_neither_classes_nor_what_models_inherit(kind: ContractKind) -> None:
    content = {"日本": {"register": 1}, "model_dump": {"a": 1}, "model_validate_x": 2, "mro": 3, "ª": {"a": 1}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapter = ModelAdapter(model_of(contract(inferred([content, {}]), kind)))
    assert adapter.encode(adapter.decode(content)) == content


@pytest.mark.parametrize("key", ["ﬁ", "__private", "__init__", "class", "e\u0301"])
def test_typed_dict_has_keys_as_they_are(key: str) -> None:
    model = model_of(contract(inferred([{key: 1, "fi": 2}]), ContractKind.TYPEDDICT))
    assert set(model.__annotations__) == {key, "fi"}


def test_typed_dict_lacks_the_empty_key_which_type_checkers_reject() -> None:
    text = contract(inferred([{"": {"": 1}, "a b": 2}]), ContractKind.TYPEDDICT)
    assert '"":' not in text
    assert '# a TypedDict cannot express the key ""' in text
    adapter = ModelAdapter(model_of(text))
    assert adapter.encode(adapter.decode({"": {"": 1}, "a b": 2})) == {"": {"": 1}, "a b": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_models_keep_all_films_exactly(kind: ContractKind, films: Path) -> None:
    contents = json.loads(films.read_text())
    adapter = ModelAdapter(model_of(contract(inferred(contents), kind)))
    assert sum(same(adapter.encode(adapter.decode(each)), each) for each in contents) == 3_201


SCHEMA = {
    "type": "object",
    "$defs": {
        "person": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "boss of": {"$ref": "#/$defs/person"}},
            "required": ["name"],
        },
        "rating": {"enum": ["G", "R", None]},
    },
    "properties": {
        "director": {"$ref": "#/$defs/person"},
        "rating": {"$ref": "#/$defs/rating"},
        "cast": {"type": "array", "items": {"$ref": "#/$defs/person"}},
        "votes": {"type": "object", "additionalProperties": {"type": "integer"}},
        "id": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "kind": {"const": "film"},
        "crew": {"allOf": [{"$ref": "#/$defs/person"}, {"properties": {"cat": {"type": "string"}}}]},
        "unknown": {"not": {"type": "null"}},
    },
    "required": ["director"],
}
CONTENT = {
    "director": {"name": "Ridley", "boss of": {"name": "Ian"}},
    "rating": None,
    "cast": [{"name": "Sigourney"}],
    "votes": {"me": 1},
    "id": 7,
    "kind": "film",
    "crew": {"name": "Dallas", "cat": "Jones"},
    "unknown": [1],
}


@pytest.mark.parametrize("kind", KINDS)
def test_models_follow_references_unions_and_maps(kind: ContractKind) -> None:
    adapter = ModelAdapter(model_of(contract(spec(SCHEMA), kind)))
    assert adapter.encode(adapter.decode(CONTENT)) == CONTENT
    if kind is not ContractKind.TYPEDDICT:
        for broken in ({"director": {}}, {"director": 1}, {**CONTENT, "cast": [1]}, {**CONTENT, "rating": "X"}):
            with pytest.raises(ValueError, match="does not fit Movie"):
                adapter.decode(broken, "m-1")


def test_typescript_has_the_same_types() -> None:
    text = contract(spec(SCHEMA), ContractKind.TYPESCRIPT)
    for line in (
        '"boss of"?: Person;',
        "director: Person;",
        'rating?: "G" | "R" | null;',
        "cast?: Array<Person>;",
        "votes?: Record<string, number>;",
        "id?: string | number;",
        "unknown?: unknown;",
    ):
        assert f"  {line}\n" in text


ACCEPTED: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "constants that are equal in Python": ({"anyOf": [{"const": 1}, {"const": True}]}, [1, True]),
    "patterns of keys": (
        {
            "type": "object",
            "patternProperties": {"^s": {"type": "string"}},
            "additionalProperties": {"type": "integer"},
        },
        [{"sx": "a", "b": 1}],
    ),
    "only patterns of keys": (
        {"type": "object", "patternProperties": {"^s": {"type": "string"}}, "additionalProperties": False},
        [{"sx": "a"}],
    ),
    "an anchor": ({"$ref": "#name"}, ["x"]),
    "an escaped reference": ({"$ref": "#/$defs/a%20name"}, ["x"]),
    "a large constant": ({"const": 10**30}, [10**30]),
    "a whole number with a point": ({"type": "integer"}, [1.0, Decimal("100000000000000000001.0")]),
    "a constant with a point": ({"enum": [1]}, [1.0]),
}


@pytest.mark.parametrize("case", ACCEPTED)
@pytest.mark.parametrize("kind", KINDS)
def test_models_accept_what_the_schema_accepts(kind: ContractKind, case: str) -> None:
    member, values = ACCEPTED[case]
    definitions = {"a name": {"$anchor": "name", "type": "string"}}
    schema = {"type": "object", "$defs": definitions, "properties": {"a": member}}
    adapter = ModelAdapter(model_of(contract(spec(schema), kind)))
    for value in values:
        assert jsonschema_rs.is_valid(schema, {"a": value})
        assert same(adapter.encode(adapter.decode({"a": value})), {"a": value})


def test_references_and_patterns_of_keys_have_types() -> None:
    text = contract(spec({"$defs": {"a name": {"type": "string"}}, "properties": {
        "a": {"$ref": "#/$defs/a%20name"},
        "b": ACCEPTED["patterns of keys"][0],
        "c": ACCEPTED["only patterns of keys"][0],
        "d": ACCEPTED["a large constant"][0],
    }}), ContractKind.DATACLASS)  # fmt: skip
    for line in ("a: str | ", "b: dict[str, str | int] | ", "c: dict[str, str] | ", "d: int | "):
        assert f"    {line}Unset = UNSET\n" in text


@pytest.mark.parametrize("kind", list(ContractKind))
def test_contract_is_the_same_for_the_same_spec_and_has_its_digest(kind: ContractKind, tmp_path: Path) -> None:
    text = contract(spec(SCHEMA), kind)
    assert contract(spec(json.loads(json.dumps(SCHEMA))), kind) == text
    assert "version 1, digest sha256:" in text
    file = tmp_path / "models"
    assert "does not exist" in str(difference(file, text))
    file.write_text(text)
    assert difference(file, text) is None
    moved = contract(replace(spec(SCHEMA), version=2, json_schema={"type": "object"}), kind)
    assert "from version 1 of the spec, which is at version 2" in str(difference(file, moved))
    file.write_text(text + "\n")
    assert "was edited" in str(difference(file, text))


def test_declared_fields_are_added_to_the_schema() -> None:
    fields = (DeclaredField("/year", "number", "refuse"), DeclaredField("/name", "text"), DeclaredField("/a/b", "text"))
    schema = json.loads(contract(spec({"properties": {"a": {"type": "object"}}}, *fields), ContractKind.JSON_SCHEMA))
    assert schema["properties"]["year"]["type"] == ["number", "null"]
    assert "type" not in schema["properties"]["name"]
    assert jsonschema_rs.is_valid(schema, {"year": None, "name": 5})
    adapter = ModelAdapter(model_of(contract(spec(None, *fields), ContractKind.DATACLASS)))
    assert adapter.encode(adapter.decode({"name": 5, "year": 1.5})) == {"name": 5, "year": 1.5}
    with pytest.raises(ValueError, match="/year"):
        adapter.decode({"year": "1979"})


@pytest.mark.parametrize("kind", ContractKind)
def test_control_characters_are_escapes(kind: ContractKind) -> None:
    """Make a text that no terminal and no editor shows as another one."""
    name = "\x1b[2J \x9b2J \u202edlog \x7f"
    described = {"type": "string", "description": f"Of {name}"}
    schema = {"type": "object", "description": name, "properties": {name: described, "b": {"enum": [name]}}}
    found = Collection("acme", name, (DeclaredField(f"/{name}", "text"),), (), schema, 1, (), None, None)
    text = contract(found, kind, "Gold")
    assert visible(text) == text
    if kind is ContractKind.JSON_SCHEMA:
        assert json.loads(text)["properties"]["b"] == {"enum": [name]}
