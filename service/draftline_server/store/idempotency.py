"""Idempotent requests (AIP-155): the response is stored in the transaction of the request's writes.

For a call on one record only the version is stored. The rest of its response is rebuilt on demand from the record and
the log, because a response is stored for a day and rarely needed again.

Nothing is looked up before a write. A repeated request fails on the key of its response, or
because its first run changed the state that it expects. Either way its response is stored by
then, and is returned again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

import asyncpg
import msgspec

from ..domain.errors import DraftlineError, HistoryNotKeptError, RecordNotFoundError, RequestIdReusedError
from ..domain.records import Actor, Record, Request
from ..domain.values import value_class
from .database import Database
from .driver_errors import AnsweredBeforeError
from .statements import load
from .transaction import Transaction

SQL = load("requests")
DONE = "the request was already executed, and is not executed again"
PURGED = f"{DONE}; its response was deleted, because it held the content of a record that was purged"


class _Snapshot(msgspec.Struct):
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


_decode_snapshot = msgspec.json.Decoder(_Snapshot).decode


@value_class
class Recalled:
    """The response of an earlier request: as it was sent, or else the record of a call on one record.

    A call that goes on after its write and has not finished has neither; `unfinished` is then what it wrote, as JSON.
    """

    fingerprint: bytes
    response: bytes | None
    record: Record | None = None
    changed_fields: tuple[str, ...] = ()
    unfinished: str | None = None
    lost: DraftlineError | None = None  # why the response can no longer be rebuilt

    def refuse_other(self, request: Request) -> None:
        """Raise RequestIdReusedError unless this is the response of that request.

        Raises RecordNotFoundError or HistoryNotKeptError if the response can no longer be rebuilt.
        """
        if self.fingerprint != request.fingerprint:
            problem = "was used for a different request within the last 24 hours; use a new id for each request"
            raise RequestIdReusedError(
                f"request_id: {problem}", fields=[("request_id", problem)], request_id=request.request_id
            )
        if self.lost is not None:
            raise self.lost


class Requests:
    """The stored responses of requests that have an id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recall(self, actor: Actor, collection: str = "", record_id: str = "") -> Recalled | None:
        """Return the response stored under the id of the actor's request, even if another request used that id.

        `collection`, `record_id`: the record that the request names, if it names one.
        """
        if actor.request is None:
            return None
        key = _key(actor, actor.request)
        rows = await self._database.fetch(SQL["find_response"], key, idempotent=True)
        if not rows:
            return None
        row = rows[0]
        if row["version"] is None:
            return _recalled(row)
        if row["fingerprint"] != actor.request.fingerprint:  # another request, which may name another record
            return Recalled(row["fingerprint"], None)
        values = {**key, "collection": collection, "record_id": record_id}
        rebuilt = (await self._database.fetch(SQL["rebuild_response"], values, idempotent=True))[0]["answer"]
        return _rebuilt(row["fingerprint"], rebuilt)

    async def store(self, actor: Actor, response: bytes) -> None:
        """Store the response of a call that had nothing to write.

        Raises AnsweredBeforeError if the request was answered before.
        """
        if actor.request is not None:
            values = {**_key(actor, actor.request), "response": response}
            await self._database.fetch(SQL["store_response"], values, idempotent=True)

    async def finish(self, actor: Actor, response: bytes) -> None:
        """Store the response of a call that went on after its write.

        Raises AnsweredBeforeError if another run of the request stored its response first.
        """
        if actor.request is None:
            return
        values = {**_key(actor, actor.request), "response": response}
        if not await self._database.fetch(SQL["finish_response"], values, idempotent=True):
            raise AnsweredBeforeError


def _recalled(row: asyncpg.Record) -> Recalled:
    fingerprint, response = row["fingerprint"], row["response"]
    if response is not None:
        return Recalled(fingerprint, response)
    if row["unfinished"] is not None:
        return Recalled(fingerprint, None, unfinished=row["unfinished"])
    if row["is_purged"]:
        return Recalled(fingerprint, None, lost=RecordNotFoundError(PURGED))
    return _of_record(fingerprint, _decode_snapshot(row["answer"]))


def _rebuilt(fingerprint: bytes, response: str | None) -> Recalled:
    if response is None:
        return Recalled(fingerprint, None, lost=RecordNotFoundError(PURGED))
    snapshot = _decode_snapshot(response)
    if bytes(snapshot.content) == b"null":
        problem = (
            f"{DONE}; its response cannot be rebuilt, "
            f"because the log no longer has the values of version {snapshot.version}"
        )
        return Recalled(fingerprint, None, lost=HistoryNotKeptError(problem, record_id=snapshot.record_id))
    return _of_record(fingerprint, snapshot)


def _of_record(fingerprint: bytes, snapshot: _Snapshot) -> Recalled:
    record = Record(
        snapshot.collection, snapshot.record_id, bytes(snapshot.content).decode(), snapshot.version,
        snapshot.parent_id, snapshot.position, snapshot.created_at, snapshot.created_by,
        snapshot.updated_at, snapshot.updated_by, snapshot.deleted_at,
    )  # fmt: skip
    return Recalled(fingerprint, None, record, tuple(sorted(snapshot.changed_fields)))


async def store_response(transaction: Transaction, actor: Actor, response: bytes) -> None:
    """Store the response of a request, if it has an id, in the transaction of its writes.

    Raises AnsweredBeforeError if the request was answered before.
    """
    if actor.request is not None:
        await transaction.fetch(SQL["store_response"], {**_key(actor, actor.request), "response": response})


async def store_unfinished(transaction: Transaction, actor: Actor, written: str) -> None:
    """Store as JSON what an unfinished call wrote, until Requests.finish stores its response."""
    if actor.request is not None:
        await transaction.fetch(SQL["store_unfinished"], {**_key(actor, actor.request), "written": written})


async def store_record_response(
    transaction: Transaction, actor: Actor, record: Record, changed_fields: Sequence[str], *, written: bool
) -> None:
    """Store the response of a call on one record. `written`: the call wrote this version of the record."""
    if actor.request is None:
        return
    values = {
        **{attribute.name: getattr(record, attribute.name) for attribute in fields(record)},
        "changed_fields": list(changed_fields),
        "written": written,
        "now": await transaction.now(),
    }
    await transaction.fetch(SQL["store_record_response"], {**_key(actor, actor.request), **values})


def _key(actor: Actor, request: Request) -> dict[str, object]:
    return {
        "tenant_id": actor.tenant_id,
        "user_id": actor.user_id,
        "request_id": request.request_id,
        "fingerprint": request.fingerprint,
    }
