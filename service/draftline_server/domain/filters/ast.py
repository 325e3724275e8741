"""The syntax tree of filters (AIP-160) and orders (AIP-132).

A filter has two forms. The text is parsed to a `Filter[Restriction]`, which does not depend on the collection and can
be cached. `conditions.with_types` converts it to a `Filter[Condition]`, in which every literal is a value of the type
that its field is compared as.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Generic, TypeAlias, TypeVar

from .values import FieldType as FieldType  # noqa: PLC0414  re-exported

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
    # True if a declared field holds a value of another type. It is computed from the content, so no order can use it.
    "mistyped": FieldType.BOOLEAN,
}
# The values of record.state in filters.
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
    """An invalid filter or order. `position` is the character index of the problem in the text, from 0."""

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
    """The syntactic kind of a literal, independent of the field's type."""

    TEXT = "a text"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    NULL = "null"
    ANY = "*"


@dataclass(frozen=True, slots=True)
class Field:
    """A content field, addressed by its path of object keys, or with `of_record` an attribute of the record.

    The path of an attribute has exactly one name. `is_explicit`: written with `content.` before the path, which is then
    never one of a related record.
    """

    path: Path
    of_record: bool = False
    position: int = field(default=0, compare=False)
    is_explicit: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Literal:
    """The right side of a restriction, without quotes and escapes.

    `parts` holds the texts between the wildcard stars, each of which matches any characters; empty without a star.
    """

    kind: LiteralKind
    text: str
    parts: tuple[str, ...] = ()
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Restriction:
    """A comparison as written. `lowered` is true if the left side is `lower(field)`."""

    field: Field
    operator: Operator
    literal: Literal
    lowered: bool = False


Leaf = TypeVar("Leaf")


@dataclass(frozen=True, slots=True)
class And(Generic[Leaf]):
    """The conjunction of two or more terms."""

    terms: "tuple[Filter[Leaf], ...]"


@dataclass(frozen=True, slots=True)
class Or(Generic[Leaf]):
    """The disjunction of two or more terms."""

    terms: "tuple[Filter[Leaf], ...]"


@dataclass(frozen=True, slots=True)
class Not(Generic[Leaf]):
    """The negation of a term."""

    term: "Filter[Leaf]"


Filter: TypeAlias = And[Leaf] | Or[Leaf] | Not[Leaf] | Leaf


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order. Null and missing values sort last in both directions."""

    field: Field
    descending: bool = False
