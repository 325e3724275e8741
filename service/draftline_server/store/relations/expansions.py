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
from ..lists.branches import ListQueryKey, Pairs
from .ids import related_ids
from .related_rows import CONTENT, ID, NUMBERS, RELATED_IDS, RelatedRow, content_bytes, place_of, related_statement
from .selected_keys import key_values, keys_by_collection, storable
from .steps import Step, steps_of

Key = tuple[str, str]  # collection and record id
Rows: TypeAlias = Mapping[str, RelatedRow]  # of one collection, by record id
Source: TypeAlias = tuple[str, bytes, str | None]  # id, content and parent id of a record from which relations lead


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

    included: dict[str, Rows] = field(default_factory=dict)
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
        self._database = database
        self._specs = specs

    async def steps(self, actor: Actor, query: ExpandQuery) -> dict[str, Step]:
        """Return the relations of a query; see steps_of for the errors."""
        return await steps_of(self._specs, actor.tenant_id, query.collection, query.paths)

    async def expand(
        self, actor: Actor, query: ExpandQuery, steps: Mapping[str, Step], roots: Sequence[Record], max_bytes: int
    ) -> Expansion:
        """Return the related records of some records. Their contents may have other keys besides `query.fields`.

        Raise TooManyBytesError if their contents have more than `max_bytes`.
        """
        reader = _Reader(self._database, actor, query, keys_by_collection(query.fields, steps), max_bytes)
        sources = [(each.record_id, each.content.encode(), each.parent_id) for each in roots]
        await reader.follow_all(steps, query.collection, sources, is_root=True)
        return reader.expansion


class _Reader:
    """Reads the related records of one call."""

    def __init__(
        self, database: Database, actor: Actor, query: ExpandQuery, keys: Mapping[str, Sequence[str]], max_bytes: int
    ) -> None:
        self._database = database
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
            related = await self._follow(step.relation, sources)
            links = self.expansion.from_roots if is_root else self.expansion.from_included
            for record_id, each in related.items():
                links.setdefault((collection, record_id), {})[name] = each
            if step.steps:
                ids = dict.fromkeys(record_id for each in related.values() for record_id in each.record_ids)
                rows = map(self.expansion.included[target].__getitem__, ids)
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
        rows = {row[ID]: row for row in await self._fetch(relation, Pairs.NAMED, wanted)}
        self._include(relation, rows)
        return {
            record_id: Related(relation.target, [each for each in ids[:limit] if each in rows], len(ids) > limit)
            for record_id, ids in named.items()
        }

    async def _naming(self, relation: Relation, sources: Sequence[Source]) -> dict[str, Related]:
        pairs = Pairs.CHILDREN
        if relation.direction is Direction.INVERSE:
            pairs = Pairs.INVERSE_WITH_DELETED if self._query.show_deleted else Pairs.INVERSE
        targets, limit = [source[0] for source in sources], self._query.limit
        fetched = await self._fetch(relation, pairs, targets)
        rows: Rows = {row[ID]: row for row in fetched}
        found: list[list[str]] = [[] for _ in targets]
        if fetched:
            for number, record_id in zip(fetched[0][NUMBERS], fetched[0][RELATED_IDS], strict=True):
                if record_id in rows:
                    found[number - 1].append(record_id)
        for ids in found:
            if relation.direction is Direction.CHILDREN:
                ids.sort(key=lambda each: _position(rows[each]))
            else:
                ids.sort()
        if any(len(ids) > limit for ids in found):
            rows = {each: rows[each] for ids in found for each in ids[:limit]}
        self._include(relation, rows)
        related = [Related(relation.target, ids[:limit], len(ids) > limit) for ids in found]
        return dict(zip(targets, related, strict=True))

    async def _fetch(self, relation: Relation, pairs: Pairs, targets: Sequence[str]) -> Sequence[RelatedRow]:
        """Return the rows of the related records of some targets.

        Raise TooManyBytesError if they have more content than there is room for.
        """
        if not targets:
            return []
        query = self._query
        has_drafts = query.view is not View.BASELINE
        view = View.MERGED if has_drafts else View.BASELINE
        keys = self._keys.get(relation.target)
        shape = ListQueryKey(
            "", None, (), view, query.show_deleted, False, bool(query.session_id), related=pairs,
            key_count=None if keys is None else len(keys),
        )  # fmt: skip
        statement, fixed = related_statement(shape)
        values: dict[str, object] = {
            "tenant_id": self._actor.tenant_id, "user_id": self._actor.user_id, "collection": relation.target,
            "session_id": query.session_id, "with_drafts": has_drafts, "show_deleted": query.show_deleted,
            "order_id": relation.order_id, "path": list(relation.path), "targets": targets,
            "related_limit": query.limit + 1, "max_bytes": self._bytes_left,
        }  # fmt: skip
        if keys is not None:
            values |= key_values(keys)
        rows = await self._database.fetch(statement, {**fixed, **values}, idempotent=True)
        self._bytes_left -= content_bytes(rows)
        if self._bytes_left < 0:  # the statement may have left out rows for the same reason
            raise TooManyBytesError
        return rows

    def _include(self, relation: Relation, rows: Rows) -> None:
        included = self.expansion.included
        known = included.get(relation.target)
        included[relation.target] = {**rows, **known} if known else rows


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
