"""The content fields that a filter, an order or a field mask names, and the names that a JSON Schema describes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from .ast import And, Filter, Not, Or, Path, Restriction, SortKey

MAX_SCHEMA_STEPS = 2_000  # subschemas to visit for one name; a schema may refer to itself


@dataclass(frozen=True, slots=True)
class NamedField:
    """A content field as a request names it. `argument` is the field of the request, such as `filter`."""

    argument: str
    path: Path

    @property
    def name(self) -> str:
        return spelled(self.path)


def fields_of_filter(tree: Filter[Restriction] | None) -> Iterator[Path]:
    """Yield the path of each content field in a filter, in the order of the text."""
    waiting = [tree] if tree is not None else []
    while waiting:
        node = waiting.pop()
        if isinstance(node, And | Or):
            waiting.extend(reversed(node.terms))
        elif isinstance(node, Not):
            waiting.append(node.term)
        elif not node.field.of_record:
            yield node.field.path


def named_fields(
    tree: Filter[Restriction] | None, order: Sequence[SortKey], mask: Sequence[str]
) -> tuple[NamedField, ...]:
    """Return the content fields that a list names, without duplicates."""
    found = [NamedField("filter", path) for path in fields_of_filter(tree)]
    found += [NamedField("order_by", key.field.path) for key in order if not key.field.of_record]
    found += [NamedField("fields", (key,)) for key in mask]
    return tuple(dict.fromkeys(found))


def spelled(path: Path) -> str:
    """Return a path as a filter writes it: names with dots between them, quoted where that is necessary."""
    return ".".join(
        name if re.fullmatch(r"[^\W\d]\w*", name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for name in path
    )


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the known name that is most similar to `name`, regardless of case; empty if none is similar."""
    by_folded = {each.casefold(): each for each in reversed(known)}
    return next((by_folded[each] for each in get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)), "")


class SchemaNames:
    """The names of object members that a JSON Schema describes."""

    def __init__(self, schema: Any) -> None:
        self._root = schema
        self._steps = 0

    def describes(self, path: Path) -> bool:
        """Return True if the schema describes a value at the path, through objects and arrays."""
        self._steps = 0
        nodes = [self._root]
        for name in path:
            nodes = [member for node in nodes for part in self._parts(node) for member in self._members(part, name)]
        return bool(nodes)

    def names(self, path: Path) -> list[str]:
        """Return the names of the members of the object at the path."""
        self._steps = 0
        nodes = [self._root]
        for name in path:
            nodes = [member for node in nodes for part in self._parts(node) for member in self._members(part, name)]
        found = [name for node in nodes for part in self._parts(node) for name in _mapping(part, "properties")]
        return list(dict.fromkeys(found))

    def _parts(self, node: Any) -> Iterator[dict[str, Any]]:
        """Yield the schema and all schemas that apply to the same value, or to the elements of an array."""
        waiting, seen = [node], set()
        while waiting and self._steps < MAX_SCHEMA_STEPS:
            part = waiting.pop()
            self._steps += 1
            if not isinstance(part, dict) or id(part) in seen:
                continue
            seen.add(id(part))
            yield part
            if isinstance(part.get("$ref"), str):
                waiting.append(self._referenced(part["$ref"]))
            for keyword in ("allOf", "anyOf", "oneOf", "prefixItems"):
                waiting += part[keyword] if isinstance(part.get(keyword), list) else []
            waiting += [part[key] for key in ("if", "then", "else", "items", "contains", "not") if key in part]
            waiting += _mapping(part, "dependentSchemas").values()

    def _members(self, part: dict[str, Any], name: str) -> Iterator[Any]:
        properties = _mapping(part, "properties")
        if name in properties:
            yield properties[name]
            return
        for pattern, schema in _mapping(part, "patternProperties").items():
            try:
                matches = re.search(pattern, name) is not None
            except re.error:  # the patterns of JSON Schema are those of ECMAScript
                matches = True
            if matches:
                yield schema
        if isinstance(part.get("additionalProperties"), dict):
            yield part["additionalProperties"]

    def _referenced(self, reference: str) -> Any:
        if not reference.startswith("#"):
            return None
        node = self._root
        for token in filter(None, reference[1:].split("/")):
            key = token.replace("~1", "/").replace("~0", "~")
            node = node.get(key) if isinstance(node, dict) else None
        return node


def _mapping(part: dict[str, Any], keyword: str) -> dict[str, Any]:
    found = part.get(keyword)
    return found if isinstance(found, dict) else {}
