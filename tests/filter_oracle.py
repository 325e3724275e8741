"""What a filter means, in plain Python: the tests hold the compiled SQL and `draftline.matches` equal to it.

It works on the filter as written, before any types are settled, so that the typing is under test as well. Documents
are decoded JSON whose numbers are int or Decimal.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from draftline_server.domain.query import (
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
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def satisfies(
    tree: Filter[Restriction] | None,
    content: Mapping[str, Any],
    attributes: Mapping[str, Any],
    declared: Mapping[Path, FieldType],
) -> bool:
    """Whether a record satisfies a filter; `attributes` as JSON holds them, times as RFC 3339 texts."""
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
    if tree.field.of_record:
        return _restriction(tree, value_at(attributes, tree.field.path), RECORD_ATTRIBUTES[tree.field.path[0]])
    return _restriction(tree, value_at(content, tree.field.path), declared.get(tree.field.path))


def value_at(document: Any, path: Path) -> Any:
    """PostgreSQL's `#>`: an array takes any integer, from its end if negative."""
    for name in path:
        if isinstance(document, dict) and name in document:
            document = document[name]
        elif isinstance(document, list) and re.fullmatch(r"[ \t\n\v\f\r]*[+-]?[0-9]{1,9}", name):
            index = int(name)
            if not -len(document) <= index < len(document):
                return MISSING
            document = document[index]
        else:
            return MISSING
    return document


def _restriction(restriction: Restriction, value: Any, type_: FieldType | None) -> bool:
    operator, literal = restriction.operator, restriction.literal
    present = value is not MISSING and value is not None
    if literal.kind is LiteralKind.ANY:
        return present
    if literal.kind is LiteralKind.NULL:
        return present == (operator is Operator.NE)
    if operator is Operator.NE:
        return not _compare(Operator.EQ, literal, value, type_)
    if operator is Operator.HAS and type_ is None:
        return _has(literal, value)
    return _compare(operator, literal, value, type_)


def _compare(operator: Operator, literal: Literal, value: Any, type_: FieldType | None) -> bool:
    if literal.prefix:
        return isinstance(value, str) and value.startswith(literal.text)
    type_ = type_ or _literal_type(literal)
    left, right = _typed(value, type_), _typed(_json_of(literal, type_), type_)
    if left is None or (type_ is FieldType.NUMBER and not _fits(left)):
        return False
    return {
        Operator.EQ: left == right,
        Operator.HAS: left == right,
        Operator.LT: left < right,
        Operator.LE: left <= right,
        Operator.GT: left > right,
        Operator.GE: left >= right,
    }[operator]


def _has(literal: Literal, value: Any) -> bool:
    if isinstance(value, dict):
        return literal.text in value
    wanted = _json_of(literal, _literal_type(literal))
    elements = value if isinstance(value, list) else [value]
    return any(_same_kind(element, wanted) and element == wanted for element in elements)


def _same_kind(one: Any, other: Any) -> bool:
    return any(
        isinstance(one, kind) and isinstance(other, kind) and isinstance(one, bool) == isinstance(other, bool)
        for kind in (str, bool, (int, Decimal))
    )


def _literal_type(literal: Literal) -> FieldType:
    own = {LiteralKind.NUMBER: FieldType.NUMBER, LiteralKind.BOOLEAN: FieldType.BOOLEAN}
    return own.get(literal.kind, FieldType.TEXT)


def _json_of(literal: Literal, type_: FieldType) -> Any:
    if type_ is FieldType.NUMBER:
        return Decimal(literal.text)
    if type_ is FieldType.BOOLEAN:
        return literal.text == "true"
    if type_ is FieldType.TIMESTAMP and re.fullmatch(r"\d+-\d+-\d+", literal.text):
        return f"{literal.text}T00:00:00Z"
    return literal.text


def _typed(value: Any, type_: FieldType) -> Any:
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
    return abs(number) < 10**100 and -int(Decimal(number).as_tuple().exponent) <= 100


def _date(text: str) -> datetime | None:
    if named := re.fullmatch(r"([A-Z][a-z]{2}) ([0-9]{2}) ([0-9]{4})", text):
        if named[1] not in _MONTHS:
            return None
        text = f"{named[3]}-{_MONTHS.index(named[1]) + 1:02}-{named[2]}"
    return _time(f"{text}T00:00:00Z") if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None


def _time(text: str) -> datetime | None:
    if not (part := _TIME.fullmatch(text)):
        return None
    zone = "+00:00" if part[4] in "Zz" else part[4]
    try:
        return datetime.fromisoformat(f"{part[1]}T{part[2]}{(part[3] or '.0')[:7]:0<7}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
