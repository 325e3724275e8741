"""Nothing lost, doubled, clobbered or reverted between a collection and its system of record, whatever is killed."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from draftline import AsyncClient, DraftEdit, SyncRecord
from draftline.errors import DraftlineError
from support.crash_harness import Stage, staged
from support.recorded_upstream import (
    FAMILY_FIELDS,
    FAMILY_SIZE,
    LocalWrites,
    LoggedValue,
    RecordedSystem,
    problems,
    tidy,
    trace,
)
from support.soak_scale import IS_SOAK, length
from support.sync_workers import Workers
from support.toy_upstream import grpc_endpoint, http_endpoint, toy

SECONDS = length("SYNC_SECONDS", 1800.0, soak=1800.0)
TENANTS = length("SYNC_TENANTS", 4, soak=4)
WORKERS = length("SYNC_WORKERS", 3, soak=3)
USERS = length("SYNC_USERS", 4, soak=4)  # of each tenant
RATE = length("SYNC_FAULT_RATE", 0.05, soak=0.05)
MISSING_RATE = 0.15  # of each fault while a protection is missing, so that a minute shows it
SLOW = 0.4  # and of slow responses
ROUNDS = 3  # at most, of MUTATION_SECONDS each
MUTATION_SECONDS = length("SYNC_MUTATION_SECONDS", 60.0, soak=60.0)
KILL_S = length("SYNC_KILL_S", 8.0, soak=8.0)  # between two kills of a worker
# For convergence, after the faults end; and the lease of a worker that was killed.
PATIENCE_S = length("SYNC_PATIENCE_S", 60.0, soak=60.0)
LEASE_S = 30.0
OURS, THEIRS = ("a", "b", "c"), ("c", "d", "e")  # fields that users and other clients write; both write `c`
# The short form would wait half a minute for the lease of a worker that was killed. The suite has
# tests/store/test_sync_simulation.py, which cancels workers in place of processes.
pytestmark = pytest.mark.skipif(not IS_SOAK, reason="runs in `make soak`")
FAULTS = ("lost-before", "timeout-after-apply", "late", "duplicate", "throttle", "error", "slow", "refuse")
UNTIDY = 0.05  # of the values that users write, which the system stores without their final space
USUAL = dict.fromkeys(FAULTS, RATE)
WITHOUT_PROTECTION = dict.fromkeys(FAULTS, MISSING_RATE) | {"slow": SLOW, "refuse": 0.01}


class Tenant:
    """A tenant, its collection, and its system of record."""

    def __init__(self, name: str, address: str, seed: int, broken: frozenset[str], rates: Mapping[str, float]) -> None:
        self.name = name
        self._address = address
        self.client = AsyncClient(address, tenant_id=name, user="ada", timeout=20)
        self.system = RecordedSystem(dict(rates), seed, broken)
        self.running = toy.Running(self.system)
        self.writes = LocalWrites()
        self._random = random.Random(seed)
        self._numbers = count()
        self._records: list[str] = []

    def endpoint(self, number: int, *, by_commit: bool) -> dict[str, Any]:
        """Return the definition of the system: over gRPC, and for every second tenant over HTTP.

        `by_commit`: over gRPC, because the system has no atomic batches over HTTP.
        """
        fields = {"timeout_s": 5, "tenants": [self.name]}
        if number % 2 and not by_commit:
            return http_endpoint(self.running.http_port, **fields)
        return grpc_endpoint(self.running.grpc_port, **fields)

    async def edit(self, is_over: Callable[[], bool]) -> None:
        """Write as a user does, until it is over."""
        while not is_over():
            value, chance = f"u{next(self._numbers)}", self._random.random()
            record_id = self._random.choice(self._records) if self._records and chance > 0.1 else f"r-{value}"
            name = self._random.choice(OURS)
            sent = f"{value} " if self._random.random() < UNTIDY else value
            try:
                if record_id not in self._records:
                    record = await self.client.create_content("parts", {name: sent}, record_id=record_id)
                    self._records.append(record_id)
                    self.writes.created.add(record_id)
                    self.writes.acknowledged(record_id, name, value, record.version)
                elif chance > 0.99:
                    await self.client.delete_content("parts", record_id)
                    self.writes.deleted.add(record_id)
                else:
                    result = await self.client.patch_content("parts", record_id, {name: sent})
                    self.writes.acknowledged(record_id, name, value, result.record.version)
            except DraftlineError:
                self.writes.unknown.add(value)
                self.writes.deleted.add(record_id)  # it may be deleted, and is not examined for losses
            await asyncio.sleep(0.02)

    async def commit(self, is_over: Callable[[], bool]) -> None:
        """Write families of records as a user does, all records of one by each commit, until it is over."""
        families: list[str] = []
        async with AsyncClient(self._address, tenant_id=self.name, user=f"u{next(self._numbers)}", timeout=20) as user:
            while not is_over():
                value, is_new = f"u{next(self._numbers)}", not families or self._random.random() < 0.1
                family = f"f-{value}" if is_new else self._random.choice(families)
                try:
                    await self._commit_family(user, family, value, is_new=is_new)
                    families += [family] * is_new
                except DraftlineError:
                    self.writes.unknown.add(value)
                    self.writes.deleted.update(members(family))  # not examined for losses
                    families = [each for each in families if each != family]
                    with suppress(DraftlineError):
                        await user.discard("parts", all=True)
                await asyncio.sleep(0.05)

    async def _commit_family(self, user: AsyncClient, family: str, value: str, *, is_new: bool) -> None:
        name = self._random.choice(FAMILY_FIELDS)
        self.writes.families |= dict.fromkeys(members(family), family)
        edits = [
            DraftEdit(each, create={name: value}) if is_new else DraftEdit(each, {name: value})
            for each in members(family)
        ]
        await user.save_drafts("parts", edits)
        for result in await user.commit("parts", record_ids=members(family)):
            record = result.record
            assert record is not None
            if is_new:
                self.writes.created.add(record.record_id)
            self.writes.acknowledged(record.record_id, name, value, record.version)

    async def disturb(self, is_over: Callable[[], bool]) -> None:
        """Write as other clients of the system do."""
        while not is_over():
            await asyncio.to_thread(self.system.disturb, self._random, f"t{next(self._numbers)}", THEIRS)
            await asyncio.sleep(0.1)

    async def decide(self, is_over: Callable[[], bool]) -> None:
        """Decide conflicts as a person does who prefers the values of the system, until it is over."""
        while not is_over():
            with suppress(DraftlineError):
                async for each in self.client.list_sync_records("parts", state="sync_error"):
                    await self._take_theirs(each)
            await asyncio.sleep(2.0)

    async def _take_theirs(self, found: SyncRecord) -> None:
        for conflict in found.sync.conflicts:
            # The value that the list shows. A decision at this version must not replace another one.
            self.writes.decided.add((found.record_id, conflict.path[1:], str(tidy(conflict.mine))))
            if not conflict.path:
                self.writes.deleted.add(found.record_id)
                self.writes.replaced.add(found.record_id)
        if found.sync.conflicts:
            theirs = [conflict.path for conflict in found.sync.conflicts]
            with suppress(DraftlineError):  # it was settled, or the record was changed
                await self.client.resolve_sync("parts", found.record_id, theirs=theirs, expected_version=found.version)

    async def converge(self) -> None:
        """End the faults, decide every conflict for the values here, and wait until both sides are equal."""
        self.system.rates = {}
        self.system.undecided = len(self.system.history)
        await self.client.resume_sync("toy")
        deadline = time.monotonic() + PATIENCE_S + LEASE_S
        while True:
            await self._decide()
            await self.client.run_sync("toy", "changes")
            if await self._is_equal():
                return
            if time.monotonic() > deadline:
                return  # `problems` says how they differ
            await asyncio.sleep(1.0)

    async def _decide(self) -> None:
        await self.client.retry_sync("parts", all=True)
        async for each in self.client.list_sync_records("parts", state="sync_error"):
            if each.sync.conflicts:
                with suppress(DraftlineError):  # it was settled meanwhile
                    mine = [conflict.path for conflict in each.sync.conflicts]
                    await self.client.resolve_sync("parts", each.record_id, mine=mine)

    async def _is_equal(self) -> bool:
        status = await self.client.get_sync_status("toy")
        remote = {part.reference or part.id: part.content for part in self.system.living()}
        return status.is_settled and not status.conflicts and not status.failed and await self.content() == remote

    async def content(self) -> dict[str, dict[str, Any]]:
        return {each.record.record_id: dict(each.record.content) async for each in self.client.get_merged("parts")}

    async def log(self) -> list[LoggedValue]:
        return [
            LoggedValue(
                change.record_id,
                path.path[1:],
                tidy(path.old_value),
                tidy(path.new_value),
                "sync" in change.source.value,
                change.version,
            )
            async for change in self.client.changes("parts")
            for path in change.paths
        ]

    async def close(self) -> None:
        self.running.stop()
        await self.client.close()


def members(family: str) -> list[str]:
    return [f"{family}.{number}" for number in range(FAMILY_SIZE)]


@asynccontextmanager
async def tenants(
    stage: Stage, folder: Path, broken: frozenset[str], rates: Mapping[str, float], *, by_commit: bool
) -> AsyncIterator[tuple[list[Tenant], Path]]:
    """Open the tenants, and write the operator's file with an endpoint for each."""
    opened = [Tenant(f"tenant-{number}", stage.address, number, broken, rates) for number in range(TENANTS)]
    path = folder / "upstreams.json"
    endpoints = {each.name: each.endpoint(number, by_commit=by_commit) for number, each in enumerate(opened)}
    path.write_text(json.dumps(endpoints))
    try:
        yield opened, path
    finally:
        for each in opened:
            await each.close()


