"""Filters (AIP-160) and orders (AIP-132) over records, as data.

A filter goes through two forms. The text is parsed to a `Filter[Restriction]`, which knows nothing of the
collection and can be cached; `with_types` makes a `Filter[Condition]` of it, in which every literal has
become a value of the type by which its field is compared. SQL is made of the second form, either as an expression
or, through `to_json`, for the function `draftline.matches`.

Logic has two values: a comparison with a missing, null or wrongly typed value is false, `!=` is NOT `=`, NOT flips.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, Generic, TypeAlias, TypeVar

from .literals import EXPECTED, Value, read_value, value_text
from .literals import FieldType as FieldType  # noqa: PLC0414  a name of this module, too

RECORD_ATTRIBUTES: Mapping[str, FieldType] = {
    "record_id": FieldType.TEXT,
    "version": FieldType.NUMBER,
    "parent_id": FieldType.TEXT,
    "position": FieldType.NUMBER,
    "create_time": FieldType.TIMESTAMP,
    "created_by": FieldType.TEXT,
    "update_time": FieldType.TIMESTAMP,
    "updated_by": FieldType.TEXT,
    "delete_time": FieldType.TIMESTAMP,
}
# What record.state can be, as filters name it.
STATES = ("PRISTINE", "DRAFT", "COMMITTED", "SYNCING", "SYNCED", "SYNC_ERROR")
MERGED_ATTRIBUTES: Mapping[str, FieldType] = {
    **RECORD_ATTRIBUTES,
    "state": FieldType.TEXT,
    "draft_version": FieldType.NUMBER,
    "modified_by": FieldType.TEXT,
    "modify_time": FieldType.TIMESTAMP,
    "session_id": FieldType.TEXT,
}


class FilterError(ValueError):
    """A filter or an order that means nothing; `position` counts characters of its text from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


Path: TypeAlias = tuple[str, ...]


class Operator(StrEnum):
    """The comparison operators of AIP-160."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    HAS = ":"


class LiteralKind(Enum):
    """What a literal looks like, before the field's type has its say."""

    TEXT = "a text"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    NULL = "null"
    ANY = "*"


@dataclass(frozen=True, slots=True)
class Field:
    """A place in the content, or with `of_record` an attribute of the record itself (then the path has one name)."""

    path: Path
    of_record: bool = False
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Literal:
    """The right side of a restriction: its text without quotes and escapes; `prefix` if it ended in a star."""

    kind: LiteralKind
    text: str
    prefix: bool = False
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Restriction:
    """A comparison as written."""

    field: Field
    operator: Operator
    literal: Literal


@dataclass(frozen=True, slots=True)
class Comparison:
    """The field holds a value of `type` that stands in this order (EQ LT LE GT GE) to `value`.

    `indexed`: the field is declared, so an index may hold it.
    """

    field: Field
    type: FieldType
    operator: Operator
    value: Value
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class StartsWith:
    """The field holds a text that starts with these code points."""

    field: Field
    prefix: str
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class Has:
    """The field holds an array with an element equal to `value`, an object with the key `key`, or `value` itself."""

    field: Field
    value: str | Decimal | bool
    key: str


@dataclass(frozen=True, slots=True)
class Present:
    """The field is there and is not null."""

    field: Field


Leaf = TypeVar("Leaf")


@dataclass(frozen=True, slots=True)
class And(Generic[Leaf]):
    """All of two or more."""

    terms: "tuple[Filter[Leaf], ...]"


@dataclass(frozen=True, slots=True)
class Or(Generic[Leaf]):
    """Any of two or more."""

    terms: "tuple[Filter[Leaf], ...]"


@dataclass(frozen=True, slots=True)
class Not(Generic[Leaf]):
    """Whatever the term is not."""

    term: "Filter[Leaf]"


