"""Decisions of a person about records that a sync has stopped: retry, link, and resolve conflicts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from ...domain.changes import ChangeSource
from ...domain.content import Limits
from ...domain.edits import parse_pointer
from ...domain.errors import (
    InvalidFieldError,
    RecordNotFoundError,
    SyncNotFoundError,
    SyncStateError,
    VersionMismatchError,
)
from ...domain.records import Actor
from ...domain.sync import MAX_REMOTE_ID_BYTES, Answer, Policies, Policy, PolicyRule
from ...domain.sync_records import Decision
from ..collections.cache import CollectionSpecs
from ..database import Database
from ..statements import load
from ..transaction import Rows, Transaction
from .attempts import lock
from .merges import NO_FENCE, Merges
from .specs import collection_of

SQL = load("sync_records")
MAX_RETRIED = 10_000


class SyncDecisions:
    """Changes the sync states of records."""

    def __init__(self, database: Database, specs: CollectionSpecs, limits: Limits) -> None:
        self._database = database
        self._specs = specs
        self._limits = limits

    async def retry(
        self, transaction: Transaction, tenant_id: str, collection: str, record_ids: Sequence[str] | None,
        *, forgets_attempts: bool,
    ) -> Sequence[str]:  # fmt: skip
        """Make refused records due again: those named, or all. Return their ids. Raises SyncNotFoundError."""
        values: dict[str, object] = {
            "tenant_id": tenant_id, "collection": collection, "now": await transaction.now(), "limit": MAX_RETRIED,
            "record_ids": None if record_ids is None else sorted(record_ids), "forgets_attempts": forgets_attempts,
        }  # fmt: skip
        await _sync_of(transaction, values)
        return [row["record_id"] for row in await transaction.fetch(SQL["retry"], values)]

    async def link(
        self, transaction: Transaction, actor: Actor, collection: str, record_id: str, remote_id: str
    ) -> None:
        """Link a record to one of the upstream.

        A pull may have created a record for the remote id before. It is deleted here, unless it was changed here since.
        Raises SyncStateError if one of them is linked already, and SyncNotFoundError if the collection belongs to no
        sync.
        """
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id, "collection": collection, "record_id": record_id, "remote_id": remote_id,
            "now": await transaction.now(),
        }  # fmt: skip
        if len(remote_id.encode()) > MAX_REMOTE_ID_BYTES:
            raise InvalidFieldError.of("remote_id", f"must not be longer than {MAX_REMOTE_ID_BYTES} bytes of UTF-8")
        sync = await _sync_of(transaction, values)
        merges = self._merges(actor, sync)
        await merges.hold_declaration(transaction, collection)
        pulled = [row["record_id"] for row in await transaction.fetch(SQL["linked_to"], values)]
        await lock(transaction, actor.tenant_id, collection, [record_id, *pulled])
        replaced = [row["record_id"] for row in await transaction.fetch(SQL["replaceable"], values)]
        # A pull may have linked another record meanwhile, which is not locked: then the link is refused below.
        if replaced and replaced == pulled:
            answer = Answer(remote_id, None, "", is_deleted=True, record_id=replaced[0])
            await merges.merge_in(
                transaction, collection_of(collection, sync["config"]), [answer], NO_FENCE, **_by(actor)
            )

        async def write() -> Rows:
            return await transaction.fetch(SQL["link"], values)

        # Another record may get the same remote id at the same moment; the repetition sees it.
        if not await transaction.retry_part(write, asyncpg.UniqueViolationError):
            raise SyncStateError(
                f"record {record_id!r} does not exist or is linked already, or a write of it is out, or {remote_id!r} "
                "is linked to a record that was changed here",
                record_id=record_id,
            )

    def _merges(self, actor: Actor, sync: asyncpg.Record) -> Merges:
        return Merges(self._database, self._specs, self._limits, actor.tenant_id, sync["upstream"])

    async def load_spec(self, tenant_id: str, collection: str) -> None:
        """Load the spec that `resolve` and `link` read, before the transaction: it takes a connection of its own."""
        await self._specs.load(tenant_id, [collection])

    async def resolve(
        self,
        transaction: Transaction,
        actor: Actor,
        collection: str,
        record_id: str,
        decisions: Sequence[Decision],
        *,
        expected_version: int | None,
        change_reason: str,
    ) -> tuple[int, int]:
        """Decide conflicts of a record. Return its version, and how many conflicts are left.

        Raises SyncStateError if a path is not in conflict, RecordNotFoundError, VersionMismatchError, and
        SyncNotFoundError if the collection belongs to no sync.
        """
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id, "collection": collection, "record_id": record_id
        }  # fmt: skip
        sync = await _sync_of(transaction, values)
        merges = self._merges(actor, sync)
        await merges.hold_declaration(transaction, collection)
        await lock(transaction, actor.tenant_id, collection, [record_id])
        rows = await transaction.fetch(SQL["held"], values)
        if not rows:
            raise RecordNotFoundError(f"nothing is known of record {record_id!r} upstream", record_id=record_id)
        row = rows[0]
        if expected_version is not None and expected_version != row["version"]:
            raise VersionMismatchError(
                f"expected_version is {expected_version}, but the version is {row['version']}",
                record_id=record_id,
                current_version=row["version"],
            )
        conflicts = {each["path"]: each for each in json.loads(row["conflicts"])}
        for index, decision in enumerate(decisions):
            if decision.path not in conflicts:
                raise SyncStateError(
                    f"decisions[{index}]: record {record_id!r} has no conflict at {decision.path!r}",
                    record_id=record_id,
                )
            if decision.value is not None and conflicts[decision.path]["kind"] != "VALUE":
                raise InvalidFieldError.of(f"decisions[{index}].value", "a deleted record has no value to set")
        whole = next((each for each in conflicts.values() if each["kind"] != "VALUE"), None)
        is_deleted = whole is not None and whole["kind"] == "DELETED"
        theirs = row["theirs"] if whole is None else row["first_theirs"]
        answer = Answer(row["remote_id"] or "", row["remote_version"], "", is_deleted, theirs or "{}", record_id)
        bound = collection_of(collection, sync["config"])
        await merges.merge_in(
            transaction,
            bound,
            [answer],
            NO_FENCE,
            policies=_policies(decisions),
            puts=await _puts(transaction, row["conflicts"], decisions),
            change_reason=change_reason,
            **_by(actor),
        )
        after = (await transaction.fetch(SQL["held"], values))[0]
        return after["version"], len(json.loads(after["conflicts"]))


def _by(actor: Actor) -> dict[str, Any]:
    """Return the author of a decision, for Merges.merge_in."""
    request_id = actor.request.request_id if actor.request is not None else None
    return {"source": ChangeSource.SYNC_RESOLVE, "user_id": actor.user_id, "request_id": request_id}


async def _sync_of(transaction: Transaction, values: dict[str, object]) -> asyncpg.Record:
    """Return the sync that a collection belongs to. Raises SyncNotFoundError."""
    found = await transaction.fetch(SQL["collection_of_sync"], values)
    if not found:
        raise SyncNotFoundError(
            f"collection {values['collection']!r} belongs to no sync; bind it with PutSync first",
            collection=str(values["collection"]),
        )
    return found[0]


async def _puts(transaction: Transaction, conflicts: str, decisions: Sequence[Decision]) -> str | None:
    chosen = [each for each in decisions if each.value is not None]
    if not chosen:
        return None
    values: dict[str, object] = {
        "paths": [each.path for each in chosen], "values": [each.value for each in chosen], "conflicts": conflicts
    }  # fmt: skip
    puts: str = (await transaction.fetch(SQL["chosen_values"], values))[0]["puts"]
    return puts


def _policies(decisions: Sequence[Decision]) -> Policies:
    """Return the policies that decide as a person did, and hold everything else."""
    rules = []
    for decision in decisions:
        policy = Policy.UPSTREAM_WINS if decision.takes_theirs else Policy.LOCAL_WINS
        if not decision.path:
            return Policies(policy)
        rules.append(PolicyRule(parse_pointer(decision.path, "path"), policy, exact=True))
    return Policies(Policy.HOLD, tuple(rules))
