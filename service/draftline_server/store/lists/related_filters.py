"""Filters by related records, as SQL: whether a relation leads to a record that satisfies a filter.

A relation leads to candidates, which are looked up by primary key with the caller's draft over them. Of an inverse and
of children, the merged values of each candidate are verified: a draft may have moved it to another record, or from one.
So candidates are those that the entries or the records name, and those that the caller's drafts name. Deleted records
do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Table,
    Text,
    and_,
    cast,
    column,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from ...domain.relations import Direction, Relation
from ..fields import path_literal
from ..filters import Candidates, FilterScope
from ..tables import draft, draft_order_entry, order_entry, record
from .attributes import attributes_of_either, attributes_of_record
from .order import bound

IDS = ARRAY(Text())


@dataclass(frozen=True, slots=True)
class RelatedRows:
    """The related records of a list: with the caller's drafts, or only those of a session, or the baseline."""

    has_drafts: bool
    has_session: bool

    def follow(self, relation: Relation, scope: FilterScope) -> list[Candidates]:
        """Return the candidates to which a relation leads from the row of a scope, each list with its conditions."""
        target = literal(relation.target, Text(), literal_execute=True)
        if relation.direction is Direction.FIELD:
            named = func.draftline.related_ids(scope.content, path_literal(relation.path), type_=IDS)
            origin = _origin(named)
            return [self._looked_up(origin, origin.c.id, target, scope)]
        if relation.direction is Direction.PARENT:
            origin = _origin(func.array_remove(_array(scope.attributes["parent_id"]), null(), type_=IDS))
            return [self._looked_up(origin, origin.c.id, target, scope)]
        if relation.direction is Direction.INVERSE:
            return self._naming(relation, target, scope)
        return self._children(target, scope)

    def _naming(self, relation: Relation, target: ColumnElement[Any], scope: FilterScope) -> list[Candidates]:
        found = []
        for table in [order_entry, draft_order_entry] if self.has_drafts else [order_entry]:
            origin = _origin(_array(scope.attributes["record_id"]))
            entry = table.alias()
            order_id = literal(relation.order_id, BigInteger(), literal_execute=True)
            conditions = [
                *_of_caller(entry, target), entry.c.order_id == order_id,
                entry.c.key == func.convert_to(origin.c.id, literal_column("'UTF8'")),
            ]  # fmt: skip
            entries = select(entry.c.record_id).where(*conditions).lateral()
            candidates = self._looked_up(origin.join(entries, true()), entries.c.record_id, target, scope)
            named = func.draftline.related_ids(candidates.scope.content, path_literal(relation.path), type_=IDS)
            found.append(candidates.verified(origin.c.id == func.any(named)))
        return found

    def _children(self, target: ColumnElement[Any], scope: FilterScope) -> list[Candidates]:
        found = []
        for table in [record, draft] if self.has_drafts else [record]:
            origin = _origin(_array(scope.attributes["record_id"]))
            child = table.alias()
            parent = (
                child.c.parent_id
                if table is record
                else child.c.attributes.op("#>>")(literal_column("'{parent_id,1}'"))
            )
            children = select(child.c.record_id).where(*_of_caller(child, target), parent == origin.c.id).lateral()
            candidates = self._looked_up(origin.join(children, true()), children.c.record_id, target, scope)
            found.append(candidates.verified(candidates.scope.attributes["parent_id"] == origin.c.id))
        return found

    def _looked_up(
        self, source: FromClause, record_id: ColumnElement[Any], target: ColumnElement[Any], scope: FilterScope
    ) -> Candidates:
        """Look up the records of candidates, with the caller's drafts. The LIMITs make it look-ups by primary key."""
        stored = record.alias()
        key = [stored.c.tenant_id == _tenant(), stored.c.collection == target, stored.c.record_id == record_id]
        r = select(stored).where(*key).limit(literal_column("1")).lateral()
        source = source.outerjoin(r, true())
        is_live = and_(r.c.record_id.is_not(None), r.c.deleted_at.is_(None))
        if not self.has_drafts:
            inner = FilterScope(r.c.content, attributes_of_record(r.c, record_id), scope.follow)
            return Candidates(source, inner, [is_live])
        own = draft.alias()
        key = [
            own.c.tenant_id == _tenant(),
            tuple_(own.c.user_id, own.c.collection, own.c.record_id) >= _own(target, record_id),
        ]
        key.append(tuple_(own.c.user_id, own.c.collection, own.c.record_id) <= _own(target, record_id))
        if self.has_session:
            key.append(own.c.session_id == cast(bound("session_id"), Text()))
        d = select(own).where(*key).limit(literal_column("1")).lateral()
        source = source.outerjoin(d, true())
        content = func.coalesce(d.c.merged, r.c.content, type_=JSONB())
        inner = FilterScope(content, attributes_of_either(d.c, r.c, record_id), scope.follow)
        is_shown = or_(d.c.kind != literal_column("'DELETE'"), and_(d.c.kind.is_(None), is_live))
        return Candidates(source, inner, [is_shown])


def _origin(ids: ColumnElement[Any]) -> Any:
    return func.unnest(ids).table_valued(column("id", Text())).render_derived()


def _array(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.array_append(literal_column("CAST('{}' AS text[])", IDS), cast(value, Text()), type_=IDS)


def _of_caller(table: Table | Any, target: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    conditions = [table.c.tenant_id == _tenant(), table.c.collection == target]
    if "user_id" in table.c:
        conditions.append(table.c.user_id == cast(bound("user_id"), Text()))
    return conditions


def _own(target: ColumnElement[Any], record_id: ColumnElement[Any]) -> Any:
    return tuple_(cast(bound("user_id"), Text()), target, record_id)


def _tenant() -> ColumnElement[Any]:
    return cast(bound("tenant_id"), Text())
