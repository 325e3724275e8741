"""Filters (AIP-160) and orders (AIP-132) as they are written, as data.

A filter goes through two forms. The text is parsed to a `Filter[Restriction]`, which knows nothing of the
collection and can be cached; `conditions.with_types` makes a `Filter[Condition]` of it, in which every literal has
become a value of the type by which its field is compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Generic, TypeAlias, TypeVar

from .values import FieldType as FieldType  # noqa: PLC0414  a name of this module, too

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
    # A declared field holds a value that it cannot hold; read from the content, so no order sorts by it.
    "mistyped": FieldType.BOOLEAN,
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
    """A field of the content, by the object keys that lead to it, or with `of_record` an attribute of the record.

    The path of an attribute has one name.
    """

    path: Path
    of_record: bool = False
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Literal:
    """The right side of a restriction, without quotes and escapes.

    `parts`: what stands between the stars of a text with stars, each of which stands for any characters; else empty.
    """

    kind: LiteralKind
    text: str
    parts: tuple[str, ...] = ()
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Restriction:
    """A comparison as written; `lowered`: of `lower(field)`."""

    field: Field
    operator: Operator
    literal: Literal
    lowered: bool = False


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


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order. Null and missing come last in both directions."""

    field: Field
    descending: bool = False
