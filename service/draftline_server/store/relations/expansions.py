"""Expansions: the records that are related to others, read by one statement for each relation and level.

Each statement has a snapshot of its own, so a record that changes between two statements may appear in its earlier
state at one end of a relation and in its later state at the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ...domain.filters.ast import Path
from ...domain.merged import MergedQuery, View
from ...domain.records import Actor, Record
from ...domain.relations import Direction, Relation
from ...domain.values import value_class
from ..collections.cache import CollectionSpecs
from ..database import Database
from ..lists.branches import ListQueryKey, RelationKind
from .ids import related_ids
from .related_reads import RelatedReads
from .related_rows import CONTENT, ID, RelatedRow, content_bytes, place_of, rows_by_id
from .selected_keys import key_values, keys_by_collection, storable
from .steps import Step, steps_of

Key = tuple[str, str]  # collection and record id
Source: TypeAlias = tuple[str, bytes, str | None]  # id, content and parent id of a record from which relations lead


def source_of(record: Record) -> Source:
    return record.record_id, record.content.encode(), record.parent_id


class TooManyBytesError(Exception):
    """The related records have more content than the caller has room for."""


@value_class
class Related:
    """The records to which one relation leads from one record."""

    collection: str
    record_ids: Sequence[str]
    has_more: bool


@dataclass(slots=True)
class Expansion:
    """Related records by collection, each once, and the relations that lead to them, by the record they start from."""

    included: dict[str, Sequence[RelatedRow]] = field(default_factory=dict)
    from_roots: dict[Key, dict[str, Related]] = field(default_factory=dict)
    from_included: dict[Key, dict[str, Related]] = field(default_factory=dict)
    selected: set[str] = field(default_factory=set)  # collections whose contents have no keys besides `fields`


@value_class
class ExpandQuery:
    """The relations to follow from records of a collection, and the drafts that count."""

    collection: str
    paths: Sequence[Path]
    limit: int  # related records of one record, by one relation
    view: View = View.MERGED
    session_id: str = ""
    show_deleted: bool = False
    fields: Sequence[str] = ()  # keys of the related contents that are needed; empty: all


class Expansions:
    """Reads related records."""

    def __init__(self, database: Database, specs: CollectionSpecs) -> None:
        self._specs = specs
        self._reads = RelatedReads(database)

    async def steps(self, actor: Actor, query: ExpandQuery) -> dict[str, Step]:
        """Return the relations of a query; see steps_of for the errors."""
        return await steps_of(self._specs, actor.tenant_id, query.collection, query.paths)

    async def expand(
        self, actor: Actor, query: ExpandQuery, steps: Mapping[str, Step], roots: Sequence[Source], max_bytes: int
    ) -> Expansion:
        """Return the related records of some records. Their contents may have other keys besides `query.fields`.

        Raise TooManyBytesError if their contents have more than `max_bytes`.
        """
        keys = keys_by_collection(query.fields, steps)
        reader = _Reader(self._reads, actor, query, keys, max_bytes)
        await reader.follow_all(steps, query.collection, roots, is_root=True)
        return reader.expansion


class _Reader:
    """Reads the related records of one call."""

    def __init__(
        self, reads: RelatedReads, actor: Actor, query: ExpandQuery, keys: Mapping[str, Sequence[str]], max_bytes: int
    ) -> None:
        self._reads = reads
        self._actor = actor
        self._query = query
        self._keys = keys
        self._bytes_left = max_bytes
        wanted = set(storable(query.fields))
        self.expansion = Expansion(selected={name for name, each in keys.items() if wanted == set(each)})

    async def follow_all(
        self, steps: Mapping[str, Step], collection: str, sources: Sequence[Source], *, is_root: bool = False
    ) -> None:
        """Follow relations from records of a collection, and on from the records that they lead to."""
        for name, step in steps.items():
            target = step.relation.target
            related = await self._follow(step.relation, sources) if sources else {}
            links = self.expansion.from_roots if is_root else self.expansion.from_included
            for record_id, each in related.items():
                links.setdefault((collection, record_id), {})[name] = each
            ids = dict.fromkeys(record_id for each in related.values() for record_id in each.record_ids)
            if step.steps and ids:
                rows = map(rows_by_id(self.expansion.included[target]).__getitem__, ids)
                await self.follow_all(step.steps, target, [(row[ID], row[CONTENT], place_of(row)[0]) for row in rows])

    async def _follow(self, relation: Relation, sources: Sequence[Source]) -> dict[str, Related]:
        """Return the related records of each source by its id, and add them to those that are included."""
        if relation.direction in (Direction.FIELD, Direction.PARENT):
            return await self._named(relation, sources)
        return await self._naming(relation, sources)

    async def _named(self, relation: Relation, sources: Sequence[Source]) -> dict[str, Related]:
        named = {source[0]: _ids_of(relation, source) for source in sources}
        limit = self._query.limit
        wanted = list(dict.fromkeys(each for ids in named.values() for each in ids[:limit]))
        _, rows = await self._fetch(relation, RelationKind.NAMED, wanted) if wanted else ((), [])
        self._include(relation, rows)
        found = rows_by_id(rows)
        return {
            record_id: Related(relation.target, [each for each in ids[:limit] if each in found], len(ids) > limit)
            for record_id, ids in named.items()
        }

    async def _naming(self, relation: Relation, sources: Sequence[Source]) -> dict[str, Related]:
        kind = RelationKind.CHILDREN
        if relation.direction is Direction.INVERSE:
            kind = RelationKind.INVERSE_WITH_DELETED if self._query.show_deleted else RelationKind.INVERSE
        targets, limit = [source[0] for source in sources], self._query.limit
        found, rows = await self._fetch(relation, kind, targets)
        if sum(map(len, found)) != len(rows):  # several sources may have the same; each must have a row
            existing = {row[ID] for row in rows}
            found = [[each for each in ids if each in existing] for ids in found]
        key = None
        if relation.direction is Direction.CHILDREN:
            positions = {row[ID]: _position(row) for row in rows}
            key = positions.__getitem__
        for ids in found:  # records and drafts are sorted apart
            ids.sort(key=key)
        if any(len(ids) > limit for ids in found):
            kept = {each for ids in found for each in ids[:limit]}
            rows = [row for row in rows if row[ID] in kept]
        self._include(relation, rows)
        related = [Related(relation.target, ids[:limit], len(ids) > limit) for ids in found]
        return dict(zip(targets, related, strict=True))

    async def _fetch(
        self, relation: Relation, kind: RelationKind, targets: Sequence[str]
    ) -> tuple[Sequence[list[str]], Sequence[RelatedRow]]:
        """Return the ids of the related records of each target, and their rows. There are no ids if they are NAMED.

        Raise TooManyBytesError if they have more content than there is room for.
        """
        query = self._query
        has_drafts = query.view is not View.BASELINE
        view = View.MERGED if has_drafts else View.BASELINE
        keys = self._keys.get(relation.target)
        shape = ListQueryKey(
            "", None, (), view, query.show_deleted, False, bool(query.session_id), related=kind,
            key_count=None if keys is None else len(keys),
        )  # fmt: skip
        values: dict[str, object] = {
            "tenant_id": self._actor.tenant_id, "user_id": self._actor.user_id, "collection": relation.target,
            "session_id": query.session_id, "with_drafts": has_drafts, "show_deleted": query.show_deleted,
            "order_id": relation.order_id, "path": list(relation.path), "targets": targets,
            "related_limit": query.limit + 1, "max_bytes": self._bytes_left,
        }  # fmt: skip
        if keys is not None:
            values |= key_values(keys)
        found, rows = await self._reads.read(shape, values)
        self._bytes_left -= content_bytes(rows)
        if self._bytes_left < 0:  # the statement may have left out rows for the same reason
            raise TooManyBytesError
        return found, rows

    def _include(self, relation: Relation, rows: Sequence[RelatedRow]) -> None:
        included = self.expansion.included
        known = included.get(relation.target)
        if known:
            ids = {row[ID] for row in known}
            rows = [*known, *(row for row in rows if row[ID] not in ids)]
        included[relation.target] = rows


def _ids_of(relation: Relation, source: Source) -> Sequence[str]:
    _, content, parent_id = source
    if relation.direction is Direction.PARENT:
        return [parent_id] if parent_id is not None else []
    return related_ids(content, relation.path)


def _position(row: RelatedRow) -> tuple[bool, int, str]:
    _, position, _ = place_of(row)
    return position is None, position or 0, row[ID]


def query_of(list_query: MergedQuery, paths: Sequence[Path], limit: int, fields: Sequence[str]) -> ExpandQuery:
    """Return the query for the related records of a list: the same drafts count as in the list."""
    return ExpandQuery(
        list_query.collection, paths, limit, list_query.view, list_query.session_id, list_query.show_deleted, fields
    )
