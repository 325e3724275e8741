"""Measure writes of collections with one statistic and with three against writes of one without."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import draftline
from draftline import DeclaredStatistic, DraftEdit

from .environment import Environment
from .load_generators import Load
from .measurements import Measurements
from .records import fill, record_id, records, settle
from .sizes import Sizes
from .statistic_reads import BY_DAY, BY_GENRE, FIELDS, GENRE, GROSS

TENANT = "statistics-writes"
BY_MONTH = DeclaredStatistic("month", (GENRE, "month(/Release Date)"), (GROSS,))
COLLECTIONS = {"none": (), "one": (BY_GENRE,), "three": (BY_GENRE, BY_DAY, BY_MONTH)}
ONE_GROUP = {"none, one group": (), "one, one group": (BY_GENRE,)}
WRITERS = 16
EDITS = 1_000
WARM_UP, ROUNDS = 1, 5
CALLS, ROWS = "calls/s", "rows/s"

ONE_GENRE = """
UPDATE draftline.record SET content = content || '{"Major Genre": "Drama"}' WHERE tenant_id = $1 AND collection = $2
"""
HOLD = """
INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, records)
SELECT q.tenant_id, q.statistic_id, '', 'Drama', 1 FROM draftline.statistic AS q
WHERE q.tenant_id = $1 AND q.collection = $2
"""


def of(kind: str, count: str) -> str:
    """Return the name of the figure for a kind of write of a collection with so many statistics."""
    return f"{kind}, statistics: {count}"


UNREAD, READ = "PatchContent of a field not read", "PatchContent of a field read"
GROUP, HELD = (
    f"PatchContent of one group, {WRITERS} writers",
    f"PatchContent of one group, {WRITERS} writers, group held",
)
SAVE, DISCARD, COMMIT = (f"{name} of {EDITS:,}" for name in ("SaveDraft", "Discard", "Commit"))
IMPORT_NEW, IMPORT_CHANGED = "ImportContent, new", "ImportContent, changed"


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    asyncio.run(_prepare(environment, sizes))
    load = Load(
        "patch", address=environment.address, url=environment.url, token=environment.token([TENANT]), tenant_id=TENANT,
        records=sizes.tallied, seconds=sizes.seconds, warm_up_s=sizes.warm_up_s, concurrency=sizes.top,
    )  # fmt: skip
    for _ in range(sizes.rounds):
        for count in COLLECTIONS:
            for name, kind in ((UNREAD, "patch"), (READ, "patch of a declared field")):
                _add_patches(environment, measurements, of(name, count), replace(load, kind=kind, collection=count))
        few = replace(load, kind="patch of a declared field", concurrency=WRITERS)
        for count, collection in zip(COLLECTIONS, ONE_GROUP, strict=False):
            _add_patches(environment, measurements, of(GROUP, count), replace(few, collection=collection))
        with _held(environment):
            _add_patches(environment, measurements, of(HELD, "one"), replace(few, collection="one, one group"))
    _measure_drafts(environment, measurements)
    _measure_imports(environment, sizes, measurements)


async def _prepare(environment: Environment, sizes: Sizes) -> None:
    connection = await asyncpg.connect(environment.url, server_settings={"statement_timeout": "0"})
    try:
        for collection in (*COLLECTIONS, *ONE_GROUP):
            await fill(connection, TENANT, collection, sizes.tallied)
            if collection in ONE_GROUP:
                await connection.execute(ONE_GENRE, TENANT, collection)
    finally:
        await connection.close()
    for collection, declared in {**COLLECTIONS, **ONE_GROUP}.items():
        await asyncio.to_thread(_declare, environment, collection, declared)
    await settle(environment.url)


def _declare(environment: Environment, collection: str, declared: tuple[DeclaredStatistic, ...]) -> None:
    with _client(environment) as client:
        client.put_collection(collection, fields=FIELDS, statistics=declared)
        client.wait_until_built(collection)


def _client(environment: Environment) -> draftline.Client:
    return draftline.Client(environment.address, tenant_id=TENANT, token=environment.token([TENANT]), timeout=None)


def _add_patches(environment: Environment, measurements: Measurements, name: str, load: Load) -> None:
    timing = environment.load_generators.run(load, lambda: environment.cpu_used_s(environment.server))
    measurements.add(name, CALLS, timing.rate, latencies_s=timing.latencies_s)
    measurements.add(f"PostgreSQL CPU, {name}", "us/call", timing.cpu_used_s["PostgreSQL"] / timing.calls * 1e6)


@contextmanager
def _held(environment: Environment) -> Iterator[None]:
    """Hold a transaction open that has written to the group."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(environment.url))
        transaction = connection.transaction()
        runner.run(transaction.start())
        runner.run(connection.execute(HOLD, TENANT, "one, one group"))
        try:
            yield
        finally:
            runner.run(transaction.rollback())
            runner.run(connection.close())


def _measure_drafts(environment: Environment, measurements: Measurements) -> None:
    """Save drafts and discard them, and save them and commit them, alternately with and without a statistic."""
    rates: dict[str, list[float]] = {}
    with _client(environment) as client:
        for turn in range(WARM_UP + ROUNDS):
            for count in ("none", "one"):
                for name, call in _steps(client, count, turn):
                    started = time.perf_counter()
                    call()
                    if name and turn >= WARM_UP:
                        rates.setdefault(of(name, count), []).append(EDITS / (time.perf_counter() - started))
    for name, found in rates.items():
        measurements.add(name, ROWS, statistics.median(found))


def _steps(client: draftline.Client, collection: str, turn: int) -> list[tuple[str, Callable[[], Any]]]:
    edits = [DraftEdit(record_id(number), {"Worldwide Gross": turn}) for number in range(EDITS)]
    return [
        (SAVE, lambda: client.save_drafts(collection, edits, omit_content=True)),
        (DISCARD, lambda: client.discard(collection, all=True)),
        ("", lambda: client.save_drafts(collection, edits, omit_content=True)),
        (COMMIT, lambda: client.commit(collection, all=True)),
    ]


def _measure_imports(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    with _client(environment) as client:
        for turn in range(sizes.rounds):
            for count in ("none", "one"):
                new = [(f"{turn}-{key}", content) for key, content in records(sizes.imported)]
                changed = [(key, {**content, "Worldwide Gross": turn}) for key, content in new]
                for name, rows in ((IMPORT_NEW, new), (IMPORT_CHANGED, changed)):
                    started = time.perf_counter()
                    client.import_content(count, rows)
                    measurements.add(of(name, count), "records/s", len(rows) / (time.perf_counter() - started))
