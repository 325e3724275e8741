"""Reads of tables: snapshots by key, and changes by transaction id or by an updated column."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from draftline.upstreams import Page, RemoteRecord, UnreachableError
from sqlalchemy import Interval, Numeric, Text, and_, cast, func, literal, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .table import ReflectedTable

PAGE_SIZE = 1000


class Token(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A cursor. `start` and `position` are transaction ids, or values of the updated column, as texts."""

    position: str = ""  # of changes: everything before it was read
    start: str = ""  # of a snapshot: the position at its beginning
    after: str = ""  # of a snapshot: the last key

    def text(self) -> str:
        """Return the token as a cursor."""
        return msgspec.json.encode(self).decode()


async def snapshot(engine: AsyncEngine, table: ReflectedTable, cursor: str | None) -> AsyncIterator[Page]:
    """Yield the pages of a snapshot, by ascending key."""
    token = _token(cursor)
    start = token.start or await _position_now(engine, table)
    after: str | None = token.after or None
    while True:
        statement = table.rows().order_by(table.key).limit(PAGE_SIZE)
        if table.deleted is not None:
            statement = statement.where(table.is_deleted.is_(False))
        if after is not None:
            statement = statement.where(table.key > table.typed_key(after))
        async with engine.connect() as connection:
            rows = (await connection.execute(statement)).all()
        is_last = len(rows) < PAGE_SIZE
        after = rows[-1].key if rows else after
        changes_cursor = Token(position=start).text() if is_last and start else None
        yield Page([table.record(row) for row in rows], Token(start=start, after=after or "").text(), changes_cursor)
        if is_last:
            return


async def changes(engine: AsyncEngine, table: ReflectedTable, cursor: str | None) -> AsyncIterator[Page]:
    """Yield the rows that changed since a cursor. A page that is not the last one has the cursor of the beginning."""
    token = _token(cursor)
    until = await _position_now(engine, table)
    column = table.transaction_id if table.transaction_id is not None else table.updated
    last: Any = None
    while True:
        statement = table.rows().add_columns(cast(column, Text).label("at")).order_by(column, table.key)
        statement = statement.limit(PAGE_SIZE).where(_since(table, token.position, until))
        if last is not None:
            at, key = cast(cast(last.at, Text), column.type), table.typed_key(last.key)
            statement = statement.where(or_(column > at, and_(column == at, table.key > key)))
        async with engine.connect() as connection:
            rows = (await connection.execute(statement)).all()
        last = rows[-1] if rows else last
        is_last = len(rows) < PAGE_SIZE
        if not is_last:
            position = token.position
        elif table.transaction_id is not None:
            position = until
        else:
            position = await _not_in_future(engine, table, last.at) if last is not None else token.position
        yield Page([table.record(row) for row in rows], Token(position=position).text())
        if is_last:
            return


def _since(table: ReflectedTable, position: str, until: str) -> Any:
    """Return the condition for rows that changed since a position."""
    if table.transaction_id is not None:  # exact: every transaction before `until` has ended
        column = table.transaction_id
        first = cast(cast(position or "0", Text), column.type)
        return and_(column >= first, column < cast(cast(until, Text), column.type))
    if not position:
        return table.updated.is_not(None)
    since = cast(cast(position, Text), table.updated.type)
    overlap_s = table.definition.overlap_s
    if table.is_timed:
        return table.updated >= since - literal(timedelta(seconds=overlap_s), Interval)
    return table.updated >= since - literal(overlap_s, Numeric)


async def _position_now(engine: AsyncEngine, table: ReflectedTable) -> str:
    """Return the position that is after everything that was committed before now; empty if there are no changes."""
    async with engine.connect() as connection:
        if table.transaction_id is not None:
            return str(await connection.scalar(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")))
        if table.updated is None:
            return ""
        newest = await connection.scalar(select(cast(func.max(table.updated), Text)))
    return await _not_in_future(engine, table, newest) if newest else ""


async def _not_in_future(engine: AsyncEngine, table: ReflectedTable, position: str) -> str:
    """Return a position, but no time after the present: rows that change from now on would be before it.

    A column without a time zone may hold the local time of a writer.
    """
    if not table.is_timed:
        return position
    column = table.updated.type
    ahead = timedelta(0) if getattr(column, "timezone", False) else timedelta(days=1)
    now = cast(func.clock_timestamp() + literal(ahead, Interval), column)
    earlier = select(cast(func.least(cast(cast(position, Text), column), now), Text))
    async with engine.connect() as connection:
        return str(await connection.scalar(earlier))


async def lookup(engine: AsyncEngine, table: ReflectedTable, remote_ids: Sequence[str]) -> list[RemoteRecord]:
    """Return the current state of each key."""
    found: dict[str, RemoteRecord] = {}
    async with engine.connect() as connection:
        for start in range(0, len(remote_ids), PAGE_SIZE):
            found |= await _found(connection, table, remote_ids[start : start + PAGE_SIZE])
    return [found.get(each) or RemoteRecord(remote_id=each, deleted=True) for each in remote_ids]


async def _found(connection: AsyncConnection, table: ReflectedTable, ids: Sequence[str]) -> dict[str, RemoteRecord]:
    rows = (await connection.execute(table.rows().where(table.by_key(ids)))).all()
    return {row.key: table.record(row) for row in rows}


def _token(cursor: str | None) -> Token:
    if not cursor:
        return Token()
    try:
        return msgspec.json.decode(cursor, type=Token)
    except msgspec.DecodeError:
        raise UnreachableError("the stored cursor is not one of this connector; start it again by a snapshot") from None
