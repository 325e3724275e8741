"""Create, read, delete and undelete records. Every write is one statement or one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import uuid_utils

from ..domain.changes import ChangeSource
from ..domain.content import Limits
from ..domain.errors import AnswerTooLargeError, RecordDeletedError, RecordNotFoundError
from ..domain.filters.ast import Filter, Restriction
from ..domain.records import Actor, NewRecord, Record
from .collections.cache import CollectionSpecs
from .database import Database
from .driver_errors import RacedError
from .record_errors import condition_json, error_of, exists_already, id_of_deleted, not_found, record_field
from .record_rows import limit_values, record_of, shown
from .relations.references import ReferenceChecks
from .statements import load
from .transaction import Transaction

SQL = load("content")
MAX_BATCH_BYTES = 16 * 1024 * 1024  # of stored contents that one call reads


class ContentStore:
    """The records of the baseline."""

    def __init__(self, database: Database, specs: CollectionSpecs, limits: Limits) -> None:
        self._database = database
        self._specs = specs
        self._limits = limits
        self._references = ReferenceChecks(specs)

    async def get(self, actor: Actor, collection: str, record_id: str, *, show_deleted: bool) -> Record:
        """Return a record.

        Raises RecordNotFoundError if it does not exist, and RecordDeletedError if it is deleted, unless `show_deleted`.
        """
        (record,) = await self.find(actor, [(collection, record_id)])
        return shown(record, collection, record_id, show_deleted=show_deleted)

    async def find(self, actor: Actor, ids: Sequence[tuple[str, str]]) -> Sequence[Record | None]:
        """Return records in the order of `ids`, which may repeat; None for one that does not exist."""
        collections, record_ids = zip(*ids, strict=True)
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id,
            "collections": collections,
            "record_ids": record_ids,
        }
        rows = await self._database.fetch(SQL["get_content"], values, idempotent=True)
        records = {row["index"]: record_of(row) for row in rows}
        return [records.get(index) for index in range(1, len(ids) + 1)]

    async def get_all(
        self,
        actor: Actor,
        collection: str,
        record_ids: Sequence[str],
        *,
        show_deleted: bool,
        allow_missing: bool,
        max_bytes: int = MAX_BATCH_BYTES,
    ) -> Mapping[str, Record | None]:
        """Return records by their ids, in the order of `record_ids`, as they were at one moment.

        With `allow_missing`, the value is None for a record that does not exist, or is deleted unless `show_deleted`.
        Raises RecordNotFoundError and RecordDeletedError otherwise, and AnswerTooLargeError if the contents exceed
        `max_bytes`.
        """
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id, "collection": collection, "record_ids": record_ids, "max_bytes": max_bytes,
        }  # fmt: skip
        rows = await self._database.fetch(SQL["batch_get_content"], values, idempotent=True)
        if any(row["content"] is None for row in rows):
            raise AnswerTooLargeError(
                f"the records exceed {max_bytes} bytes: request fewer of them at a time", limit=max_bytes
            )
        records = {row["record_id"]: record_of(row) for row in rows}
        found: dict[str, Record | None] = {}
        for record_id in record_ids:
            record = records.get(record_id)
            if allow_missing and (record is None or (record.deleted_at is not None and not show_deleted)):
                found[record_id] = None
            else:
                found[record_id] = shown(record, collection, record_id, show_deleted=show_deleted)
        return found

    async def create(self, actor: Actor, new: NewRecord, *, change_reason: str, validate_only: bool) -> Record:
        """Create a record, or with `allow_deleted` overwrite a deleted one.

        Raises RecordExistsError if the id is taken, RecordDeletedError if it is that of a deleted record and
        `allow_deleted` is not set, RecordNotFoundError if none has it and `allow_missing` is not set, and
        ReferenceNotFoundError.
        """
        now = await self._database.now()
        record_id = new.record_id or str(uuid_utils.uuid7())

        async def attempt() -> Record:
            spec = self._specs.known(actor.tenant_id, new.collection)
            (violation,) = await self._specs.violations(actor.tenant_id, [(new.collection, new.content, "content")])
            if violation is not None:
                await self._specs.refuse_stale(actor.tenant_id, spec)
                raise violation
            values = {
                **_written_by(actor, now, change_reason),
                "collection": new.collection,
                "record_id": record_id,
                "content": new.content,
                "parent_id": new.parent_id or None,
                "position": new.position,
                "definition_version": spec.version,
                "makes_id": not new.record_id,
                **limit_values(self._limits),
            }
            if not new.allow_missing:
                return await self._create_over(actor, new, record_id, values, validate_only)
            is_checked = self._references.names_any(actor.tenant_id, new.collection, new.content)
            row = (await self._write(actor, "create_content", values, validate_only, is_checked=is_checked))[0]
            if row["failure"] is not None:
                raise error_of(row["failure"], new.collection, record_id, "content")
            if not row["created"]:
                return await self._create_over(actor, new, record_id, values, validate_only)
            user = actor.user_id
            return Record(
                new.collection, record_id, row["content"], 1, new.parent_id or None, new.position,
                now, user, now, user, None,
            )  # fmt: skip

        return await self._specs.retry_if_stale(actor.tenant_id, [new.collection], attempt)

    async def _create_over(
        self, actor: Actor, new: NewRecord, record_id: str, values: dict[str, object], validate_only: bool
    ) -> Record:
        """Overwrite a deleted record with a new one, or raise the error that prevents it."""
        if new.allow_deleted:
            values = {**values, "source": ChangeSource.CREATE_CONTENT, "commit_id": None, "with_changed_fields": False}
            is_checked = self._references.names_any(actor.tenant_id, new.collection, new.content)
            rows = await self._write(actor, "recreate_content", values, validate_only, is_checked=is_checked)
            if not rows and new.allow_missing:
                raise RacedError  # the deleted record was purged meanwhile
            return self._changed(rows, new.collection, record_id)
        (existing,) = await self.find(actor, [(new.collection, record_id)])
        if existing is None:
            raise RacedError
        raise exists_already(record_id) if existing.deleted_at is None else id_of_deleted(record_id)

    async def delete(
        self,
        actor: Actor,
        collection: str,
        record_id: str,
        *,
        expected_version: int | None,
        condition: Filter[Restriction] | None,
        allow_missing: bool,
        change_reason: str,
        validate_only: bool,
    ) -> Record | None:
        """Delete a record and return it; None if it is missing or already deleted, with `allow_missing`.

        Raises RecordReferencedError if others name it by a relation that is checked.
        """

        async def attempt() -> Record | None:
            spec = self._specs.known(actor.tenant_id, collection)
            is_guarded = self._references.guards(actor.tenant_id, collection)
            values = {
                **_written_by(actor, await self._database.now(), change_reason),
                **_identity(collection, record_id, expected_version),
                "condition": condition_json(condition, spec),
                "definition_version": spec.version,
                "is_guarded": is_guarded,
            }
            rows = await self._write(actor, "delete_content", values, validate_only, is_checked=is_guarded)
            try:
                return self._changed(rows, collection, record_id)
            except (RecordNotFoundError, RecordDeletedError):
                if not allow_missing:
                    raise
                return None

        return await self._specs.retry_if_stale(actor.tenant_id, [collection], attempt)

    async def undelete(
        self,
        actor: Actor,
        collection: str,
        record_id: str,
        *,
        expected_version: int | None,
        change_reason: str,
        validate_only: bool,
    ) -> Record:
        """Bring a deleted record back. Its content is checked, because the spec may have changed since.

        Raises RecordNotDeletedError if the record is live.
        """
        where = record_field(record_id)

        async def attempt() -> Record:
            spec = self._specs.known(actor.tenant_id, collection)
            values = {
                **_written_by(actor, await self._database.now(), change_reason),
                **_identity(collection, record_id, expected_version),
                "definition_version": spec.version,
                **limit_values(self._limits),
            }
            if not spec.json_schema:
                is_checked = bool(spec.checked_relations())
                rows = await self._write(actor, "undelete_content", values, validate_only, is_checked=is_checked)
                return self._changed(rows, collection, record_id, where)

            async def checked(transaction: Transaction) -> Record:
                if validate_only:
                    transaction.mark_rollback_only()
                rows = await transaction.fetch(SQL["undelete_content"], values)
                record = self._changed(rows, collection, record_id, where)
                contents = [(collection, record.content, where)]
                (violation,) = await self._specs.violations(actor.tenant_id, contents)
                if violation is not None:
                    raise violation
                await self._check(transaction, actor, rows)
                return record

            return await self._database.transact(checked, idempotent=actor.request is not None)

        return await self._specs.retry_if_stale(actor.tenant_id, [collection], attempt)

    def _changed(
        self, rows: Sequence[asyncpg.Record], collection: str, record_id: str, where: str = "content"
    ) -> Record:
        if not rows:
            raise not_found(collection, record_id)
        if rows[0]["failure"] is not None:
            raise error_of(rows[0]["failure"], collection, record_id, where)
        return record_of(rows[0])

    async def _write(
        self, actor: Actor, name: str, values: dict[str, object], validate_only: bool, *, is_checked: bool
    ) -> Sequence[asyncpg.Record]:
        """Return the row of a write. `is_checked`: check the references of what it has written."""
        if not (validate_only or is_checked):
            return await self._database.fetch(SQL[name], values, idempotent=actor.request is not None)

        async def work(transaction: Transaction) -> Sequence[asyncpg.Record]:
            if validate_only:
                transaction.mark_rollback_only()
            rows = await transaction.fetch(SQL[name], values)
            if is_checked and rows and rows[0]["failure"] is None and rows[0].get("created", True):
                await self._check(transaction, actor, [{**values, **rows[0]}])
            return rows

        return await self._database.transact(work, idempotent=not validate_only and actor.request is not None)

    async def _check(self, transaction: Transaction, actor: Actor, rows: Sequence[Mapping[str, Any]]) -> None:
        """Raise the error of references for a record that the transaction has written, or has deleted."""
        key = rows[0]["collection"], rows[0]["record_id"]
        keys = {"deleted" if rows[0].get("deleted_at") is not None else "written": [key]}
        for error in (await self._references.problems(transaction, actor.tenant_id, {}, **keys)).values():
            raise error


def _written_by(actor: Actor, now: datetime, change_reason: str) -> dict[str, object]:
    return {
        "tenant_id": actor.tenant_id,
        "user_id": actor.user_id,
        "now": now,
        "change_reason": change_reason,
        "request_id": actor.request.request_id if actor.request is not None else None,
        "fingerprint": actor.request.fingerprint if actor.request is not None else None,
    }


def _identity(collection: str, record_id: str, expected_version: int | None) -> dict[str, object]:
    return {"collection": collection, "record_id": record_id, "expected_version": expected_version}
