"""Models of relations: those of a collection spec, and the records to which they lead."""

from __future__ import annotations

from dataclasses import dataclass

from draftline.models.index_state import IndexState
from draftline.models.str_enum import StrEnum


class RelationIntegrity(StrEnum):
    """The treatment of writes that would leave a relation with the id of a missing record."""

    NONE = "none"  # accepted; reads by the relation omit such ids
    # Refused with FailedPreconditionError: a reference to a missing record (REFERENCE_NOT_FOUND), and the deletion of a
    # record that others name (RECORD_REFERENCED). Drafts are checked when they are committed.
    CHECK = "check"


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
    integrity: RelationIntegrity | str = RelationIntegrity.NONE


@dataclass(frozen=True)
class DanglingReferences:
    """The references of a checked relation without a live record: older than the check, or pulled by a sync."""

    count: int  # pairs of a record and an id
    record_ids: tuple[str, ...]  # the first records that have such references, at most 10


@dataclass(frozen=True)
class CollectionRelation:
    """A relation that a collection spec declares, with the state of its index."""

    relation: DeclaredRelation
    state: IndexState | None  # None: there is no index, because it has no inverse and is not checked
    dangling: DanglingReferences | None = None  # of a checked relation; None: not counted


@dataclass(frozen=True)
class RelatedIds:
    """The records to which one relation leads from one record."""

    collection: str
    record_ids: tuple[str, ...]  # in the order of the relation
    has_more: bool  # there are more than `expand_limit`
