"""Calls that lock the same records: they wait for each other, never in a circle, and nobody waits with them."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

import asyncpg
from draftline import AsyncClient, ChangeKind, DeclaredRelation, DraftEdit, DraftlineError, Patch, op
from support.servers import cloned, serving
from support.soak_scale import IS_SOAK, length

CALLERS = 24
SOAK_S = length("CONTENTION_S", 1.0, soak=30.0)
RECORDS = [f"r-{number:02}" for number in range(40)]
NEW_RECORDS = [f"n-{number:02}" for number in range(10)]
PATCHERS, HELD = 36, 4
SLICES = length("CONTENTION_SLICES", 2, soak=20)  # in which some records are held, and as many in which they are not
SLICE_S = 0.5
LEAST_PART = 0.9  # of the rate, and of the p99, of those whose records are not held
COLLECTIONS = ("raced", "other")  # the records of the first one name makers, by a relation that is checked
MAKERS = [f"m-{number}" for number in range(4)]
MAKER = DeclaredRelation("maker", "/maker", "makers", integrity="check")
# What a caller may be told while others write the same; CONTENTION is for whoever lost a race over and over.
EXPECTED = {
    "CONFLICT", "RECORD_EXISTS", "RECORD_NOT_FOUND", "RECORD_DELETED", "DRAFT_NOT_FOUND", "DRAFT_DELETES_RECORD",
    "RECORD_NOT_DELETED", "RECORD_LIVE", "OVERLOADED",
}  # fmt: skip


class Caller:
    """Does one thing after another, to records in an order of its own."""

    def __init__(self, client: AsyncClient, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        self._number = seed * 1_000_000
        self.done: Counter[str] = Counter()
        self._actions = {
            self.upsert: 3, self.snapshot: 2, self.commit: 4, self.save: 4, self.patch: 6, self.batch: 4,
            self.discard: 1, self.revert: 1, self.delete: 1, self.purge: 1,
        }  # fmt: skip

    async def work(self, until: float) -> None:
        while time.monotonic() < until:
            action = self._random.choices(list(self._actions), list(self._actions.values()))[0]
            try:
                await action(self._random.choice(COLLECTIONS))
                self.done[action.__name__] += 1
            except DraftlineError as error:
                self.done[f"{action.__name__} {error.reason}"] += 1

    def _content(self) -> dict[str, Any]:
        self._number += 1
        maker = {"maker": self._random.choice(MAKERS)} if self._random.random() < 0.5 else {}
        return {self._random.choice("abcd"): self._number, **maker}

    def _some(self) -> list[str]:
        ids = RECORDS + NEW_RECORDS
        return self._random.sample(ids, self._random.randint(1, len(ids)))

    async def upsert(self, collection: str) -> None:
        await self._client.import_content(collection, [(each, self._content()) for each in self._some()])

    async def snapshot(self, collection: str) -> None:
        await self._client.import_content(
            collection, [(each, self._content()) for each in self._some()], mode="snapshot"
        )

    async def save(self, collection: str) -> None:
        edits = [DraftEdit(each, self._content()) for each in self._some()]
        await self._client.save_drafts(collection, edits, allow_partial=True)

    async def commit(self, collection: str) -> None:
        await self._client.commit(collection, all=True, conflict_policy="keep_mine", allow_partial=True)

    async def discard(self, collection: str) -> None:
        await self._client.discard(collection, all=True)

    async def patch(self, collection: str) -> None:
        await self._client.patch_content(
            collection, self._random.choice(RECORDS + NEW_RECORDS), self._content(), allow_missing=True
        )

    async def batch(self, collection: str) -> None:
        changes = [op.increment("/n"), op.add("/maker", self._random.choice(MAKERS))]
        creates = self._random.random() < 0.5
        patches = [
            Patch(each, operations=[self._random.choice(changes)], allow_missing=creates) for each in self._some()
        ]
        await self._client.batch_patch_content(collection, patches, allow_partial=True)

    async def revert(self, collection: str) -> None:
        async for change in self._client.changes(collection, page_size=5):
            if change.kind is ChangeKind.PURGE:  # there is nothing to take back
                continue
            by_commit = bool(change.commit_id)
            await self._client.revert(
                None if by_commit else change, commit_id=change.commit_id if by_commit else None,
                conflict_policy="keep_theirs", allow_partial=True,
            )  # fmt: skip
            return

    async def delete(self, collection: str) -> None:
        await self._client.delete_content(collection, self._random.choice(RECORDS))

    async def purge(self, collection: str) -> None:
        gone = self._random.sample(RECORDS, 3)
        for each in gone:
            await self._client.delete_content(collection, each, allow_missing=True)
        await self._client.purge_content(collection, record_ids=gone)


async def test_calls_of_every_kind_over_the_same_records_never_deadlock(
    postgres_url: str, template: str, report: Callable[[str], None]
) -> None:
    with cloned(postgres_url, template) as url:
        with serving(url, pool_size=CALLERS + 6) as server:
            done = await work(server.address)
        deadlocks = await deadlocks_of(url)  # every connection has told what it counted when it ended
    report(f"{deadlocks} deadlocks in {sum(done.values())} calls: {dict(sorted(done.items()))}")
    assert deadlocks == 0
    assert {name.partition(" ")[2] for name in done} - {""} <= EXPECTED
    for action in ("upsert", "snapshot", "commit", "save", "patch", "batch"):  # others fail for the records' sake
        assert done[action] > 0, f"{action} never came about"


async def work(address: str) -> Counter[str]:
    clients = [AsyncClient(address, tenant_id="acme", user=f"u{number % 6}", timeout=120) for number in range(CALLERS)]
    callers = [Caller(client, number) for number, client in enumerate(clients)]
    try:
        await clients[0].import_content("makers", [(each, {}) for each in MAKERS])
        await clients[0].put_collection(COLLECTIONS[0], relations=[MAKER])
        for collection in COLLECTIONS:
            await clients[0].import_content(collection, [(each, {"n": 0}) for each in RECORDS])
        until = time.monotonic() + SOAK_S
        await asyncio.gather(*(caller.work(until) for caller in callers))
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    return sum((caller.done for caller in callers), Counter())


async def deadlocks_of(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        count: int = await connection.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        return count
    finally:
        await connection.close()


async def test_patches_of_other_records_keep_their_rate_while_four_are_held(
    server: Any, tenant_id: str, report: Callable[[str], None]
) -> None:
    """Slices with and without held records take turns, for the machine may be busy with something else."""
    async with AsyncClient(server.address, tenant_id=tenant_id, user="ada", timeout=120) as client:
        await client.import_content("held", [(f"r-{number}", {"n": 0}) for number in range(PATCHERS)])
        connection = await asyncpg.connect(server.url)
        took: list[list[float]] = []  # by slice, those that were held last
        try:
            for held in [False, True] * SLICES:
                took.append(await patch_all(client, connection, tenant_id, held=held))
        finally:
            await connection.close()
    free, beside = (figures(took[first::2]) for first in (0, 1))
    report(
        f"{HELD} of {PATCHERS} records held: others patched {beside[0]:.0f}/s, p99 {beside[1] * 1000:.1f} ms; "
        f"with none held {free[0]:.0f}/s, p99 {free[1] * 1000:.1f} ms"
    )
    assert min(map(len, took)) >= PATCHERS - HELD
    if IS_SOAK:
        assert beside[0] >= LEAST_PART * free[0]
        assert free[1] >= LEAST_PART * beside[1]


async def patch_all(client: AsyncClient, connection: Any, tenant_id: str, *, held: bool) -> list[float]:
    """Patches each record by a caller of its own for a while; how long those took that are never held."""
    took: list[float] = []

    async def patch(number: int, end: float) -> None:
        while True:
            started = time.monotonic()
            await client.patch_content("held", f"r-{number}", operations=[op.increment("/n")])
            if number >= HELD:
                took.append(time.monotonic() - started)
            if time.monotonic() > end:
                return

    async with connection.transaction():
        if held:
            ids = [f"r-{number}" for number in range(HELD)]
            lock = "SELECT FROM draftline.record WHERE tenant_id = $1 AND record_id = ANY ($2) FOR UPDATE"
            await connection.execute(lock, tenant_id, ids)
        end = time.monotonic() + SLICE_S  # without the time that the lock took
        callers = [asyncio.create_task(patch(number, end)) for number in range(PATCHERS)]
        await asyncio.gather(*callers[HELD:])
    await asyncio.gather(*callers[:HELD])
    return took


def figures(slices: list[list[float]]) -> tuple[float, float]:
    """The rate of the middle slice, and its p99 in seconds."""
    return (
        median(len(took) / SLICE_S for took in slices),
        median(sorted(took)[len(took) * 99 // 100] for took in slices),
    )
