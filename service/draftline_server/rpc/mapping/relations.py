"""Conversion of relations and related records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from draftline.v1 import collection_pb2, draft_pb2

from ...domain.edits import format_pointer, parse_pointer
from ...domain.filters.ast import Path
from ...domain.records import Actor
from ...domain.relations import DEFAULT_LIMIT, MAX_LIMIT, Integrity, RelationSpec, parse_expand
from ...domain.values import value_class
from ...store.relations.expansions import Expansion, Related
from ..response_size import Parts
from .drafts import fill_merged

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


def fill_included(parts: Parts[draft_pb2.MergedRecord], expansion: Expansion, actor: Actor, request: Expanding) -> None:
    presentation = IncludedPresentation(request.included_fields, request.response_encoding)
    for key, merged in expansion.included.items():
        message = parts.add()
        fill_merged(message, merged, actor, presentation)
        fill_related(message.related, expansion.from_included.get(key, {}))


def fill_related(parts: Parts[draft_pb2.Related], related: Mapping[str, Related]) -> None:
    for name, each in related.items():
        message = parts.add()
        message.relation, message.collection, message.has_more = name, each.collection, each.has_more
        message.record_ids.extend(each.record_ids)


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
