"""Requests that happen once (AIP-155): the answer is kept in the transaction of what it tells.

Nothing is looked up before a write. A request that was answered before fails on the key of
its answer, or fails because its first run changed what it asks for; either way its
answer is there, and is given again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

import asyncpg
import msgspec

from ..domain.errors import RecordNotFoundError, RequestIdReusedError
from ..domain.frozen import frozen
from ..domain.records import Actor, Record, Request
from .engine import Database
from .errors import AnsweredBeforeError
from .statements import load
from .transaction import Transaction

SQL = load("requests")


class _Kept(msgspec.Struct):
    collection: str
    record_id: str
    content: msgspec.Raw
    version: int
    parent_id: str | None
    position: int | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    deleted_at: datetime | None
    changed_fields: list[str] = []


_kept = msgspec.json.Decoder(_Kept).decode


@frozen
class Recalled:
    """What was answered: the response as it was sent, or else the record of a call of one record.

    Neither, where the call goes on after its write and is not over: then what it wrote, as JSON.
    """

    fingerprint: bytes
    response: bytes | None
    record: Record | None = None
    changed_fields: tuple[str, ...] = ()
    unfinished: str | None = None
    is_purged: bool = False

    def refuse_other(self, request: Request) -> None:
        """Raise RequestIdReusedError unless this is what that request was answered.

        Raises RecordNotFoundError if the answer is gone, because a record in it was removed for good.
        """
        if self.fingerprint != request.fingerprint:
            problem = "was used for another request within the last 24 hours; every request needs an id of its own"
            raise RequestIdReusedError(
                f"request_id: {problem}", fields=[("request_id", problem)], request_id=request.request_id
            )
        if self.is_purged:
            raise RecordNotFoundError(
                "the request was done before, and is not done again; its answer is gone, for it held the content of a "
                "record that was removed for good"
            )


class Requests:
    """What requests with an id were answered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recall(self, actor: Actor) -> Recalled | None:
        """What was answered under the id of the actor's request, be it that request or another."""
        if actor.request is None:
            return None
        rows = await self._database.fetch(SQL["recall_answer"], _key(actor, actor.request), resend=True)
        return _recalled(rows[0]) if rows else None

    async def finish(self, actor: Actor, response: bytes) -> None:
        """Keeps the answer of a call that went on after its write. AnsweredBeforeError if another run was faster."""
        if actor.request is None:
            return
        values = {**_key(actor, actor.request), "response": response}
        if not await self._database.fetch(SQL["finish_answer"], values, resend=True):
            raise AnsweredBeforeError


def _recalled(row: asyncpg.Record) -> Recalled:
    fingerprint, response = row["fingerprint"], row["response"]
    if response is not None:
        return Recalled(fingerprint, response)
    if row["unfinished"] is not None:
        return Recalled(fingerprint, None, unfinished=row["unfinished"])
    if row["is_purged"]:
        return Recalled(fingerprint, None, is_purged=True)
    kept = _kept(row["answer"])
    record = Record(
        kept.collection, kept.record_id, bytes(kept.content).decode(), kept.version, kept.parent_id, kept.position,
        kept.created_at, kept.created_by, kept.updated_at, kept.updated_by, kept.deleted_at,
    )  # fmt: skip
    return Recalled(fingerprint, None, record, tuple(sorted(kept.changed_fields)))


async def keep_answer(runner: Database | Transaction, actor: Actor, response: bytes) -> None:
    """Keeps the answer of a request, if it has an id. AnsweredBeforeError when it was answered before."""
    if actor.request is None:
        return
    values = {**_key(actor, actor.request), "response": response}
    if isinstance(runner, Database):
        await runner.fetch(SQL["keep_answer"], values, resend=True)
    else:
        await runner.fetch(SQL["keep_answer"], values)


async def keep_unfinished(transaction: Transaction, actor: Actor, written: str) -> None:
    """Keeps what a call wrote that goes on after it, as JSON, until Requests.finish keeps its answer."""
    if actor.request is not None:
        await transaction.fetch(SQL["keep_unfinished"], {**_key(actor, actor.request), "written": written})


async def keep_record(transaction: Transaction, actor: Actor, record: Record, changed_fields: Sequence[str]) -> None:
    """The same for a call of one record."""
    if actor.request is None:
        return
    values = {
        **{each.name: getattr(record, each.name) for each in fields(record)},
        "changed_fields": list(changed_fields),
    }
    await transaction.fetch(SQL["keep_record"], {**_key(actor, actor.request), **values})


def _key(actor: Actor, request: Request) -> dict[str, object]:
    return {
        "tenant_id": actor.tenant_id,
        "user_id": actor.user_id,
        "request_id": request.request_id,
        "fingerprint": request.fingerprint,
    }
