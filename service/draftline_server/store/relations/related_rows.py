"""The rows of related records, and their statement.

There may be thousands of them, so a row has few columns, and is not converted unless it has a draft.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, and_, case, func, literal_column, select, union_all

from ...domain.drafts import DraftKind, MergedRecord
from ...domain.records import Actor
from ..drafts import conflicts_of
from ..lists.branches import Branch, ListQueryKey, Pairs, branches_of, pairs_of
from ..lists.merged import record_of
from ..lists.order import bound
from ..lists.query import RECORD_COLUMNS, draft_changes
from ..statements import Statement, compiled

# Columns of a row, by their index: RECORD_COLUMNS, but instead of draft_kind all columns of a draft as one value, which
# is NULL without a draft. The content is encoded as UTF-8. The last column has the pairs of the relation, in the first
# row only.
RelatedRow: TypeAlias = Sequence[Any]
ID, CONTENT, PARENT_ID, POSITION = map(RECORD_COLUMNS.index, ("record_id", "content", "parent_id", "position"))
AFTER_CONTENT = slice(CONTENT + 1, len(RECORD_COLUMNS) - 1)  # the other columns of a record
DRAFT, PAIRS = len(RECORD_COLUMNS) - 1, len(RECORD_COLUMNS)

_DRAFT = ("draft_kind", "draft_version", "draft_updated_at", "session_id", "change_reason")
_TIMES = ("created_at", "updated_at")  # in binary form, as in merged lists


@lru_cache(maxsize=512)
def related_statement(shape: ListQueryKey) -> tuple[Statement, Mapping[str, object]]:
    """Return the statement of the related records of `shape.related`, and the values that it binds itself.

    The caller binds tenant_id, user_id, collection, session_id, with_drafts, show_deleted, limit, max_bytes, and the
    parameters of the relation and of the selected keys. Rows are returned until their contents exceed `max_bytes`,
    including the row that does.
    """
    records, *drafts = branches_of(shape)
    rows = [_rows(records, is_draft=False), *(_rows(each, is_draft=True) for each in drafts)]
    found = union_all(*rows).subquery("found")
    size = func.octet_length(found.c.content)
    before = func.sum(size).over(order_by=found.c.record_id, rows=(None, 0)) - size
    page = select(found, before.label("bytes_before")).subquery("page")
    columns = [page.c[name] for name in (*RECORD_COLUMNS[:-1], "draft")]
    # Named records have no pairs, because the caller knows their ids. A join might compare all rows with all pairs.
    pairs: Any = literal_column("NULL")
    if shape.related is not None and shape.related is not Pairs.NAMED:
        c = pairs_of(shape.related).c
        all_pairs = select(func.row(func.array_agg(c.target), func.array_agg(c.record_id))).scalar_subquery()
        pairs = case((page.c.bytes_before == literal_column("0"), all_pairs))
    is_returned = page.c.bytes_before <= bound("max_bytes", type_=BigInteger())
    return compiled("get_related", select(*columns, pairs.label("pairs")).where(is_returned).order_by(page.c.record_id))


def _rows(branch: Branch, *, is_draft: bool) -> Any:
    """Return the selection of the rows of a branch."""
    limited = (
        select(*branch.columns)
        .select_from(branch.source)
        .where(and_(*branch.conditions))
        .order_by(branch.scope.attributes["record_id"])
        .limit(bound("limit", type_=BigInteger()))
        .subquery()
    )
    columns: list[Any] = [_record_column(limited.c, name) for name in RECORD_COLUMNS[:-1]]
    draft: Any = literal_column("NULL::record")
    if is_draft:
        draft = func.row(*(limited.c[name] for name in _DRAFT), *draft_changes(limited.c))
    return select(*columns, draft.label("draft"))


def _record_column(c: Any, name: str) -> Any:
    if name == "content":
        return func.convert_to(c.content_text, literal_column("'UTF8'")).label(name)
    return func.timestamptz_send(c[name]).label(name) if name in _TIMES else c[name]


def content_bytes(rows: Sequence[RelatedRow]) -> int:
    """Return the size of the contents."""
    return sum([len(row[CONTENT]) for row in rows])


def merged_of_related(row: RelatedRow, actor: Actor, collection: str) -> MergedRecord:
    """Return the record of a row."""
    record = record_of((row[ID], row[CONTENT].decode(), *row[AFTER_CONTENT]), collection)
    draft = row[DRAFT]
    if draft is None:
        return MergedRecord(record)
    kind, version, updated_at, session_id, reason, fields, attributes, conflicts = draft
    return MergedRecord(
        record,
        DraftKind(kind),
        version,
        fields,
        actor.user_id,
        updated_at,
        session_id,
        reason,
        conflicts_of(collection, record.record_id, record.version, conflicts or "[]"),
        attributes or (),
    )
