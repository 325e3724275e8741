"""Builds of order entries leave the database to others: batches of a limited time, with pauses, and their progress."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace

import pytest
from draftline_server.store.collections import order_entries, sorted_build
from draftline_server.store.collections.order_entries import (
    BATCH_S,
    MAX_BATCH,
    MIN_BATCH,
    PAUSE_FACTOR,
    SORTED_PAUSE_FACTOR,
    OrderEntries,
    _Pace,
)
from draftline_server.store.collections.sorted_build import TURN_S, _adapted
from draftline_server.store.statements import load
from hypothesis import given
from hypothesis import strategies as st
from support.entry_checks import order_states, wrong_entries
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, World, change

from .test_order_entries import FIELDS

SECONDS = st.floats(0, 1000)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of builds, by a clock on which each batch and each turn takes one second."""
    clock, paused = itertools.count(), list[float]()

    async def pause(seconds: float) -> None:
        paused.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(order_entries, "asyncio", SimpleNamespace(sleep=pause))
    monkeypatch.setattr(order_entries, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    return paused


async def test_build_pauses_after_each_batch_and_shortens_batches_that_take_long(
    world: LoggedWorld, pauses: list[float]
) -> None:
    await world.load({f"r{number:04d}": {"en": number} for number in range(370)})
    await world.save("ada", change("r0001", {"en": -1}))
    await world.declare(fields=FIELDS)
    await OrderEntries(world.database).build(world.tenant_id, COLLECTION)
    # Batches of 200, 100, 50 and 25 records, of which the last finds 20, and one of drafts.
    assert pauses == [PAUSE_FACTOR] * 5
    assert set(await order_states(world.database, world.tenant_id)) == {"READY"}


async def test_sorted_build_pauses_after_each_turn_and_reports_its_progress(
    world: LoggedWorld, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_build, "RANGE_ENTRIES", 12)  # of 4 records with 3 orders
    await world.load({f"r{number}": {"en": number} for number in range(10)})
    await world.declare(fields=FIELDS)
    entries = OrderEntries(world.database, many=0)
    reported = []
    async with world.database.dedicated_connection() as connection:
        build = entries._sorted_build(connection, world.tenant_id, COLLECTION)
        assert await build.lock()
        while await build.step():
            reported.append(await progress(world))
        await build.unlock()
    assert reported == [{(4, 10)}, {(8, 10)}, {(10, 10)}, {(10, 10)}]  # the last step verifies
    # Each part that is computed, each order that is sorted, and each group of pages that is added, of three ranges.
    assert len(pauses) >= 3 * (1 + 3 + 3)
    assert all(pause >= SORTED_PAUSE_FACTOR for pause in pauses)
    await entries.build(world.tenant_id, COLLECTION)
    assert await wrong_entries(world.database, world.tenant_id) == []


async def progress(world: World) -> set[tuple[int, int]]:
    """Return how many records the builds of the orders have read, and of how many."""
    values: dict[str, object] = {"tenant_id": world.tenant_id, "collections": [COLLECTION]}
    rows = await world.database.fetch(load("orders")["get_orders"], values)
    return {(row["record_count"], row["record_total"]) for row in rows}


@given(st.lists(SECONDS, max_size=20))
def test_size_of_a_batch_stays_within_its_limits_and_follows_its_time(times: list[float]) -> None:
    pace = _Pace()
    for took_s in times:
        before = pace.limit
        pace.took(took_s)
        assert MIN_BATCH <= pace.limit <= MAX_BATCH
        assert pace.limit <= max(before, MIN_BATCH) if took_s > BATCH_S else pace.limit >= min(before, MAX_BATCH)


@given(st.integers(1, 1000), SECONDS)
def test_size_of_a_turn_stays_within_its_limits_and_follows_its_time(limit: int, took_s: float) -> None:
    adapted = _adapted(limit, took_s, 1000)
    assert 1 <= adapted <= 1000
    assert adapted <= limit if took_s > TURN_S else adapted >= limit
