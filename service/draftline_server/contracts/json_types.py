"""The types that a JSON Schema describes, for the generators of code.

A keyword that the generated code cannot express makes the type wider, never narrower: a model accepts every content
that satisfies the schema.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from ..domain.visible_text import visible
from .naming import attribute_name, class_name, singular, unique

MAX_LITERAL = 2**63 - 1  # checkers of types and msgspec know no greater ones
SCALARS = ("string", "integer", "number", "boolean", "null")


@dataclass(frozen=True)
class JsonType:
    """One type: a scalar, "any", "array" and "map" of `members[0]`, "union" of `members`, "model" or "literal"."""

    kind: str
    members: tuple[JsonType, ...] = ()
    name: str = ""  # of a model
    values: tuple[Any, ...] = ()  # of a literal


ANY = JsonType("any")
NULL = JsonType("null")


@dataclass(frozen=True)
class Attribute:
    """One key of an object."""

    key: str
    name: str
    type: JsonType
    is_required: bool
    description: str = ""


@dataclass
class Model:
    """An object with known keys."""

    name: str
    attributes: list[Attribute] = field(default_factory=list)
    is_closed: bool = False  # other keys are not allowed
    description: str = ""


def read_models(schema: dict[str, Any], root_name: str) -> list[Model]:
    """Return the models of a schema of objects: those that others use first, the root last."""
    reader = _Reader(schema)
    root = reader.model(schema if isinstance(schema, dict) else {}, root_name, "#")
    reader.models.remove(root)
    return [*reader.models, root]


def union(members: list[JsonType]) -> JsonType:
    """Return the union of types, with one literal, and without duplicates and integers among numbers; null is last."""
    flat: list[JsonType] = []
    for each in members:
        flat += each.members if each.kind == "union" else (each,)
    if ANY in flat:
        return ANY
    kinds = {each.kind for each in flat}
    values = {(type(value), value): value for each in flat for value in each.values}  # True equals 1 in Python
    flat = [JsonType("literal", values=tuple(values.values())) if each.kind == "literal" else each for each in flat]
    found = [each for each in dict.fromkeys(flat) if not (each.kind == "integer" and "number" in kinds)]
    found.sort(key=lambda each: each == NULL)
    return found[0] if len(found) == 1 else JsonType("union", tuple(found))


class _Reader:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._names: set[str] = set()
        self._references: dict[str, JsonType | None] = {}  # None: being read
        self.models: list[Model] = []

    def model(self, schema: dict[str, Any], name: str, reference: str = "") -> Model:
        """Read an object with properties. The model is added after those that it uses."""
        model = Model(unique(class_name(name), self._names), description=_description(schema))
        if reference:
            self._references[reference] = JsonType("model", name=model.name)
        schema = self._merged(schema)
        model.is_closed = schema.get("additionalProperties") is False and not schema.get("patternProperties")
        properties = schema.get("properties") or {}
        required = set(schema.get("required") or ())
        taken: set[str] = set()
        for key, each in properties.items():
            each = each if isinstance(each, dict) else {}  # noqa: PLW2901
            type_ = self.type_of(each, key)
            name = unique(attribute_name(key), taken)
            model.attributes.append(Attribute(key, name, type_, key in required, _description(each)))
        self.models.append(model)
        return model

    def type_of(self, schema: Any, name: str) -> JsonType:
        """Return the type that a schema describes; `name` is that of a model, if it is one."""
        if not isinstance(schema, dict):
            return ANY
        if "const" in schema or "enum" in schema:
            return _literal([schema["const"]] if "const" in schema else schema["enum"])
        if "type" in schema or "properties" in schema:
            kinds = schema.get("type", "object")
            return union([self._of_kind(kind, schema, name) for kind in ([kinds] if isinstance(kinds, str) else kinds)])
        if isinstance(schema.get("$ref"), str):
            return self._referred(schema["$ref"], name)
        for keyword in ("anyOf", "oneOf"):
            if schema.get(keyword):
                return union([self.type_of(each, name) for each in schema[keyword]])
        merged = self._merged(schema)
        return self.type_of(merged, name) if "type" in merged or "properties" in merged else ANY

    def _of_kind(self, kind: str, schema: dict[str, Any], name: str) -> JsonType:
        if kind == "object":
            if schema.get("properties"):
                return JsonType("model", name=self.model(schema, name).name)
            return JsonType("map", (self._of_members(schema, name),))
        if kind == "array":
            items = None if "prefixItems" in schema else schema.get("items")
            return JsonType("array", (self.type_of(items, singular(name)),))
        return JsonType(kind) if kind in SCALARS else ANY

    def _of_members(self, schema: dict[str, Any], name: str) -> JsonType:
        """Return the type of the values of an object whose keys are not known."""
        members = list((schema.get("patternProperties") or {}).values())
        others = schema.get("additionalProperties")
        if others is not False or not members:
            members.append(others)
        return union([self.type_of(each, name) for each in members])

    def _referred(self, reference: str, name: str) -> JsonType:
        if (known := self._references.get(reference)) is not None:
            return known
        target = self._resolve(reference)
        if reference in self._references or target is None:
            return ANY  # a reference to itself that is not an object, or one that is not resolved
        name = reference.rpartition("/")[2] or name
        merged = self._merged(target)
        if (
            merged.get("properties")
            and merged.get("type", "object") == "object"
            and not {"enum", "const"} & set(merged)
        ):
            return JsonType("model", name=self.model(target, name, reference).name)
        self._references[reference] = None
        self._references[reference] = found = self.type_of(target, name)
        return found

    def _resolve(self, reference: str) -> dict[str, Any] | None:
        pointer = unquote(reference.removeprefix("#"))
        if not reference.startswith("#") or pointer[:1] not in ("", "/"):
            return None  # another document, or an anchor
        found: Any = self._root
        for token in pointer.split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else None

    def _merged(self, schema: dict[str, Any], depth: int = 0) -> dict[str, Any]:
        """Return the schema with the properties of its `allOf` and `$ref`, which hold in addition."""
        parts = [each for each in schema.get("allOf") or () if isinstance(each, dict)]
        if isinstance(schema.get("$ref"), str) and (target := self._resolve(schema["$ref"])):
            parts.append(target)
        if not parts or depth > 8:
            return schema
        merged = {key: value for key, value in schema.items() if key not in ("allOf", "$ref")}
        for part in (self._merged(each, depth + 1) for each in parts):
            properties = {**(part.get("properties") or {}), **(merged.get("properties") or {})}
            required = [*(merged.get("required") or ()), *(part.get("required") or ())]
            merged = {**part, **merged, "properties": properties, "required": required}
        return {key: value for key, value in merged.items() if key != "properties" or value}


def _literal(values: Any) -> JsonType:
    if not isinstance(values, list) or not all(isinstance(each, str | int | None) for each in values):
        return ANY
    large = [each for each in values if isinstance(each, int) and abs(each) > MAX_LITERAL]
    rest = tuple(each for each in values if each is not None and each not in large)
    found = [JsonType("literal", values=rest)] * bool(rest) + [JsonType("integer")] * bool(large)
    found += [NULL] * (None in values)
    return union(found) if found else ANY


def _description(schema: dict[str, Any]) -> str:
    text = schema.get("description")
    return visible(" ".join(text.split())) if isinstance(text, str) else ""
