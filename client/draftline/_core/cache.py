"""The I/O-free part of a cached reader: records in memory, updated by the changes of a watch.

Guarantee: no result is older than what the watch had delivered when the read began.

It holds because a change is delivered after it is committed, and a record's changes are
delivered in the order of its versions, without gaps. Therefore:

* A fetch that began after a change was delivered returns at least that version. A fetch is not
  shared with callers that arrive after a change of its record was delivered (`newest`).
* A fetched record is cached only if it is at least as new as everything that was delivered
  during the fetch. Later changes update it version by version, or evict it.
* Versions start again at 1 after a purge, so a fetch that began before it is neither shared nor cached.
* When a watch ends, the cache is cleared, and running fetches are not cached (`stop`). The next
  watch delivers everything that happens after its first message.

Not thread-safe: the blocking reader holds a lock.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from draftline._core.arguments import checked_count
from draftline.models import UNSET, Change, ChangeKind, Record

Key = tuple[str, str]  # collection and record id
FutureT = TypeVar("FutureT")


@dataclass(frozen=True)
class CacheStats:
    """Statistics of a reader."""

    hits: int  # answered from memory
    misses: int  # answered by a fetch, new or shared
    records: int  # in memory now


@dataclass(eq=False)
class Fetch(Generic[FutureT]):
    """A fetch of a record that is in progress."""

    key: Key
    future: FutureT  # of the record
    newest: int = 0  # the version of the last change delivered since the fetch began


class Cache(Generic[FutureT]):
    """An LRU cache of at most `max_records` records."""

    def __init__(self, max_records: int, max_lost_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_records = checked_count("max_records", max_records)
        self._max_lost_s = max_lost_s
        self._clock = clock
        self._records: OrderedDict[Key, Record] = OrderedDict()
        self._fetches: dict[Key, Fetch[FutureT]] = {}
        self._is_on = False
        self._lost_at: float | None = None
        self._hits = 0
        self._misses = 0

    @property
    def stats(self) -> CacheStats:
        return CacheStats(self._hits, self._misses, len(self._records))

    @property
    def is_watching(self) -> bool:
        """True if the cache may answer: the watch is connected, or was lost at most `max_lost_s` ago."""
        if self._lost_at is not None and self._clock() - self._lost_at > self._max_lost_s:
            self.stop()
        return self._is_on

    def apply_changes(self, changes: Iterable[Change]) -> None:
        """Apply a message of the watch: its changes, or none for a heartbeat."""
        if not self.is_watching:  # `is_watching` clears the cache if the watch was lost for too long
            self._is_on = True
        self._lost_at = None
        for change in changes:
            self._deliver(change)

    def mark_disconnected(self) -> None:
        """Record that the watch lost its connection; it resumes where it stopped once it reconnects."""
        if self._lost_at is None:
            self._lost_at = self._clock()

    def stop(self) -> None:
        """Clear the cache, because the watch ended or was lost for too long. The next message starts it again."""
        self._is_on = False
        self._lost_at = None
        self._records.clear()
        self._fetches.clear()

    def find(self, key: Key, min_version: int) -> Record | None:
        """Return the cached record, at `min_version` or later. None: it must be fetched."""
        record = self._records.get(key) if self.is_watching else None
        if record is None or record.version < min_version:
            self._misses += 1
            return None
        self._hits += 1
        self._records.move_to_end(key)
        return record

    def running_fetch(self, key: Key, min_version: int) -> Fetch[FutureT] | None:
        """Return a running fetch that the caller may share. None: there is none, or its result may be too old."""
        fetch = self._fetches.get(key)
        return fetch if fetch is not None and not fetch.newest and not min_version else None

    def begin(self, key: Key, future: FutureT) -> Fetch[FutureT]:
        """Register a new fetch. It replaces an earlier one, which then is neither shared nor cached."""
        fetch = Fetch(key, future)
        if self.is_watching:
            self._fetches[key] = fetch
        return fetch

    def end(self, fetch: Fetch[FutureT], record: Record | None) -> None:
        """Complete the fetch with its record, or with None if it failed."""
        if self._fetches.get(fetch.key) is not fetch:
            return
        del self._fetches[fetch.key]
        if record is not None and record.version >= fetch.newest:
            self._records[fetch.key] = record
            self._records.move_to_end(fetch.key)
            if len(self._records) > self._max_records:
                self._records.popitem(last=False)

    def _deliver(self, change: Change) -> None:
        key = (change.collection, change.record_id)
        if change.kind is ChangeKind.PURGE:  # versions start again at 1, so a fetch that began before says nothing
            self._fetches.pop(key, None)
            self._records.pop(key, None)
            return
        fetch = self._fetches.get(key)
        if fetch is not None:
            fetch.newest = max(fetch.newest, change.version)
        record = self._records.get(key)
        if record is None or record.version >= change.version:
            return
        after = applied(change, record)
        if after is None:
            del self._records[key]
        else:
            self._records[key] = after


def applied(change: Change, record: Record) -> Record | None:
    """Return a copy of the record with the change applied. None: it cannot be derived, or the record is deleted."""
    is_next = change.version == record.version + 1
    is_applicable = is_next and change.kind is ChangeKind.UPDATE and not change.values_omitted
    attributes: dict[str, Any] = {each.name: each.new_value for each in change.attributes}
    if not is_applicable or not attributes.keys() <= {"parent_id", "position"}:
        return None
    content = record.content
    try:
        for edit in change.paths:
            keys = [key.replace("~1", "/").replace("~0", "~") for key in edit.path.split("/")[1:]]
            content = _edited(content, keys, edit.new_value)
    except (KeyError, TypeError):
        return None
    return replace(
        record,
        content=content,
        version=change.version,
        update_time=change.create_time,
        updated_by=change.user_id,
        **attributes,
    )


def _edited(node: Any, keys: Sequence[str], value: Any) -> Any:
    """Return a copy with the value at a path set, or removed if it is `UNSET`.

    Raise KeyError or TypeError if the path does not exist.
    """
    if not keys:
        return value
    copy = {**node}
    if len(keys) > 1:
        copy[keys[0]] = _edited(copy[keys[0]], keys[1:], value)
    elif value is UNSET:
        del copy[keys[0]]
    else:
        copy[keys[0]] = value
    return copy


def copied(record: Record) -> Record:
    """Return the record with a deep copy of its content, which the caller may modify."""
    return replace(record, content=_copied(record.content))


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_copied(element) for element in value]
    return value
