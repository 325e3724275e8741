"""Records that do not fit a spec: their number, one example, and the refusal of a spec that they do not fit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Text, cast, func, select

from ...domain.collections import CollectionSpec
from ...domain.edits import format_pointer
from ...domain.errors import CollectionConflictError
from ...domain.filters.ast import FieldType, Path
from ...domain.filters.values import EXPECTED_STORED
from ..database import Database
from ..fields import mistyped
from ..lists.order import bound
from ..statements import Statement, compiled, load
from ..tables import record
from .cache import collection_spec_of

SQL = load("diagnosis")
COLLECTIONS = load("collections")


async def counts(database: Database, tenant_id: str, spec: CollectionSpec) -> Mapping[Path, int]:
    """Return for each declared field how many records hold a value of the wrong type.

    It reads all records of the collection that are not deleted.
    """
    found = await _look(database, tenant_id, spec, spec.fields)
    return {path: count for path, (count, _) in found.items()}


async def all_counts(database: Database) -> AsyncIterator[tuple[str, str, str, int]]:
    """Yield tenant, collection, JSON Pointer and the number of records with a value of the wrong type.

    Fields without such records are left out.
    """
    for row in await database.fetch(SQL["every_definition"], {}, idempotent=True):
        spec = collection_spec_of(row)
        for path, count in (await counts(database, row["tenant_id"], spec)).items():
            if count:
                yield row["tenant_id"], spec.collection, format_pointer(path), count


async def refuse_unfit(
    database: Database, tenant_id: str, spec: CollectionSpec, current: CollectionSpec | None, max_text_bytes: int
) -> None:
    """Raise CollectionConflictError if records do not fit what the spec adds to the current one.

    Writes have checked the rest. Each check reads all records.
    """
    declared = current or CollectionSpec(spec.collection)
    checked = set(declared.indexed_text())
    added = [path for path in spec.indexed_text() if path not in checked]
    await _refuse_overlong_text(database, tenant_id, spec, added, max_text_bytes)
    if any(path not in declared.refusing or spec.fields[path] != declared.fields[path] for path in spec.refusing):
        await _refuse_mistyped(database, tenant_id, spec)


async def _refuse_overlong_text(
    database: Database, tenant_id: str, spec: CollectionSpec, paths: Iterable[Path], max_bytes: int
) -> None:
    for path in paths:
        values: dict[str, object] = {
            "tenant_id": tenant_id,
            "collection": spec.collection,
            "path": list(path),
            "max_indexed_text_bytes": max_bytes,
        }
        rows = await database.fetch(COLLECTIONS["overlong_text"], values, idempotent=True)
        if rows:
            pointer, record_id = format_pointer(path), rows[0]["record_id"]
            raise CollectionConflictError(
                f"{pointer} cannot be declared as text: that of record {record_id!r} is over {max_bytes} bytes",
                path=pointer,
                record_id=record_id,
            )


async def _refuse_mistyped(database: Database, tenant_id: str, spec: CollectionSpec) -> None:
    """Raise CollectionConflictError if a record that is not deleted holds a value that the spec refuses."""
    for path, (count, record_id) in (await _look(database, tenant_id, spec, spec.refusing)).items():
        if count:
            pointer, type_ = format_pointer(path), spec.fields[path]
            raise CollectionConflictError(
                f"{pointer} cannot be declared to refuse values that are not {EXPECTED_STORED[type_]}: {count} records "
                f"hold one, such as {record_id!r}; declare it with ACCEPT, find them by record.mistyped = true, "
                "and fix them first",
                path=pointer,
                record_id=record_id,
                count=count,
            )


async def _look(
    database: Database, tenant_id: str, spec: CollectionSpec, paths: Collection[Path]
) -> dict[Path, tuple[int, str]]:
    fields = tuple((path, type_) for path, type_ in spec.fields.items() if path in paths)
    if not fields:
        return {}
    statement, fixed = _statement(fields)
    values = {**fixed, "tenant_id": tenant_id, "collection": spec.collection}
    row = (await database.fetch(statement, values, idempotent=True))[0]
    return {path: (row[f"count_{index}"], row[f"record_id_{index}"]) for index, (path, _) in enumerate(fields)}


@lru_cache(maxsize=128)
def _statement(fields: tuple[tuple[Path, FieldType], ...]) -> tuple[Statement, Mapping[str, object]]:
    columns: list[Any] = []
    for index, (path, type_) in enumerate(fields):
        is_mistyped = mistyped(record.c.content, path, type_)
        columns.append(func.count().filter(is_mistyped).label(f"count_{index}"))
        columns.append(func.min(record.c.record_id).filter(is_mistyped).label(f"record_id_{index}"))
    return compiled(
        "count_mistyped",
        select(*columns).where(
            record.c.tenant_id == cast(bound("tenant_id"), Text()),
            record.c.collection == cast(bound("collection"), Text()),
            record.c.deleted_at.is_(None),
        ),
    )
