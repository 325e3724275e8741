"""Each protection of a sync: a scenario that does no damage with it, and the damage without it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from draftline_server.store.sync.merges import Merges
from draftline_server.sync import sending
from support.mutated_worker import OVERWRITING_MERGE, new_key, no_condition, unfenced, unheld
from support.servers import run_sql
from support.sync_worlds import SyncWorld, answer
from support.tenant_stores import COLLECTION, connected

SwitchOff = Callable[[str, pytest.MonkeyPatch], None]


async def pull_overwrites(world: SyncWorld) -> bool:
    """Pull a change of another field while a commit is not sent yet. Return whether the commit is lost."""
    world.system.insert({"a": 0, "b": 0}, "r")
    await world.pull(snapshot=True)
    await world.patch("r", {"a": 1})
    world.system.edit("r", b=2)
    await world.pull()
    return await world.value("r") != {"a": 1, "b": 2}


async def old_read_reverts(world: SyncWorld) -> bool:
    """Merge a read from before a commit was sent. Return whether the commit is lost."""
    world.system.capabilities = replace(world.system.capabilities, ordered_versions=False)
    world.system.insert({"a": 0}, "r")
    await world.pull(snapshot=True)
    mark = await world.worker._merges.mark()
    await world.patch("r", {"a": 1})
    await world.push()
    await world.merge(answer("r", {"a": 0}, 1), mark=mark)
    return await world.value("r") != {"a": 1}


async def write_overwrites_others(world: SyncWorld) -> bool:
    """Send a commit over a change of others that no pull has read. Return whether the change is lost."""
    world.system.insert({"a": 0}, "r")
    await world.pull(snapshot=True)
    world.system.edit("r", a=5)
    await world.patch("r", {"a": 1})
    await world.push()
    return world.system.live() != {"r": {"a": 5}}


def forget_references(world: SyncWorld) -> None:
    world.system.capabilities = replace(world.system.capabilities, client_reference=False)
    world.system.honours_references = False


async def repeat_doubles(world: SyncWorld) -> bool:
    """Repeat a creation whose response was lost. Return whether the system has two records."""
    forget_references(world)
    await world.create("p", {"a": 1})
    world.system.faults.lost_after = 1.0
    await world.push()
    world.system.faults.lost_after = 0.0
    await world.worker._attempts.hurry(COLLECTION)
    await world.push()
    return len(world.system.rows) > 1


async def pull_doubles(world: SyncWorld) -> bool:
    """Pull while the outcome of a creation is not known. Return whether there are two records here."""
    forget_references(world)
    await world.create("p", {"a": 1})
    world.system.faults.lost_after = 1.0
    await world.push()
    await world.pull()
    return len(await world.stored("record")) > 1


def replacing(name: str, value: Any) -> SwitchOff:
    """Return what replaces a function of the workers."""
    target = sending if name == "to_item" else Merges
    return lambda _, monkeypatch: monkeypatch.setattr(target, name, value)


@pytest.mark.parametrize(
    ("scenario", "switch_off"),
    [
        (pull_overwrites, lambda url, _: run_sql(url, OVERWRITING_MERGE)),
        (old_read_reverts, replacing("merge", unfenced)),
        (write_overwrites_others, replacing("to_item", no_condition)),
        (repeat_doubles, replacing("to_item", new_key)),
        (pull_doubles, replacing("merge", unheld)),
    ],
    ids=["merge", "fence", "condition", "key", "wait for creations"],
)
async def test_damage_is_done_only_without_the_protection(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[SyncWorld], Awaitable[bool]],
    switch_off: SwitchOff,
) -> None:
    """Run the scenario for a tenant with the protection, and for another one without it."""
    async with connected(database_url) as database:
        for has_protection in (True, False):
            world = SyncWorld(database, f"tenant-{has_protection}")
            await world.bind()
            assert await scenario(world) is not has_protection
            switch_off(database_url, monkeypatch)
