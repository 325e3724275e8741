"""Edits: four merge strategies and nine operations, as pure functions.

The database applies the same rules in SQL (migrations/sql/0001_edits.sql), inside
the UPDATE. Tests compare it with these functions, and the service uses them when
partial updates are disabled. No function modifies its arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from enum import StrEnum

from .content import Json, Limits, check_growth, equal, too_deep
from .errors import InvalidFieldError, InvalidOperationError, OperationTestFailedError


class Strategy(StrEnum):
    SHALLOW = "SHALLOW"
    DEEP = "DEEP"
    MERGE_PATCH = "MERGE_PATCH"
    REPLACE = "REPLACE"


Path = tuple[str, ...]

_BAD_ESCAPE = re.compile("~(?![01])")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `path` and `source` are the reference tokens of a JSON Pointer."""

    op: str
    path: Path
    source: Path = ()
    value: Json = None


def parse_pointer(pointer: str, field: str) -> Path:
    """Return the reference tokens of a JSON Pointer (RFC 6901). Raises InvalidFieldError if it is malformed."""
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise InvalidFieldError.of(field, "a JSON Pointer is empty or starts with / (RFC 6901)")
    if "\0" in pointer:
        raise InvalidFieldError.of(field, "must not hold U+0000")
    if _BAD_ESCAPE.search(pointer):
        raise InvalidFieldError.of(field, "in a JSON Pointer ~ is followed by 0 or 1 (RFC 6901)")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


