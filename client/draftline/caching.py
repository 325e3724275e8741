"""The part of a cached reader that does no I/O: records in memory, kept true by the changes of a watch.

What is promised: no answer is older than what the watch had delivered when it was asked for.

Why it holds. A change is delivered after it was committed, and a record's changes are
delivered in the order of its versions, none left out. So

* a fetch that began after a change was delivered finds at least that version. A fetch is
  shared with nobody who came after a change of its record was delivered to it (`newest`);
* a fetched record is kept only if it is as new as all that was delivered while it was
  fetched. What comes later brings it from version to version, or drops it;
* where a watch ends, all that is kept is dropped, and what is being fetched is not kept
  (`stop`); the next one sees what happens after its first message.

Not safe for threads: the shells see to that.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from draftline.change_models import Change, ChangeKind
from draftline.models import UNSET, Record

Key = tuple[str, str]  # collection and record id
FutureT = TypeVar("FutureT")


@dataclass(frozen=True)
class CacheStats:
    """How a reader did so far."""

    hits: int  # answered from memory
    misses: int  # answered by a fetch, one's own or a shared one
    records: int  # in memory now


@dataclass(eq=False)
class Fetch(Generic[FutureT]):
    """A record that is being fetched."""

    key: Key
    future: FutureT  # of the record
    newest: int = 0  # the version of the last change that was delivered since it began


class Cache(Generic[FutureT]):
    """At most `max_records` records: those that were read last."""

    def __init__(self, max_records: int, max_lost_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        if max_records < 1:
            raise ValueError("a cache holds at least 1 record")
        self._max_records = max_records
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
        """Whether memory may answer: the watch is on, or was lost no longer ago than it may be."""
        if self._lost_at is not None and self._clock() - self._lost_at > self._max_lost_s:
            self.stop()
        return self._is_on

    def heard(self, changes: Iterable[Change]) -> None:
        """A message came over the watch, with changes or as a sign of life."""
        if not self.is_watching:  # what a lost watch left, too old by now, is dropped before it goes on
            self._is_on = True
        self._lost_at = None
        for change in changes:
            self._deliver(change)

    def lost(self) -> None:
        """The watch is without a connection, and goes on where it was once it has one."""
        if self._lost_at is None:
            self._lost_at = self._clock()

    def stop(self) -> None:
        """The watch is over, or has been away for too long. The next that is heard begins anew."""
        self._is_on = False
        self._lost_at = None
        self._records.clear()
        self._fetches.clear()

    def find(self, key: Key, min_version: int) -> Record | None:
        """The record from memory, at `min_version` or later. None: it must be fetched."""
        record = self._records.get(key) if self.is_watching else None
        if record is None or record.version < min_version:
            self._misses += 1
            return None
        self._hits += 1
        self._records.move_to_end(key)
        return record

    def under_way(self, key: Key, min_version: int) -> Fetch[FutureT] | None:
        """A fetch to share. None: there is none, or it may find less than what was delivered or asked for."""
        fetch = self._fetches.get(key)
        return fetch if fetch is not None and not fetch.newest and not min_version else None

    def begin(self, key: Key, future: FutureT) -> Fetch[FutureT]:
        """A fetch that begins now. It takes the place of another, which then is neither shared nor kept."""
        fetch = Fetch(key, future)
        if self.is_watching:
            self._fetches[key] = fetch
        return fetch

    def end(self, fetch: Fetch[FutureT], record: Record | None) -> None:
        """What it found. None: it failed."""
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
        fetch = self._fetches.get(key)
        if fetch is not None:
            fetch.newest = change.version
        record = self._records.get(key)
        if record is None or record.version >= change.version:
            return
        after = applied(change, record)
        if after is None:
            del self._records[key]
        else:
            self._records[key] = after


def applied(change: Change, record: Record) -> Record | None:
    """The record after a change. None: that cannot be told, or it is deleted. `record` stays as it is."""
    is_told = change.kind is ChangeKind.UPDATE and not change.values_omitted and change.version == record.version + 1
    attributes: dict[str, Any] = {each.name: each.new_value for each in change.attributes}
    if not is_told or not attributes.keys() <= {"parent_id", "position"}:
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
    """A copy with the value at a path, or without the path. KeyError, TypeError: there is no such place."""
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
    """The record, with a content that the caller may change."""
    return replace(record, content=_copied(record.content))


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_copied(element) for element in value]
    return value
