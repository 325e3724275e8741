"""A system of record in memory, and a connector to it that injects faults at given rates from a seed.

`MemorySystem` is the system. It outlives its connectors, so a test may drop a connector as a killed worker does, and
open another. `MemoryUpstream` is a connector. With `Traits`, the system lacks what real systems often lack.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from draftline.upstreams import (
    Applied,
    Capabilities,
    Create,
    CursorExpiredError,
    Delete,
    Exists,
    FieldProblem,
    Gone,
    Outcome,
    Page,
    PathEdit,
    Refused,
    RemoteRecord,
    Stale,
    ThrottledError,
    UnauthorizedError,
    Unknown,
    UnreachableError,
    Update,
    WriteItem,
)

Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """The capabilities of the system."""

    keys: bool = True
    conditional: bool = True
    reference: bool = True
    returns_stored: bool = True
    deletions_in_changes: bool = True
    read_lag: int = 0  # reads do not see the last writes, as many as this
    max_batch: int = 100
    atomic: bool = True
    page_size: int = 100


@dataclass(kw_only=True)
class Faults:
    """The share of requests with each fault, from 0 to 1. May be changed at any time."""

    lost_before: float = 0.0  # the request never arrives, which the caller cannot know
    timeout_after_apply: float = 0.0  # applied, and the response is lost
    late: float = 0.0  # arrives `late_s` after the caller has given up
    duplicate: float = 0.0  # arrives twice, the second time late
    throttle: float = 0.0
    error_before: float = 0.0  # a status of 500, and nothing was applied
    error_after: float = 0.0  # a status of 500, and the write was applied
    unreachable: float = 0.0  # no connection
    third_party: float = 0.0  # another client of the system edits a record before the request
    slow_read: float = 0.0  # a page takes `late_s`
    refuse: float = 0.0  # of records, not requests
    late_s: float = 0.02

    def clear(self) -> None:
        """End all faults."""
        for name in vars(self):
            if name != "late_s":
                setattr(self, name, 0.0)


@dataclass
class Stored:
    """A record of the system."""

    remote_id: str
    reference: str
    document: dict[str, Any]
    version: int
    deleted: bool = False


@dataclass(frozen=True)
class Event:
    """A write that the system applied. `actor` is `draftline` or the name of a third party."""

    actor: str
    remote_id: str
    record_id: str
    version: int
    kind: str
    key: str
    edits: tuple[PathEdit, ...]
    expected: str | None
    before: Document
    after: Document


@dataclass(kw_only=True)
class MemorySystem:
    """A system of record. `edit`, `create` and `delete` are those of its other clients."""

    seed: int = 0
    traits: Traits = field(default_factory=Traits)
    faults: Faults = field(default_factory=Faults)
    normalise: Callable[[dict[str, Any]], dict[str, Any]] = dict
    refuses: Callable[[WriteItem], Refused | None] = lambda item: None
    third_party: Callable[[MemorySystem, random.Random], None] = lambda system, randomness: None
    unauthorized: bool = False
    records: dict[str, Stored] = field(default_factory=dict)
    history: list[Event] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    first_change: int = 0  # changes before it are not available any more
    responses: dict[str, Outcome] = field(default_factory=dict)
    late_tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def by_reference(self, record_id: str) -> list[Stored]:
        """Return the records that are not deleted and have this client reference. More than one: doubled."""
        return [each for each in self.records.values() if each.reference == record_id and not each.deleted]

    def create(self, document: Document, *, actor: str = "other", reference: str = "", key: str = "") -> Stored:
        stored = Stored(f"u-{len(self.records) + 1}", reference, self._normal(document), 0)
        self.records[stored.remote_id] = stored
        self._log(stored, actor, "create", key, (), None, {})
        return stored

    def edit(
        self,
        remote_id: str,
        *edits: PathEdit,
        actor: str = "other",
        key: str = "",
        expected: str | None = None,
    ) -> Stored:
        stored = self.records[remote_id]
        before = stored.document
        stored.document = self._normal(edited(before, edits))
        if key or stored.document != before:
            self._log(stored, actor, "update", key, edits, expected, before)
        return stored

    def delete(self, remote_id: str, *, actor: str = "other", key: str = "", expected: str | None = None) -> Stored:
        stored = self.records[remote_id]
        stored.deleted = True
        self._log(stored, actor, "delete", key, (), expected, stored.document)
        return stored

    async def settled(self) -> None:
        """Wait until all late requests have arrived."""
        while self.late_tasks:
            await asyncio.gather(*self.late_tasks)

    def apply(self, item: WriteItem) -> Outcome:
        """Apply a write as the system does, with its keys, conditions and references, if it has them."""
        if self.traits.keys and item.idempotency_key in self.responses:
            return self.responses[item.idempotency_key]
        outcome = self._apply(item)
        if isinstance(outcome, Applied):
            self.responses[item.idempotency_key] = outcome
        return outcome

    def rejection(self, item: WriteItem) -> Outcome | None:
        """Return the outcome of a write that the system does not apply; None if it applies it."""
        refused = self.refuses(item)
        if refused is not None:
            return refused
        if isinstance(item.write, Create):
            existing = self.by_reference(item.record_id) if self.traits.reference else []
            return Exists(self.shown(existing[0])) if existing else None
        stored = self.records.get(item.remote_id)
        if stored is None or stored.deleted:
            return Applied(item.remote_id) if isinstance(item.write, Delete) else Gone()
        is_stale = item.expected_remote_version is not None and item.expected_remote_version != str(stored.version)
        return Stale(self.shown(stored)) if is_stale and self.traits.conditional else None

    def _apply(self, item: WriteItem) -> Outcome:
        rejection = self.rejection(item)
        if rejection is not None:
            return rejection
        key, expected = item.idempotency_key, item.expected_remote_version
        match item.write:
            case Create(document):
                reference = item.record_id if self.traits.reference else ""
                stored = self.create(document, actor="draftline", reference=reference, key=key)
            case Update(edits):
                stored = self.edit(item.remote_id, *edits, actor="draftline", key=key, expected=expected)
            case Delete():
                stored = self.delete(item.remote_id, actor="draftline", key=key, expected=expected)
        shown = self.shown(stored) if self.traits.returns_stored and not stored.deleted else None
        return Applied(stored.remote_id, str(stored.version), shown)

    def _log(self, stored: Stored, actor: str, kind: str, key: str, edits: Any, expected: Any, before: Any) -> None:
        stored.version = len(self.history) + 1
        after = {} if stored.deleted else stored.document
        self.history.append(
            Event(
                actor,
                stored.remote_id,
                stored.reference,
                stored.version,
                kind,
                key,
                tuple(edits),
                expected,
                before,
                after,
            )
        )

    def _normal(self, document: Document) -> dict[str, Any]:
        return self.normalise(copy.deepcopy(dict(document)))

    def shown(self, stored: Stored) -> RemoteRecord:
        """Return a record as a connector returns it now."""
        return self._shown(stored, stored.version, stored.document, deleted=stored.deleted)

    def _shown(self, stored: Stored, version: int, document: Document, *, deleted: bool) -> RemoteRecord:
        return RemoteRecord(
            remote_id=stored.remote_id,
            remote_version=str(version),
            record_id=stored.reference if self.traits.reference else "",
            deleted=deleted,
            document={} if deleted else copy.deepcopy(dict(document)),
        )

    def visible(self) -> dict[str, RemoteRecord]:
        """Return every record as reads see it, which lag behind the writes if `read_lag` is set."""
        if not self.traits.read_lag:
            return {remote_id: self.shown(stored) for remote_id, stored in self.records.items()}
        seen: dict[str, RemoteRecord] = {}
        for event in self.history[: max(len(self.history) - self.traits.read_lag, 0)]:
            stored, deleted = self.records[event.remote_id], event.kind == "delete"
            seen[event.remote_id] = self._shown(stored, event.version, event.after, deleted=deleted)
        return seen


class MemoryUpstream:
    """A connector to a `MemorySystem`. Implements `draftline.upstreams.Upstream`."""

    def __init__(self, system: MemorySystem) -> None:
        self.system = system
        self._random = random.Random(system.random.random())

    async def describe(self, collection: str) -> Capabilities:
        traits = self.system.traits
        return Capabilities(
            idempotency_keys_s=86_400.0 if traits.keys else 0.0,
            conditional_writes=traits.conditional,
            client_reference=traits.reference,
            ordered_versions=True,
            returns_stored=traits.returns_stored,
            deletions_in_changes=traits.deletions_in_changes,
            read_lag_s=1.0 if traits.read_lag else 0.0,
            max_batch=traits.max_batch,
            atomic_batch=traits.atomic,
        )

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        self._request("write")
        if self._happens("lost_before"):
            return [Unknown("lost before it arrived")] * len(items)
        if self._happens("error_before"):
            return [Unknown("status 500")] * len(items)
        if self._happens("late"):
            self._later(items, atomic)
            return [Unknown("arrives late")] * len(items)
        if self._happens("duplicate"):
            self._later(items, atomic)
        outcomes = self._applied(items, atomic)
        await asyncio.sleep(0)
        if self._happens("timeout_after_apply"):
            return [Unknown("the response was lost")] * len(items)
        if self._happens("error_after"):
            return [Unknown("status 503")] * len(items)
        return outcomes

    async def changes(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        self._request("changes")
        position = int(cursor or 0)
        if position < self.system.first_change:
            raise CursorExpiredError("the cursor is too old")
        end = max(len(self.system.history) - self.system.traits.read_lag, 0)
        while position < end:
            await self._slowly()
            upto = min(position + self.system.traits.page_size, end)
            changed = dict.fromkeys(event.remote_id for event in self.system.history[position:upto])
            seen = self.system.visible()
            deletions = self.system.traits.deletions_in_changes
            records = [seen[each] for each in changed if each in seen and (deletions or not seen[each].deleted)]
            position = upto
            yield Page(tuple(records), str(position))
            self._request("changes")

    async def snapshot(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        self._request("snapshot")
        start, after = json.loads(cursor) if cursor else (len(self.system.history), 0)
        while True:
            await self._slowly()
            rows = list(self.system.visible().values())
            records = [each for each in rows[after : after + self.system.traits.page_size] if not each.deleted]
            after += self.system.traits.page_size
            is_last = after >= len(rows)
            yield Page(tuple(records), json.dumps([start, after]), str(start) if is_last else None)
            if is_last:
                return
            self._request("snapshot")

    async def lookup(self, collection: str, remote_ids: Sequence[str]) -> Sequence[RemoteRecord]:
        self._request("lookup")
        await self._slowly()
        seen = self.system.visible()
        return [seen.get(each) or RemoteRecord(remote_id=each, deleted=True) for each in remote_ids]

    async def close(self) -> None:
        pass

    def _happens(self, fault: str) -> bool:
        return self._random.random() < getattr(self.system.faults, fault)

    def _request(self, name: str) -> None:
        system = self.system
        system.requests[name] += 1
        if self._happens("third_party"):
            system.third_party(system, self._random)
        if system.unauthorized:
            raise UnauthorizedError("the token has expired")
        if self._happens("unreachable"):
            raise UnreachableError("connection refused")
        if self._happens("throttle"):
            raise ThrottledError(after_s=system.faults.late_s)

    async def _slowly(self) -> None:
        await asyncio.sleep(self.system.faults.late_s if self._happens("slow_read") else 0)

    def _applied(self, items: Sequence[WriteItem], atomic: bool) -> list[Outcome]:
        if atomic:
            rejections = [
                None if each.idempotency_key in self.system.responses else self.system.rejection(each) for each in items
            ]
            if any(rejections):
                aborted = Refused("ABORTED", "another item of the batch was not applied")
                return [aborted if each is None else each for each in rejections]
        return [self._applied_one(each) for each in items]

    def _applied_one(self, item: WriteItem) -> Outcome:
        if self._happens("refuse"):
            return Refused("INVALID", "the system refuses this record", (FieldProblem("/rate", "is not allowed"),))
        return self.system.apply(item)

    def _later(self, items: Sequence[WriteItem], atomic: bool) -> None:
        async def arrive() -> None:
            await asyncio.sleep(self.system.faults.late_s)
            self._applied(items, atomic)

        task = asyncio.create_task(arrive())
        self.system.late_tasks.add(task)
        task.add_done_callback(self.system.late_tasks.discard)


def edited(document: Document, edits: Sequence[PathEdit]) -> dict[str, Any]:
    """Return a copy of the document with edits at object paths. Objects on the way are created."""
    result = copy.deepcopy(dict(document))
    for edit in edits:
        tokens = [each.replace("~1", "/").replace("~0", "~") for each in edit.path[1:].split("/")]
        target = result
        for token in tokens[:-1]:
            if not isinstance(target.get(token), dict):
                if edit.removed:
                    break
                target[token] = {}
            target = target[token]
        else:
            if edit.removed:
                target.pop(tokens[-1], None)
            else:
                target[tokens[-1]] = copy.deepcopy(edit.value)
    return result
