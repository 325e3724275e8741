"""Writes of rows: each once, by its key in a table of the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from draftline.upstreams import (
    Applied,
    Create,
    Delete,
    Exists,
    FieldProblem,
    Gone,
    NotTaken,
    Outcome,
    Refused,
    Stale,
    Unknown,
    Update,
    WriteItem,
)
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...domain.edits import parse_pointer
from ..field_mapping import UnmappableError, with_edits
from . import errors
from .table import ReflectedTable

UNKNOWN_COLUMN, GENERATED_COLUMN = OF_COLUMNS = ("UNKNOWN_COLUMN", "GENERATED_COLUMN")
Failures = (DBAPIError, OSError, TimeoutError, asyncpg.PostgresError)


async def write(
    engine: AsyncEngine, table: ReflectedTable, items: Sequence[WriteItem], *, atomic: bool
) -> list[Outcome]:
    """Write items in one transaction, and return their outcomes.

    An item that fails is rolled back alone, or with all others if `atomic` is set. Raises UpstreamError if nothing was
    applied. If the response to COMMIT is lost, every outcome is unknown.
    """
    outcomes: list[Outcome] = [NotTaken()] * len(items)
    # Rows are locked in one order, so that concurrent batches do not deadlock.
    order = sorted(range(len(items)), key=lambda index: (items[index].remote_id, items[index].record_id))
    try:
        async with engine.connect() as connection:
            transaction = await connection.begin()
            for index in order:
                outcomes[index] = await _write_one(connection, table, items[index])
            if atomic and not all(isinstance(each, Applied) for each in outcomes):
                await transaction.rollback()
                return _aborted(outcomes)
            try:
                await transaction.commit()
            except Failures as error:
                if isinstance(error, DBAPIError) and errors.refused(error) is not None:  # a deferred constraint
                    raise
                return [Unknown("the response to COMMIT was lost")] * len(items)
    except Failures as error:
        return _failed(items, error)
    return outcomes


def _failed(items: Sequence[WriteItem], error: Exception) -> list[Outcome]:
    """Return the outcome of every item of a transaction that was rolled back, or raise the error of the database."""
    outcome = errors.refused(error) if isinstance(error, DBAPIError) else None
    if outcome is None:
        raise errors.of_database(error) from None
    if isinstance(outcome, Refused) and len(items) > 1:  # a deferred constraint names no item
        return [NotTaken(outcome.message)] * len(items)
    return [outcome] * len(items)


def _aborted(outcomes: Sequence[Outcome]) -> list[Outcome]:
    aborted = Refused("ABORTED", "another item of the batch was not applied")
    return [aborted if isinstance(each, Applied) else each for each in outcomes]


async def _write_one(connection: AsyncConnection, table: ReflectedTable, item: WriteItem) -> Outcome:
    savepoint = await connection.begin_nested()
    try:
        outcome = await _once(connection, table, item)
    except UnmappableError as error:
        outcome = error.refused
    except DBAPIError as error:
        failed = errors.refused(error)
        if failed is None or isinstance(failed, NotTaken):
            raise
        outcome = _localized(table, failed)
    if isinstance(outcome, Applied):
        await savepoint.commit()
    else:
        await savepoint.rollback()
    return outcome


def _localized(table: ReflectedTable, refused: Refused) -> Refused:
    problems = tuple(FieldProblem(table.fields.local_path(each.path), each.message) for each in refused.fields)
    return Refused(refused.reason, refused.message, problems)


async def _once(connection: AsyncConnection, table: ReflectedTable, item: WriteItem) -> Outcome:
    """Apply an item unless its key was applied. A concurrent transaction with the same key is waited for."""
    applied = table.applied
    claim = insert(applied).values(key=item.idempotency_key, at=func.now()).on_conflict_do_nothing()
    if not (await connection.execute(claim.returning(applied.c.key))).all():
        known = select(applied.c.remote_id).where(applied.c.key == item.idempotency_key)
        return await _current(connection, table, str(await connection.scalar(known)))
    outcome = await _apply(connection, table, item)
    if isinstance(outcome, Applied):
        await connection.execute(
            update(applied).where(applied.c.key == item.idempotency_key).values(remote_id=outcome.remote_id)
        )
    return outcome


async def _current(connection: AsyncConnection, table: ReflectedTable, remote_id: str) -> Outcome:
    """Return `Applied` with the record as it is now: the write was applied, and maybe others after it."""
    row = (await connection.execute(table.rows().where(table.by_key([remote_id])))).one_or_none()
    record = table.record(row) if row is not None else None
    if record is None or record.deleted:
        return Applied(remote_id)
    return Applied(remote_id, record.remote_version, record)


async def _apply(connection: AsyncConnection, table: ReflectedTable, item: WriteItem) -> Outcome:
    if isinstance(item.write, Create):
        return await _create(connection, table, item, item.write)
    statement = table.rows().where(table.by_key([item.remote_id])).with_for_update(of=table.table)
    row = (await connection.execute(statement)).one_or_none()
    if row is None or row.deleted:
        return Applied(item.remote_id) if isinstance(item.write, Delete) else Gone()
    if item.expected_remote_version is not None and item.expected_remote_version != row.version:
        return Stale(table.record(row))
    if isinstance(item.write, Update):
        content = table.content(row)
        edits = table.fields.edits_out(item.write.edits)
        names = list(dict.fromkeys(parse_pointer(each.path, "path")[0] for each in edits))
        return await _update(connection, table, item.remote_id, names, with_edits(content, edits))
    if table.deleted is not None:
        marked = update(table.table).where(table.by_key([item.remote_id]))
        await connection.execute(marked.values({**table.deletion_mark(deleted=True), **table.stamps()}))
    else:
        await connection.execute(delete(table.table).where(table.by_key([item.remote_id])))
    return Applied(item.remote_id)


async def _update(
    connection: AsyncConnection, table: ReflectedTable, remote_id: str, names: Sequence[str], content: Mapping[str, Any]
) -> Outcome:
    refused = _unknown_columns(table, names) or _generated_columns(table, names)
    if refused is not None:
        return refused
    values: dict[str, Any] = {name: table.typed([name], content).scalar_subquery() for name in names}
    values |= {**table.deletion_mark(deleted=False), **table.stamps()}
    if values:
        await connection.execute(update(table.table).where(table.by_key([remote_id])).values(values))
    return await _current(connection, table, remote_id)


async def _create(connection: AsyncConnection, table: ReflectedTable, item: WriteItem, write: Create) -> Outcome:
    sent = table.fields.document_out(write.document)
    content = {name: value for name, value in sent.items() if name not in table.generated}
    refused = _unknown_columns(table, list(content))
    if refused is not None:
        return refused
    definition = table.definition
    own: dict[str, Any] = {}
    if not definition.generated_key:
        if not table.can_be_key(item.record_id):
            return Refused("INVALID_KEY", "the record id cannot be a key of the table")
        own[definition.key] = table.typed_key(item.record_id)
    if definition.reference is not None:
        own[definition.reference] = item.record_id
    stamps = table.stamps()
    if definition.version is not None:
        stamps[definition.version] = 1
    stamps |= table.deletion_mark(deleted=False)
    created = _insertion(table, content, {**own, **stamps})
    key = await connection.scalar(created.on_conflict_do_nothing().returning(table.rows().selected_columns.key))
    if key is not None:
        return await _current(connection, table, str(key))
    return await _existing(connection, table, item, content)


def _insertion(table: ReflectedTable, content: Mapping[str, Any], own: Mapping[str, Any]) -> Insert:
    """Return the statement for a new row: `content`, in the types of the columns, and the connector's own columns."""
    values: dict[str, Any] = {name: table.typed([name], content).scalar_subquery() for name in content}
    return insert(table.table).values({**values, **own})


