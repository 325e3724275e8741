"""Requests that happen once (AIP-155): the answer is kept in the transaction of what it tells.

Nothing is looked up before a write. A request that was answered before fails on the key of
its answer, or fails because its first run changed what it asks for; either way its
answer is there, and is given again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from ..domain.errors import RequestIdReusedError
from ..domain.records import Actor, Record, Request
from .engine import Database
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


@dataclass(frozen=True, slots=True)
class Recalled:
    """What was answered: the response as it was sent, or else the record of a call of one record."""

    response: bytes | None
    record: Record | None = None
    changed_fields: tuple[str, ...] = ()


class Requests:
    """What requests with an id were answered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recall(self, actor: Actor) -> Recalled | None:
        """What the actor's request was answered before. RequestIdReusedError if that was another request."""
        if actor.request is None:
            return None
        rows = await self._database.fetch(SQL["recall_answer"], _key(actor, actor.request), resend=True)
        if not rows:
            return None
        if rows[0]["fingerprint"] != actor.request.fingerprint:
            problem = "was used for another request within the last 24 hours; every request needs an id of its own"
            raise RequestIdReusedError(
                f"request_id: {problem}", fields=[("request_id", problem)], request_id=actor.request.request_id
            )
        if rows[0]["response"] is not None:
            return Recalled(rows[0]["response"])
        return _recalled(rows[0]["answer"])


def _recalled(answer: str) -> Recalled:
    kept = _kept(answer)
    record = Record(
        kept.collection, kept.record_id, bytes(kept.content).decode(), kept.version, kept.parent_id, kept.position,
        kept.created_at, kept.created_by, kept.updated_at, kept.updated_by, kept.deleted_at,
    )  # fmt: skip
    return Recalled(None, record, tuple(kept.changed_fields))


async def keep_answer(runner: Database | Transaction, actor: Actor, response: bytes) -> None:
    """Keeps the answer of a request, if it has an id. AnsweredBeforeError when it was answered before."""
    if actor.request is not None:
        await runner.fetch(SQL["keep_answer"], {**_key(actor, actor.request), "response": response})


async def amend_answer(database: Database, actor: Actor, response: bytes) -> None:
    """Replaces what was kept, where a call goes on after its write."""
    if actor.request is not None:
        await database.fetch(SQL["amend_answer"], {**_key(actor, actor.request), "response": response}, resend=True)


async def keep_record(transaction: Transaction, actor: Actor, record: Record, changed_fields: Sequence[str]) -> None:
    """The same for a call of one record."""
    if actor.request is None:
        return
    values = {
        **{name: getattr(record, name) for name in Record.__slots__},
        "changed_fields": list(changed_fields),
    }
    await transaction.fetch(SQL["keep_record"], {**_key(actor, actor.request), **values})


def _key(actor: Actor, request: Request) -> dict[str, object]:
    return {
        "tenant_id": actor.tenant_id,
        "user_id": actor.user_id,
        "request_id": request.request_id,
        "fingerprint": request.fingerprint,
        "now": datetime.now(UTC),
    }
