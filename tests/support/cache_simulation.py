"""A simulation of a record cache: a service with writes, and a watch and fetches that lag behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from draftline import UNSET, Change, ChangeKind, ChangeSource, PathChange, Record
from draftline._core.cache import Cache, Fetch, Key

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEYS: list[Key] = [("movies", "1"), ("movies", "2"), ("actors", "1")]
MAX_LOST_S = 10.0


def record_of(key: Key = KEYS[0], version: int = 1, **content: Any) -> Record:
    return Record("acme", *key, content, version, None, None, NOON, "ada", NOON, "ada", None)


def change_of(version: int, *paths: tuple[str, Any], key: Key = KEYS[0], **fields: Any) -> Change:
    told: dict[str, Any] = {
        "kind": ChangeKind.UPDATE,
        "source": ChangeSource.PATCH_CONTENT,
        "values_omitted": False,
        "attributes": (),
        "user_id": "bob",
        "session_id": "",
        "commit_id": "",
        "change_reason": "",
        "request_id": "",
        "create_time": NOON.replace(hour=13),
    } | fields
    edits = tuple(PathChange(path, UNSET, value) for path, value in paths)
    return Change("acme", *key, version, paths=edits, **told)


@dataclass(eq=False)
class Fetching:
    fetch: Fetch[None]
    leasts: list[int]  # the index of the oldest state that will do, for each who waits for it
    index: int | None = None  # of the state that it found; None: it has not read yet
    record: Record | None = None  # None: it is deleted


class World:
    """A service, its log, a watch that delivers late, and fetches that read at any time between start and end."""

    def __init__(self, keys: Sequence[Key], *, is_simple: bool) -> None:
        self.is_simple = is_simple
        self.now = 0.0
        self.cache: Cache[None] = Cache(len(keys), MAX_LOST_S, clock=lambda: self.now)
        # The states of each record: the first one, and one after each change of the log. After a purge they begin again
        # at version 1, in another life.
        self.history: dict[Key, list[Record]] = {key: [record_of(key, a=0, life=0)] for key in keys}
        self.deleted: set[Key] = set()
        self.log: list[Change] = []
        self.place = 0  # in the log, of the watch
        self.fetching: list[Fetching] = []
        self.cache.apply_changes([])

    def steps(self) -> list[Callable[[], None]]:
        """Return the steps that are possible next; in a simple world, only the most important."""
        steps: list[Callable[[], None]] = [self.hear, self.expire]
        of_each: list[Callable[[Key], None]] = [self.write, self.ask, self.ask_own]
        if not self.is_simple:
            steps += [self.lose_shortly, self.lose_for_long]
            of_each += [self.write_untold, self.bury, self.rebirth]
        steps += [partial(step, key) for key in self.history for step in of_each]
        for each in self.fetching:
            steps.append(partial(self.read if each.index is None else self.end, each))
        return steps

    def write(self, key: Key, *, is_told: bool = True) -> None:
        last = self.history[key][-1]
        if key not in self.deleted:
            change = change_of(last.version + 1, ("/a", last.version), key=key, values_omitted=not is_told)
            self.log.append(change)
            content = {**last.content, "a": last.version}
            self._keep(replace(last, content=content, update_time=change.create_time, updated_by="bob"))

    def write_untold(self, key: Key) -> None:
        self.write(key, is_told=False)

    def bury(self, key: Key) -> None:
        """Delete the record, or undelete it."""
        kind = ChangeKind.UNDELETE if key in self.deleted else ChangeKind.DELETE
        last = self.history[key][-1]
        self.log.append(change_of(last.version + 1, key=key, kind=kind))
        self.deleted ^= {key}
        self._keep(last)

    def rebirth(self, key: Key) -> None:
        """Purge a deleted record, and create it again."""
        if key not in self.deleted:
            return
        last = self.history[key][-1]
        self.log.append(change_of(0, key=key, kind=ChangeKind.PURGE))
        self.history[key].append(replace(last, version=0))
        self.log.append(change_of(1, key=key, kind=ChangeKind.CREATE))
        self.history[key].append(record_of(key, a=0, life=last.content["life"] + 1))
        self.deleted.discard(key)

    def _keep(self, record: Record) -> None:
        key = (record.collection, record.record_id)
        self.history[key].append(replace(record, version=record.version + 1))

    def hear(self) -> None:
        """Deliver the next change, or a heartbeat."""
        changes = self.log[self.place : self.place + 1]
        self.place += len(changes)
        self.cache.apply_changes(changes)

    def lose_shortly(self) -> None:
        self.cache.mark_disconnected()
        self.now += 1

    def lose_for_long(self) -> None:
        self.cache.mark_disconnected()
        self.now += MAX_LOST_S + 1

    def expire(self) -> None:
        """Start the next watch at the current end of the log, without the changes before it."""
        self.cache.stop()
        self.place = len(self.log)

    def ask(self, key: Key) -> None:
        """While it watches, what was delivered will do, else only what is there now."""
        self._ask(key, self._delivered(key) if self.cache.is_watching else self._newest(key), 0)

    def ask_own(self, key: Key) -> None:
        """Ask for what the caller wrote. A version names a state only until the record is purged."""
        if self.history[key][-1].content["life"] == 0:
            self._ask(key, self._newest(key), self.history[key][-1].version)

    def _ask(self, key: Key, least: int, min_version: int) -> None:
        record = self.cache.find(key, min_version)
        if record is not None:
            self._check(record, key, least)
        elif (shared := self.cache.running_fetch(key, min_version)) is None:
            self.fetching.append(Fetching(self.cache.begin(key, None), [least]))
        else:
            (its,) = (each for each in self.fetching if each.fetch is shared)
            its.leasts.append(least)

    def read(self, its: Fetching) -> None:
        its.index = self._newest(its.fetch.key)
        its.record = None if its.fetch.key in self.deleted else self.history[its.fetch.key][-1]

    def end(self, its: Fetching) -> None:
        self.fetching.remove(its)
        self.cache.end(its.fetch, its.record)
        assert its.index is not None
        assert its.index >= max(its.leasts)

    def check(self) -> None:
        """Check what the cache would return from memory."""
        assert self.cache.stats.records <= len(self.history)
        if self.cache.is_watching:
            for key, record in self.cache._records.items():
                self._check(record, key, self._delivered(key))

    def _check(self, record: Record, key: Key, least: int) -> None:
        assert record in self.history[key][least:]

    def _newest(self, key: Key) -> int:
        return len(self.history[key]) - 1

    def _delivered(self, key: Key) -> int:
        """Return the index of the state after the changes that were delivered."""
        return sum((each.collection, each.record_id) == key for each in self.log[: self.place])


def happened(choices: Iterable[int], world: World) -> World:
    """Run the chosen steps one after another and return the world."""
    for choice in choices:
        steps = world.steps()
        steps[choice % len(steps)]()
        world.check()
    return world
