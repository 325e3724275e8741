"""The two sides of a merged list: records without a draft of the caller, and the caller's drafts.

Either side is read from its table, or from the entries of an order: the keys of a range of entries come from their
index alone, and each entry's row is then looked up by its primary key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    BindParameter,
    ColumnElement,
    DateTime,
    FromClause,
    LargeBinary,
    Table,
    Text,
    bindparam,
    case,
    cast,
    column,
    exists,
    func,
    literal,
    literal_column,
    null,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by

from ...domain.filters.ast import Filter
from ...domain.filters.conditions import Condition
from ...domain.merged import View
from ..filter_templates import FilterTemplate
from ..filters import FilterScope, compile_filter
from ..statements import fragment
from ..tables import draft, draft_order_entry, order_entry, record
from .attributes import attributes_of_draft, attributes_of_record
from .order import OrderKey, bound
from .related_filters import RelatedRows


class Entries(Enum):
    """The use of an order's entries: their range holds all rows, or has the list's order as well."""

    IN_RANGE = "in range"
    IN_ORDER = "in order"


class RelationKind(StrEnum):
    """The relation by which a list is selected: a fragment of relations.sql."""

    NAMED = "named"
    INVERSE = "inverse"
    INVERSE_WITH_DELETED = "inverse_with_deleted"
    CHILDREN = "children"


@lru_cache
def lines_of_ids(related: RelationKind) -> CTE:
    """Return one row with the arrays of_records and of_drafts: for each target of a relation, lines of ids, or NULL."""
    found = text(fragment("relations", related))
    optional: list[BindParameter[Any]] = [bindparam(each, required=False) for each in found.compile().params]
    columns = column("number", BigInteger()), column("record_ids", Text()), column("draft_ids", Text())
    ids = found.bindparams(*optional).columns(*columns).subquery("found").c
    of_records: Any = ids.record_ids
    of_drafts: Any = ids.draft_ids
    if related is not RelationKind.NAMED:  # whose caller knows the targets
        of_records, of_drafts = (aggregate_order_by(each, ids.number) for each in (of_records, of_drafts))
    arrays = func.array_agg(of_records).label("of_records"), func.array_agg(of_drafts).label("of_drafts")
    return select(*arrays).cte("lines")


@dataclass(frozen=True, slots=True)
class ListQueryKey:
    """The inputs that determine the SQL text; `after` says for each sort key whether the token's value is null.

    With `entries`, the order and its collection are bound, so all orders share a statement; `collection` and, with
    IN_ORDER, `order` are then empty. With `related`, the collection is bound too, and empty here. A filter whose values
    are not parameterized is accepted too, at the cost of a separate statement.
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
    entries: Entries | None = None
    is_ranged: bool = True  # split the rows after a position into ranges that an index of the order serves
    related: RelationKind | None = None  # the list has the records to which this relation leads
    with_sync: bool = False  # return the state of each record at the system of record of a bound collection
    key_count: int | None = None  # with `related`: the texts of the contents have only as many keys, which are bound

    @property
    def has_texts(self) -> bool:
        """True if the rows have their contents as texts."""
        return self.entries is Entries.IN_ORDER or self.related is not None


@dataclass(frozen=True, slots=True)
class Branch:
    """One side of the union: the source of its rows, their conditions and their columns."""

    source: FromClause
    scope: FilterScope
    conditions: Sequence[ColumnElement[bool]]
    columns: Sequence[ColumnElement[Any]]
    counted: FromClause  # a source of as many rows
    key: ColumnElement[Any] | None = None  # of the entry, if the rows come from entries


def branches_of(shape: ListQueryKey, *, is_count: bool = False) -> list[Branch]:
    branches = []
    if shape.view is not View.DRAFTS_ONLY:
        branches.append(_records(shape, is_count=is_count))
    if shape.view is not View.BASELINE:
        branches.append(_drafts(shape))
    return branches


