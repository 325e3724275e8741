"""Random contents and filters for the tests that hold SQL equal to the oracle: small pools, so that values meet."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from draftline_server.domain.filters.ast import (
    RECORD_ATTRIBUTES,
    And,
    Field,
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
from draftline_server.domain.filters.values import looks_like_number
from hypothesis import strategies as st

DECLARED: dict[Path, FieldType] = {
    ("text",): FieldType.TEXT,
    ("number",): FieldType.NUMBER,
    ("boolean",): FieldType.BOOLEAN,
    ("date",): FieldType.DATE,
    ("time",): FieldType.TIMESTAMP,
    ("in side", "text"): FieldType.TEXT,
}
KEYS = ["text", "number", "boolean", "date", "time", "in side", "a", "0", "-1", "é'\"\\%(x)s:y$1", "record", "😀", ""]
TEXTS = [
    "",
    "a",
    "ab",
    "aé",
    "b",
    "a*",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "😀",
    "😀b",
    "\U0010ffff",
    "\U0010ffffx",
    "a\n'\"\\",
    "A%_\\",
    "AÉΣЖß",
    "aéσжß",
    "İK\u212a",
]
PATTERNS = [
    ("", ""),
    ("a", ""),
    ("", "b"),
    ("", "é", ""),
    ("a", "b"),
    ("", "%", ""),
    ("", "_\\"),
    ("É", ""),
    ("", "", ""),
]
DATES = ["2026-11-20", "Nov 20 2026", "2000-02-29", "1900-02-28", "0001-01-01", "9999-12-31"]
TIMES = [
    "2026-11-20T10:00:00Z",
    "2026-11-20t10:00:00.000000+00:00",
    "2026-11-20T12:00:00.0000009+02:00",
    "2026-11-20T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "2026-11-20 10:00:00z",
    "2026-11-20T10:00:00-00:00",
    "2016-12-31T23:59:60Z",
    "2017-01-01T00:00:00Z",
    "1990-12-31T15:59:60.5-08:00",
    "0001-01-01T00:00:00Z",
]
NO_TIMES = [
    "2026-02-29",
    "1900-02-29",
    "Feb 30 2024",
    "feb 01 2024",
    "2026-13-01",
    "0000-01-01",
    "2026-1-1",
    "２026-11-20",
    "2026-11-20T24:00:00Z",
    "2026-11-20T10:00:60Z",
    "2026-11-20T10:00:00",
    "2026-11-20  10:00:00Z",
    "2026-11-20_10:00:00Z",
    "2026-11-20T10:00Z",
    "2026-11-20T10:00:00.Z",
    "9999-12-31T23:59:60Z",
    "2026-11-30T23:59:61Z",
    "Nov 20 2026T10:00:00Z",
    "2026-11-20T10:00:00+24:00",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
]
NUMBERS = ["0", "-0.0", "1", "1.0", "-1", "10e-1", "2", "0.1", "9007199254740993", "1e400", "9" * 1000]
ATTRIBUTES = {
    "record_id": "a",
    "version": 1,
    "parent_id": None,
    "position": 2,
    "create_time": "2026-11-20T10:00:00+00:00",
    "update_time": "2026-11-20T12:00:00+02:00",
    "created_by": "b",
}


class _Number(str):
    """A JSON number by its text, since Python's encoder knows no Decimal."""


def to_json_text(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{to_json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json_text, value)) + "]"
    return json.dumps(value)


_SCALARS = [None, True, False, *map(_Number, NUMBERS), *TEXTS, *NUMBERS[:6], *DATES, *TIMES, *NO_TIMES, "true", "null"]
# One document a value, with the value in every place that filters look at: what random documents seldom hit.
CORPUS = [
    to_json_text(
        {
            **dict.fromkeys(KEYS, value),
            "in side": {"text": value},
            "0": [{"a": value}, 1, {"a": [1, value]}, [{"a": value}]],
            "record": [[{"a": {"0": value}}]],
        }
    )
    for value in [
        *_SCALARS,
        *([scalar] for scalar in _SCALARS),
        *({text: 0} for text in TEXTS),
        [],
        {},
        [["a"], [1], [None], None],
        [{"a": {"a": 1}}, {"a": None}],
    ]
]
# Not those letters that Python of a later Unicode has in lower case, and the service has not.
_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cn"]), max_size=3)
_values = st.recursive(
    st.sampled_from(_SCALARS) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=4,
)
contents = st.dictionaries(st.sampled_from(KEYS), _values, max_size=6).map(to_json_text)

_paths = st.one_of(
    st.sampled_from([*DECLARED, ("a",), ("0", "a"), ("0", "a", "-1"), ("a", "a", "a"), ("record", "a", "0")]),
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).map(tuple),
)
_attributes = st.sampled_from(list(RECORD_ATTRIBUTES)).map(lambda name: Field((name,), of_record=True))
_fields = st.one_of(_paths.map(Field), _paths.map(Field), _paths.map(Field), _attributes)


def _literals(kind: LiteralKind, texts: list[str]) -> list[Literal]:
    return [Literal(kind, text) for text in texts]


_TEXT, _NUMBER = LiteralKind.TEXT, LiteralKind.NUMBER
_BOOLEANS = _literals(LiteralKind.BOOLEAN, ["true", "false"])
_OWN = [*_literals(_NUMBER, NUMBERS), *_BOOLEANS, *_literals(_TEXT, TEXTS + DATES[:2] + TIMES[:2])]
_LITERALS = {
    FieldType.TEXT: _OWN,
    FieldType.NUMBER: _literals(_NUMBER, NUMBERS) + _literals(_TEXT, NUMBERS[:3]),
    FieldType.BOOLEAN: _BOOLEANS,
    FieldType.DATE: _literals(_TEXT, DATES),
    FieldType.TIMESTAMP: _literals(_TEXT, [*TIMES, "2026-11-20"]),
}