Filter: TypeAlias = And[Leaf] | Or[Leaf] | Not[Leaf] | Leaf
Condition: TypeAlias = Comparison | StartsWith | Has | Present


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order. Null and missing come last in both directions."""

    field: Field
    descending: bool = False


def with_types(
    tree: Filter[Restriction],
    declared: Mapping[Path, FieldType],
    attributes: Mapping[str, FieldType] = RECORD_ATTRIBUTES,
) -> Filter[Condition]:
    """The filter with its literals read as the types of their fields.

    A declared field or a record attribute decides the type; elsewhere the literal's own look does. Raises
    FilterError for a literal that its field cannot be compared with and for an attribute that is not among
    `attributes`.
    """
    if isinstance(tree, And):
        return And(tuple(with_types(term, declared, attributes) for term in tree.terms))
    if isinstance(tree, Or):
        return Or(tuple(with_types(term, declared, attributes) for term in tree.terms))
    if isinstance(tree, Not):
        return Not(with_types(tree.term, declared, attributes))
    type_ = type_of(tree.field, declared, attributes)
    negated = tree.operator is Operator.NE
    condition: Filter[Condition]
    if tree.literal.kind is LiteralKind.NULL:
        if tree.operator not in (Operator.EQ, Operator.NE):
            raise FilterError("null can only be compared with = and !=", tree.literal.position)
        negated = not negated
        condition = Present(tree.field)
    else:
        condition = _condition(tree, type_)
    return Not(condition) if negated else condition


def type_of(
    place: Field, declared: Mapping[Path, FieldType], attributes: Mapping[str, FieldType] = RECORD_ATTRIBUTES
) -> FieldType | None:
    """The type of a field; None for a content field that is not declared. FilterError for an unknown attribute."""
    if not place.of_record:
        return declared.get(place.path)
    name = ".".join(place.path)
    if name not in attributes:
        known = ", ".join(f"record.{attribute}" for attribute in attributes)
        raise FilterError(
            f"a record has no attribute {name!r}; it has {known}; a content field is written content.record",
            place.position,
        )
    return attributes[name]


def _condition(restriction: Restriction, type_: FieldType | None) -> Condition:
    place, operator, literal = restriction.field, restriction.operator, restriction.literal
    indexed = type_ is not None and not place.of_record
    if literal.kind is LiteralKind.ANY:
        return Present(place)
    if literal.prefix:
        if type_ not in (None, FieldType.TEXT):
            raise FilterError(f"a star matches texts, and this field is a {type_}", literal.position)
        return StartsWith(place, literal.text, indexed)
    found = type_ or _own_type(literal)
    if place.of_record and place.path == ("state",) and literal.text not in STATES:
        raise FilterError(f"a record's state is one of {', '.join(STATES)}", literal.position)
    value = read_value(literal.text, found)
    if value is None:
        raise FilterError(f"the field is a {found}: expected {EXPECTED[found]}", literal.position)
    if type_ is None and operator is Operator.HAS and isinstance(value, str | Decimal | bool):
        return Has(place, value, literal.text)
    if operator in (Operator.NE, Operator.HAS):
        operator = Operator.EQ
    if isinstance(value, bool) and operator is not Operator.EQ:
        raise FilterError("true and false can only be compared with = and !=", literal.position)
    return Comparison(place, found, operator, value, indexed)


def _own_type(literal: Literal) -> FieldType:
    own = {LiteralKind.NUMBER: FieldType.NUMBER, LiteralKind.BOOLEAN: FieldType.BOOLEAN}
    return own.get(literal.kind, FieldType.TEXT)


def to_json(tree: Filter[Condition]) -> dict[str, Any]:
    """The filter for `draftline.matches`: objects, arrays and texts only, so any JSON encoder keeps it exact.

    `{"op": "and"|"or", "terms": [...]}`, `{"op": "not", "term": ...}`, and for a condition
    `{"op": "="|"<"|"<="|">"|">="|"prefix"|"has"|"present", "in": "content"|"record", "path": <text[] literal>,
    "type": <FieldType>, "value": <text>, "key": <text>}` with those members that it needs.
    """
    if isinstance(tree, And | Or):
        terms = [to_json(term) for term in tree.terms]
        return {"op": "and" if isinstance(tree, And) else "or", "terms": terms}
    if isinstance(tree, Not):
        return {"op": "not", "term": to_json(tree.term)}
    form = {"in": "record" if tree.field.of_record else "content", "path": _array_literal(tree.field.path)}
    match tree:
        case Comparison():
            return {"op": str(tree.operator), **form, "type": str(tree.type), "value": value_text(tree.value)}
        case StartsWith():
            return {"op": "prefix", **form, "value": tree.prefix}
        case Has():
            type_ = {bool: FieldType.BOOLEAN, str: FieldType.TEXT}.get(type(tree.value), FieldType.NUMBER)
            return {"op": "has", **form, "type": str(type_), "value": value_text(tree.value), "key": tree.key}
        case Present():
            return {"op": "present", **form}


def _array_literal(path: Path) -> str:
    # PostgreSQL casts this to text[] in one step; a JSON array would need a query of its own in every condition.
    quoted = ('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in path)
    return "{" + ",".join(quoted) + "}"