def _records(shape: ListQueryKey, *, is_count: bool) -> Branch:
    source: FromClause = record
    r, key = record.c, None
    record_id: ColumnElement[Any] = record.c.record_id
    conditions: list[ColumnElement[bool]] = [r.tenant_id == tenant_of_list(), r.collection == collection_of_list(shape)]
    entry = order_entry.alias("entry")
    if shape.entries is not None:
        looked_up = _looked_up(record, shape, entry.c.record_id, "record_of_entry")
        source, r, key, record_id = entry.join(looked_up, true()), looked_up.c, entry.c.key, entry.c.record_id
        conditions = [entry.c.tenant_id == tenant_of_list(), *_in_range(entry.c, shape)]
    elif not shape.show_deleted:  # deleted records have no entries
        conditions.append(r.deleted_at.is_(None))
    attributes = attributes_of_record(r, record_id)
    counted: FromClause = entry if shape.entries is not None and shape.filter is None else source
    if shape.view is View.MERGED and shape.related is None:  # their ids are apart from those of drafts
        own = draft.alias("own")
        if is_count or shape.entries is None:  # of many rows, for which all drafts may be read at once
            equal = [
                own.c.tenant_id == tenant_of_list(),
                own.c.user_id == _user(),
                own.c.collection == collection_of_list(shape),
            ]
            drafted = select(own.c.record_id).where(*equal, own.c.record_id == record_id, *_session(shape, own.c))
            conditions.append(~exists(drafted))
        else:
            is_own = [_has_drafts(shape), *_own_draft(own.c, shape, record_id), *_session(shape, own.c)]
            drafted = select(own.c.record_id).where(*is_own)
            found = drafted.limit(literal_column("1")).lateral("own_draft")
            source = source.outerjoin(found, true())
            conditions.append(found.c.record_id.is_(None))
    conditions += _related(shape, record_id, of_drafts=False)
    scope = FilterScope(r.content, attributes, _related_rows(shape).follow)
    columns = [
        record_id, *_contents(shape, r.content, is_draft=False), r.version, r.parent_id, r.position, r.created_at,
        r.created_by, r.updated_at, r.updated_by, r.deleted_at, cast(null(), Text()).label("draft_kind"),
        cast(null(), BigInteger()).label("draft_version"),
        cast(null(), DateTime(timezone=True)).label("draft_updated_at"), cast(null(), Text()).label("session_id"),
        cast(null(), Text()).label("change_reason"), cast(null(), JSONB()).label("edit"),
        cast(null(), JSONB()).label("base"), cast(null(), BigInteger()).label("base_version"),
        cast(null(), JSONB()).label("baseline"), cast(null(), JSONB()).label("attributes"),
        cast(null(), Text()).label("baseline_parent_id"), cast(null(), BigInteger()).label("baseline_position"),
        cast(null(), DateTime(timezone=True)).label("baseline_deleted_at"), *_acknowledged(shape, r),
    ]  # fmt: skip
    return Branch(source, scope, [*conditions, *_filters(shape, scope)], columns, counted, key)


def _drafts(shape: ListQueryKey) -> Branch:
    source: FromClause = draft
    d, key = draft.c, None
    record_id: ColumnElement[Any] = draft.c.record_id
    conditions: list[ColumnElement[bool]] = [
        d.tenant_id == tenant_of_list(), d.user_id == _user(), d.collection == collection_of_list(shape)
    ]  # fmt: skip
    if shape.entries is not None:
        entry = draft_order_entry.alias("draft_entry")
        own = _looked_up(draft, shape, entry.c.record_id, "draft_of_entry")
        source, d, key, record_id = entry.join(own, true()), own.c, entry.c.key, entry.c.record_id
        conditions = [entry.c.tenant_id == tenant_of_list(), entry.c.user_id == _user(), *_in_range(entry.c, shape)]
    baseline = _looked_up(record, shape, record_id, "baseline_record")
    source, r = source.outerjoin(baseline, true()), baseline.c
    attributes = attributes_of_draft(d, r, record_id)
    if not shape.show_deleted and shape.view is View.MERGED:
        conditions.append(d.kind != literal_column("'DELETE'"))
    scope = FilterScope(d.merged, attributes, _related_rows(shape).follow)
    conditions += [*_related(shape, record_id, of_drafts=True), *_session(shape, d), *_filters(shape, scope)]
    columns = [
        record_id, *_contents(shape, d.merged, is_draft=True), attributes["version"].label("version"),
        attributes["parent_id"].label("parent_id"), attributes["position"].label("position"),
        attributes["create_time"].label("created_at"), attributes["created_by"].label("created_by"),
        attributes["update_time"].label("updated_at"), attributes["updated_by"].label("updated_by"),
        attributes["delete_time"].label("deleted_at"), d.kind.label("draft_kind"), d.version.label("draft_version"),
        d.updated_at.label("draft_updated_at"), d.session_id, d.change_reason, d.edit, d.base, d.base_version,
        r.content.label("baseline"), d.attributes, r.parent_id.label("baseline_parent_id"),
        r.position.label("baseline_position"), r.deleted_at.label("baseline_deleted_at"), *_acknowledged(shape, r),
    ]  # fmt: skip
    return Branch(source, scope, conditions, columns, source, key)


def _acknowledged(shape: ListQueryKey, r: Any) -> list[ColumnElement[Any]]:
    """Return the column of the acknowledged version, which is NULL if there is no record."""
    version = case((r.version.is_not(None), func.coalesce(r.acked_version, 0)))
    return [version.label("acked_version")] if shape.with_sync else []


def _contents(shape: ListQueryKey, content: ColumnElement[Any], *, is_draft: bool) -> list[ColumnElement[Any]]:
    """Return the columns of the content.

    Rows of which none is left out are converted to text once, for their size and for the answer. Then only drafts need
    the content itself, for what they modify.
    """
    if not shape.has_texts:
        return [content.label("content")]
    itself = content if is_draft else cast(null(), JSONB())
    whole = cast(content, Text()) if shape.key_count is None else selected_text(content, shape.key_count)
    return [itself.label("content"), whole.label("content_text")]


