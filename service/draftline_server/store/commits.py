"""Commits: write drafts into the baseline, in one transaction.

Records are locked first, in primary-key order, then the drafts over them. The stored merge
itself is written; a decision is needed only where base, mine and theirs all differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import asyncpg
import uuid_utils

from ..domain.changes import ChangeSource, Write
from ..domain.content import Limits
from ..domain.drafts import CommitResult, Conflict, ConflictPolicy, Resolution, Selection
from ..domain.errors import DraftlineError
from ..domain.records import Actor
from .collections.cache import CollectionSpecs, StaleCollectionSpecError
from .drafts import SQL as DRAFTS
from .drafts import check_selection, check_versions, conflicts_of, identity, selection_values, sparse, versions_of
from .driver_errors import RacedError
from .record_errors import conflict_error, content_error, raise_any, record_field
from .record_rows import limit_values, record_in
from .relations.references import Problems, ReferenceChecks, write_accepted
from .resolutions import Judged, Resolutions, Settlement, judged, resolution_arrays, settle
from .statements import load
from .transaction import Rows, Transaction

COMMITS = load("commits")


class _NotPlainError(Exception):
    """A draft of the commit has to be looked at before it is written."""


class CommitStore:
    """Commits the drafts of one user."""

    def __init__(self, specs: CollectionSpecs, limits: Limits) -> None:
        self._specs = specs
        self._limits = limits
        self._references = ReferenceChecks(specs)

    async def commit(
        self,
        transaction: Transaction,
        actor: Actor,
        collection: str,
        selection: Selection,
        policy: ConflictPolicy,
        *,
        change_reason: str,
        allow_partial: bool,
        with_content: bool,
        resolutions: Sequence[Resolution] = (),
    ) -> tuple[list[CommitResult], str]:
        """Write the selected drafts into the baseline.

        Return a result for each draft, by record id, and the id of the commit, which is empty if nothing was written.
        `resolutions` decide conflicts one by one, `policy` decides the others. The content of records is empty unless
        `with_content`.

        Without `allow_partial`, raises ConflictError with the undecided conflicts, or else the first error of a draft.
        Raises InvalidFieldError for a resolution of something that is not drafted, and RacedError or
        StaleCollectionSpecError if the transaction has to be rolled back and tried again.
        """
        write = Write(actor, ChangeSource.COMMIT, await transaction.now(), change_reason, str(uuid_utils.uuid7()))
        if not resolutions and self._may_be_plain(actor.tenant_id, collection):
            # The savepoint releases the locks if a draft is not plain. Otherwise the general way, which selects the
            # drafts again, could wait for others while it holds what they need.
            with suppress(_NotPlainError):
                async with transaction.savepoint():
                    written = await self._write_plain(
                        transaction, write, collection, selection, with_content=with_content
                    )
                results = [_committed(collection, CommitResult(key), written[key], None) for key in sorted(written)]
                return results, _commit_id(write, written)
        rows = await self._lock(transaction, actor, collection, selection)
        decided = await self._resolutions(transaction, actor, collection, rows, resolutions)
        settlements = {key: _settlement(collection, row, decided.get(key, {}), policy) for key, row in rows.items()}
        contents = {key: row for key, row in rows.items() if settlements[key].action == "WRITE"}
        contents |= await self._settled(transaction, actor, collection, settlements)
        violations = await self._violations(actor, collection, contents)
        results = [
            _judgement(collection, rows[key], settlement, contents.get(key), violations)
            for key, settlement in settlements.items()
        ]
        if not allow_partial:
            raise_any(results, "drafts are in conflict with the baseline; nothing was committed")
        accepted = {result.record_id: settlements[result.record_id] for result in results if result.error is None}
        versions = {key: rows[key]["record_version"] or 0 for key in accepted}
        written, refused = await self._write_checked(
            transaction, write, collection, accepted, versions, allow_partial=allow_partial, with_content=with_content
        )
        return (
            [
                _committed(
                    collection, result, written.get(result.record_id), refused.get((collection, result.record_id))
                )
                for result in results
            ],
            _commit_id(write, written),
        )

    def _may_be_plain(self, tenant_id: str, collection: str) -> bool:
        """Return whether drafts of the collection can be written without a look at them."""
        spec = self._specs.known(tenant_id, collection)
        return not spec.json_schema and not self._references.has_checks(tenant_id, collection)

    async def _write_plain(
        self, transaction: Transaction, write: Write, collection: str, selection: Selection, *, with_content: bool
    ) -> dict[str, asyncpg.Record]:
        """Write the selected drafts as `_write` does, and return the new state by record id.

        Raises _NotPlainError if there are none, or if one of them is not plain; nothing is written then.
        """
        actor = write.actor
        spec = self._specs.known(actor.tenant_id, collection)
        values = {
            **self._write_values(write, collection, with_content=with_content),
            **selection_values(selection),
            "definition_version": spec.version,
        }
        rows = await transaction.fetch(COMMITS["write_plain_drafts"], values)
        if not rows:
            raise _NotPlainError
        await check_selection(transaction, actor, collection, selection, {})  # these are deleted
        check_versions(selection, {row["record_id"]: row["draft_version"] for row in rows})
        await self._finish(transaction, collection, rows, values)
        return {row["record_id"]: row for row in rows}

    async def _violations(
        self, actor: Actor, collection: str, contents: Mapping[str, asyncpg.Record]
    ) -> dict[str, DraftlineError]:
        """Return, by record id, the errors of contents that violate the JSON Schema."""
        checked = [(key, row["written"]) for key, row in contents.items() if row["written"] is not None]
        violations = await self._specs.violations(
            actor.tenant_id, [(collection, content, record_field(key)) for key, content in checked]
        )
        return {key: error for (key, _), error in zip(checked, violations, strict=True) if error is not None}

    async def _lock(
        self, transaction: Transaction, actor: Actor, collection: str, selection: Selection
    ) -> dict[str, asyncpg.Record]:
        """Lock the selected drafts and their records, and return them by record id."""
        spec = self._specs.known(actor.tenant_id, collection)
        values: dict[str, object] = {
            **identity(actor, collection),
            **selection_values(selection),
            "with_content": bool(spec.json_schema),
            **limit_values(self._limits),
        }
        rows = await transaction.fetch(COMMITS["lock_drafts"], values)
        versions = versions_of(rows)
        if any(row["definition_version"] != spec.version for row in rows):
            raise StaleCollectionSpecError
        await check_selection(transaction, actor, collection, selection, versions)
        check_versions(selection, versions)
        return {row["record_id"]: row for row in rows}

    async def _resolutions(
        self,
        transaction: Transaction,
        actor: Actor,
        collection: str,
        rows: Mapping[str, asyncpg.Record],
        resolutions: Sequence[Resolution],
    ) -> Resolutions:
        if not resolutions:
            return {}
        values = {**identity(actor, collection), **resolution_arrays(resolutions)}
        states = await transaction.fetch(COMMITS["judge_resolutions"], values)
        return judged(collection, resolutions, states, rows)

    async def _settled(
        self, transaction: Transaction, actor: Actor, collection: str, settlements: Mapping[str, Settlement]
    ) -> dict[str, asyncpg.Record]:
        """Return, by record id, the merges of drafts whose conflicts were decided path by path."""
        chosen = {key: settlement for key, settlement in settlements.items() if settlement.action == "SETTLE"}
        if not chosen:
            return {}
        values: dict[str, object] = {
            **identity(actor, collection),
            "record_ids": list(chosen),
            "decisions": [settlement.decisions_json for settlement in chosen.values()],
            "with_content": bool(self._specs.known(actor.tenant_id, collection).json_schema),
            **limit_values(self._limits),
        }
        rows = await transaction.fetch(COMMITS["settle_drafts"], values)
        return {row["record_id"]: row for row in rows}

    async def _write_checked(
        self,
        transaction: Transaction,
        write: Write,
        collection: str,
        settlements: Mapping[str, Settlement],
        versions: Mapping[str, int],
        *,
        allow_partial: bool,
        with_content: bool,
    ) -> tuple[dict[str, asyncpg.Record], Problems]:
        """Write the drafts as `_write` does, but those that violate checked relations; return the errors of these."""
        tenant_id = write.actor.tenant_id
        if not self._references.has_checks(tenant_id, collection):
            return await self._write(
                transaction, write, collection, settlements, versions, with_content=with_content
            ), {}
        before = await self._references.read_named(transaction, tenant_id, [(collection, key) for key in settlements])

        async def attempt(refused: Problems) -> tuple[dict[str, asyncpg.Record], Problems]:
            left = {key: settlement for key, settlement in settlements.items() if (collection, key) not in refused}
            rows = await self._write(transaction, write, collection, left, versions, with_content=with_content)
            changed = {(collection, key): left[key].action == "DELETE" for key, row in rows.items() if row["written"]}
            problems = await self._references.problems(
                transaction, tenant_id, before, written=[key for key, deletes in changed.items() if not deletes],
                deleted=[key for key, deletes in changed.items() if deletes],
            )  # fmt: skip
            return rows, problems

        return await write_accepted(transaction, attempt, allow_partial=allow_partial)

    async def _write(
        self,
        transaction: Transaction,
        write: Write,
        collection: str,
        settlements: Mapping[str, Settlement],
        versions: Mapping[str, int],
        *,
        with_content: bool,
    ) -> dict[str, asyncpg.Record]:
        """Write the drafts, drop them and refresh those of other users; return the new state by record id."""
        if not settlements:
            return {}
        values: dict[str, object] = {
            **self._write_values(write, collection, with_content=with_content),
            "record_ids": list(settlements),
            "actions": sparse([settlement.action for settlement in settlements.values()], "WRITE"),
            "versions": [versions[record_id] for record_id in settlements],
            "decisions": sparse([settlement.decisions_json for settlement in settlements.values()], "[]"),
            "attribute_decisions": sparse(
                [settlement.attribute_decisions_json for settlement in settlements.values()], "{}"
            ),
        }
        rows = await transaction.fetch(COMMITS["write_drafts"], values)
        await self._finish(transaction, collection, rows, values)
        return {row["record_id"]: row for row in rows}

    def _write_values(self, write: Write, collection: str, *, with_content: bool) -> dict[str, object]:
        """Return the values of the statements that write drafts, except those that say which."""
        return {
            **identity(write.actor, collection),
            "now": write.now,
            "change_reason": write.change_reason,
            "commit_id": write.commit_id or None,
            "request_id": write.request_id,
            "with_content": with_content,
            "is_guarded": self._references.guards(write.actor.tenant_id, collection),
        }

    @staticmethod
    async def _finish(transaction: Transaction, collection: str, rows: Rows, values: dict[str, object]) -> None:
        """Refresh the drafts of other users over the records that were written."""
        if any(row["is_unguarded"] for row in rows):
            raise StaleCollectionSpecError([collection])
        if any(row["raced"] for row in rows):
            raise RacedError
        touched = [row for row in rows if row["is_drafted"]]
        if touched:
            refreshed = {
                **values,
                "collections": [collection] * len(touched),
                "record_ids": [row["record_id"] for row in touched],
                "steps_done": [row["steps_done"] for row in touched],
            }
            await transaction.fetch(DRAFTS["refresh_drafts"], refreshed)


def _commit_id(write: Write, written: Mapping[str, asyncpg.Record]) -> str:
    """Return the id of a commit; empty if it wrote no record."""
    return write.commit_id if any(row["written"] for row in written.values()) else ""


def _settlement(
    collection: str, row: asyncpg.Record, decided: Mapping[str, Judged], policy: ConflictPolicy
) -> Settlement:
    return settle(row["kind"], row["is_deleted"], _conflicts(collection, row), decided, policy)


def _conflicts(collection: str, row: asyncpg.Record) -> list[Conflict]:
    return conflicts_of(collection, row["record_id"], row["record_version"] or 0, row["conflicts"])


def _judgement(
    collection: str,
    row: asyncpg.Record,
    settlement: Settlement,
    content: asyncpg.Record | None,
    violations: Mapping[str, DraftlineError],
) -> CommitResult:
    """Return the conflicts of a draft, and the error that keeps it from being committed, if there is one."""
    record_id: str = row["record_id"]
    if settlement.open:
        message = f"your draft of record {record_id!r} is in conflict with the baseline"
        error: DraftlineError | None = conflict_error(message, record_id, settlement.open)
        return CommitResult(record_id, conflicts=settlement.open, error=error)
    error = content_error(content["failure"], collection, record_id) if content is not None else None
    return CommitResult(record_id, conflicts=_conflicts(collection, row), error=error or violations.get(record_id))


def _committed(
    collection: str, result: CommitResult, row: asyncpg.Record | None, refusal: DraftlineError | None
) -> CommitResult:
    if refusal is not None:
        return CommitResult(result.record_id, conflicts=result.conflicts, error=refusal)
    if row is None:  # the draft was rejected
        return result
    return CommitResult(
        result.record_id,
        record_in(collection, row),
        sorted(row["changed_fields"]),
        result.conflicts,
        written=row["written"],
        changed_attributes=row["changed_attributes"],
    )
