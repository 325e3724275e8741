"""Models of relations: those of a collection spec, and the records to which they lead."""

from __future__ import annotations

from dataclasses import dataclass

from draftline.models.index_state import IndexState


@dataclass(frozen=True)
class DeclaredRelation:
    """A relation from the records of a collection to those of another one, by ids that a field holds.

    author = DeclaredRelation("author", "/author", "people", inverse="films")
    client.put_collection("films", relations=[author])
    for film in client.get_merged("films", expand=["author"]):
        print(film.record_id, [each.content["name"] for each in film.related("author")])
    """

    name: str  # letters, digits and underscores; not "parent" or "children"
    field: str  # a JSON Pointer to an id, or to a list of ids: "/author"
    collection: str  # of the related records
    inverse: str = ""  # the name of the opposite relation, in that collection; it has an index. Empty: none


@dataclass(frozen=True)
class CollectionRelation:
    """A relation that a collection spec declares, with the state of its inverse."""

    relation: DeclaredRelation
    state: IndexState | None  # of the index of the inverse; None: it has no inverse


@dataclass(frozen=True)
class RelatedIds:
    """The records to which one relation leads from one record."""

    collection: str
    record_ids: tuple[str, ...]  # in the order of the relation
    has_more: bool  # there are more than `expand_limit`
