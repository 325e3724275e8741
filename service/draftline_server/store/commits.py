"""Commits: drafts written into the baseline, in one transaction.

Records are locked first, in primary-key order, then the drafts over them. What is written
is the kept merge itself; only where base, mine and theirs all differ is there anything to
decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import asyncpg
import uuid_utils

from ..domain.changes import ChangeSource, Write
from ..domain.content import Limits
from ..domain.drafts import CommitResult, Conflict, ConflictKind, ConflictPolicy, DraftKind, Selection
from ..domain.errors import DraftlineError
from ..domain.records import Actor, Answer
from .content import limit_values, record_of
from .definitions import Definitions, StaleDefinitionError
from .drafts import SQL as DRAFTS
from .drafts import check_selection, check_versions, conflicts_of, identity, selected
from .engine import Database
from .errors import RacedError
from .objections import of_conflicts, of_content, refuse_any, where_of
from .requests import keep_answer
from .statements import load
from .transaction import Transaction

COMMITS = load("commits")
A = TypeVar("A", bound=Answer)


class CommitStore:
    """Writes drafts of one user."""

    def __init__(self, database: Database, definitions: Definitions, limits: Limits) -> None:
        self._database = database
        self._definitions = definitions
        self._limits = limits

    async def commit(
        self,
        actor: Actor,
        collection: str,
        selection: Selection,
        policy: ConflictPolicy,
        answer: Callable[[Sequence[CommitResult], str], A],
        *,
        change_reason: str,
        validate_only: bool,
        allow_partial: bool,
        with_content: bool,
    ) -> A:
        """What `answer` makes of the results, one a draft, by record id, and of the id of the commit.

        The content of records is empty unless asked for. Without `allow_partial`, ConflictError or another
        error of any draft. `answer` is called before anything is kept, and may raise.
        """

        async def work(transaction: Transaction) -> A:
            write = Write(actor, ChangeSource.COMMIT, await transaction.now(), change_reason, str(uuid_utils.uuid7()))
            rows = await self._lock(transaction, actor, collection, selection, policy)
            results, actions = self._judge(collection, rows, policy, await self._violations(actor, collection, rows))
            versions = {row["record_id"]: row["record_version"] or 0 for row in rows}
            if not allow_partial:
                refuse_any(results, "drafts are in conflict with the baseline; nothing was committed")
            if validate_only:
                transaction.roll_back()
            written = await self._write(transaction, write, collection, actions, versions, with_content=with_content)
            response = answer(
                [_committed(result, written.get(result.record_id)) for result in results],
                write.commit_id if any(row["written"] for row in written.values()) else "",
            )
            if not validate_only:
                await keep_answer(transaction, actor, response.SerializeToString())
            return response

        return await self._definitions.until_fresh(
            actor.tenant_id, [collection], lambda: self._database.transact(work, resend=actor.request is not None)
        )

    async def _violations(
        self, actor: Actor, collection: str, rows: Sequence[asyncpg.Record]
    ) -> dict[str, DraftlineError]:
        """By record, the errors of what would break the JSON Schema."""
        contents = {
            row["record_id"]: (collection, row["written"], where_of(row["record_id"]))
            for row in rows
            if row["written"] is not None and row["kind"] != DraftKind.DELETE
        }
        violations = await self._definitions.violations(actor.tenant_id, list(contents.values()))
        return {record_id: error for record_id, error in zip(contents, violations, strict=True) if error is not None}

    def _judge(
        self,
        collection: str,
        rows: Sequence[asyncpg.Record],
        policy: ConflictPolicy,
        violations: dict[str, DraftlineError],
    ) -> tuple[list[CommitResult], dict[str, str]]:
        """What stands against each draft, and what is to be done of those that nothing stands against."""
        results: list[CommitResult] = []
        actions: dict[str, str] = {}
        for row in rows:
            conflicts = conflicts_of(collection, row["record_id"], row["conflicts"])
            error = _objection(collection, row, conflicts, policy, violations)
            results.append(CommitResult(row["record_id"], conflicts=conflicts, error=error))
            if error is None:
                actions[row["record_id"]] = _action(row, conflicts, policy)
        return results, actions

    async def _lock(
        self, transaction: Transaction, actor: Actor, collection: str, selection: Selection, policy: ConflictPolicy
    ) -> Sequence[asyncpg.Record]:
        definition = self._definitions.known(actor.tenant_id, collection)
        values: dict[str, object] = {
            **identity(actor, collection),
            "record_ids": list(await selected(transaction, actor, collection, selection)),
            "session_id": selection.session_id,
            "keep_theirs": policy is ConflictPolicy.KEEP_THEIRS,
            "with_content": bool(definition.json_schema),
            **limit_values(self._limits),
        }
        rows = await transaction.fetch(COMMITS["lock_drafts"], values)
        if any(row["definition_version"] != definition.version for row in rows):
            raise StaleDefinitionError
        versions = {row["record_id"]: row["version"] for row in rows}
        await check_selection(transaction, actor, collection, selection, versions)
        check_versions(selection, versions)
        return rows

    async def _write(
        self,
        transaction: Transaction,
        write: Write,
        collection: str,
        actions: dict[str, str],
        versions: dict[str, int],
        *,
        with_content: bool,
    ) -> dict[str, asyncpg.Record]:
        """Writes, drops the drafts, and brings those of others up to date; by record, what it is now."""
        if not actions:
            return {}
        values: dict[str, object] = {
            **identity(write.actor, collection),
            "record_ids": list(actions),
            "actions": list(actions.values()),
            "versions": [versions[record_id] for record_id in actions],
            "now": write.moment,
            "change_reason": write.change_reason,
            "commit_id": write.commit_id or None,
            "request_id": write.request_id,
            "with_content": with_content,
        }
        rows = await transaction.fetch(COMMITS["write_drafts"], values)
        if any(row["raced"] for row in rows):
            raise RacedError
        touched = [row for row in rows if row["written"]]
        if touched:
            refreshed = {
                **values,
                "collections": [collection] * len(touched),
                "record_ids": [row["record_id"] for row in touched],
                "steps_done": [row["steps_done"] for row in touched],
            }
            await transaction.fetch(DRAFTS["refresh_drafts"], refreshed)
        return {row["record_id"]: row for row in rows}


def _committed(result: CommitResult, row: asyncpg.Record | None) -> CommitResult:
    if row is None:  # it was refused
        return result
    fields = sorted(row["changed_fields"])
    return CommitResult(result.record_id, record_of(row), fields, result.conflicts, written=row["written"])


def _objection(
    collection: str,
    row: asyncpg.Record,
    conflicts: Sequence[Conflict],
    policy: ConflictPolicy,
    violations: dict[str, DraftlineError],
) -> DraftlineError | None:
    """Why a draft cannot be committed."""
    record_id = row["record_id"]
    if conflicts and policy is ConflictPolicy.REJECT:
        told = f"your draft of record {record_id!r} is in conflict with the baseline"
        return of_conflicts(told, record_id, conflicts)
    if _action(row, conflicts, policy) in ("DROP", "DELETE"):
        return None
    return of_content(row["failure"], collection, record_id) or violations.get(record_id)


def _action(row: asyncpg.Record, conflicts: Sequence[Conflict], policy: ConflictPolicy) -> str:
    """What committing a draft does: WRITE its merge, SETTLE it, DELETE the record, or DROP the draft alone."""
    if conflicts and policy is ConflictPolicy.KEEP_THEIRS:
        return "SETTLE" if conflicts[0].kind is ConflictKind.VALUE else "DROP"
    if row["kind"] == DraftKind.DELETE:
        return "DROP" if row["is_deleted"] else "DELETE"
    return "WRITE"
