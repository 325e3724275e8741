"""A system of record in memory, with faults, for tests of syncs."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from draftline.upstreams import (
    Applied,
    BatchRefusedError,
    Capabilities,
    Create,
    Delete,
    Exists,
    FieldProblem,
    Gone,
    NotTaken,
    Outcome,
    Page,
    Refused,
    RemoteRecord,
    Stale,
    ThrottledError,
    Unknown,
    UnreachableError,
    Update,
    WriteItem,
)


@dataclass
class Faults:
    """The probability of each fault of a request."""

    lost_before: float = 0.0  # the request does not arrive, but the caller cannot know
    lost_after: float = 0.0  # the request is applied, and the response is lost
    late: float = 0.0  # the response is lost, and the request arrives later
    doubled: float = 0.0  # the request arrives a second time, later
    throttled: float = 0.0
    unreachable: float = 0.0
    unavailable_after: float = 0.0  # applied, and then an error that says nothing
    slow_read: float = 0.0

    @classmethod
    def all(cls, probability: float) -> Faults:
        return cls(*[probability] * 8)


@dataclass
class Row:
    version: int
    document: dict[str, Any]
    reference: str = ""
    deleted: bool = False
    at: int = 0  # in the log of changes
    author: str = ""


@dataclass
class ToySystem:
    """The state of the system, and what it promises."""

    capabilities: Capabilities = field(
        default_factory=lambda: Capabilities(
            idempotency_keys_s=86_400, conditional_writes=True, client_reference=True, ordered_versions=True,
            deletions_in_changes=True, max_batch=10,
        )
    )  # fmt: skip
    faults: Faults = field(default_factory=Faults)
    random: random.Random = field(default_factory=lambda: random.Random(1))
    honours_keys: bool = True
    honours_versions: bool = True
    honours_references: bool = True
    rows: dict[str, Row] = field(default_factory=dict)
    applied: dict[str, Outcome] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)  # how often a key had an effect
    overwritten: list[tuple[str, int]] = field(default_factory=list)  # writes over an unseen version
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    log: int = 0
    ids: int = 0
    requests: int = 0
    refused_words: tuple[str, ...] = ()
    refuses_batches: bool = False
    normalises: bool = False
    page: int = 50
    pending: set[asyncio.Task[None]] = field(default_factory=set)
    atomic_batches: list[list[str]] = field(default_factory=list)  # the records of those that were applied
    is_down: bool = False
    lag_s: float = 0.0  # of reads behind writes
    versions: dict[str, list[tuple[float, Row]]] = field(default_factory=dict)  # of each row, and since when

    # What others do in the system itself

    def edit(self, remote_id: str, **values: Any) -> None:
        row = self.rows[remote_id]
        self._store(remote_id, row, {**row.document, **values}, "them")

    def insert(self, document: dict[str, Any], remote_id: str = "", reference: str = "") -> str:
        remote_id = remote_id or self._new_id()
        self._store(remote_id, Row(0, {}, reference), document, "them")
        return remote_id

    def remove(self, remote_id: str) -> None:
        row = self.rows[remote_id]
        row.deleted = True
        self._store(remote_id, row, row.document, "them")

    def _new_id(self) -> str:
        self.ids += 1
        return f"r{self.ids}"

    def _store(self, remote_id: str, row: Row, document: dict[str, Any], author: str) -> None:
        self.log += 1
        row.version += 1
        row.at = self.log
        row.document = deepcopy(document)
        row.author = author
        self.rows[remote_id] = row
        self.history.setdefault(remote_id, []).append(deepcopy(document))
        if self.lag_s:
            self.versions.setdefault(remote_id, []).append((time.monotonic(), replace(row)))

    def readable(self) -> dict[str, Row]:
        """Return the rows as reads show them."""
        if not self.lag_s:
            return self.rows
        until = time.monotonic() - self.lag_s
        found = {key: [row for at, row in versions if at <= until] for key, versions in self.versions.items()}
        return {key: rows[-1] for key, rows in found.items() if rows}

    def remote(self, remote_id: str) -> RemoteRecord:
        """Return a row as it is."""
        return self.remote_of(remote_id, self.rows.get(remote_id))

    def remote_of(self, remote_id: str, row: Row | None) -> RemoteRecord:
        if row is None or row.deleted:
            return RemoteRecord(remote_id=remote_id, deleted=True, remote_version=str(row.version) if row else "")
        return RemoteRecord(
            remote_id=remote_id,
            remote_version=str(row.version),
            record_id=row.reference if self.capabilities.client_reference else "",
            document=deepcopy(row.document),
        )

    def live(self) -> dict[str, dict[str, Any]]:
        return {key: row.document for key, row in self.rows.items() if not row.deleted}

    # What arrives

    def apply(self, item: WriteItem) -> Outcome:
        if self.honours_keys and item.idempotency_key in self.applied:
            return self.applied[item.idempotency_key]
        outcome = self._apply(item)
        if isinstance(outcome, Applied | Refused):
            self.applied[item.idempotency_key] = outcome
        return outcome

    def apply_all(self, items: Sequence[WriteItem]) -> Sequence[Outcome]:
        """Apply all items of a batch or none."""
        names = "rows", "applied", "effects", "overwritten", "history", "log", "ids", "versions"
        before = {name: deepcopy(getattr(self, name)) for name in names}
        outcomes = [self.apply(item) for item in items]
        if all(isinstance(each, Applied) for each in outcomes):
            self.atomic_batches.append([item.record_id for item in items])
            return outcomes
        for name, value in before.items():
            setattr(self, name, value)
        aborted = Refused("ABORTED", "another item of the batch was not applied")
        return [aborted if isinstance(each, Applied) else each for each in outcomes]

    def _apply(self, item: WriteItem) -> Outcome:
        if any(word in json.dumps(_contents(item)) for word in self.refused_words):
            return Refused("INVALID_VALUE", "the value is not allowed", (FieldProblem("/name", "not allowed"),))
        if isinstance(item.write, Create):
            if self.honours_references:
                for remote_id, row in self.rows.items():
                    if row.reference == item.record_id and not row.deleted:
                        return Exists(self.remote(remote_id))
            remote_id = self._new_id()
            if self.honours_keys:  # otherwise a repeat may create again what others have deleted since
                self.effects[item.idempotency_key] += 1
            self._store(remote_id, Row(0, {}, item.record_id), self._normal(dict(item.write.document)), "draftline")
            return self._answer(remote_id)
        row = self.rows.get(item.remote_id)
        if row is None or row.deleted:
            return Applied(item.remote_id) if isinstance(item.write, Delete) else Gone()
        if item.expected_remote_version is not None and item.expected_remote_version != str(row.version):
            if self.honours_versions:
                return Stale(self.remote(item.remote_id))
            self.overwritten.append((item.remote_id, row.version))
        self.effects[item.idempotency_key] += 1
        if isinstance(item.write, Delete):
            row.deleted = True
            self._store(item.remote_id, row, row.document, "draftline")
            return Applied(item.remote_id, str(row.version))
        assert isinstance(item.write, Update)
        document = deepcopy(row.document)
        for edit in item.write.edits:
            _edit(document, edit.path, edit.value, removed=edit.removed)
        self._store(item.remote_id, row, self._normal(document), "draftline")
        return self._answer(item.remote_id)

    def _normal(self, document: dict[str, Any]) -> dict[str, Any]:
        if not self.normalises:
            return document
        return {key: value.strip() if isinstance(value, str) else value for key, value in document.items()}

    def _answer(self, remote_id: str) -> Applied:
        stored = self.remote(remote_id) if self.capabilities.returns_stored else None
        return Applied(remote_id, str(self.rows[remote_id].version), stored)


class ToyUpstream:
    """A connection to the system."""

    def __init__(self, system: ToySystem) -> None:
        self.system = system

    async def describe(self, collection: str) -> Capabilities:
        del collection
        return self.system.capabilities

    def _happens(self, probability: float) -> bool:
        return self.system.random.random() < probability

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        del collection
        system, faults = self.system, self.system.faults
        system.requests += 1
        await asyncio.sleep(0)
        if system.is_down or self._happens(faults.unreachable):
            raise UnreachableError("no connection")
        if self._happens(faults.throttled):
            raise ThrottledError(after_s=0.01)
        if (
            system.refuses_batches
            and len(items) > 1
            and any(word in json.dumps(_contents(item)) for item in items for word in system.refused_words)
        ):
            raise BatchRefusedError(Refused("BATCH", "some item is not allowed"))
        outcomes: list[Outcome] = []
        if atomic:
            return self._write_all(items)
        for item in items:
            if self._happens(faults.lost_before):
                outcomes.append(Unknown("lost"))
            elif self._happens(faults.late):
                self._later(item)
                outcomes.append(Unknown("late"))
            else:
                outcome = system.apply(item)
                if self._happens(faults.doubled):
                    self._later(item)
                lost = self._happens(faults.lost_after) or self._happens(faults.unavailable_after)
                outcomes.append(Unknown("lost") if lost else outcome)
        return outcomes

    def _write_all(self, items: Sequence[WriteItem]) -> Sequence[Outcome]:
        """Apply all items or none."""
        faults = self.system.faults
        if self._happens(faults.lost_before):
            return [Unknown("lost")] * len(items)
        if self._happens(faults.late):
            self._later(*items)
            return [Unknown("late")] * len(items)
        outcomes = self.system.apply_all(items)
        if self._happens(faults.doubled):
            self._later(*items)
        lost = self._happens(faults.lost_after) or self._happens(faults.unavailable_after)
        return [Unknown("lost")] * len(items) if lost else outcomes

    def _later(self, *items: WriteItem) -> None:
        async def arrive() -> None:
            await asyncio.sleep(self.system.random.uniform(0.02, 0.15))
            self.system.apply_all(items) if len(items) > 1 else self.system.apply(items[0])

        task = asyncio.create_task(arrive())
        self.system.pending.add(task)
        task.add_done_callback(self.system.pending.discard)

    async def _read(self) -> None:
        self.system.requests += 1
        if self.system.is_down or self._happens(self.system.faults.unreachable):
            raise UnreachableError("no connection")

    async def _answered(self) -> None:
        """Delay the answer, which was read before, so that it may be out of date when it arrives."""
        if self._happens(self.system.faults.slow_read):
            await asyncio.sleep(self.system.random.uniform(0.02, 0.1))

    async def changes(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        del collection
        at = int(cursor or 0)
        while True:
            await self._read()
            rows = self.system.readable()
            found = sorted((row.at, remote_id) for remote_id, row in rows.items() if row.at > at)[: self.system.page]
            if not found:
                return
            records = [self.system.remote_of(remote_id, rows[remote_id]) for _, remote_id in found]
            at = found[-1][0]
            await self._answered()
            yield Page(records, str(at))

    async def snapshot(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        del collection
        position, _, after = (cursor or f"{self.system.log} ").partition(" ")
        start = int(position)
        while True:
            await self._read()
            rows = self.system.readable()
            found = sorted(key for key, row in rows.items() if key > after and not row.deleted)[: self.system.page]
            records = [self.system.remote_of(remote_id, rows[remote_id]) for remote_id in found]
            is_last = len(found) < self.system.page
            await self._answered()
            after = found[-1] if found else after
            yield Page(records, f"{start} {after}", str(start) if is_last else None)
            if is_last:
                return

    async def lookup(self, collection: str, remote_ids: Sequence[str]) -> Sequence[RemoteRecord]:
        del collection
        await self._read()
        rows = self.system.readable()
        found = [self.system.remote_of(remote_id, rows.get(remote_id)) for remote_id in remote_ids]
        await self._answered()
        return found

    async def close(self) -> None:
        pass


def _contents(item: WriteItem) -> Any:
    if isinstance(item.write, Create):
        return dict(item.write.document)
    if isinstance(item.write, Update):
        return [edit.value for edit in item.write.edits]
    return None


def _edit(document: dict[str, Any], path: str, value: Any, *, removed: bool) -> None:
    *parents, name = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    for parent in parents:
        document = document.setdefault(parent, {})
    if removed:
        document.pop(name, None)
    else:
        document[name] = deepcopy(value)


def not_taken() -> NotTaken:
    return NotTaken("busy", 0.01)
