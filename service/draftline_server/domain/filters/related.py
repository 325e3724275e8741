"""Fields of related records in filters: names of relations before the name of a field, as in `author.country`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..relations import CHILDREN, MAX_DEPTH, PARENT, Relation
from ..values import value_class
from .ast import And, Field, FieldType, Filter, FilterError, Not, Or, Path, Restriction


@value_class
class Reach:
    """The relations of a collection, and the types of its declared fields, for the filters that name them."""

    relations: Mapping[str, Relation]
    fields: Mapping[Path, FieldType]


class RelatedFields:
    """The collections that a filter reaches by relations."""

    def __init__(self, collection: str) -> None:
        self.collection = collection
        self.reached: dict[str, Reach] = {}

    def resolve(self, field: Field) -> tuple[tuple[Relation, ...], Field, Mapping[Path, FieldType]] | None:
        """Return the relations that a field's name begins with, the field of the related record, and its types.

        Return None for a field of the record itself. Raise FilterError if there are too many relations.
        """
        relations: list[Relation] = []
        collection, rest = self.collection, names_of(field)
        while collection in self.reached and (step := next_relation(self.reached[collection], rest)) is not None:
            relation, rest = step
            relations.append(relation)
            collection = relation.target
        if not relations:
            return None
        if len(relations) > MAX_DEPTH:
            raise FilterError(f"follows {len(relations)} relations, and may follow {MAX_DEPTH}", field.position)
        own = Field(rest, position=field.position)
        if rest[0] in ("record", "content") and len(rest) > 1:
            own = replace(own, path=rest[1:], of_record=rest[0] == "record")
        return tuple(relations), own, self.reached[collection].fields


def names_of(field: Field) -> Path:
    """Return the names of a field as a filter writes them; empty if it is explicitly one of the content."""
    if field.is_explicit:
        return ()
    return ("record", *field.path) if field.of_record else field.path


def next_relation(reach: Reach, names: Path) -> tuple[Relation, Path] | None:
    """Return the relation that some names begin with, and the other names.

    The relations `parent` and `children` are written `record.parent` and `record.children`.
    """
    if len(names) > 2 and names[0] == "record" and names[1] in (PARENT, CHILDREN):
        return reach.relations[names[1]], names[2:]
    if len(names) > 1 and names[0] in reach.relations and names[0] not in (PARENT, CHILDREN):
        return reach.relations[names[0]], names[1:]
    return None


def fields_of(tree: Filter[Restriction] | None) -> Iterator[Field]:
    """Yield the field of each comparison."""
    waiting = [tree] if tree is not None else []
    while waiting:
        node = waiting.pop()
        if isinstance(node, And | Or):
            waiting.extend(node.terms)
        elif isinstance(node, Not):
            waiting.append(node.term)
        else:
            yield node.field


def refuse_related(tree: Filter[Restriction], relations: Mapping[str, Relation]) -> None:
    """Raise FilterError if a comparison names a related record."""
    for field in fields_of(tree):
        if next_relation(Reach(relations, {}), names_of(field)) is not None:
            raise FilterError(
                f"{field.path[0]} is a relation, which only the filters of lists follow; a field of the content is "
                f"content.{field.path[0]}",
                field.position,
            )
