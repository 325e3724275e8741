"""Reverts: undo changes by writing new ones, in one transaction.

Records are locked first, in primary-key order. A change is reverted with the base that the log stores with it. A
decision is needed only where its record was changed again since, at the same path and to another value.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import uuid_utils

from ..domain.changes import MAX_REVERTED, ChangeRef, ChangeSource, RevertResult, Write
from ..domain.content import Limits
from ..domain.drafts import Conflict, ConflictPolicy
from ..domain.errors import ChangeNotFoundError, DraftlineError, HistoryNotKeptError, SelectionTooLargeError
from ..domain.records import Actor
from .collections.cache import CollectionSpecs, StaleCollectionSpecError
from .drafts import SQL as DRAFTS
from .drafts import conflicts_of
from .record_errors import conflict_error, content_error, raise_any, record_field
from .record_rows import limit_values, record_of
from .relations.references import Key, Problems, ReferenceChecks, write_accepted
from .statements import load
from .transaction import Rows, Transaction

SQL = load("reverts")
NOT_FOUND = "the log has no such change or commit"


class RevertStore:
    """Reverts changes."""

    def __init__(self, specs: CollectionSpecs, limits: Limits) -> None:
        self._specs = specs
        self._limits = limits
        self._references = ReferenceChecks(specs)

    async def revert(
        self,
        transaction: Transaction,
        actor: Actor,
        target: ChangeRef | str,
        policy: ConflictPolicy,
        *,
        change_reason: str,
        allow_partial: bool,
        with_content: bool,
    ) -> tuple[list[RevertResult], str]:
        """Revert one change, or all changes of a commit if `target` is a commit id.

        Return a result for each record, and the id of the new commit, which is empty if nothing was written. The
        content of records is empty unless `with_content`.

        Raises ChangeNotFoundError if the log does not hold the target, and SelectionTooLargeError if it has more than
        MAX_REVERTED changes. Without `allow_partial`, raises ConflictError or else the first error of a record. Raises
        StaleCollectionSpecError if the transaction has to be rolled back and tried again.
        """
        write = Write(
            actor, ChangeSource.REVERT_CHANGE, await transaction.now(), change_reason, str(uuid_utils.uuid7())
        )
        values = {**self._values(write, target), "keep_theirs": policy is ConflictPolicy.KEEP_THEIRS}
        locked = await self._lock(transaction, values)
        values |= locked
        collections = set(locked["locked_collections"])
        values["guarded"] = [name for name in collections if self._references.guards(actor.tenant_id, name)]
        judged = await self._fetch(transaction, values, self._with_schema(actor, collections))
        self._refuse_stale(actor, collections, judged)
        results = self._judge(judged, policy, await self._violations(actor, judged))
        if not allow_partial:
            raise_any(results, "records were changed since; nothing was reverted")
        shown = list(collections) if with_content else []
        rows, problems = await self._write(transaction, actor, values, shown, results, allow_partial=allow_partial)
        if len(rows) != len(results):  # the log has been shortened between the statements
            raise ChangeNotFoundError(NOT_FOUND)
        await self._refresh_drafts(transaction, actor, rows)
        reverted = [_reverted(row, result, problems) for row, result in zip(rows, results, strict=True)]
        return reverted, write.commit_id if any(result.written for result in reverted) else ""

    def _values(self, write: Write, target: ChangeRef | str) -> dict[str, object]:
        change = target if isinstance(target, ChangeRef) else None
        return {
            "tenant_id": write.actor.tenant_id,
            "user_id": write.actor.user_id,
            "commit_id": target if change is None else None,
            "collection": change and change.collection,
            "record_id": change and change.record_id,
            "version": change and change.version,
            "now": write.now,
            "change_reason": write.change_reason,
            "new_commit_id": write.commit_id,
            "request_id": write.request_id,
            **limit_values(self._limits),
        }

    async def _lock(self, transaction: Transaction, values: dict[str, object]) -> dict[str, list[str]]:
        """Lock the records of the target, and return the locked ones as values of the statement `revert_changes`.

        Raises ChangeNotFoundError or SelectionTooLargeError.
        """
        rows = await transaction.fetch(SQL["select_reverted"], {**values, "limit": MAX_REVERTED + 1})
        if not rows:
            raise ChangeNotFoundError(NOT_FOUND)
        if len(rows) > MAX_REVERTED:
            raise SelectionTooLargeError(
                f"the commit holds more than {MAX_REVERTED} changes, which is the limit of one revert",
                limit=MAX_REVERTED,
            )
        keys = {"collections": [row["collection"] for row in rows], "record_ids": [row["record_id"] for row in rows]}
        locked = await transaction.fetch(SQL["lock_reverted"], {**values, **keys})
        if not locked:  # they were purged meanwhile
            raise ChangeNotFoundError(NOT_FOUND)
        return {
            "locked_collections": [row["collection"] for row in locked],
            "locked_ids": [row["record_id"] for row in locked],
        }

    async def _write(
        self,
        transaction: Transaction,
        actor: Actor,
        values: dict[str, object],
        shown: Sequence[str],
        results: Sequence[RevertResult],
        *,
        allow_partial: bool,
    ) -> tuple[Rows, Problems]:
        """Write the reverts that have no error and violate no checked relation; return the errors of violations."""
        refused = [(each.collection, each.record_id) for each in results if each.error is not None]
        keys = [(each.collection, each.record_id) for each in results if each.error is None]
        if not any(self._references.has_checks(actor.tenant_id, collection) for collection, _ in keys):
            return await self._fetch(transaction, values, shown, refused), {}
        before = await self._references.read_named(transaction, actor.tenant_id, keys)

        async def attempt(problems: Problems) -> tuple[Rows, Problems]:
            rows = await self._fetch(transaction, values, shown, [*refused, *problems])
            written = {(row["collection"], row["record_id"]): row for row in rows if row["written"]}
            found = await self._references.problems(
                transaction, actor.tenant_id, before,
                written=[key for key, row in written.items() if row["deleted_at"] is None],
                deleted=[key for key, row in written.items() if row["deleted_at"] is not None],
            )  # fmt: skip
            return rows, found

        return await write_accepted(transaction, attempt, allow_partial=allow_partial)

    async def _fetch(
        self,
        transaction: Transaction,
        values: dict[str, object],
        shown: Sequence[str],
        refused: Sequence[Key] | None = None,
    ) -> Rows:
        """Return the outcome of the reverts, with the contents of the collections in `shown`.

        `refused`: write all reverts except those of these records; None: write nothing.
        """
        named = refused or ()
        rows = await transaction.fetch(
            SQL["revert_changes"],
            {
                **values,
                "writes": refused is not None,
                "refused_collections": [collection for collection, _ in named],
                "refused_ids": [record_id for _, record_id in named],
                "shown": shown,
            },
        )
        if any(row["is_unguarded"] for row in rows):
            raise StaleCollectionSpecError({row["collection"] for row in rows})
        return rows

    def _with_schema(self, actor: Actor, collections: set[str]) -> list[str]:
        known = self._specs.known
        return [name for name in collections if known(actor.tenant_id, name).json_schema]

    async def _violations(self, actor: Actor, rows: Rows) -> dict[tuple[str, str], DraftlineError]:
        """Return, by collection and record id, the errors of contents that violate a JSON Schema."""
        contents = {
            (row["collection"], row["record_id"]): (row["collection"], row["content"], record_field(row["record_id"]))
            for row in rows
            if row["needs_check"]
        }
        violations = await self._specs.violations(actor.tenant_id, list(contents.values()))
        return {key: error for key, error in zip(contents, violations, strict=True) if error is not None}

    def _refuse_stale(self, actor: Actor, collections: set[str], rows: Rows) -> None:
        """Raise StaleCollectionSpecError if the spec of a collection has changed."""
        for row in rows:
            if row["definition_version"] != self._specs.known(actor.tenant_id, row["collection"]).version:
                raise StaleCollectionSpecError(collections)

    @staticmethod
    def _judge(
        rows: Rows, policy: ConflictPolicy, violations: dict[tuple[str, str], DraftlineError]
    ) -> list[RevertResult]:
        """Return the conflicts of each revert, and the error that prevents it, if there is one."""
        results: list[RevertResult] = []
        for row in rows:
            conflicts = conflicts_of(row["collection"], row["record_id"], row["seen_version"], row["conflicts"])
            error = _objection(row, conflicts, policy) or violations.get((row["collection"], row["record_id"]))
            results.append(RevertResult(row["collection"], row["record_id"], conflicts=conflicts, error=error))
        return results

    async def _refresh_drafts(self, transaction: Transaction, actor: Actor, rows: Rows) -> None:
        """Refresh the drafts of all users over the records that were written."""
        written = [row for row in rows if row["written"]]
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id,
            "collections": [row["collection"] for row in written],
            "record_ids": [row["record_id"] for row in written],
            "steps_done": None,  # a revert sets values and applies no transforms
        }
        if written:
            await transaction.fetch(DRAFTS["refresh_drafts"], values)


def _objection(row: asyncpg.Record, conflicts: Sequence[Conflict], policy: ConflictPolicy) -> DraftlineError | None:
    """Return the error that prevents a revert; None if there is none."""
    record_id, version = row["record_id"], row["change_version"]
    if row["is_lost"]:
        return HistoryNotKeptError(
            f"the log has only the paths, not the values, of version {version} of record {record_id!r}",
            record_id=record_id,
        )
    if conflicts and policy is ConflictPolicy.REJECT:
        message = f"record {record_id!r} was changed since version {version}"
        return conflict_error(message, record_id, conflicts)
    return content_error(row["failure"], row["collection"], record_id)


def _reverted(row: asyncpg.Record, result: RevertResult, problems: Problems) -> RevertResult:
    if refusal := problems.get((result.collection, result.record_id)):
        return RevertResult(result.collection, result.record_id, conflicts=result.conflicts, error=refusal)
    if result.error is not None:
        return result
    return RevertResult(
        result.collection,
        result.record_id,
        record_of(row),
        row["changed_fields"] if row["written"] else (),
        result.conflicts,
        written=row["written"],
    )
