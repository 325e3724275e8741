"""The rows of related records, and their statement.

There may be thousands of them, so a row has few columns, and is not converted unless it has a draft.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, reduce
from struct import Struct
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, and_, case, func, literal_column, select, union_all

from ...domain.drafts import DraftKind, MergedRecord
from ...domain.records import Actor, Record
from ..drafts import conflicts_of
from ..lists.branches import Branch, ListQueryKey, Pairs, branches_of, pairs_of
from ..lists.order import bound
from ..lists.query import draft_changes
from ..statements import Statement, compiled

# Columns of a row, by their index. The content is encoded as UTF-8. WRITES has the version, the times and the users of
# the record in binary form (see _WRITES), which the records of one write share. PLACE has parent_id, position and
# deleted_at, DRAFT all columns of a draft; they are NULL if there is nothing to tell. NUMBERS and RELATED_IDS have the
# pairs of the relation, numbers of targets from 1 and ids of records, in the first row only.
RelatedRow: TypeAlias = Sequence[Any]
_COLUMNS = ("record_id", "content", "writes", "place", "draft")
ID, CONTENT, WRITES, PLACE, DRAFT, NUMBERS, RELATED_IDS = range(len(_COLUMNS) + 2)

_DRAFT = ("draft_kind", "draft_version", "draft_updated_at", "session_id", "change_reason")
# version, created_at, updated_at; then created_by, a zero and updated_by, as no text has zeros
_WRITES = Struct(">qqq")
_EPOCH, _UNTIL_2000_US = datetime(1970, 1, 1, tzinfo=UTC), 946_684_800_000_000  # PostgreSQL's times begin in 2000
_NO_PLACE = (None, None, None)


@lru_cache(maxsize=512)
def related_statement(shape: ListQueryKey) -> tuple[Statement, Mapping[str, object]]:
    """Return the statement of the related records of `shape.related`, and the values that it binds itself.

    The caller binds tenant_id, user_id, collection, session_id, with_drafts, show_deleted, max_bytes, and the
    parameters of the relation and of the selected keys. Rows are returned in no order, until their contents exceed
    `max_bytes`, including the row that does.
    """
    records, *drafts = branches_of(shape)
    rows = [_rows(records, is_draft=False), *(_rows(each, is_draft=True) for each in drafts)]
    # The OFFSET keeps the columns from being computed again for each use.
    found = select(union_all(*rows).subquery("rows")).offset(literal_column("0")).subquery("found")
    size = func.octet_length(found.c.content)
    before = func.sum(size).over(rows=(None, 0)) - size
    page = select(found, before.label("bytes_before")).subquery("page")
    columns: list[Any] = [page.c[name] for name in _COLUMNS]
    # Named records have no pairs, because the caller knows their ids. A join might compare all rows with all pairs.
    if shape.related is not None and shape.related is not Pairs.NAMED:
        is_first = page.c.bytes_before == literal_column("0")
        for column in (pairs_of(shape.related).c.number, pairs_of(shape.related).c.record_id):
            columns.append(case((is_first, select(func.array_agg(column)).scalar_subquery())))
    is_returned = page.c.bytes_before <= bound("max_bytes", type_=BigInteger())
    return compiled("get_related", select(*columns).where(is_returned))


def _rows(branch: Branch, *, is_draft: bool) -> Any:
    """Return the selection of the rows of a branch."""
    c = select(*branch.columns).select_from(branch.source).where(and_(*branch.conditions)).subquery().c
    draft: Any = literal_column("NULL::record")
    if is_draft:
        draft = func.row(*(c[name] for name in _DRAFT), *draft_changes(c))
    has_place = c.parent_id.is_not(None) | c.position.is_not(None) | c.deleted_at.is_not(None)
    place = case((has_place, func.row(c.parent_id, c.position, c.deleted_at)))
    columns = [c.record_id, func.textsend(c.content_text), _writes(c), place, draft]
    return select(*(each.label(name) for name, each in zip(_COLUMNS, columns, strict=True)))


def _writes(c: Any) -> Any:
    """Return the column that `_WRITES` unpacks."""
    parts: list[Any] = [
        func.int8send(c.version), func.timestamptz_send(c.created_at), func.timestamptz_send(c.updated_at),
        func.textsend(c.created_by), literal_column(r"'\x00'::bytea"), func.textsend(c.updated_by),
    ]  # fmt: skip
    return reduce(lambda joined, part: joined.concat(part), parts)


def content_bytes(rows: Sequence[RelatedRow]) -> int:
    """Return the size of the contents."""
    return sum([len(row[CONTENT]) for row in rows])


def place_of(row: RelatedRow) -> tuple[Any, Any, Any]:
    """Return parent_id, position and deleted_at of a row."""
    parent_id, position, deleted_at = row[PLACE] or _NO_PLACE
    return parent_id, position, deleted_at


def merged_of_related(row: RelatedRow, actor: Actor, collection: str) -> MergedRecord:
    """Return the record of a row."""
    record = _record_of(row, collection)
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


def _record_of(row: RelatedRow, collection: str) -> Record:
    version, created_us, created_by, updated_us, updated_by = unpacked_writes(row[WRITES])
    created_at, updated_at = (_EPOCH + timedelta(microseconds=each) for each in (created_us, updated_us))
    parent_id, position, deleted_at = place_of(row)
    return Record(
        collection, row[ID], row[CONTENT].decode(), version, parent_id, position, created_at, created_by, updated_at,
        updated_by, deleted_at,
    )  # fmt: skip


def unpacked_writes(writes: bytes) -> tuple[int, int, str, int, str]:
    """Return version, created_at, created_by, updated_at and updated_by, the times as microseconds since 1970."""
    version, created_us, updated_us = _WRITES.unpack_from(writes)
    created_by, updated_by = writes[_WRITES.size :].decode().split("\0")
    return version, created_us + _UNTIL_2000_US, created_by, updated_us + _UNTIL_2000_US, updated_by
