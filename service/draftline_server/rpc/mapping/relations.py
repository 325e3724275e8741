"""Conversion of relations and related records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from draftline.v1 import collection_pb2

from ...domain.edits import format_pointer, parse_pointer
from ...domain.filters.ast import Path
from ...domain.relations import DEFAULT_LIMIT, MAX_LIMIT, Integrity, RelationSpec, parse_expand
from ...domain.values import value_class

INTEGRITIES = {
    collection_pb2.RELATION_INTEGRITY_UNSPECIFIED: Integrity.NONE,
    collection_pb2.RELATION_INTEGRITY_NONE: Integrity.NONE,
    collection_pb2.RELATION_INTEGRITY_CHECK: Integrity.CHECK,
}
INTEGRITY_VALUES = {integrity: value for value, integrity in INTEGRITIES.items()}


class Expanding(Protocol):
    """The fields of a request that select related records."""

    @property
    def expand(self) -> Sequence[str]: ...

    @property
    def expand_limit(self) -> int: ...

    @property
    def included_fields(self) -> Sequence[str]: ...

    @property
    def response_encoding(self) -> int: ...


@value_class
class IncludedPresentation:
    """The presentation of included records."""

    fields: Sequence[str]
    response_encoding: int


def to_expand(request: Expanding) -> tuple[list[Path], int]:
    """Return the paths of relations and the limit of a request. Raise InvalidFieldError if a path is not valid."""
    return parse_expand(request.expand), min(request.expand_limit or DEFAULT_LIMIT, MAX_LIMIT)


def to_declared_relations(
    messages: Sequence[collection_pb2.DeclaredRelation],
) -> list[RelationSpec]:
    return [
        RelationSpec(
            each.name,
            parse_pointer(each.field, f"relations[{index}].field"),
            each.collection,
            each.inverse,
            INTEGRITIES[each.integrity],
        )
        for index, each in enumerate(messages)
    ]


def to_declared_relation(spec: RelationSpec) -> collection_pb2.DeclaredRelation:
    return collection_pb2.DeclaredRelation(
        name=spec.name,
        field=format_pointer(spec.path),
        collection=spec.collection,
        inverse=spec.inverse,
        integrity=INTEGRITY_VALUES[spec.integrity],
    )
