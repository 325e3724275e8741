"""The statements of a merged list.

Merges are stored, not computed by the statement, so a list is the union of two index scans: the records of which the
caller has no draft, and the caller's drafts. Both have the same filter and order on their own content, and the same
limit. With a page token, both start where the previous page ended.

A list is read from the entries of an order if one serves it (entries.py). The rows after a position are then one range
of keys. The statement checks in the same snapshot that the order is still READY. If it is not, the statement returns no
row; if the page is empty, it returns one row of nulls.

Other lists are read from the tables. If the collection declares their order, there may still be an index of it that an
earlier version built: the rows after a position are then split into ranges that it serves, for each key one of later
values and one of nulls.

Everything that determines the SQL is in `ListQueryKey`. Statements are compiled once per key. The values of a filter
are parameters, so filters that differ only in their values share a statement. Only the names of collections and fields
are in the text, so that partial indexes match; every value is bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    LargeBinary,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from ..statements import Statement, compiled
from ..tables import collection_order, order_entry
from .branches import Branch, Entries, ListQueryKey, branches_of, range_of
from .order import MAX_RANGED_KEYS, bound, conditions_after, sorted_by, token_columns
from .sync_states import known_state, shown_state, stored_record

INNER = {
    "content",
    "content_text",
    "edit",
    "base",
    "attributes",
    "bytes_before",
    "number",
}  # columns that are not returned as they are

# The first columns of a row. The times of writes, which records of one write share, are in PostgreSQL's binary form:
# the driver would take as long to convert them as all the other columns (merged.merged_of).
RECORD_COLUMNS = (
    "record_id", "content", "version", "parent_id", "position", "created_at", "created_by", "updated_at", "updated_by",
    "deleted_at", "draft_kind",
)  # fmt: skip


@lru_cache(maxsize=512)
def page_statement(shape: ListQueryKey) -> tuple[Statement, Mapping[str, object]]:
    """Return the statement of a page, and the values that it binds itself.

    The caller binds the others by name: the parameters of the filter, tenant_id, user_id, limit, max_bytes, and
    depending on the key record_ids, session_id, after_id, after_0, after_1 and so on. With entries it binds collection,
    order_id, low, high and, in place of after_0 and so on, after_key if the list has their order.
    """
    ranges = [each for branch in branches_of(shape) for each in _ranges(shape, branch)]
    union = union_all(*ranges)
    limit = bound("limit", type_=BigInteger())
    found = union.order_by(*_order_of(union.selected_columns, shape)).limit(limit).subquery("found")
    size = func.octet_length(_text_of(found, shape))
    so_far: dict[str, Any] = {"order_by": _order_of(found.c, shape), "rows": (None, 0)}
    bytes_before = func.sum(size).over(**so_far) - size
    number = func.row_number().over(**so_far)
    page = select(found, bytes_before.label("bytes_before"), number.label("number")).subquery("page")
    # The first two rows are always returned: one may fill the page, the other shows that there are more.
    is_small = page.c.bytes_before <= bound("max_bytes", type_=BigInteger())
    is_returned = or_(is_small, page.c.number == literal_column("2"))
    statement = _answered(page, shape).where(is_returned).order_by(*_order_of(page.c, shape))
    if shape.entries is not None:
        answer = statement.subquery("answer")
        statement = select(answer).select_from(_ready_order().outerjoin(answer, true()))
    return compiled("get_merged", statement)


@lru_cache(maxsize=128)
def count_statement(shape: ListQueryKey) -> tuple[Statement, Mapping[str, object]]:
    """Return the statement that counts the whole list, and the values that it binds itself.

    With entries, it returns no row if the order is not READY.
    """
    counts = [
        select(func.count()).select_from(branch.counted).where(and_(*branch.conditions)).scalar_subquery()
        for branch in branches_of(shape, is_count=True)
    ]
    total: Any = counts[0]
    for count in counts[1:]:
        total = total + count
    statement = select(total.label("total_size"))
    if shape.entries is not None:
        statement = statement.select_from(_ready_order())
    return compiled("count_merged", statement)


@lru_cache(maxsize=8)
def range_sizes_statement(ranges: int) -> tuple[Statement, Mapping[str, object]]:
    """Return the statement that counts the entries in some ranges, each up to `limit`.

    For each range it binds order_id_0, low_0 and high_0 and so on.
    """
    sizes = []
    for index in range(ranges):
        entry = order_entry.alias(f"entry_{index}")
        conditions = [
            entry.c.tenant_id == cast(bound("tenant_id"), Text()),
            entry.c.collection == cast(bound("collection"), Text()),
            *range_of(entry.c, f"_{index}"),
        ]
        limited = select(literal_column("1")).where(*conditions).limit(bound("limit", type_=BigInteger())).subquery()
        sizes.append(select(func.count()).select_from(limited).scalar_subquery().label(f"size_{index}"))
    return compiled("count_entries", select(*sizes))


def _ready_order() -> Any:
    return (
        select(literal_column("1").label("is_ready"))
        .where(
            collection_order.c.tenant_id == cast(bound("tenant_id"), Text()),
            collection_order.c.collection == cast(bound("collection"), Text()),
            collection_order.c.order_id == bound("order_id", type_=BigInteger()),
            collection_order.c.state == literal_column("'READY'"),
        )
        .subquery("ready")
    )


def _ranges(shape: ListQueryKey, branch: Branch) -> list[Any]:
    """Return the branch, or its rows after the token: as ranges that an index serves, or as one condition."""
    record_id = branch.scope.attributes["record_id"]
    keys = [key.expression(branch.scope.content, branch.scope.attributes) for key in shape.order]
    order = [sorted_by(expression, key) for expression, key in zip(keys, shape.order, strict=True)]
    parts: list[ColumnElement[bool]] = [true()]
    if shape.entries is Entries.IN_ORDER:
        keys = [branch.key]
        order = [branch.key]
        if shape.after is not None:
            position = tuple_(bound("after_key", type_=LargeBinary()), cast(bound("after_id"), Text(collation="C")))
            parts = [tuple_(branch.key, record_id) > position]
    elif shape.after is not None:
        parts = conditions_after(shape.order, keys, shape.after, record_id)
        is_indexed = shape.entries is None and all(key.declared for key in shape.order)
        if len(shape.order) > MAX_RANGED_KEYS or not (is_indexed and shape.is_ranged):
            parts = [or_(*parts)]
    named = [expression.label(f"k{index}") for index, expression in enumerate(keys)]
    return [
        select(*branch.columns, *named)
        .select_from(branch.source)
        .where(*branch.conditions, part)
        .order_by(*order, record_id)
        .limit(bound("limit", type_=BigInteger()))
        .subquery()
        .select()
        for part in parts
    ]


def _order_of(columns: Any, shape: ListQueryKey) -> list[Any]:
    """Return the order by the columns that hold the sort keys."""
    if shape.entries is Entries.IN_ORDER:
        return [columns["k0"], columns["record_id"]]
    return [*(sorted_by(columns[f"k{index}"], key) for index, key in enumerate(shape.order)), columns["record_id"]]


def _text_of(rows: Any, shape: ListQueryKey) -> ColumnElement[Any]:
    if shape.has_texts:
        text: ColumnElement[Any] = rows.c.content_text
        return text
    return cast(rows.c.content, Text())


def _record_column(page: Any, name: str, shape: ListQueryKey) -> Any:
    if name == "content":
        return _text_of(page, shape).label(name)
    if name in ("created_at", "updated_at"):
        return func.timestamptz_send(page.c[name]).label(name)
    return page.c[name]


def _answered(page: Any, shape: ListQueryKey) -> Any:
    """Return the selection of the columns of a row, with its state at the system of record if the list has it."""
    if not shape.with_sync:
        return select(*_answer(page, shape))
    state = known_state(shape, page.c.record_id)
    columns = [*_answer(page, shape), *shown_state(page.c, state.c)]
    return select(*columns).select_from(page.join(stored_record(page), true()).outerjoin(state, true()))


def _answer(page: Any, shape: ListQueryKey) -> list[Any]:
    """Return the columns of a row: the record, its draft's changes and conflicts, and the sort keys for the token."""
    c = page.c
    keys = [
        column
        for index, key in enumerate(shape.order)
        for column in token_columns(c[f"k{index}"], index, key, whole=shape.whole_keys)
    ]
    if shape.entries is Entries.IN_ORDER:
        keys = [c.k0.label("entry_key")]
    inner = {*INNER, *RECORD_COLUMNS}
    drafted = [column for column in c if column.name not in inner and not column.name.startswith(("k", "baseline"))]
    return [
        *(_record_column(page, name, shape) for name in RECORD_COLUMNS),
        *drafted,
        *draft_changes(c),
        *keys,
    ]


def draft_changes(c: Any) -> list[ColumnElement[Any]]:
    """Return the columns modified_fields, modified_attributes and conflicts of rows with the columns of a branch."""
    modified = func.draftline.modified_fields(c.draft_kind, c.edit, c.baseline, c.content)
    is_deleted = c.baseline_deleted_at.is_not(None)
    old_parent_id = case((and_(c.draft_kind == "CREATE", is_deleted), None), else_=c.baseline_parent_id)
    old_position = case((and_(c.draft_kind == "CREATE", is_deleted), None), else_=c.baseline_position)
    attributes = func.draftline.modified_attributes(c.attributes, old_parent_id, old_position)
    conflicts = func.draftline.draft_conflicts(
        c.draft_kind, c.edit, c.base, c.attributes, c.baseline, c.baseline_parent_id, c.baseline_position, is_deleted
    )
    return [
        case((c.draft_kind.is_not(None), modified)).label("modified_fields"),
        case((c.attributes.is_not(None), attributes)).label("modified_attributes"),
        case((c.base_version != c.version, cast(conflicts, Text()))).label("conflicts"),
    ]
