"""Nothing lost, doubled, clobbered or reverted between a collection and its system of record, whatever is killed."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest
from support.crash_harness import Stage, staged
from support.mutated_worker import OVERWRITING_MERGE
from support.recorded_upstream import problems
from support.servers import run_sql
from support.soak_scale import IS_SOAK, length, text
from support.sync_evidence import Evidence
from support.sync_workers import Workers
from support.synced_tenant import SyncedTenant

SECONDS = length("SYNC_SECONDS", 1800.0, soak=1800.0)
TENANTS = length("SYNC_TENANTS", 4, soak=4)
WORKERS = length("SYNC_WORKERS", 3, soak=3)
USERS = length("SYNC_USERS", 4, soak=4)  # of each tenant
RATE = length("SYNC_FAULT_RATE", 0.05, soak=0.05)
ROUNDS = 3  # at most, of MUTATION_SECONDS each
MUTATION_SECONDS = length("SYNC_MUTATION_SECONDS", 60.0, soak=60.0)
KILL_S = length("SYNC_KILL_S", 8.0, soak=8.0)  # between two kills of a worker
# For convergence, after the faults end; and the lease of a worker that was killed.
PATIENCE_S = length("SYNC_PATIENCE_S", 60.0, soak=60.0)
LEASE_S = 30.0
EVIDENCE = text("SYNC_EVIDENCE")  # a folder that keeps what happened to all records, also of runs without problems
# The short form would wait half a minute for the lease of a worker that was killed. The suite has
# tests/store/test_sync_simulation.py, which cancels workers in place of processes.
pytestmark = pytest.mark.skipif(not IS_SOAK, reason="runs in `make soak`")
FAULTS = ("lost-before", "timeout-after-apply", "late", "duplicate", "throttle", "error", "slow", "refuse")


@dataclass(frozen=True)
class Schedule:
    """The faults of a run. `broken`: what the systems claim and do not keep; `mutation`: what the workers lack;
    `merge`: a statement that replaces the merge in the database.

    `newest`: how many records are written at a time; `by_commit`: each commit of several records is one batch.
    """

    seconds: float
    rates: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(FAULTS, RATE))
    newest: int = 200
    mutation: str = ""
    merge: str = ""
    broken: frozenset[str] = frozenset()
    by_commit: bool = False
    tenants: int = TENANTS
    is_contended: bool = False


@asynccontextmanager
async def tenants(stage: Stage, folder: Path, schedule: Schedule) -> AsyncIterator[tuple[list[SyncedTenant], Path]]:
    """Open the tenants, and write the operator's file with an endpoint for each."""
    given = schedule.broken, schedule.rates, schedule.newest
    opened = [
        SyncedTenant(f"tenant-{number}", stage.address, number, *given, is_contended=schedule.is_contended)
        for number in range(schedule.tenants)
    ]
    path = folder / "upstreams.json"
    endpoints = {each.name: each.endpoint(number, by_commit=schedule.by_commit) for number, each in enumerate(opened)}
    path.write_text(json.dumps(endpoints))
    try:
        yield opened, path
    finally:
        for each in opened:
            await each.close()


