"""Queries over the change log, and the types of their filters.

A filter names the attributes of a change without a prefix. Their types are fixed: collection specs do not
affect them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .changes import Change, ChangeKind, ChangeSource
from .filters.ast import And, FieldType, Filter, FilterError, Literal, LiteralKind, Not, Operator, Or, Restriction
from .filters.conditions import Condition
from .filters.type_resolution import with_types

CHANGE_ATTRIBUTES: Mapping[str, FieldType] = {
    "collection": FieldType.TEXT,
    "record_id": FieldType.TEXT,
    "version": FieldType.NUMBER,
    "kind": FieldType.TEXT,
    "source": FieldType.TEXT,
    "user_id": FieldType.TEXT,
    "session_id": FieldType.TEXT,
    "commit_id": FieldType.TEXT,
    "change_reason": FieldType.TEXT,
    "request_id": FieldType.TEXT,
    "create_time": FieldType.TIMESTAMP,
}
_CHOICES: Mapping[str, Sequence[str]] = {"kind": tuple(ChangeKind), "source": tuple(ChangeSource)}
_IDS = ("commit_id", "request_id")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class ChangeQuery:
    """The arguments of a list of changes. An empty `collection` or `record_id` matches all.

    `filter_text` is the filter as the caller wrote it; page tokens are bound to it.
    """

    collection: str = ""
    record_id: str = ""
    filter: Filter[Condition] | None = None
    filter_text: str = ""
    oldest_first: bool = False
    omit_values: bool = False


@dataclass(frozen=True, slots=True)
class ChangePage:
    changes: Sequence[Change]
    next_page_token: str


def with_change_types(tree: Filter[Restriction]) -> Filter[Condition]:
    """Return the filter with each literal parsed as the type of the attribute that it is compared with.

    Raises FilterError if a name is not an attribute of a change, or if a literal cannot be compared with its attribute.
    """
    if isinstance(tree, And):
        return And(tuple(map(with_change_types, tree.terms)))
    if isinstance(tree, Or):
        return Or(tuple(map(with_change_types, tree.terms)))
    if isinstance(tree, Not):
        return Not(with_change_types(tree.term))
    field = tree.field
    if field.of_record or ".".join(field.path) not in CHANGE_ATTRIBUTES:
        name = ".".join(("record", *field.path) if field.of_record else field.path)
        raise FilterError(f"a change has no attribute {name!r}; it has {', '.join(CHANGE_ATTRIBUTES)}", field.position)
    (name,) = field.path
    if tree.literal.kind not in (LiteralKind.ANY, LiteralKind.NULL) and (name in _CHOICES or name in _IDS):
        if tree.lowered:
            raise FilterError(f"{name} does not depend on case: compare it without lower()", field.position)
        tree = replace(tree, literal=_identity(name, tree.operator, tree.literal))
    return with_types(replace(tree, field=replace(field, of_record=True)), {}, CHANGE_ATTRIBUTES)


def _identity(name: str, operator: Operator, literal: Literal) -> Literal:
    """Return the literal for an attribute without an ordering: an enum value or a UUID.

    Raises FilterError for an ordering operator and for a literal that is not such a value.
    """
    if operator not in (Operator.EQ, Operator.NE, Operator.HAS):
        raise FilterError(f"{name} can only be compared with = and !=", literal.position)
    if name in _CHOICES:
        if literal.parts or literal.text not in _CHOICES[name]:
            raise FilterError(f"{name} is one of {', '.join(_CHOICES[name])}", literal.position)
        return literal
    if literal.parts or not _UUID.fullmatch(literal.text):
        raise FilterError(f"{name} is a UUID, such as 0197c5a2-64b1-7c3e-8d0f-1a2b3c4d5e6f", literal.position)
    return replace(literal, text=literal.text.lower())