def comparisons_of(field: Field, type_: FieldType | None) -> Iterator[Restriction]:
    """Every valid comparison of a field with a literal of the pools; `type_` None: of a field that is not declared."""
    equality = (Operator.EQ, Operator.NE)
    yield Restriction(field, Operator.HAS, Literal(LiteralKind.ANY, "*"))
    for operator in equality:
        yield Restriction(field, operator, Literal(LiteralKind.NULL, "null"))
    if type_ in (None, FieldType.TEXT):
        for operator in (*equality, Operator.HAS):
            for parts in PATTERNS:
                yield Restriction(field, operator, _pattern(parts))
                yield Restriction(field, operator, _pattern(parts), lowered=True)
        for text in ("", "aé", "A%_\\", "AÉΣЖß", "İK\u212a"):
            for operator in Operator:
                yield Restriction(field, operator, Literal(_TEXT, text), lowered=True)
    for literal in _LITERALS[type_ or FieldType.TEXT]:
        is_boolean = type_ is FieldType.BOOLEAN or (type_ is None and literal.kind is LiteralKind.BOOLEAN)
        for operator in (*equality, Operator.HAS) if is_boolean else Operator:
            yield Restriction(field, operator, literal)


@st.composite
def restrictions(draw: st.DrawFn) -> Restriction:
    """A valid comparison, now and then with a text that is in no pool."""
    field = draw(_fields)
    type_ = RECORD_ATTRIBUTES[field.path[0]] if field.of_record else DECLARED.get(field.path)
    if type_ in (None, FieldType.TEXT) and draw(st.booleans()):
        has_stars, lowered = draw(st.booleans()), draw(st.booleans())
        operator = draw(st.sampled_from([Operator.EQ, Operator.NE, Operator.HAS] if has_stars else list(Operator)))
        parts = tuple(draw(st.lists(_texts, min_size=2, max_size=3))) if has_stars else ()
        return Restriction(field, operator, _pattern(parts) if has_stars else Literal(_TEXT, draw(_texts)), lowered)
    return draw(st.sampled_from(_comparisons_of(field, type_)))


def _pattern(parts: tuple[str, ...]) -> Literal:
    return Literal(_TEXT, "*".join(parts), parts)


@cache
def _comparisons_of(field: Field, type_: FieldType | None) -> list[Restriction]:
    if field.of_record and field.path == ("mistyped",):
        operators = (Operator.EQ, Operator.NE, Operator.HAS)
        return [Restriction(field, operator, literal) for operator in operators for literal in _BOOLEANS]
    return list(comparisons_of(field, type_))


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return several.map(And) | several.map(Or) | inner.map(Not)


@st.composite
def value_lists(draw: st.DrawFn) -> Or[Restriction]:
    """Return the tree of an `in`: several comparisons of one field by `=`."""
    field = draw(_fields)
    type_ = RECORD_ATTRIBUTES[field.path[0]] if field.of_record else DECLARED.get(field.path)
    equal = [each for each in _comparisons_of(field, type_) if each.operator is Operator.EQ]
    lowered = draw(st.booleans()) and any(each.lowered for each in equal)
    terms = [each for each in equal if each.lowered == lowered]
    return Or(tuple(draw(st.lists(st.sampled_from(terms), min_size=2, max_size=6, unique=True))))


filters = restrictions() | value_lists() | st.recursive(restrictions() | value_lists(), combined, max_leaves=5)


def render(tree: Filter[Restriction]) -> str:
    """The filter as text, every part that is no comparison in parentheses."""
    match tree:
        case And():
            return " AND ".join(_enclosed(term) for term in tree.terms)
        case Or() if _is_value_list(tree):
            first, *_ = terms = [term for term in tree.terms if isinstance(term, Restriction)]
            return f"{_name(first)} in ({', '.join(_literal(term.literal) for term in terms)})"
        case Or():
            return " OR ".join(_enclosed(term) for term in tree.terms)
        case Not():
            return f"NOT {_enclosed(tree.term)}"
    assert isinstance(tree, Restriction)
    return f"{_name(tree)} {tree.operator} {_literal(tree.literal)}"


def _is_value_list(tree: Or[Restriction]) -> bool:
    terms = [term for term in tree.terms if isinstance(term, Restriction) and term.operator is Operator.EQ]
    compared = {(term.field, term.lowered) for term in terms}
    return len(compared) == 1 and len(set(terms)) == len(tree.terms)


def _name(tree: Restriction) -> str:
    path = ".".join(_quoted(name) for name in tree.field.path)
    name = f"{'record' if tree.field.of_record else 'content'}.{path}"
    return f"lower({name})" if tree.lowered else name


def _enclosed(tree: Filter[Restriction]) -> str:
    return render(tree) if isinstance(tree, Restriction) else f"({render(tree)})"


def _literal(literal: Literal) -> str:
    bare = literal.kind is not LiteralKind.TEXT
    assert not bare or literal.kind is not LiteralKind.NUMBER or looks_like_number(literal.text)
    return literal.text if bare else _quoted(*(literal.parts or (literal.text,)))


def _quoted(*parts: str) -> str:
    escaped = (part.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*") for part in parts)
    return f'"{"*".join(escaped)}"'