async def disturb_processes(stage: Stage, workers: Workers, is_over: Callable[[], bool]) -> None:
    """Kill a worker now and then, and after every third one the service or a backend of PostgreSQL."""
    for number in count(1):
        await asyncio.sleep(KILL_S)
        if is_over():
            return
        await workers.kill_one()
        if number % 3 == 0:
            await (stage.kill_service() if number % 2 else stage.kill_backend())


async def run(
    data_dir: Path,
    folder: Path,
    seconds: float,
    mutation: str = "",
    broken: frozenset[str] = frozenset(),
    rates: Mapping[str, float] = USUAL,
    by_commit: bool = False,
) -> tuple[list[str], str]:
    """Run a sync under faults and kills. Return what breaks a law, and the figures.

    `by_commit`: users commit several records at once, and each commit is sent as one batch.
    """
    found: list[str] = []
    with staged(data_dir) as stage:
        async with tenants(stage, folder, broken, rates, by_commit=by_commit) as (opened, upstreams_file):
            workers = Workers(
                mutation, database_url=stage.postgres.url, upstreams_file=upstreams_file, log_level="error"
            )
            for each in opened:
                await each.client.put_sync(
                    "toy", each.name, ["parts"], pull_interval_s=1, snapshot_interval_s=60, batch_by_commit=by_commit
                )
            for _ in range(WORKERS):
                workers.start()
            end = time.monotonic() + seconds

            def is_over() -> bool:
                return time.monotonic() >= end

            try:
                await asyncio.gather(
                    *((each.commit if by_commit else each.edit)(is_over) for each in opened for _ in range(USERS)),
                    *(each.disturb(is_over) for each in opened),
                    *(each.decide(is_over) for each in opened),
                    disturb_processes(stage, workers, is_over),
                )
                calm = time.monotonic()
                await asyncio.gather(*(each.converge() for each in opened))
                converged_s = time.monotonic() - calm
                for each in opened:
                    log = await each.log()
                    broken_laws = list(problems(each.system, each.writes, await each.content(), log))
                    found += broken_laws
                    print(*broken_laws[:50], sep="\n")
                    named = {word.strip("(',") for problem in broken_laws[:5] for word in problem.split()}
                    named |= {record_id for record_id, family in each.writes.families.items() if family in named}
                    for record_id in sorted(named & {entry.record_id for entry in log}):
                        print(trace(each.system, log, record_id))
            finally:
                await workers.stop()
    values = sum(each.writes.count for each in opened)
    written = sum(len(each.system.history) for each in opened)
    assert values > 10
    kills = f"{workers.kills} workers killed"
    kinds = Counter(each.partition(":")[0] for each in found)
    return (
        found,
        f"{values} local values, {written} writes there, {kills}, equal {converged_s:.1f} s after calm, {dict(kinds)}",
    )


