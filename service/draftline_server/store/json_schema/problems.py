"""Messages that say why a JSON Schema is refused: the location in it, the problem and the fix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import jsonschema_rs

from ...domain.edits import format_pointer, parse_pointer, resolve
from ...domain.errors import DraftlineError

DIALECTS = "2020-12, 2019-09, draft 7, draft 6 and draft 4"
BUNDLED = "json-schema.org"  # the host of the meta-schemas, which schemas may refer to
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_ANCHORS = ("$anchor", "$dynamicAnchor")
_VALUES = ("const", "enum", "default", "examples")  # keywords that hold instances, not schemas
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")


def problem_of(schema: Any, error: jsonschema_rs.ValidationError) -> str:
    """Return the problem of a schema that fails with `error`, as a phrase that follows the field's name."""
    kind = type(error.kind).__name__.rpartition("_")[2]
    if kind == "Referencing":
        return (
            _dialect_problem(schema) or _reference_problem(schema) or "has a $ref or an $id that is not a URI reference"
        )
    path = [str(token) for token in error.instance_path]
    pointer = format_pointer(path)
    if kind == "Format" and (path[-1:] == ["pattern"] or path[-2:-1] == ["patternProperties"]):
        return f"has a pattern at {pointer} that is not a regular expression: {_short(_at(schema, path))}"
    if path[-1:] == ["type"]:
        return (
            f"has an unknown type at {pointer}: the types are array, boolean, integer, null, number, object and string"
        )
    return f"is not a valid JSON Schema at {pointer or 'its root'}: {_short(error.message)}"


def _at(schema: Any, path: Sequence[str]) -> Any:
    """Return the value at a path; for an entry of patternProperties its key, because the key is the pattern."""
    return path[-1] if path[-2:-1] == ["patternProperties"] else resolve(schema, tuple(path))


def _short(text: object) -> str:
    shown = str(text)
    return shown if len(shown) <= 200 else shown[:200] + "…"


def _dialect_problem(schema: Any) -> str | None:
    dialect = schema.get("$schema") if isinstance(schema, dict) else None
    if dialect is None:
        return None
    try:
        jsonschema_rs.validator_for({"$schema": dialect})
    except ValueError:
        return f"has at /$schema the unknown dialect {_short(dialect)}: the known ones are {DIALECTS}"
    return None


@dataclass(frozen=True, slots=True)
class _Reference:
    pointer: str
    keyword: str
    text: str
    base: str  # the URI that it is relative to; empty if there is none


@dataclass(slots=True)
class _Resource:
    """The schema under one `$id`, or the root schema, and its anchors."""

    schema: Any
    anchors: set[str]


def _reference_problem(schema: Any) -> str | None:
    """Return the problem of the first reference that cannot be resolved or leads out of the schema."""
    resources: dict[str, _Resource] = {"": _Resource(schema, set())}
    for reference in list(_collect(schema, resources)):
        prefix = f"has a {reference.keyword} at {reference.pointer} that "
        try:
            url, fragment = urldefrag(urljoin(reference.base, reference.text))
            has_scheme = bool(urlsplit(reference.text).scheme)
        except ValueError:
            return f"{prefix}is not a URI reference: {_short(reference.text)}"
        if urlsplit(url).hostname == BUNDLED:
            continue
        if url in resources:
            if not _holds(resources[url], unquote(fragment)):
                return f"{prefix}leads to {_short(reference.text)}, which the schema does not hold"
            continue
        way_out = "put the definitions under $defs and refer to them as #/$defs/name"
        if has_scheme:
            return f"{prefix}leads to {_short(reference.text)}, but must stay within the schema: {way_out}"
        return (
            f"{prefix}is relative, {_short(reference.text)}, and matches no $id within the schema; "
            f"nothing is fetched: {way_out}"
        )
    return None


def _holds(resource: _Resource, fragment: str) -> bool:
    if not fragment or fragment in resource.anchors:
        return True
    try:
        path = parse_pointer(fragment, "$ref")
    except DraftlineError:
        return False
    return isinstance(resolve(resource.schema, path), dict | bool)


def _collect(schema: Any, resources: dict[str, _Resource]) -> Iterator[_Reference]:
    """Yield the references of a schema, and add its resources to `resources`.

    It is iterative, so that deep nesting cannot exhaust the stack.
    """
    waiting: list[tuple[Any, tuple[str, ...], str, bool]] = [(schema, (), "", True)]
    while waiting:
        node, path, base, is_schema = waiting.pop()
        if isinstance(node, list):
            waiting += [(node[i], (*path, str(i)), base, is_schema) for i in reversed(range(len(node)))]
        if not isinstance(node, dict):
            continue
        if is_schema:
            base = _noted(node, base, resources)
            for keyword in _REFERENCES:
                if isinstance(node.get(keyword), str):
                    yield _Reference(format_pointer([*path, keyword]), keyword, node[keyword], base)
        for key in reversed(node):
            if not is_schema or key not in _VALUES:
                waiting.append((node[key], (*path, key), base, not is_schema or key not in _BY_NAME))


def _noted(node: dict[str, Any], base: str, resources: dict[str, _Resource]) -> str:
    """Return the base URI within a schema object, and add its `$id` and anchors to `resources`."""
    own = node.get("$id", node.get("id"))
    if isinstance(own, str):
        base = urldefrag(urljoin(base, own))[0]
        resources.setdefault(base, _Resource(node, set()))
        if node is resources[""].schema:
            resources[""] = resources[base]
    found = [node[keyword] for keyword in _ANCHORS if isinstance(node.get(keyword), str)]
    if isinstance(own, str) and own.startswith("#"):
        found.append(own[1:])  # draft 7 and older
    resources[base].anchors.update(found)
    return base
