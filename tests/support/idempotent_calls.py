"""Send calls with request ids, one or several at a time, and read the rows that they leave."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from draftline.v1 import change_pb2_grpc, collection_pb2_grpc, content_pb2_grpc, sync_pb2_grpc

from support import sql
from support.draft_calls import Drafts
from support.responses import TIMEOUT_S, Records, Refusal, refused

TABLES = ("record", "draft", "collection", "change", "request", "sync_upstream", "sync_collection", "sync_record")
# What no two runs have in common: times, places in the log, and what holds made ids or times.
OWN = {
    "tenant_id", "created_at", "updated_at", "log_xact", "change_id", "response", "answer", "fingerprint", "due_since",
    "next_at", "known_at",
}  # fmt: skip
MADE = {"commit_id", "deleted_at"}  # and of these, what they are

Rows = dict[str, list[dict[str, Any]]]
AT_ONCE = 8

Request = Any  # a message, or the list of messages of a stream


@dataclass(frozen=True)
class Caller:
    """One user of one tenant, with shortcuts for requests."""

    channel: grpc.Channel
    tenant_id: str
    user: str = "ada"
    commits: list[str] = field(default_factory=list, compare=False)  # the ids of what it wrote, to take it back

    @property
    def records(self) -> Records:
        return Records(content_pb2_grpc.ContentServiceStub(self.channel), self.tenant_id)

    @property
    def drafts(self) -> Drafts:
        return Drafts(self.channel, self.tenant_id, self.user)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-draftline-user", self.user),)

    def send(self, method: str, request: Request) -> Any:
        return self._call(method)(_sent(request), timeout=TIMEOUT_S, metadata=self.metadata)

    def refused(self, method: str, request: Request) -> Refusal:
        return refused(self._call(method), _sent(request), metadata=self.metadata)

    def _call(self, method: str) -> Any:
        collections = collection_pb2_grpc.CollectionServiceStub(self.channel)
        changes = change_pb2_grpc.ChangeServiceStub(self.channel)
        syncs = sync_pb2_grpc.SyncServiceStub(self.channel)
        stubs = (self.records.stub, self.drafts.stub, collections, changes, syncs)
        return next(getattr(stub, method) for stub in stubs if hasattr(stub, method))


def _sent(request: Request) -> Any:
    return iter(request) if isinstance(request, list) else request


def stored(url: str, caller: Caller) -> Rows:
    """Return the rows of the caller's tenant, by table."""
    query = " UNION ALL ".join(
        f"SELECT '{table}' AS name, to_jsonb(t)::text AS row FROM draftline.{table} AS t WHERE tenant_id = $1"
        for table in TABLES
    )
    found: Rows = {table: [] for table in TABLES}
    for name, row in sorted(map(tuple, sql.fetch(url, query, caller.tenant_id))):
        found[name].append(json.loads(row))
    return found


def alike(rows: Rows) -> dict[str, list[str]]:
    """Reduce the rows to what two tenants with the same calls must have in common."""

    def shown(name: str, value: Any) -> Any:
        if name in MADE:
            return value is not None
        return "made" if name == "record_id" and len(value) == 36 else value

    return {
        table: sorted(str({name: shown(name, row[name]) for name in sorted(set(row) - OWN)}) for row in found)
        for table, found in rows.items()
    }


def contents(rows: Rows) -> Rows:
    """Return the rows of all tables except the stored requests."""
    return {table: found for table, found in rows.items() if table != "request"}


def text(message: Any) -> bytes:
    return message.SerializeToString(deterministic=True)


def at_once(send: Callable[[int], Any], count: int = AT_ONCE) -> list[Any]:
    """Start `count` calls at the same time and return their results."""
    barrier = threading.Barrier(count)

    def one(place: int) -> Any:
        barrier.wait(30)
        return send(place)

    with ThreadPoolExecutor(count) as callers:
        return list(callers.map(one, range(count)))