@pytest.mark.parametrize("by_commit", [False, True], ids=["by_record", "by_commit"])
async def test_sync_keeps_every_value_whatever_is_killed(
    data_dir: Path, tmp_path: Path, report: Callable[[str], None], by_commit: bool
) -> None:
    """Both sides are equal in the end, and no value was lost, doubled, clobbered, reverted or overwritten unseen.

    If commits are batches, the system never has a part of one.
    """
    found, figures = await run(data_dir, tmp_path, SECONDS, by_commit=by_commit)
    report(figures)
    assert found == []


@pytest.mark.parametrize(
    ("mutation", "broken", "expected"),
    [
        ("", {"keys", "references"}, "doubled"),
        ("", {"versions"}, "overwritten unseen"),
        ("no condition", set(), "overwritten unseen"),
        ("neither", set(), "overwritten unseen"),
        ("no fence", set(), "reverted"),
    ],
)
async def test_missing_protection_is_noticed(
    data_dir: Path, tmp_path: Path, report: Callable[[str], None], mutation: str, broken: set[str], expected: str
) -> None:
    """The laws break if a protection of the worker, or one that the system claims, is missing."""
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        data = Path(shutil.copytree(data_dir, folder / "data"))
        found, figures = await run(data, folder, MUTATION_SECONDS, mutation, frozenset(broken), WITHOUT_PROTECTION)
        report(f"{mutation or ', '.join(sorted(broken))}: {len(found)} problems; {figures}")
        if any(each.startswith(expected) for each in found):
            return
    pytest.fail(f"none of {ROUNDS} runs found {expected!r}")
