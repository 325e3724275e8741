"""JSON content: the limits on what may be stored, and JSON equality.

Values are Python objects: dict, list, str, bool, None, and for numbers int, Decimal or a
finite float.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .errors import DocumentTooLargeError, InvalidDocumentError

Json = Any  # a recursive alias would need more casts than it is worth

MAX_NUMBER_DIGITS = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one document, before and after a merge."""

    max_bytes: int = 1024 * 1024  # of JSON text
    max_depth: int = 32  # nested objects and arrays
    max_nodes: int = 10_000  # values, containers included
    max_indexed_text_bytes: int = 800  # of UTF-8


def check_size(size: int, limits: Limits, where: str) -> None:
    """Raise DocumentTooLargeError if `size`, in bytes of JSON text, exceeds the limit."""
    if size > limits.max_bytes:
        raise DocumentTooLargeError(
            f"{where}: {size} bytes of JSON, at most {limits.max_bytes}",
            fields=[(where, f"must be at most {limits.max_bytes} bytes of JSON text")],
            limit=limits.max_bytes,
        )


def check_value(value: Json, limits: Limits, where: str) -> None:
    """Raise if a value exceeds the limits or holds something that PostgreSQL or a client cannot represent.

    Raises DocumentTooLargeError or InvalidDocumentError. Iterative, so that deep nesting cannot exhaust the stack.
    """
    nodes = 0
    level: list[Json] = [value]
    depth = 0
    while level:
        nodes += len(level)
        if nodes > limits.max_nodes:
            raise too_many(limits, where)
        below: list[Json] = []
        containers = False
        for node in level:
            if isinstance(node, dict):
                containers = True
                for key in node:
                    _check_text(key, where)
                below.extend(node.values())
            elif isinstance(node, list):
                containers = True
                below.extend(node)
            else:
                _check_scalar(node, where)
        depth += containers
        if depth > limits.max_depth:
            raise _over(where, f"at most {limits.max_depth} levels of nesting", limits.max_depth)
        level = below


def check_growth(value: Json, limits: Limits, where: str) -> None:
    """Raise DocumentTooLargeError if copy operations made a value too deep or far too large.

    Stops before the value is too large to walk. Measures as the database does: the size of the binary form (jsonb),
    which is at most four times the size of the text.
    """
    size, depth = 8, 0
    level: list[Json] = [value]
    while level:
        depth += any(isinstance(node, dict | list) for node in level)
        below: list[Json] = []
        for node in level:
            size += 4 + _stored_size(node)
            if isinstance(node, dict):
                size += sum(4 + _stored_size(key) for key in node)
                below.extend(node.values())
            elif isinstance(node, list):
                below.extend(node)
        if size > 4 * limits.max_bytes:
            raise _outgrown(where, f"{limits.max_bytes} bytes of JSON text", limits.max_bytes)
        level = below
    if depth > limits.max_depth:
        raise too_deep(limits, where)


def too_many(limits: Limits, where: str) -> DocumentTooLargeError:
    """Return the error for a document with too many values."""
    return _over(where, f"at most {limits.max_nodes} values", limits.max_nodes)


def too_deep(limits: Limits, where: str) -> DocumentTooLargeError:
    """Return the error for merged content that is nested too deep."""
    return _outgrown(where, f"{limits.max_depth} levels of nesting", limits.max_depth)


def _outgrown(where: str, rule: str, limit: int) -> DocumentTooLargeError:
    problem = f"the merged content must have at most {rule}"
    return DocumentTooLargeError(f"{where}: {problem}", fields=[(where, problem)], limit=limit)


def _stored_size(node: Json) -> int:
    """Return the size of a value in jsonb, in bytes, without its members and padding."""
    if isinstance(node, str):
        return len(node) if node.isascii() else len(node.encode())
    if node is None or isinstance(node, bool):
        return 0
    if isinstance(node, int):
        return 6 + node.bit_length() * 3 // 20
    if isinstance(node, Decimal):
        return 6 + len(node.as_tuple().digits) // 2
    return 4


def _over(where: str, rule: str, limit: int) -> DocumentTooLargeError:
    return DocumentTooLargeError(f"{where}: must have {rule}", fields=[(where, f"must have {rule}")], limit=limit)


def _check_scalar(value: Json, where: str) -> None:
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, Decimal):
        check_number(value, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise _invalid(where, "must hold no NaN or infinity")
    elif isinstance(value, int) and value.bit_length() > 3 * MAX_NUMBER_DIGITS and abs(value) >= 10**MAX_NUMBER_DIGITS:
        raise _number(where)


def check_number(value: Decimal, where: str) -> None:
    """Raise InvalidDocumentError for NaN, infinity or a number over our digit limit, which is below PostgreSQL's."""
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise _invalid(where, "must hold no NaN or infinity")
    if -exponent > MAX_NUMBER_DIGITS or (value.adjusted() if value else exponent) >= MAX_NUMBER_DIGITS:
        raise _number(where)


def _number(where: str) -> InvalidDocumentError:
    return _invalid(where, f"numbers must have at most {MAX_NUMBER_DIGITS} digits before and after the point")


def _check_text(text: str, where: str) -> None:
    if "\0" in text:
        raise _invalid(where, "text must not hold U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _invalid(where, "text must not hold lone surrogates") from None


def _invalid(where: str, problem: str) -> InvalidDocumentError:
    return InvalidDocumentError(f"{where}: {problem}", fields=[(where, problem)])


def equal(a: Json, b: Json) -> bool:
    """Return whether two JSON values are equal: numbers by value, `true` differs from 1, keys in any order."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, str) or isinstance(b, str):
        return type(a) is type(b) and a == b
    return bool(_exact(a) == _exact(b))


def _exact(scalar: Json) -> Json:
    # A float means the number in its JSON text: 0.1, not the nearest binary fraction.
    return Decimal(repr(scalar)) if isinstance(scalar, float) else scalar


def changed_fields(old: dict[str, Json], new: dict[str, Json]) -> list[str]:
    """Return the top-level keys whose values differ, in code point order."""
    missing = object()
    return sorted(
        key
        for key in old.keys() | new.keys()
        if missing in (first := old.get(key, missing), second := new.get(key, missing)) or not equal(first, second)
    )