async def _existing(
    connection: AsyncConnection, table: ReflectedTable, item: WriteItem, content: Mapping[str, Any]
) -> Outcome:
    """Return the outcome of a creation that met a row: it exists, or is created over a deleted one."""
    column = table.reference if table.reference is not None else table.key
    value = item.record_id if table.reference is not None else table.typed_key(item.record_id)
    row = (await connection.execute(table.rows().where(column == value).with_for_update(of=table.table))).one_or_none()
    if row is None:
        return Refused("UNIQUE", "another row has one of the unique values")
    if not row.deleted:
        return Exists(table.record(row))
    everything = [name for name in table.columns if name not in table.generated]
    return await _update(connection, table, row.key, everything, {name: content.get(name) for name in everything})


def _unknown_columns(table: ReflectedTable, names: Sequence[str]) -> Refused | None:
    unknown = [name for name in names if name not in table.columns]
    if not unknown:
        return None
    return _refused_columns(table, unknown, UNKNOWN_COLUMN, f"the table has no column {unknown[0]}", "is not a column")


def _generated_columns(table: ReflectedTable, names: Sequence[str]) -> Refused | None:
    generated = [name for name in names if name in table.generated]
    if not generated:
        return None
    message = f"the database generates the column {generated[0]}"
    return _refused_columns(table, generated, GENERATED_COLUMN, message, "is generated by the database")


def _refused_columns(table: ReflectedTable, names: Sequence[str], reason: str, message: str, problem: str) -> Refused:
    return Refused(reason, message, tuple(FieldProblem(table.fields.local_path(f"/{name}"), problem) for name in names))
