"""The rows of related records, and their statements.

There may be thousands of them, so a row has few columns, and is not converted unless it has a draft.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from struct import Struct
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, and_, case, func, literal_column, null, select, union_all

from ...domain.drafts import DraftKind, MergedRecord
from ...domain.records import Actor, Record
from ..drafts import conflicts_of
from ..lists.branches import Branch, ListQueryKey, RelationKind, branches_of, lines_of_ids
from ..lists.order import bound
from ..lists.query import draft_changes
from ..statements import Statement, compiled

# Columns of a row, by their index. The content is encoded as UTF-8. CREATED has the time and the user of the creation,
# UPDATED the version, and the time and the user of the last update, in binary form (unpacked_writes); records of one
# write share them. PLACE has parent_id, position and deleted_at, DRAFT all columns of a draft. UPDATED, PLACE and DRAFT
# are NULL if there is nothing to tell.
RelatedRow: TypeAlias = Sequence[Any]
_COLUMNS = ("record_id", "content", "created", "updated", "place", "draft")
ID, CONTENT, CREATED, UPDATED, PLACE, DRAFT = range(len(_COLUMNS))
# Columns that only the first row has, arrays: for each target of the relation, the ids of records as lines, or None.
# Those of records with a draft are apart.
_LINES = ("ids_of_records", "ids_of_drafts")
RECORD_IDS, DRAFT_IDS = range(len(_COLUMNS), len(_COLUMNS) + len(_LINES))

MAX_SMALL_ROWS, MAX_SMALL_BYTES = 2_048, 2_048  # together as much as a page may have
MAX_SMALL_STORED_BYTES = 2_000  # larger contents are mostly stored outside of their row

_DRAFT = ("draft_kind", "draft_version", "draft_updated_at", "session_id", "change_reason")
_CREATED, _UPDATED = Struct(">q"), Struct(">qq")
_EPOCH, _UNTIL_2000_US = datetime(1970, 1, 1, tzinfo=UTC), 946_684_800_000_000  # PostgreSQL's times begin in 2000
_NO_PLACE = (None, None, None)


@lru_cache(maxsize=512)
def related_statement(shape: ListQueryKey, *, only_small: bool) -> tuple[Statement, Mapping[str, object]]:
    """Return a statement of the related records of `shape.related`, and the values that it binds itself.

    The caller binds tenant_id, user_id, collection, session_id, with_drafts, show_deleted, and the parameters of the
    relation and of the selected keys. Rows are returned in no order. Unless the relation is NAMED, whose caller knows
    the ids, a row before them has only ids.

    `only_small`: at most MAX_SMALL_ROWS + 1 rows are returned, and contents that are larger than MAX_SMALL_BYTES, or
    that take more than MAX_SMALL_STORED_BYTES in the table, are NULL. Otherwise the caller binds max_bytes, and rows
    are returned until their contents exceed it, including the row that does. To count the bytes takes an eighth of the
    statement's time, because PostgreSQL stores all rows for it.
    """
    records, *drafts = branches_of(shape)
    rows = [_rows(records, shape, only_small=only_small)]
    rows += [_rows(each, shape, only_small=only_small, is_draft=True) for each in drafts]
    # The LIMIT or OFFSET keeps the columns from being computed again for each use.
    found = select(union_all(*rows).subquery("rows"))
    related = _small(found) if only_small else _counted(found)
    if shape.related is not None and shape.related is not RelationKind.NAMED:
        related = union_all(_ids(shape.related), related.add_columns(null(), null()))
    return compiled("get_related", related)


def _small(rows: Any) -> Any:
    """Return the selection of the first rows, with NULL for large contents."""
    found = rows.limit(literal_column(str(MAX_SMALL_ROWS + 1))).subquery("found").c
    is_small = func.octet_length(found.content) <= literal_column(str(MAX_SMALL_BYTES))
    contents = {"content": case((is_small, found.content))}
    return select(*(contents.get(name, found[name]) for name in _COLUMNS))


def _counted(rows: Any) -> Any:
    """Return the selection of the rows until their contents exceed max_bytes."""
    found = rows.offset(literal_column("0")).subquery("found")
    size = func.octet_length(found.c.content)
    before = func.sum(size).over(rows=(None, 0)) - size
    page = select(found, before.label("bytes_before")).subquery("page").c
    is_returned = page.bytes_before <= bound("max_bytes", type_=BigInteger())
    return select(*(page[name] for name in _COLUMNS)).where(is_returned)


def are_small(rows: Sequence[RelatedRow]) -> bool:
    """Return whether the rows of a statement for small ones are complete, with all contents."""
    return len(rows) <= MAX_SMALL_ROWS and None not in map(itemgetter(CONTENT), rows)


def _ids(related: RelationKind) -> Any:
    """Return the selection of the row with the ids."""
    lines = lines_of_ids(related).c
    columns = [*(null() for _ in _COLUMNS), lines.of_records, lines.of_drafts]
    return select(*(each.label(name) for name, each in zip((*_COLUMNS, *_LINES), columns, strict=True)))


def _rows(branch: Branch, shape: ListQueryKey, *, only_small: bool, is_draft: bool = False) -> Any:
    """Return the selection of the rows of a branch."""
    stored_bytes = func.pg_column_size(branch.scope.content).label("stored_bytes")
    selected = select(*branch.columns, stored_bytes).select_from(branch.source).where(and_(*branch.conditions))
    c = selected.subquery().c
    draft: Any = literal_column("NULL::record")
    if is_draft:
        draft = func.row(*(c[name] for name in _DRAFT), *draft_changes(c))
    has_place = c.parent_id.is_not(None) | c.position.is_not(None) | c.deleted_at.is_not(None)
    place = case((has_place, func.row(c.parent_id, c.position, c.deleted_at)))
    content: Any = func.textsend(c.content_text)
    if only_small and shape.key_count is None:  # a large content is not even read
        content = case((c.stored_bytes <= literal_column(str(MAX_SMALL_STORED_BYTES)), content))
    columns = [c.record_id, content, *_writes(c), place, draft]
    return select(*(each.label(name) for name, each in zip(_COLUMNS, columns, strict=True)))


def _writes(c: Any) -> tuple[Any, Any]:
    """Return the columns CREATED and UPDATED."""
    created = func.timestamptz_send(c.created_at).concat(func.textsend(c.created_by))
    updated = func.int8send(c.version).concat(func.timestamptz_send(c.updated_at)).concat(func.textsend(c.updated_by))
    is_new = and_(c.version == literal_column("1"), c.created_at == c.updated_at, c.created_by == c.updated_by)
    return created, case((is_new, null()), else_=updated)


def content_bytes(rows: Sequence[RelatedRow]) -> int:
    """Return the size of the contents."""
    return sum(map(len, map(itemgetter(CONTENT), rows)))


def ids_in(row: RelatedRow) -> list[list[str]]:
    """Return the ids of records of each target, from the row that has them. Those with a draft follow the others."""
    found = []
    for of_records, of_drafts in zip(row[RECORD_IDS], row[DRAFT_IDS], strict=True):
        ids = of_records.split("\n") if of_records else []
        if of_drafts:
            ids += of_drafts.split("\n")
        found.append(ids)
    return found


def rows_by_id(rows: Sequence[RelatedRow]) -> dict[str, RelatedRow]:
    return dict(zip(map(itemgetter(ID), rows), rows, strict=True))


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
    version, created_us, created_by, updated_us, updated_by = unpacked_writes(row[CREATED], row[UPDATED])
    created_at, updated_at = (_EPOCH + timedelta(microseconds=each) for each in (created_us, updated_us))
    parent_id, position, deleted_at = place_of(row)
    return Record(
        collection, row[ID], row[CONTENT].decode(), version, parent_id, position, created_at, created_by, updated_at,
        updated_by, deleted_at,
    )  # fmt: skip


def unpacked_writes(created: bytes, updated: bytes | None) -> tuple[int, int, str, int, str]:
    """Return version, created_at, created_by, updated_at and updated_by, the times as microseconds since 1970."""
    (created_us,) = _CREATED.unpack_from(created)
    created_us += _UNTIL_2000_US
    created_by = created[_CREATED.size :].decode()
    if updated is None:
        return 1, created_us, created_by, created_us, created_by
    version, updated_us = _UPDATED.unpack_from(updated)
    return version, created_us, created_by, updated_us + _UNTIL_2000_US, updated[_UPDATED.size :].decode()
