"""The meaning of filters in plain Python; tests compare the compiled SQL and `draftline.matches` with it.

It works on the filter as written, before any types are settled, so that the typing is under test as well. Documents
are decoded JSON whose numbers are int or Decimal.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from draftline_server.domain.filters.ast import (
    RECORD_ATTRIBUTES,
    And,
    FieldType,
    Filter,
    Literal,
    LiteralKind,
    Not,
    Operator,
    Or,
    Path,
    Restriction,
)

MISSING = object()
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def satisfies(
    tree: Filter[Restriction] | None,
    content: Mapping[str, Any],
    attributes: Mapping[str, Any],
    declared: Mapping[Path, FieldType],
) -> bool:
    """Return whether a record satisfies a filter; `attributes` are JSON values, times RFC 3339 texts."""
    match tree:
        case None:
            return True
        case And():
            return all(satisfies(term, content, attributes, declared) for term in tree.terms)
        case Or():
            return any(satisfies(term, content, attributes, declared) for term in tree.terms)
        case Not():
            return not satisfies(tree.term, content, attributes, declared)
    assert isinstance(tree, Restriction)
    if tree.field.of_record and tree.field.path == ("mistyped",):
        wanted = (tree.literal.text == "true") == (tree.operator is not Operator.NE)
        return wanted == is_mistyped(content, declared)
    if tree.field.of_record:
        return _restriction(tree, value_at(attributes, tree.field.path), RECORD_ATTRIBUTES[tree.field.path[0]])
    type_ = declared.get(tree.field.path)
    if tree.operator is Operator.HAS:
        return _has(tree, content, type_)
    return _restriction(tree, value_at(content, tree.field.path), type_)


def is_mistyped(content: Mapping[str, Any], declared: Mapping[Path, FieldType]) -> bool:
    """Return whether a declared field has a non-null value that does not fit its type."""
    return any(not _can_hold(value_at(content, path), type_) for path, type_ in declared.items())


def _can_hold(value: Any, type_: FieldType) -> bool:
    if value is MISSING or value is None:
        return True
    if type_ is FieldType.TEXT:
        return isinstance(value, str) and len(value.encode()) <= 800
    found = typed(value, type_)
    return found is not None and (type_ is not FieldType.NUMBER or _fits(found))


def value_at(document: Any, path: Path) -> Any:
    """Return the value at a path of object keys."""
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return MISSING
        document = document[name]
    return document


def values_at(documents: list[Any], path: Path) -> list[Any]:
    """The values that the keys lead to, where an array on the way stands for its elements, but none within an array."""
    for name in path:
        opened = [each for document in documents for each in (document if isinstance(document, list) else [document])]
        documents = [each[name] for each in opened if isinstance(each, dict) and name in each]
    return documents


def _restriction(restriction: Restriction, value: Any, type_: FieldType | None) -> bool:
    operator, literal = restriction.operator, restriction.literal
    present = value is not MISSING and value is not None
    if literal.kind is LiteralKind.ANY:
        return present
    if literal.kind is LiteralKind.NULL and not restriction.lowered:
        return present == (operator is Operator.NE)
    if operator is Operator.NE:
        return not _compare(replace(restriction, operator=Operator.EQ), value, type_)
    return _compare(restriction, value, type_)


def _compare(restriction: Restriction, value: Any, type_: FieldType | None) -> bool:
    operator, literal, lowered = restriction.operator, restriction.literal, restriction.lowered
    if literal.parts:
        parts = [re.escape(lower(part) if lowered else part) for part in literal.parts]
        text = lower(value) if lowered and isinstance(value, str) else value
        return isinstance(text, str) and re.fullmatch(".*".join(parts), text, re.DOTALL) is not None
    type_ = FieldType.TEXT if lowered else type_ or _literal_type(literal)
    left, right = typed(value, type_), typed(_json_of(literal, type_), type_)
    if left is None or (type_ is FieldType.NUMBER and not _fits(left)):
        return False
    if lowered:
        left, right = lower(left), lower(right)
    return {
        Operator.EQ: left == right,
        Operator.HAS: left == right,
        Operator.LT: left < right,
        Operator.LE: left <= right,
        Operator.GT: left > right,
        Operator.GE: left >= right,
    }[operator]


def lower(text: str) -> str:
    """Lower each letter whose lower case is a single letter."""
    return "".join(each if len(each.lower()) > 1 else each.lower() for each in text)


def _has(restriction: Restriction, content: Mapping[str, Any], type_: FieldType | None) -> bool:
    literal = restriction.literal
    found = values_at([content], restriction.field.path)
    if literal.kind is LiteralKind.ANY:
        return any(value is not None for value in found)
    is_plain = type_ is None and not restriction.lowered and not literal.parts
    if is_plain and any(isinstance(value, dict) and literal.text in value for value in found):
        return True
    elements = [each for value in found for each in (value if isinstance(value, list) else [value])]
    return any(_compare(restriction, element, type_) for element in elements)


def _literal_type(literal: Literal) -> FieldType:
    own = {LiteralKind.NUMBER: FieldType.NUMBER, LiteralKind.BOOLEAN: FieldType.BOOLEAN}
    return own.get(literal.kind, FieldType.TEXT)


def _json_of(literal: Literal, type_: FieldType) -> Any:
    if type_ is FieldType.NUMBER:
        return Decimal(literal.text)
    if type_ is FieldType.BOOLEAN:
        return literal.text == "true"
    return literal.text


def typed(value: Any, type_: FieldType) -> Any:
    """The value as something Python can order; None for the wrong type. Texts compare by code point in Python, too."""
    match type_:
        case FieldType.TEXT:
            return value if isinstance(value, str) else None
        case FieldType.NUMBER:
            return value if isinstance(value, int | Decimal) and not isinstance(value, bool) else None
        case FieldType.BOOLEAN:
            return value if isinstance(value, bool) else None
        case FieldType.DATE:
            return _date(value) if isinstance(value, str) else None
        case FieldType.TIMESTAMP:
            return _time(value) if isinstance(value, str) else None


def _fits(number: int | Decimal) -> bool:
    """At most 100 digits before and after the point; longer ones are not compared."""
    return Decimal(number).copy_abs() < 10**100 and -int(Decimal(number).as_tuple().exponent) <= 100


def _time(text: str) -> datetime | None:
    if day := _date(text):
        return day
    if not (part := _TIME.fullmatch(text)):
        return None
    zone = "+00:00" if part[4] in "Zz" else part[4]
    is_leap = part[2].endswith(":60")
    clock = part[2][:-2] + "59" if is_leap else part[2]
    try:
        moment = datetime.fromisoformat(f"{part[1]}T{clock}{zone}").astimezone(UTC) + timedelta(seconds=is_leap)
        if is_leap and moment != datetime(moment.year, moment.month, 1, tzinfo=UTC):
            return None
        return moment + timedelta(microseconds=int((part[3] or ".0")[1:7].ljust(6, "0")))
    except (ValueError, OverflowError):
        return None


def _date(text: str) -> datetime | None:
    if named := re.fullmatch(r"([A-Z][a-z]{2}) ([0-9]{2}) ([0-9]{4})", text):
        if named[1] not in _MONTHS:
            return None
        text = f"{named[3]}-{_MONTHS.index(named[1]) + 1:02}-{named[2]}"
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None
