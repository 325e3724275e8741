"""The statement of a merged list.

Merges are stored, not computed by the statement, so a list is the union of two index scans: the records of which the
caller has no draft, and the caller's drafts. Both have the same filter and order on their own content, and the same
limit. With a page token, both start where the previous page ended: the rows after a position are split into ranges that
an index serves, for each key one of later values and one of nulls.

Everything that determines the SQL is in `ListQueryKey`. Statements are compiled once per key. The values of a filter
are parameters, so filters that differ only in their values share a statement. Only the names of collections and fields
are in the text, so that partial indexes match; every value is bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from ...domain.filters.ast import Filter
from ...domain.filters.conditions import Condition
from ...domain.merged import View
from ..filters import FilterScope, FilterTemplate, compile_filter
from ..statements import Statement, compiled
from ..tables import draft, record
from .order import MAX_RANGED_KEYS, OrderKey, bound, places_after, sorted_by, told

INNER = {"content", "edit", "base", "attributes", "bytes_before"}  # columns that are not returned as they are


@dataclass(frozen=True, slots=True)
class ListQueryKey:
    """The inputs that determine the SQL text; `after` says for each sort key whether the token's value is null.

    A filter whose values are not parameterized is accepted too, at the cost of a separate statement.
    """

    collection: str
    filter: FilterTemplate | Filter[Condition] | None
    order: tuple[OrderKey, ...]
    view: View
    show_deleted: bool
    has_record_ids: bool
    has_session: bool
    after: tuple[bool, ...] | None = None
    whole_keys: bool = False  # return the texts of sort keys in full, of any length


@lru_cache(maxsize=512)
def page_statement(shape: ListQueryKey) -> tuple[Statement, Mapping[str, object]]:
    """Return the statement of a page, and the values that it binds itself.

    The caller binds the others by name: the parameters of the filter, tenant_id, user_id, limit, max_bytes, and
    depending on the key record_ids, session_id, after_id, after_0, after_1 and so on.
    """
    branches = _branches(shape)
    ranges = [_range for branch in branches for _range in _ranges(shape, branch)]
    union = union_all(*ranges)
    limit = bound("limit", type_=BigInteger())
    found = union.order_by(*_order_of(union.selected_columns, shape)).limit(limit).subquery("found")
    size = func.octet_length(cast(found.c.content, Text()))
    total = func.sum(size).over(order_by=_order_of(found.c, shape), rows=(None, 0))
    page = select(found, (total - size).label("bytes_before"), func.count().over().label("found_count")).subquery(
        "page"
    )
    statement = (
        select(*_answer(page, shape))
        .where(page.c.bytes_before <= bound("max_bytes", type_=BigInteger()))
        .order_by(*_order_of(page.c, shape))
    )
    return compiled("get_merged", statement)


@lru_cache(maxsize=128)
def count_statement(shape: ListQueryKey) -> tuple[Statement, Mapping[str, object]]:
    """Return the statement that counts the whole list, and the values that it binds itself."""
    counts = [
        select(func.count()).select_from(branch.source).where(and_(*branch.conditions)).scalar_subquery()
        for branch in _branches(shape)
    ]
    total: Any = counts[0]
    for count in counts[1:]:
        total = total + count
    return compiled("count_merged", select(total.label("total_size")))


@dataclass(frozen=True, slots=True)
class _Branch:
    """One side of the union: the source of its rows, their conditions and their columns."""

    source: Any
    content: ColumnElement[Any]
    attributes: Mapping[str, ColumnElement[Any]]
    conditions: Sequence[ColumnElement[bool]]
    columns: Sequence[ColumnElement[Any]]


def _branches(shape: ListQueryKey) -> list[_Branch]:
    branches = []
    if shape.view is not View.DRAFTS_ONLY:
        branches.append(_records(shape))
    if shape.view is not View.BASELINE:
        branches.append(_drafts(shape))
    return branches


def _records(shape: ListQueryKey) -> _Branch:
    r = record.c
    attributes: dict[str, ColumnElement[Any]] = {
        "record_id": r.record_id,
        "version": r.version,
        "parent_id": r.parent_id,
        "position": r.position,
        "create_time": r.created_at,
        "created_by": r.created_by,
        "update_time": r.updated_at,
        "updated_by": r.updated_by,
        "delete_time": r.deleted_at,
        "state": literal("PRISTINE", Text()),
        "draft_version": cast(null(), BigInteger()),
        "modified_by": cast(null(), Text()),
        "modify_time": cast(null(), DateTime(timezone=True)),
        "session_id": cast(null(), Text()),
    }
    conditions = [r.tenant_id == _tenant(), r.collection == _literal(shape.collection)]
    if not shape.show_deleted:
        conditions.append(r.deleted_at.is_(None))
    if shape.view is View.MERGED:
        d = draft.alias("own").c
        own = [d.tenant_id == _tenant(), d.user_id == _user(), d.collection == _literal(shape.collection)]
        own += [d.record_id == r.record_id, *_session(shape, d)]
        conditions.append(~exists(select(literal_column("1")).where(*own)))
    conditions += _filters(shape, r.content, attributes, r.record_id)
    columns = [
        r.record_id, r.content, r.version, r.parent_id, r.position, r.created_at, r.created_by, r.updated_at,
        r.updated_by, r.deleted_at, cast(null(), Text()).label("draft_kind"),
        cast(null(), BigInteger()).label("draft_version"),
        cast(null(), DateTime(timezone=True)).label("draft_updated_at"), cast(null(), Text()).label("session_id"),
        cast(null(), Text()).label("change_reason"), cast(null(), JSONB()).label("edit"),
        cast(null(), JSONB()).label("base"), cast(null(), BigInteger()).label("base_version"),
        cast(null(), JSONB()).label("baseline"), cast(null(), JSONB()).label("attributes"),
        cast(null(), Text()).label("baseline_parent_id"), cast(null(), BigInteger()).label("baseline_position"),
        cast(null(), DateTime(timezone=True)).label("baseline_deleted_at"),
    ]  # fmt: skip
    return _Branch(record, r.content, attributes, conditions, columns)


def _drafts(shape: ListQueryKey) -> _Branch:
    d = draft.c
    # The LIMIT makes this one look-up per draft: a plain join may become a merge join over all records between drafts.
    looked_up = (
        select(record)
        .where(
            record.c.tenant_id == _tenant(),
            record.c.collection == _literal(shape.collection),
            record.c.record_id == d.record_id,
        )
        .limit(literal_column("1"))
        .lateral("baseline_record")
    )
    source, r = draft.outerjoin(looked_up, true()), looked_up.c
    version = func.coalesce(r.version, 0, type_=BigInteger())
    created_at, created_by = func.coalesce(r.created_at, d.created_at), func.coalesce(r.created_by, d.user_id)
    updated_at, updated_by = func.coalesce(r.updated_at, d.updated_at), func.coalesce(r.updated_by, d.user_id)
    # A CREATE draft of a deleted record restores it: it is no longer deleted, and starts without attributes.
    is_kept = or_(d.kind != literal_column("'CREATE'"), r.deleted_at.is_(None))
    deleted_at = case((d.kind != literal_column("'CREATE'"), r.deleted_at))
    parent_id = func.draftline.drafted_parent_id(d.attributes, case((is_kept, r.parent_id)), type_=Text())
    position = func.draftline.drafted_position(d.attributes, case((is_kept, r.position)), type_=BigInteger())
    attributes: dict[str, ColumnElement[Any]] = {
        "record_id": d.record_id,
        "version": version,
        "parent_id": parent_id,
        "position": position,
        "create_time": created_at,
        "created_by": created_by,
        "update_time": updated_at,
        "updated_by": updated_by,
        "delete_time": deleted_at,
        "state": literal("DRAFT", Text()),
        "draft_version": d.version,
        "modified_by": d.user_id,
        "modify_time": d.updated_at,
        "session_id": func.nullif(d.session_id, "", type_=Text()),
    }
    conditions = [d.tenant_id == _tenant(), d.user_id == _user(), d.collection == _literal(shape.collection)]
    if not shape.show_deleted and shape.view is View.MERGED:
        conditions.append(d.kind != literal_column("'DELETE'"))
    conditions += [*_session(shape, d), *_filters(shape, d.merged, attributes, d.record_id)]
    columns = [
        d.record_id, d.merged.label("content"), version.label("version"), parent_id.label("parent_id"),
        position.label("position"), created_at.label("created_at"), created_by.label("created_by"),
        updated_at.label("updated_at"), updated_by.label("updated_by"), deleted_at.label("deleted_at"),
        d.kind.label("draft_kind"), d.version.label("draft_version"), d.updated_at.label("draft_updated_at"),
        d.session_id, d.change_reason, d.edit, d.base, d.base_version, r.content.label("baseline"), d.attributes,
        r.parent_id.label("baseline_parent_id"), r.position.label("baseline_position"),
        r.deleted_at.label("baseline_deleted_at"),
    ]  # fmt: skip
    return _Branch(source, d.merged, attributes, conditions, columns)


def _filters(
    shape: ListQueryKey, content: ColumnElement[Any], attributes: Mapping[str, ColumnElement[Any]], record_id: Any
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if shape.filter is not None:
        conditions.append(compile_filter(shape.filter, FilterScope(content, attributes)))
    if shape.has_record_ids:
        conditions.append(record_id == func.any(cast(bound("record_ids", type_=ARRAY(Text())), ARRAY(Text()))))
    return conditions


def _session(shape: ListQueryKey, d: Any) -> list[ColumnElement[bool]]:
    return [d.session_id == cast(bound("session_id"), Text())] if shape.has_session else []


def _ranges(shape: ListQueryKey, branch: _Branch) -> list[Any]:
    """Return the branch, or its rows after the token: as ranges that an index serves, or as one condition."""
    keys = [key.expression(branch.content, branch.attributes) for key in shape.order]
    record_id = branch.attributes["record_id"]
    if shape.after is None:
        places: list[ColumnElement[bool]] = [true()]
    else:
        places = places_after(shape.order, keys, shape.after, record_id)
        if len(shape.order) > MAX_RANGED_KEYS or not all(key.declared for key in shape.order):
            places = [or_(*places)]
    order = [sorted_by(expression, key) for expression, key in zip(keys, shape.order, strict=True)]
    named = [expression.label(f"k{place}") for place, expression in enumerate(keys)]
    return [
        select(*branch.columns, *named)
        .select_from(branch.source)
        .where(*branch.conditions, place)
        .order_by(*order, record_id)
        .limit(bound("limit", type_=BigInteger()))
        .subquery()
        .select()
        for place in places
    ]


def _order_of(columns: Any, shape: ListQueryKey) -> list[Any]:
    """Return the order by the columns that hold the sort keys."""
    return [*(sorted_by(columns[f"k{place}"], key) for place, key in enumerate(shape.order)), columns["record_id"]]


def _answer(page: Any, shape: ListQueryKey) -> list[Any]:
    """Return the columns of a row: the record, its draft's changes and conflicts, and the sort keys for the token."""
    c = page.c
    modified = func.draftline.modified_fields(c.draft_kind, c.edit, c.baseline, c.content)
    is_deleted = c.baseline_deleted_at.is_not(None)
    was = case((and_(c.draft_kind == "CREATE", is_deleted), None), else_=c.baseline_parent_id)
    stood = case((and_(c.draft_kind == "CREATE", is_deleted), None), else_=c.baseline_position)
    attributes = func.draftline.modified_attributes(c.attributes, was, stood)
    conflicts = func.draftline.draft_conflicts(
        c.draft_kind, c.edit, c.base, c.attributes, c.baseline, c.baseline_parent_id, c.baseline_position, is_deleted
    )
    plain = [column for column in c if column.name not in INNER and not column.name.startswith(("k", "baseline"))]
    return [
        *plain,
        cast(c.content, Text()).label("content"),
        case((c.draft_kind.is_not(None), modified)).label("modified_fields"),
        case((c.attributes.is_not(None), attributes), else_=literal_column("CAST('{}' AS text[])")).label(
            "modified_attributes"
        ),
        case((c.base_version != c.version, cast(conflicts, Text())), else_="[]").label("conflicts"),
        *(
            column
            for place, key in enumerate(shape.order)
            for column in told(c[f"k{place}"], place, key, whole=shape.whole_keys)
        ),
    ]


def _tenant() -> ColumnElement[Any]:
    return cast(bound("tenant_id"), Text())


def _user() -> ColumnElement[Any]:
    return cast(bound("user_id"), Text())


def _literal(name: str) -> ColumnElement[Any]:
    """Return a collection's name as a literal in the statement, so that partial indexes match their predicates."""
    return literal(name, Text(), literal_execute=True)
