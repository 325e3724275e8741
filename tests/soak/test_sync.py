"""Syncs under faults with each safe set of capabilities; and without each protection, which must be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from draftline.upstreams import Capabilities
from draftline_server.store.sync.merges import Merges
from support.mutated_worker import OVERWRITING_MERGE
from support.servers import run_sql
from support.soak_scale import IS_SOAK
from support.sync_simulation import Simulation
from support.sync_worlds import SyncWorld
from support.tenant_stores import connected
from support.upstream_toy import ToySystem

pytestmark = pytest.mark.skipif(not IS_SOAK, reason="a minute each")

FULL = ToySystem().capabilities
SAFE = {
    "full": FULL,
    "stored_representations": replace(FULL, returns_stored=True),
    "single_writes": replace(FULL, max_batch=1),
    "without_keys": replace(FULL, idempotency_keys_s=0.0),
    "without_order": replace(FULL, ordered_versions=False),
    "without_references": replace(FULL, client_reference=False),
    "lagging_reads": replace(FULL, ordered_versions=False, read_lag_s=0.2),
}


def system_of(capabilities: Capabilities) -> ToySystem:
    """Return a system that keeps what it promises, and nothing else."""
    return ToySystem(
        capabilities,
        honours_keys=capabilities.idempotency_keys_s > 0,
        honours_references=capabilities.client_reference,
        honours_versions=capabilities.conditional_writes,
        lag_s=capabilities.read_lag_s,
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("capabilities", SAFE)
async def test_sync_with_safe_capabilities_does_no_damage(database_url: str, capabilities: str, seed: int) -> None:
    """Run with each fault at 6 % and three workers, and find nothing lost, doubled, clobbered, reverted or unseen."""
    async with connected(database_url) as database:
        world = SyncWorld(database, "acme", system_of(SAFE[capabilities]))
        simulation = Simulation(world, seed=seed, duration_s=20.0, probability=0.06, workers=3)
        found = await simulation.run()
    assert found.counts() == {}, found.problems
    assert simulation.kills > 60


def overwrite(database_url: str, monkeypatch: pytest.MonkeyPatch, system: ToySystem) -> None:
    """Take every value of the upstream."""
    del monkeypatch, system
    run_sql(database_url, OVERWRITING_MERGE)


def unfenced(database_url: str, monkeypatch: pytest.MonkeyPatch, system: ToySystem) -> None:
    """Merge answers whatever is known since."""
    del database_url
    system.capabilities = replace(system.capabilities, ordered_versions=False)
    merge_in = Merges.merge_in

    async def merging(self: Merges, transaction: Any, bound: Any, answers: Any, mark: Any, **options: Any) -> Any:
        del mark
        return await merge_in(self, transaction, bound, answers, None, **options)

    monkeypatch.setattr(Merges, "merge_in", merging)


def unkeyed(database_url: str, monkeypatch: pytest.MonkeyPatch, system: ToySystem) -> None:
    """Have the system forget keys, versions and references that it promises to honour."""
    del database_url, monkeypatch
    system.honours_keys = system.honours_versions = system.honours_references = False


def unversioned(database_url: str, monkeypatch: pytest.MonkeyPatch, system: ToySystem) -> None:
    """Have the system accept writes that are based on an old version."""
    del database_url, monkeypatch
    system.honours_versions = False


def unheld(database_url: str, monkeypatch: pytest.MonkeyPatch, system: ToySystem) -> None:
    """Take unknown records at once, although they may be what a creation that is out has created."""
    del database_url
    system.capabilities, system.honours_references = replace(system.capabilities, client_reference=False), False
    merge = Merges.merge

    async def merging(self: Merges, *arguments: Any, **options: Any) -> Any:
        return await merge(self, *arguments, **{**options, "needs_references": False})

    monkeypatch.setattr(Merges, "merge", merging)


MUTATIONS: dict[str, tuple[Callable[[str, pytest.MonkeyPatch, ToySystem], None], set[str]]] = {
    "pull_overwrites": (overwrite, {"clobbered"}),
    "no_fence": (unfenced, {"reverted", "different", "clobbered"}),
    "no_keys": (unkeyed, {"doubled"}),
    "no_versions": (unversioned, {"unseen", "overwritten"}),
    "no_wait_for_creations": (unheld, {"doubled", "lost", "different"}),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_missing_protection_is_found(database_url: str, mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off one protection at a time, and find the damage that it prevents."""
    switch_off, expected = MUTATIONS[mutation]
    system = system_of(FULL)
    switch_off(database_url, monkeypatch, system)
    async with connected(database_url) as database:
        found: set[str] = set()
        for seed in range(4):
            world = SyncWorld(database, f"tenant-{seed}", system if not seed else system_like(system))
            simulation = Simulation(world, seed=seed, duration_s=10.0, probability=0.08, workers=3, settles=False)
            found |= set((await simulation.run()).counts())
            if found & expected:
                return
    pytest.fail(f"{mutation} was not found: {found}")


def system_like(system: ToySystem) -> ToySystem:
    return ToySystem(
        system.capabilities,
        honours_keys=system.honours_keys,
        honours_references=system.honours_references,
        honours_versions=system.honours_versions,
        lag_s=system.lag_s,
    )