def format_pointer(path: Sequence[str]) -> str:
    """Return the JSON Pointer (RFC 6901) for reference tokens."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in path)


def apply_delta(content: Json, delta: Json, strategy: Strategy, depth: int = 0) -> Json:
    """Return the content with a delta merged into it. `depth` limits DEEP merging; 0 means unlimited."""
    if strategy is Strategy.REPLACE:
        return delta
    if strategy is Strategy.SHALLOW:
        return {**content, **delta}
    if strategy is Strategy.DEEP:
        return _merge_deep(content, delta, depth)
    return _merge_patch(content, delta)


def _merge_deep(target: Json, delta: Json, depth: int) -> Json:
    if depth == 1:
        return {**target, **delta}
    return target | {
        key: _merge_deep(target[key], value, max(depth - 1, 0))
        if isinstance(value, dict) and isinstance(target.get(key), dict)
        else value
        for key, value in delta.items()
    }


def _merge_patch(target: Json, patch: Json) -> Json:
    """Return the result of a JSON Merge Patch (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_patch(merged.get(key), value)
    return merged


def apply_operations(content: Json, operations: Sequence[Operation], limits: Limits) -> Json:
    """Return the content after all operations; raise the error of the first operation that fails.

    Intermediate content is never nested deeper than twice the limit: each value is within the limit, and a write at
    a path deeper than the limit is rejected.
    """
    for index, operation in enumerate(operations):
        content = _Step(index, operation).apply(content)
        if operation.op in ("copy", "move"):
            check_growth(content, limits, WHERE)
        elif operation.op in _WRITING and len(operation.path) > limits.max_depth:
            raise too_deep(limits, WHERE)
    if not isinstance(content, dict):
        problem = "path '' would be left with a value that is not an object"
        raise InvalidOperationError(f"{WHERE}: {problem}", fields=[(WHERE, problem)], path="")
    return content


MISSING = object()
WHERE = "operations"  # the request field that holds the operations
_WRITING = ("add", "replace", "increment", "union")  # operations that leave a value at their path
_WIDE = Context(prec=5000, Emax=10_000, Emin=-10_000)


def resolve(document: Json, path: Path) -> Json:
    """Return the value at a path, or MISSING. Array indexes follow RFC 6901."""
    for token in path:
        if isinstance(document, dict) and token in document:
            document = document[token]
        elif isinstance(document, list) and (index := _index(token)) is not None and index < len(document):
            document = document[index]
        else:
            return MISSING
    return document


def _index(token: str) -> int | None:
    valid = token.isascii() and token.isdigit() and len(token) <= 9 and (token == "0" or token[0] != "0")
    return int(token) if valid else None


def _number(value: Json) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class _Step:
    index: int
    operation: Operation

    @property
    def _field(self) -> str:
        return f"{WHERE}.operations[{self.index}]"

    def apply(self, document: Json) -> Json:
        step = self.operation
        match step.op:
            case "add":
                return self._add(document, step.path, step.value)
            case "remove":
                self._existing(document, step.path)
                return self._without(document, step.path)
            case "replace":
                self._existing(document, step.path)
                return self._put(document, step.path, step.value)
            case "copy":
                return self._add(document, step.path, self._existing(document, step.source))
            case "move":
                return self._move(document)
            case "test":
                value = resolve(document, step.path)
                if value is MISSING or not equal(value, step.value):
                    raise OperationTestFailedError(
                        f"{self._field}: the test of {format_pointer(step.path)!r} failed",
                        operation=self.index,
                        path=format_pointer(step.path),
                    )
                return document
            case _:
                return self._transform(document)

    def _transform(self, document: Json) -> Json:
        step = self.operation
        target = resolve(document, step.path)
        if step.op == "increment":
            if target is MISSING:
                return self._add(document, step.path, step.value)
            if not _number(target):
                raise self._refuse(step.path, "does not lead to a number")
            return self._put(document, step.path, _sum(target, step.value))
        if target is MISSING:
            return document if step.op == "subtract" else self._add(document, step.path, _union([], step.value))
        if not isinstance(target, list):
            raise self._refuse(step.path, "does not lead to an array")
        if step.op == "union":
            return self._put(document, step.path, _union(target, step.value))
        remaining = [item for item in target if not any(equal(item, removed) for removed in step.value)]
        return self._put(document, step.path, remaining)

    def _move(self, document: Json) -> Json:
        step = self.operation
        value = self._existing(document, step.source)
        if step.source == step.path:
            return document
        if step.path[: len(step.source)] == step.source:
            raise self._refuse(step.source, "cannot be moved into itself")
        return self._add(self._without(document, step.source), step.path, value)

    def _existing(self, document: Json, path: Path) -> Json:
        value = resolve(document, path)
        if value is MISSING:
            raise self._refuse(path, "does not resolve")
        return value

    def _add(self, document: Json, path: Path, value: Json) -> Json:
        if not path:
            return value
        parent = resolve(document, path[:-1])
        if isinstance(parent, dict):
            return self._put(document, path, value)
        if isinstance(parent, list):
            index = len(parent) if path[-1] == "-" else _index(path[-1])
            if index is not None and index <= len(parent):
                return self._put(document, path[:-1], [*parent[:index], value, *parent[index:]])
        raise self._refuse(path, "does not resolve")

    def _put(self, document: Json, path: Path, value: Json) -> Json:
        if not path:
            return value
        token, rest = path[0], path[1:]
        if isinstance(document, list):
            index = int(token)
            return [*document[:index], self._put(document[index], rest, value), *document[index + 1 :]]
        return {**document, token: self._put(document.get(token), rest, value)}

    def _without(self, document: Json, path: Path) -> Json:
        if not path:
            raise self._refuse(path, "the whole document cannot be removed")
        parent = resolve(document, path[:-1])
        if isinstance(parent, list):
            index = int(path[-1])
            return self._put(document, path[:-1], parent[:index] + parent[index + 1 :])
        return self._put(document, path[:-1], {key: value for key, value in parent.items() if key != path[-1]})

    def _refuse(self, path: Path, problem: str) -> InvalidOperationError:
        pointer = format_pointer(path)
        problem = f"path {pointer!r} {problem}"
        return InvalidOperationError(
            f"{self._field}: {problem}", fields=[(self._field, problem)], operation=self.index, path=pointer
        )


def _sum(a: Json, b: Json) -> Json:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return _exact_sum(Decimal(repr(a) if isinstance(a, float) else a), Decimal(repr(b) if isinstance(b, float) else b))


def _exact_sum(a: Decimal, b: Decimal) -> Decimal:
    """Return the sum without rounding, as PostgreSQL's numeric computes it."""
    low = min(int(a.as_tuple().exponent), int(b.as_tuple().exponent))
    total = int(a.scaleb(-low, _WIDE)) + int(b.scaleb(-low, _WIDE))
    return Decimal(total).scaleb(low, _WIDE)


def _union(target: list[Json], value: list[Json]) -> list[Json]:
    merged = list(target)
    for item in value:
        if not any(equal(item, present) for present in merged):
            merged.append(item)
    return merged
