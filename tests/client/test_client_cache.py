"""The cache of a reader is never older than the changes that its watch has delivered, in any order of events."""

from __future__ import annotations

import pytest
from draftline import UNSET, AttributeChange, CacheStats, Change, ChangeKind, Record
from draftline._core.cache import Cache, applied, copied
from hypothesis import given
from hypothesis import strategies as st
from support.cache_simulation import KEYS, MAX_LOST_S, NOON, World, change_of, happened, record_of
from support.soak_scale import length

STEPS = length("CACHE_STEPS", 5, soak=6)  # of which every order is tried


def filled(*records: Record, max_records: int = 10) -> Cache[None]:
    cache: Cache[None] = Cache(max_records, MAX_LOST_S)
    cache.apply_changes([])
    for record in records:
        fetch = cache.begin((record.collection, record.record_id), None)
        cache.end(fetch, record)
    return cache


def test_change_is_applied_to_the_version_before_it() -> None:
    before = record_of(a={"b/c": 1, "~d": [1]}, gone=1)
    change = change_of(
        2,
        ("/a/b~1c", {"x": 1}),
        ("/a/~0d", [2]),
        ("/gone", UNSET),
        ("/new", None),
        attributes=(AttributeChange("parent_id", None, "p"), AttributeChange("position", 1, None)),
    )
    after = applied(change, before)
    assert after is not None
    assert after.content == {"a": {"b/c": {"x": 1}, "~d": [2]}, "new": None}
    assert (after.version, after.parent_id, after.position) == (2, "p", None)
    assert (after.update_time, after.updated_by, after.create_time) == (NOON.replace(hour=13), "bob", NOON)
    assert before == record_of(a={"b/c": 1, "~d": [1]}, gone=1)


@pytest.mark.parametrize(
    "change",
    [
        change_of(3),
        change_of(2, kind=ChangeKind.DELETE),
        change_of(2, kind=ChangeKind.UNDELETE),
        change_of(2, values_omitted=True),
        change_of(2, attributes=(AttributeChange("colour", None, "red"),)),
        change_of(2, ("/none/x", 1)),
        change_of(2, ("/a", UNSET), ("/a", UNSET)),
        change_of(2, ("/list/0", 1)),
    ],
)
def test_change_that_cannot_be_applied_drops_the_record(change: Change) -> None:
    cache = filled(record_of(a=1, list=[0]))
    cache.apply_changes([change])
    assert cache.find(KEYS[0], 0) is None
    assert cache.stats == CacheStats(hits=0, misses=1, records=0)


def test_change_that_the_record_has_already_is_ignored() -> None:
    cache = filled(record_of(version=3, a=3))
    cache.apply_changes([change_of(2, ("/a", 2)), change_of(3, ("/a", 3))])
    assert cache.find(KEYS[0], 0) == record_of(version=3, a=3)


def test_least_recently_read_record_is_evicted() -> None:
    first, second, third = (record_of(key) for key in KEYS)
    cache = filled(first, second, max_records=2)
    assert cache.find(KEYS[0], 0) is first
    cache.end(cache.begin(KEYS[2], None), third)
    assert [cache.find(key, 0) for key in KEYS] == [first, None, third]
    assert cache.stats == CacheStats(hits=3, misses=1, records=2)
    with pytest.raises(ValueError, match="at least 1"):
        Cache(0, 1.0)


def test_fetch_older_than_a_delivered_change_is_not_cached_or_shared() -> None:
    cache = filled()
    fetch = cache.begin(KEYS[0], None)
    assert cache.running_fetch(KEYS[0], 0) is fetch
    assert cache.running_fetch(KEYS[0], 1) is None
    cache.apply_changes([change_of(2)])
    assert cache.running_fetch(KEYS[0], 0) is None
    cache.end(fetch, record_of(version=1))
    assert cache.find(KEYS[0], 0) is None


def test_fetch_that_includes_the_delivered_change_is_cached() -> None:
    cache = filled()
    fetch = cache.begin(KEYS[0], None)
    cache.apply_changes([change_of(2)])
    cache.end(fetch, record_of(version=2))
    assert cache.find(KEYS[0], 0) == record_of(version=2)


def test_fetch_from_before_a_purge_is_neither_shared_nor_cached() -> None:
    cache = filled()
    fetch = cache.begin(KEYS[0], None)
    deleted = change_of(2, kind=ChangeKind.DELETE)
    cache.apply_changes([deleted, change_of(0, kind=ChangeKind.PURGE), change_of(1, kind=ChangeKind.CREATE)])
    assert cache.running_fetch(KEYS[0], 0) is None
    cache.end(fetch, record_of(version=1))
    assert cache.find(KEYS[0], 0) is None


def test_cache_answers_for_a_while_after_the_watch_disconnects() -> None:
    now = 0.0
    cache: Cache[None] = Cache(10, MAX_LOST_S, clock=lambda: now)
    cache.apply_changes([])
    cache.end(cache.begin(KEYS[0], None), record_of())
    cache.mark_disconnected()
    now = MAX_LOST_S
    cache.mark_disconnected()
    assert cache.find(KEYS[0], 0) is not None
    now += 0.1
    assert cache.find(KEYS[0], 0) is None
    assert not cache.is_watching
    cache.apply_changes([])
    assert cache.is_watching
    assert cache.stats.records == 0


def test_cache_is_cleared_after_a_long_disconnection() -> None:
    now = 0.0
    cache: Cache[None] = Cache(10, MAX_LOST_S, clock=lambda: now)
    cache.apply_changes([])
    cache.end(cache.begin(KEYS[0], None), record_of())
    cache.mark_disconnected()
    now = 1_000.0
    cache.apply_changes([])
    assert cache.stats.records == 0
    assert cache.is_watching


def test_running_fetch_is_not_cached_when_the_watch_stops() -> None:
    cache = filled()
    fetch = cache.begin(KEYS[0], None)
    cache.stop()
    cache.apply_changes([])
    cache.end(fetch, record_of())
    assert cache.stats.records == 0


def test_copy_is_the_callers_own() -> None:
    kept = record_of(a={"b": [1, {"c": 2}]})
    mine = copied(kept)
    assert mine == kept
    mine.content["a"]["b"][1]["c"] = 3
    assert kept == record_of(a={"b": [1, {"c": 2}]})


@pytest.mark.soak
def test_no_result_is_older_than_delivered_changes_in_any_order_of_some_steps() -> None:
    below: list[tuple[int, ...]] = [()]
    while below:
        choices = below.pop()
        world = happened(choices, World(KEYS[:1], is_simple=True))
        if len(choices) < STEPS:
            below += [(*choices, number) for number in range(len(world.steps()))]


@given(st.lists(st.integers(0, 1_000), max_size=60))
def test_no_result_is_older_than_delivered_changes_in_long_orders(choices: list[int]) -> None:
    happened(choices, World(KEYS[:2], is_simple=False))
