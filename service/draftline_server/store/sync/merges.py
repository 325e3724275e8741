"""Pull: merge what an upstream answered into the records.

Invariants:
- A mark is taken from one sequence before each request, and another one when its answer is merged. An answer is merged
  only into a record whose last answer was merged before the request began; otherwise the record is read again.
- A merge never changes a path that was changed here and is not acknowledged, unless the policy of the path says so.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import uuid_utils

from ...domain.changes import ChangeSource
from ...domain.content import Limits
from ...domain.sync import Answer, BoundCollection, MergeResult, Policies, Verdict, new_record_id
from ..advisory_locks import LockFamily
from ..collections.cache import CollectionSpecs
from ..database import Database
from ..driver_errors import RacedError
from ..record_rows import limit_values
from ..statements import load
from ..transaction import Transaction
from .answers import Resolved, in_turns
from .attempts import keep_gone, lock
from .oscillation import stop_oscillating
from .specs import fields_json, policies_json

SQL = load("sync_merge")
IMPORTS = load("imports")
MARK = load("sync_config")["next_mark"]
NO_FENCE = None  # the mark of a merge without a request
MAX_RACES = 5
GONE = (Verdict.DELETE, Verdict.GONE, Verdict.RECREATE, Verdict.IGNORE)  # the upstream does not hold the remote id
UNSTORABLE = json.dumps({
    "reason": "INVALID_DOCUMENT",
    "message": "a value cannot be stored here, such as a NUL in a text or a number of more than 1,000 digits",
})  # fmt: skip
T = TypeVar("T")


class CreationsOutError(Exception):
    """A creation is out, and what was read may be what it created; nothing was merged."""


class ReadExpiredError(Exception):
    """A read began so long ago that deletions since then may have been forgotten; nothing was merged."""


InTransaction = Callable[[Transaction], Awaitable[None]]


class Merges:
    """Merges answers of one tenant's sync."""

    def __init__(
        self, database: Database, specs: CollectionSpecs, limits: Limits, tenant_id: str, upstream: str
    ) -> None:
        self._database = database
        self._specs = specs
        self._limits = limits
        self.tenant_id = tenant_id
        self.upstream = upstream

    async def mark(self) -> int:
        """Return a mark for a request that has not begun yet."""
        return int((await self._database.fetch(MARK, {}))[0]["mark"])

    async def merge(
        self,
        bound: BoundCollection,
        answers: Sequence[Answer],
        mark: int | None,
        *,
        is_ordered: bool = False,
        needs_references: bool = False,
        keeps_recheck: bool = False,
        and_then: InTransaction | None = None,
    ) -> Sequence[MergeResult]:
        """Merge answers to a request that began after `mark`, in one transaction with `and_then`.

        `needs_references`: the upstream does not return the reference of a creation. Raises CreationsOutError while a
        creation is out, because an unknown record may be what it created. `keeps_recheck`: the answers are those of
        writes, so a record that is to be read again still is. Raises ReadExpiredError if the read takes too long.
        """
        await self.load_spec(bound.collection)

        async def work(transaction: Transaction) -> Sequence[MergeResult]:
            resolved = await self._resolved(transaction, bound.collection, answers, mark)
            if needs_references and any(not each.is_linked for each in resolved):
                await self._refuse_creations(transaction, bound.collection)
            results: list[MergeResult] = []
            for part in in_turns(resolved, is_ordered=is_ordered):
                results += await self.merge_in(
                    transaction, bound, part, mark, is_ordered=is_ordered, keeps_recheck=keeps_recheck
                )
            if and_then is not None:
                await and_then(transaction)
            return results

        return await self.transact(work)

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction, again if `merge_in` raised RacedError in it."""
        for left in reversed(range(MAX_RACES)):
            try:
                return await self._database.transact(work)
            except RacedError:
                if not left:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def load_spec(self, collection: str) -> None:
        """Load the spec that `merge_in` reads. Call it before the transaction: it takes a connection of its own."""
        await self._specs.load(self.tenant_id, [collection])

    async def hold_declaration(self, transaction: Transaction, collection: str) -> None:
        """Lock the spec of a collection against changes. Call it before records are locked."""
        values: dict[str, object] = {"tenant_id": self.tenant_id, "collection": collection}
        await transaction.fetch(IMPORTS["hold_declaration"], {**values, "spec_lock": LockFamily.COLLECTION_SPEC})

    async def _refuse_creations(self, transaction: Transaction, collection: str) -> None:
        values: dict[str, object] = {"tenant_id": self.tenant_id, "collection": collection}
        if (await transaction.fetch(SQL["creations_out"], values))[0]["is_out"]:
            raise CreationsOutError

    async def _resolved(
        self, transaction: Transaction, collection: str, answers: Sequence[Answer], mark: int | None
    ) -> Sequence[Resolved]:
        """Return answers with their records. An answer that names its record is returned as it is.

        Raises ReadExpiredError.
        """
        found = [Resolved(each.record_id, each, True, False) for each in answers if each.record_id]
        unresolved = [each for each in answers if not each.record_id]
        if not unresolved:
            return found
        values: dict[str, object] = {
            "tenant_id": self.tenant_id,
            "collection": collection,
            "upstream": self.upstream,
            "mark": mark,
            "remote_ids": [each.remote_id for each in unresolved],
            "remote_versions": [each.remote_version for each in unresolved],
            "references": [each.reference for each in unresolved],
            "are_deleted": [each.is_deleted for each in unresolved],
        }
        rows = await transaction.fetch(SQL["resolve"], values)
        if rows[0]["is_expired"]:
            raise ReadExpiredError
        for answer, row in zip(unresolved, rows, strict=True):
            record_id = row["record_id"] if row["is_linked"] else new_record_id(row["record_id"], answer.remote_id)
            found.append(Resolved(record_id, answer, row["is_linked"], row["is_unchanged"]))
        return found

    async def merge_in(
        self,
        transaction: Transaction,
        bound: BoundCollection,
        answers: Sequence[Answer],
        mark: int | None,
        *,
        is_ordered: bool = False,
        keeps_recheck: bool = False,
        policies: Policies | None = None,
        puts: str | None = None,
        source: ChangeSource = ChangeSource.SYNC_PULL,
        user_id: str = "",
        change_reason: str = "",
        request_id: str | None = None,
    ) -> Sequence[MergeResult]:
        """Merge resolved answers in a transaction. Raises RacedError if a new record is created by another call.

        `puts`: values that a person chose, as [{"at": [names], "theirs": value, "value": value}].
        """
        identity: dict[str, object] = {"tenant_id": self.tenant_id, "collection": bound.collection}
        await self.hold_declaration(transaction, bound.collection)
        ordered = sorted(answers, key=lambda each: each.record_id)
        await lock(transaction, self.tenant_id, bound.collection, [each.record_id for each in ordered])
        values: dict[str, object] = {
            **identity,
            **limit_values(self._limits),
            "upstream": self.upstream,
            "mark": mark,
            "is_ordered": is_ordered,
            "keeps_recheck": keeps_recheck,
            "fields": fields_json(bound.fields),
            "policies": policies_json(policies or bound.policies),
            "record_ids": [each.record_id for each in ordered],
            "remote_ids": [each.remote_id or None for each in ordered],
            "remote_versions": [each.remote_version for each in ordered],
            "are_deleted": [each.is_deleted for each in ordered],
            "documents": [each.document for each in ordered],
            "failures": [None if each.is_storable else UNSTORABLE for each in ordered],
            "puts": [puts] * len(ordered),
            "now": await transaction.now(),
            "user_id": user_id or f"sync:{self.upstream}",
            "source": str(source),
            "commit_id": str(uuid_utils.uuid7()),
            "change_reason": change_reason,
            "request_id": request_id,
        }
        if self._specs.known(self.tenant_id, bound.collection).json_schema:
            values["failures"] = await self._violations(transaction, bound.collection, values, ordered)
        rows = await transaction.fetch(SQL["merge"], values)
        if any(row["is_raced"] for row in rows):
            raise RacedError
        if gone := [row["remote_id"] for row in rows if row["verdict"] in GONE and row["remote_id"]]:
            known_at = (await transaction.fetch(MARK, {}))[0]["mark"]
            await keep_gone(transaction, self.tenant_id, bound.collection, gone, known_at)
        if back := [row["record_id"] for row in rows if row["is_changed_back"] and source is ChangeSource.SYNC_PULL]:
            await stop_oscillating(transaction, self.tenant_id, self.upstream, bound.collection, back)
        return [
            MergeResult(
                row["record_id"], row["remote_id"], Verdict(row["verdict"]), row["deferral"] or "", row["kind"] or "",
                row["is_overruled"],
            )
            for row in rows
        ]  # fmt: skip

    async def _violations(
        self, transaction: Transaction, collection: str, values: Mapping[str, object], ordered: Sequence[Answer]
    ) -> list[str | None]:
        """Return a failure for each answer that cannot be stored, or whose result would violate the JSON Schema."""
        rows = await transaction.fetch(SQL["preview"], dict(values))
        contents = [(collection, row["content"] or "{}", row["record_id"]) for row in rows]
        found = await self._specs.violations(self.tenant_id, contents)
        refused = {
            row["record_id"]: _violation(str(error.metadata.get("path", "")))
            for row, error in zip(rows, found, strict=True)
            if error is not None
        }
        return [UNSTORABLE if not each.is_storable else refused.get(each.record_id) for each in ordered]


def _violation(path: str) -> str:
    """Return the failure of a content that violates the JSON Schema, without its value."""
    message = "the merged content violates the collection's JSON Schema"
    return json.dumps({"reason": "SCHEMA_VIOLATION", "message": message, "path": path})
