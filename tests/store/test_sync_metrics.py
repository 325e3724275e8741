"""The metrics of syncs: backlogs of all tenants, and the counts of the workers of a process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from draftline.upstreams import UnreachableError, WriteItem
from draftline_server.observability.metrics import Metrics
from draftline_server.observability.telemetry import Telemetry
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from draftline_server.store.sync.overview import SyncCondition, sync_conditions
from draftline_server.sync_metrics import SyncBacklog, SyncMetrics
from support.metrics import Scrape
from support.sync_worlds import UPSTREAM, SyncWorld
from support.upstream_toy import ToyUpstream

AGE_LOG = Statement(
    "age_log",
    "UPDATE draftline.change SET created_at = created_at - interval '1 minute' WHERE tenant_id = $1",
    ("tenant_id",),
)
AGE_BINDING = Statement(
    "age_binding",
    "UPDATE draftline.sync_collection SET created_at = created_at - interval '1 hour' WHERE tenant_id = $1",
    ("tenant_id",),
)


@pytest.fixture
def world(database: Database, tenant_id: str) -> SyncWorld:
    return SyncWorld(database, tenant_id)


async def condition(world: SyncWorld) -> SyncCondition:
    (found,) = [each for each in await sync_conditions(world.database) if each.tenant_id == world.tenant_id]
    return found


async def scraped(world: SyncWorld) -> Scrape:
    """Return the metrics of a process whose backlog is that of this tenant alone."""
    backlog = SyncBacklog(world.database)
    backlog.conditions = [await condition(world)]
    metrics = Metrics(Telemetry(), [], SyncMetrics(world.counters, backlog).collect)
    return Scrape((await metrics.text()).decode())


async def test_commit_that_no_worker_has_read_lags(world: SyncWorld) -> None:
    """Measure the lag from the change log, so that it also rises while no worker runs."""
    await world.create("p", {"n": 1})
    await world.bind()
    assert (await condition(world)).lag_s < 30  # the binding is new
    for statement in (AGE_LOG, AGE_BINDING):
        await world.database.fetch(statement, {"tenant_id": world.tenant_id})
    found = await condition(world)
    assert 60 <= found.lag_s < 120
    assert found.needs_worker
    assert found.overdue_s < 0  # a snapshot is due once a day
    await world.worker.progress.take_lease("worker", 30.0)
    assert not (await condition(world)).needs_worker
    scrape = await scraped(world)
    assert scrape.value("draftline_sync_lag_seconds") == pytest.approx(found.lag_s, abs=30)


async def test_records_are_counted_by_state_and_outcome(world: SyncWorld) -> None:
    await world.bind()
    for name in ("same", "disputed", "refused"):
        await world.create(name, {"n": 1})
    await world.push()
    world.system.refused_words = ("forbidden",)
    await world.patch("refused", {"n": "forbidden"})
    await world.patch("disputed", {"n": 2})
    remote_id = next(name for name, row in world.system.rows.items() if row.reference == "disputed")
    world.system.edit(remote_id, n=3)
    await world.push()
    scrape = await scraped(world)
    states = ("failed", "conflict", "committed")
    assert [scrape.value("draftline_sync_records", state=state) for state in states] == [1, 1, 0]
    assert scrape.value("draftline_sync_pushed_records_total", outcome="applied") == 3
    assert scrape.value("draftline_sync_pushed_records_total", outcome="refused") == 1
    assert scrape.value("draftline_sync_pulled_records_total", outcome="merge") >= 1
    assert scrape.value("draftline_sync_request_duration_seconds_count", kind="write") >= 2


async def test_suspended_and_paused_syncs_are_counted_by_reason(world: SyncWorld) -> None:
    await world.bind()
    await world.worker.progress.suspend("WENT_BACK", "older versions")
    async with world.database.transaction() as transaction:
        await world.configs.pause(transaction, world.tenant_id, UPSTREAM, push=True, pull=None, resumes=False)
    scrape = await scraped(world)
    assert scrape.value("draftline_syncs_suspended", reason="WENT_BACK") == 1
    assert scrape.value("draftline_syncs_suspended") == 1
    assert scrape.value("draftline_syncs_paused", kind="push") == 1
    assert scrape.value("draftline_syncs_without_worker") == 0  # none is needed


async def test_requests_that_fail_are_counted_by_reason(world: SyncWorld) -> None:
    class Away(ToyUpstream):
        async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Any:
            raise UnreachableError("connection refused")

    await world.bind()
    await world.create("p", {"n": 1})
    await world.push(replace(world.link(), upstream=Away(world.system)))
    scrape = await scraped(world)
    assert scrape.value("draftline_sync_request_failures_total", kind="write", reason="unreachable") >= 1
    assert scrape.value("draftline_sync_pushed_records_total", outcome="not_taken") >= 1


def test_series_do_not_depend_on_tenants_or_reasons(world: SyncWorld) -> None:
    """Count suspensions with a reason that is not known as OTHER, so that no caller makes series."""
    backlog = SyncBacklog(world.database)
    found = SyncCondition(
        "t", "u", "e", push_paused=False, pull_paused=False, suspended_reason="UNKNOWN_HERE", suspended_message="",
        is_owned=False, due=0, sending=0, in_doubt=0, held=0, failed=0, lag_s=0.0, overdue_s=0.0,
    )  # fmt: skip
    backlog.conditions = [found]
    assert backlog.suspended()["OTHER"] == 1
    assert len(backlog.suspended()) == 7
