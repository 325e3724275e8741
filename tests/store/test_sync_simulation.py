"""Users, other systems and workers that fail: nothing is lost, doubled, clobbered or reverted."""

from __future__ import annotations

from draftline_server.store.database import Database
from support.sync_simulation import Simulation
from support.sync_worlds import SyncWorld


async def test_sync_under_faults_converges_without_damage(database: Database, tenant_id: str) -> None:
    """Run for a few seconds with each fault at 6 % of requests, and workers that are cancelled at random."""
    simulation = Simulation(SyncWorld(database, tenant_id), seed=21, duration_s=3.0, probability=0.06)
    found = await simulation.run()
    assert found.counts() == {}, found.problems
    assert simulation.kills > 5
