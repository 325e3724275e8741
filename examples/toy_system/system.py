"""The toy system: all that both protocols share."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

FAULTS = {
    "lost-before": "the request is dropped, and the connection ends",
    "timeout-after-apply": "the write is applied, and the response is lost",
    "late": "the write is applied a second after the caller has lost the connection",
    "duplicate": "the write arrives twice",
    "throttle": "429 or RESOURCE_EXHAUSTED, with a time to wait",
    "error": "503 or INTERNAL, before or after the write is applied",
    "slow": "the response takes a second",
    "refuse": "the record is refused with a reason and a field",
}
PAGE_SIZE = 100
MAX_BATCH = 100
KEYS_S = 86_400.0
LATE_S = 1.0
ABORTED = {"code": "ABORTED", "message": "another item of the batch was not applied", "fields": []}


@dataclass
class Part:
    """A record of the system."""

    id: str
    reference: str
    content: dict[str, Any]
    version: int = 0
    deleted: bool = False


class RefusedError(Exception):
    """The outcome of a write that is not applied: a status of HTTP, and the part as it is or the error."""

    def __init__(self, status: int, part: Part | None = None, error: dict[str, Any] | None = None) -> None:
        super().__init__(status)
        self.status, self.part, self.error = status, part, error


class LostResponseError(Exception):
    """The caller is to see no response."""


@dataclass(frozen=True)
class PartWrite:
    """A write: `create`, `update` or `delete`. `expected`: the version that the part must have; None: any."""

    kind: str
    key: str
    part_id: str = ""
    reference: str = ""
    content: dict[str, Any] | None = None
    edits: list[tuple[str, bool, Any]] | None = None
    expected: str | None = None


@dataclass
class System:
    """The system itself: all that both protocols share. Methods may be called from any thread."""

    rates: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    referenced: dict[str, Part] = field(default_factory=dict)  # by reference
    log: list[str] = field(default_factory=list)  # the id of each change; a part's version is its position
    keys: dict[str, tuple[Part | RefusedError, float]] = field(default_factory=dict)
    retry_after_s: int = 1  # the time that a throttled caller is asked to wait

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.random = random.Random(self.seed)

    def happens(self, fault: str) -> bool:
        """Return whether a fault happens now."""
        with self.lock:
            return self.random.random() < self.rates.get(fault, 0.0)

    def deliver(self, write: Callable[[], Any]) -> Any:
        """Deliver a request that writes, with the faults of the network. Raises LostResponseError."""
        if self.happens("lost-before"):
            raise LostResponseError
        if self.happens("late"):
            threading.Timer(LATE_S, _quietly, (write,)).start()
            raise LostResponseError
        if self.happens("duplicate"):
            threading.Timer(LATE_S, _quietly, (write,)).start()
        result = write()
        if self.happens("timeout-after-apply"):
            raise LostResponseError
        self.delay()
        return result

    def delay(self) -> None:
        """Delay a response that has been made."""
        if self.happens("slow"):
            time.sleep(LATE_S)

    def write(self, kind: str, key: str, part_id: str = "", **arguments: Any) -> Part:
        """Apply a write, once for a key, and return the part. Raise RefusedError if it is not applied."""
        with self.lock:
            write = PartWrite(kind, key, part_id, **arguments)
            self.check(write)
            return self.apply(write)

    def write_all(self, writes: list[PartWrite]) -> list[Part | RefusedError]:
        """Apply writes of different parts, all or none. Return each part, or why none was applied."""
        with self.lock:
            refusals: list[RefusedError | None] = []
            for write in writes:
                try:
                    self.check(write)
                    refusals.append(None)
                except RefusedError as refusal:
                    refusals.append(refusal)
            if any(refusals):
                return [each or RefusedError(424, error=ABORTED) for each in refusals]
            return [self.apply(each) for each in writes]

    def check(self, write: PartWrite) -> None:
        """Raise RefusedError if a write cannot be applied."""
        known = self._known(write)
        if isinstance(known, RefusedError):
            raise known
        if known is not None:
            return
        if self.happens("refuse"):
            fields = [{"path": "/rate", "message": "is not allowed"}]
            refused = RefusedError(422, error={"code": "INVALID", "message": "it is refused", "fields": fields})
            if write.key:
                self.keys[write.key] = (refused, time.monotonic() + KEYS_S)
            raise refused
        if write.kind == "create":
            self.check_reference(write.reference)
            return
        part = self.parts.get(write.part_id)
        if part is None or part.deleted:
            if write.kind == "update":
                raise RefusedError(404)
        elif write.expected is not None and write.expected != str(part.version):
            raise RefusedError(412, part)

    def check_reference(self, reference: str) -> None:
        """Raise RefusedError if there is a part with this reference."""
        existing = self.referenced.get(reference)
        if existing is not None and not existing.deleted:
            raise RefusedError(409, existing)

    def apply(self, write: PartWrite) -> Part:
        """Apply a write that was checked, once for a key, and return the part."""
        known = self._known(write)
        if isinstance(known, Part):
            return known
        part = self._new(write.reference) if write.kind == "create" else self._existing(write.part_id)
        if write.kind == "create":
            part.content = dict(write.content or {})
        elif write.kind == "update":
            part.content = edited(part.content, write.edits or [])
        changes_something = write.kind != "delete" or not part.deleted
        part.deleted = write.kind == "delete"
        if changes_something:
            self.log.append(part.id)
            part.version = len(self.log)
        copy = Part(part.id, part.reference, dict(part.content), part.version, part.deleted)
        if write.key:
            self.keys[write.key] = (copy, time.monotonic() + KEYS_S)
        return copy

    def _known(self, write: PartWrite) -> Part | RefusedError | None:
        """Return the outcome of an earlier write with the same key; None if there is none."""
        known = self.keys.get(write.key) if write.key else None
        return known[0] if known is not None and time.monotonic() < known[1] else None

    def _new(self, reference: str) -> Part:
        part = Part(f"part-{len(self.parts) + 1}", reference, {})
        self.parts[part.id] = part
        if reference:
            self.referenced[reference] = part
        return part

    def _existing(self, part_id: str) -> Part:
        return self.parts.get(part_id) or Part(part_id, "", {}, deleted=True)

    def changes(self, cursor: int) -> tuple[list[Part], int]:
        """Return a page of what changed after a cursor, deletions included, and the next cursor."""
        with self.lock:
            end = min(cursor + PAGE_SIZE, len(self.log))
            return [self.parts[each] for each in dict.fromkeys(self.log[cursor:end])], end

    def snapshot(self, cursor: str) -> tuple[list[Part], str, str]:
        """Return a page of all parts, its cursor, and on the last page the cursor for changes since the beginning."""
        with self.lock:
            start, after = map(int, cursor.split("-")) if cursor else (len(self.log), 0)
            parts = list(self.parts.values())
            page = [each for each in parts[after : after + PAGE_SIZE] if not each.deleted]
            after += PAGE_SIZE
            return page, f"{start}-{after}", str(start) if after >= len(parts) else ""


def _quietly(write: Callable[[], Any]) -> None:
    with suppress(RefusedError):
        write()


def edited(content: dict[str, Any], edits: list[tuple[str, bool, Any]]) -> dict[str, Any]:
    """Return a copy with edits: JSON Pointers through objects, whether the path is removed, and the value."""
    result: dict[str, Any] = json.loads(json.dumps(content))
    for path, removed, value in edits:
        *parents, last = [each.replace("~1", "/").replace("~0", "~") for each in path[1:].split("/")]
        target = result
        for token in parents:
            if not isinstance(target.get(token), dict):
                target[token] = {}
            target = target[token]
        if removed:
            target.pop(last, None)
        else:
            target[last] = value
    return result