async def disturb_processes(stage: Stage, workers: Workers, is_over: Callable[[], bool]) -> Counter[str]:
    """Kill a worker now and then, and after every third one the service, a backend of PostgreSQL, or all of it."""
    kills = Counter[str]()
    faults = (stage.kill_service, stage.kill_backend, stage.kill_postgres)
    for number in count(1):
        await asyncio.sleep(KILL_S)
        if is_over():
            break
        await workers.kill_one()
        kills["kill_worker"] += 1
        if number % 3 == 0:
            fault = faults[number // 3 % len(faults)]
            await fault()
            kills[fault.__name__] += 1
    return kills


async def run(data_dir: Path, folder: Path, schedule: Schedule) -> tuple[list[str], str]:
    """Run syncs under faults and kills. Return what breaks a law, and the figures."""
    evidence = Evidence(folder / "evidence" if not EVIDENCE else Path(EVIDENCE) / folder.name)
    with staged(data_dir) as stage:
        async with tenants(stage, folder, schedule) as (opened, upstreams_file):
            workers = Workers(
                schedule.mutation, evidence.folder / "workers.log", database_url=stage.postgres.url,
                upstreams_file=upstreams_file, log_level="warning",
            )  # fmt: skip
            if schedule.merge:
                run_sql(stage.postgres.url, schedule.merge)
            for each in opened:
                await each.client.put_sync(
                    "toy", each.name, ["parts"], pull_interval_s=1, snapshot_interval_s=60,
                    batch_by_commit=schedule.by_commit,
                )  # fmt: skip
            for _ in range(WORKERS):
                workers.start()
            try:
                kills = await write(stage, workers, opened, schedule)
                calm = time.monotonic()
                await asyncio.gather(*(each.converge(PATIENCE_S + LEASE_S) for each in opened))
                converged_s = time.monotonic() - calm
                found = await judge(opened, evidence)
                if found or EVIDENCE:
                    await evidence.keep_tables(stage.postgres.url)
            finally:
                await workers.stop()
    values = sum(each.writes.count for each in opened)
    written = sum(len(each.system.history) for each in opened)
    assert values > 10
    kinds = Counter(each.partition(":")[0] for each in found)
    return (
        found,
        f"{values} local values, {written} writes there, {dict(kills)}, equal {converged_s:.1f} s after calm, "
        f"{dict(kinds)}",
    )


async def write(stage: Stage, workers: Workers, opened: list[SyncedTenant], schedule: Schedule) -> Counter[str]:
    """Write on both sides, under faults and kills, and return the kills."""
    end = time.monotonic() + schedule.seconds

    def is_over() -> bool:
        return time.monotonic() >= end

    kills, *_ = await asyncio.gather(
        disturb_processes(stage, workers, is_over),
        *((each.commit if schedule.by_commit else each.edit)(is_over) for each in opened for _ in range(USERS)),
        *(each.disturb(is_over) for each in opened),
        *(each.decide(is_over) for each in opened),
    )
    return kills


async def judge(opened: list[SyncedTenant], evidence: Evidence) -> list[str]:
    """Return what breaks a law, and keep what proves it."""
    found: list[str] = []
    for each in opened:
        log = await each.log()
        broken_laws = list(problems(each.system, each.writes, await each.content(), log))
        found += broken_laws
        if broken_laws or EVIDENCE:
            evidence.keep_problems(each.name, broken_laws, each.system, each.writes, log)
            evidence.keep_system(each.name, each.system, each.writes)
        print(*broken_laws[:50], sep="\n")
    if found:
        print(f"The history of each record is in {evidence.folder}")
    return found


@pytest.mark.parametrize("by_commit", [False, True], ids=["by_record", "by_commit"])
async def test_sync_keeps_every_value_whatever_is_killed(
    data_dir: Path, tmp_path: Path, report: Callable[[str], None], by_commit: bool
) -> None:
    """Both sides are equal in the end, and no value was lost, doubled, clobbered, reverted or overwritten unseen.

    If commits are batches, the system never has a part of one.
    """
    found, figures = await run(data_dir, tmp_path, Schedule(SECONDS, by_commit=by_commit))
    report(figures)
    assert found == []


# Both sides write few records, so that they write the same one within the time of a pull; and many responses are slow.
MUTATED = Schedule(
    MUTATION_SECONDS, rates=dict.fromkeys(FAULTS, 0.08) | {"slow": 0.4, "throttle": 0.02}, newest=8, tenants=2,
    is_contended=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("mutation", "broken", "expected"),
    [
        ("", {"keys", "references"}, "doubled"),
        ("", {"versions"}, "overwritten unseen"),
        ("no condition", set(), "overwritten unseen"),
        ("neither", set(), "overwritten unseen"),
        (OVERWRITING_MERGE, set(), "clobbered"),
    ],
    ids=["keys and references", "versions", "no condition", "neither", "pull overwrites"],
)
async def test_missing_protection_is_noticed(
    data_dir: Path, tmp_path: Path, report: Callable[[str], None], mutation: str, broken: set[str], expected: str
) -> None:
    """The laws break if a protection of the worker, or one that the system claims, is missing.

    tests/soak/test_sync_stopped_worker.py does the same for the fence of reads.
    """
    is_sql = mutation == OVERWRITING_MERGE
    schedule = replace(MUTATED, broken=frozenset(broken), **{"merge" if is_sql else "mutation": mutation})
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        data = Path(shutil.copytree(data_dir, folder / "data"))
        found, figures = await run(data, folder, schedule)
        report(f"{len(found)} problems; {figures}")
        if any(each.startswith(expected) for each in found):
            return
    pytest.fail(f"none of {ROUNDS} runs found {expected!r}")
