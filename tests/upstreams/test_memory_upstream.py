"""The upstream in memory, on which other tests rely: it keeps its promises under its own faults."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from draftline.upstreams import (
    Applied,
    Create,
    CursorExpiredError,
    Delete,
    Exists,
    PathEdit,
    Stale,
    ThrottledError,
    Unknown,
    Update,
    WriteItem,
)
from draftline_server.upstreams import Upstream
from support.memory_upstream import Faults, MemorySystem, MemoryUpstream, Traits, edited


def item(write: Any, record_id: str = "r", **others: Any) -> WriteItem:
    return WriteItem(**{"idempotency_key": str(uuid.uuid4()), "record_id": record_id, "write": write, **others})


async def test_repeat_with_the_same_key_is_applied_once_after_a_lost_response() -> None:
    system = MemorySystem(faults=Faults(timeout_after_apply=1.0))
    upstream: Upstream = MemoryUpstream(system)
    creation = item(Create({"n": 1}))
    assert await upstream.write("c", [creation]) == [Unknown("the response was lost")]
    system.faults.clear()
    (outcome,) = await upstream.write("c", [creation])
    assert isinstance(outcome, Applied)
    assert [event.kind for event in system.history] == ["create"]


@pytest.mark.parametrize("keys", [True, False])
async def test_duplicate_and_late_requests_are_doubled_only_without_keys_and_references(keys: bool) -> None:
    system = MemorySystem(faults=Faults(duplicate=1.0), traits=Traits(keys=keys, reference=False))
    await MemoryUpstream(system).write("c", [item(Create({"n": 1}))])
    system.faults = Faults(late=1.0, late_s=0)
    await MemoryUpstream(system).write("c", [item(Create({"n": 2}))])
    await system.settled()
    assert len(system.records) == (2 if keys else 3)


async def test_write_with_another_version_is_stale_and_returns_the_record() -> None:
    system = MemorySystem()
    stored = system.create({"n": 1}, reference="r")
    system.edit(stored.remote_id, PathEdit("/n", 2))
    write = item(Update((PathEdit("/n", 3),)), remote_id=stored.remote_id, expected_remote_version="1")
    assert await MemoryUpstream(system).write("c", [write]) == [Stale(system.shown(stored))]
    assert await MemoryUpstream(system).write("c", [item(Create({}))]) == [Exists(system.shown(stored))]


async def test_changes_and_snapshot_return_what_exists_and_what_was_deleted() -> None:
    system = MemorySystem(traits=Traits(page_size=2))
    kept, deleted = [system.create({"n": n}).remote_id for n in range(4)], system.create({}).remote_id
    upstream = MemoryUpstream(system)
    snapshot = [page async for page in upstream.snapshot("c", None)]
    assert [each.remote_id for page in snapshot for each in page.records] == [*kept, deleted]
    await upstream.write("c", [item(Delete(), remote_id=deleted)])
    (changes,) = [page async for page in upstream.changes("c", snapshot[-1].changes_cursor)]
    assert [(each.remote_id, each.deleted) for each in changes.records] == [(deleted, True)]
    system.first_change = 2
    with pytest.raises(CursorExpiredError):
        [page async for page in upstream.changes("c", "1")]


async def test_faults_of_a_seed_are_always_the_same() -> None:
    async def outcomes(seed: int) -> list[str]:
        system = MemorySystem(seed=seed, faults=Faults(throttle=0.3, timeout_after_apply=0.3, refuse=0.3))
        upstream, seen = MemoryUpstream(system), []
        for number in range(50):
            try:
                (outcome,) = await upstream.write("c", [item(Create({}), str(number))])
                seen.append(type(outcome).__name__)
            except ThrottledError as error:
                seen.append(type(error).__name__)
        return seen

    first, again, other = await outcomes(1), await outcomes(1), await outcomes(2)
    assert first == again
    assert first != other
    assert set(first) == {"Applied", "Refused", "ThrottledError", "Unknown"}


def test_edits_create_and_remove_paths_of_objects() -> None:
    edits = [PathEdit("/a/b", 1), PathEdit("/c~1d", removed=True), PathEdit("/x/y", removed=True)]
    assert edited({"c/d": 1, "e": [1]}, edits) == {"a": {"b": 1}, "e": [1]}