def selected_text(content: Any, count: int) -> ColumnElement[Any]:
    """Return the text of an object, the value of a column, with only the keys that are bound, in their order.

    `prefix_0` and so on are the keys as JSON, each with a colon. With several keys, the empty object is added because a
    large value would otherwise be decompressed for each of them: the sum is a value in memory.
    """
    source, read = content, None
    if count > 1:
        whole = select(content.concat(literal_column("'{}'", JSONB())).label("content"))
        read = whole.correlate(content.table).offset(literal_column("0")).lateral("read")
        source = read.c.content
    members = []
    for index in range(count):
        key, prefix = (cast(bound(f"{name}_{index}", type_=Text()), Text()) for name in ("key", "prefix"))
        members.append(prefix.concat(cast(source.op("->", return_type=JSONB())(key), Text())))  # NULL: no such key
    joined: Any = func.concat_ws(literal_column("','"), *members) if members else literal_column("''", Text())
    if read is not None:
        joined = select(joined).select_from(read).scalar_subquery()
    return literal_column("'{'", Text()).concat(joined).concat(literal_column("'}'", Text()))


def _looked_up(table: Table, shape: ListQueryKey, record_id: ColumnElement[Any], name: str) -> Any:
    """Join one row of a table by its primary key.

    The LIMIT makes this one look-up for each row: a plain join may become a merge join over all rows of the table.
    """
    t, collection = table.c, collection_of_list(shape)
    conditions = [t.tenant_id == tenant_of_list(), t.collection == collection, t.record_id == record_id]
    if table is draft:  # of an entry
        conditions = _own_draft(draft.c, shape, record_id)
    return select(table).where(*conditions).limit(literal_column("1")).lateral(name)


def _own_draft(d: Any, shape: ListQueryKey, record_id: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    """Return conditions for the caller's draft of a record that only the primary key serves.

    With equalities the planner could take draft_record_idx as well, and read the drafts of all users.
    """
    key, wanted = tuple_(d.user_id, d.collection, d.record_id), tuple_(_user(), collection_of_list(shape), record_id)
    return [d.tenant_id == tenant_of_list(), key >= wanted, key <= wanted]


def _has_drafts(shape: ListQueryKey) -> ColumnElement[bool]:
    """Return whether the caller has drafts in the collection: without any, no record is looked up among them."""
    d = draft.alias("any_own").c
    key, wanted = tuple_(d.user_id, d.collection), tuple_(_user(), collection_of_list(shape))
    drafts: Any = select(literal_column("1")).where(d.tenant_id == tenant_of_list(), key >= wanted, key <= wanted)
    return select(exists(drafts)).scalar_subquery()


def _in_range(entry: Any, shape: ListQueryKey) -> list[ColumnElement[bool]]:
    return [entry.collection == collection_of_list(shape), *range_of(entry)]


def range_of(entry: Any, suffix: str = "") -> list[ColumnElement[bool]]:
    """Return the conditions for the entries of an order in a range of keys."""
    return [
        entry.order_id == bound(f"order_id{suffix}", type_=BigInteger()),
        entry.key >= bound(f"low{suffix}", type_=LargeBinary()),
        entry.key < bound(f"high{suffix}", type_=LargeBinary()),
    ]


def _filters(shape: ListQueryKey, scope: FilterScope) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if shape.filter is not None:
        conditions.append(compile_filter(shape.filter, scope))
    if shape.has_record_ids:
        ids = cast(bound("record_ids", type_=ARRAY(Text())), ARRAY(Text()))
        conditions.append(scope.attributes["record_id"] == func.any(ids))
    return conditions


def _related(shape: ListQueryKey, record_id: ColumnElement[Any], *, of_drafts: bool) -> list[ColumnElement[bool]]:
    """Return the condition for the rows to which a relation leads."""
    if shape.related is None:
        return []
    lines = lines_of_ids(shape.related).c
    ids: Any = lines.of_drafts if of_drafts else lines.of_records
    if shape.related is not RelationKind.NAMED:  # whose lines are one id each
        line_break = literal_column(r"E'\n'", Text())
        ids = func.string_to_array(func.array_to_string(ids, line_break), line_break)
    return [record_id == func.any(cast(select(ids).scalar_subquery(), ARRAY(Text())))]


def _related_rows(shape: ListQueryKey) -> RelatedRows:
    return RelatedRows(shape.view is not View.BASELINE, shape.has_session)


def _session(shape: ListQueryKey, d: Any) -> list[ColumnElement[bool]]:
    return [d.session_id == cast(bound("session_id"), Text())] if shape.has_session else []


def tenant_of_list() -> ColumnElement[Any]:
    return cast(bound("tenant_id"), Text())


def _user() -> ColumnElement[Any]:
    return cast(bound("user_id"), Text())


def collection_of_list(shape: ListQueryKey) -> ColumnElement[Any]:
    """Return a collection's name: bound, or a literal where partial indexes may match their predicates."""
    if shape.entries is not None or shape.related is not None:
        return cast(bound("collection"), Text())
    return literal(shape.collection, Text(), literal_execute=True)
