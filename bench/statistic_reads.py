"""Measure GetStatistics, and the builds of statistics, in a short and in a long collection."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import asyncpg
import draftline
import grpc
import uvloop
from draftline import DeclaredStatistic, DraftEdit
from draftline.v1 import draft_pb2, types_pb2
from draftline_server.store.statements import load

from .baseline import SERVICE_SETTINGS
from .environment import Environment
from .measurements import Measurements
from .processes import BenchError
from .records import fill, record_id, settle
from .sizes import Sizes

COLLECTION = "movies"
GENRE, GROSS, BUDGET, DAY = "/Major Genre", "/Worldwide Gross", "/Production Budget", "/Release Date"
FIELDS = {GENRE: "text", GROSS: "number", BUDGET: "number", DAY: "date", "/Shelf": "text"}
BY_GENRE = DeclaredStatistic("genre", (GENRE,), (GROSS, BUDGET))
BY_DAY = DeclaredStatistic("day", (GENRE, DAY), (GROSS,))
BY_SHELF = DeclaredStatistic("shelf", ("/Shelf", GENRE), (GROSS, BUDGET))
BY_RANGE = DeclaredStatistic("range", (GENRE,), (GROSS, BUDGET), range_by=GROSS)
RANGE = '"Worldwide Gross" >= 123456789 AND "Worldwide Gross" < 876543210'
SHELVES = 9_603  # three times the number of films, so that each shelf has one genre
SAVED = 1_000  # drafts in a call
CREATED = 0.05  # the part of the drafts that create a record
FOLDED = 20_000
WARM_UP, SAMPLES = 1, 4
FOLD_S = 60.0

LIVE = "the live aggregate of two sums by genre, SQL"
SHELF = f"GetStatistics, {SHELVES:,} group rows"
GROUPS = f"GetStatistics, {SHELVES:,} groups as columns"
RANGES = "GetStatistics, a range of gross"
BEFORE_FOLD, AFTER_FOLD = "GetStatistics, before a fold", f"GetStatistics, {FOLDED:,} rows folded, old snapshot"
BUILD_TEXT, BUILD_DATE, BUILD_RANGE = (f"PostgreSQL CPU, the build by {key}" for key in ("text", "date", "range"))
WRONG = "groups that differ after the builds"

SHELVE = """
UPDATE draftline.record
SET content = content || jsonb_build_object('Shelf', 's' || (content ->> 'Number')::int % $3::int)
WHERE tenant_id = $1 AND collection = $2
"""
LIVE_SQL = """
SELECT content ->> 'Major Genre', count(*), sum(draftline.number_at(content, ARRAY['Worldwide Gross'])),
    sum(draftline.number_at(content, ARRAY['Production Budget']))
FROM draftline.record WHERE tenant_id = $1 AND collection = $2 AND deleted_at IS NULL GROUP BY 1
"""
APPEND = """
INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, records)
SELECT q.tenant_id, q.statistic_id, '', 'Drama', CASE n % 2 WHEN 0 THEN 1 ELSE -1 END
FROM draftline.statistic AS q, generate_series(1, $2::int) AS n WHERE q.tenant_id = $1 AND q.name = 'genre'
"""
UNFOLDED = """
SELECT count(*) FROM draftline.tally AS t JOIN draftline.statistic AS q USING (tenant_id, statistic_id)
WHERE t.tenant_id = $1 AND q.name = 'genre' AND NOT t.is_folded
"""

Call = Callable[[], Awaitable[Any]]


def read_of(records: int, own_drafts: int) -> str:
    """Return the name of the figure for the sums by genre in a collection."""
    return f"GetStatistics, {records:,} records, {own_drafts:,} own drafts"


def tenant_of(records: int) -> str:
    return f"statistics-{records}"


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    for count in (sizes.lengths[0], sizes.records):
        uvloop.run(_fill(environment, count))
        _build(environment, count, measurements if count == sizes.records else None)
        _save(environment, count, max(sizes.own_drafts))
    uvloop.run(settle(environment.url))
    uvloop.run(_measure(environment, sizes, measurements))


async def _fill(environment: Environment, count: int) -> None:
    connection = await asyncpg.connect(environment.url, server_settings={"statement_timeout": "0"})
    try:
        await fill(connection, tenant_of(count), COLLECTION, count)
        await connection.execute(SHELVE, tenant_of(count), COLLECTION, SHELVES)
    finally:
        await connection.close()
    await settle(environment.url)


def _build(environment: Environment, count: int, measurements: Measurements | None) -> None:
    """Declare the statistics one after another, while a writer runs, and measure what each build costs."""
    statistics: list[DeclaredStatistic] = []
    steps = [("", None), (BUILD_TEXT, BY_GENRE), (BUILD_DATE, BY_DAY), (BUILD_RANGE, BY_RANGE), ("", BY_SHELF)]
    with client(environment, count, "writer") as opened:
        for name, statistic in steps:
            statistics += [statistic] if statistic is not None else []
            before = environment.cpu_used_s(environment.server)["PostgreSQL"]
            with _writing(opened) if statistic is not None else nullcontext():
                _declare(opened, statistics)
            if measurements is not None and name:
                used_s = environment.cpu_used_s(environment.server)["PostgreSQL"] - before
                measurements.add(name, "s", used_s)
    if measurements is not None:
        measurements.add(WRONG, "groups", asyncio.run(_wrong_groups(environment, count)))


def _declare(opened: draftline.Client, statistics: Sequence[DeclaredStatistic]) -> None:
    opened.put_collection(COLLECTION, fields=FIELDS, statistics=statistics)
    opened.wait_until_built(COLLECTION)


@contextmanager
def _writing(opened: draftline.Client) -> Iterator[None]:
    """Patch records one after another, fifty a second, until the end of the block."""
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.wait(0.02):
            opened.patch_content(COLLECTION, record_id(number % 100), {"Major Genre": ("Drama", "Comedy")[number % 2]})
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


async def _wrong_groups(environment: Environment, count: int) -> int:
    statement, wrong = load("statistics")["check_statistic"], 0
    connection = await asyncpg.connect(environment.url, server_settings={"statement_timeout": "0"})
    try:
        sql = "SELECT statistic_id FROM draftline.statistic WHERE tenant_id = $1 AND state = 'READY'"
        for row in await connection.fetch(sql, tenant_of(count)):
            key = {"tenant_id": tenant_of(count), "collection": COLLECTION, "limit": 100}
            arguments = statement.arguments({**key, "statistic_id": row["statistic_id"]})
            wrong += len(await connection.fetch(statement.sql, *arguments))
    finally:
        await connection.close()
    return wrong


def _save(environment: Environment, count: int, own_drafts: int) -> None:
    own = min(own_drafts, count // 2)
    step = count // own
    with client(environment, count, "ada") as opened:
        for start in range(0, own, SAVED):
            edits = [_edit(number, step) for number in range(start, min(own, start + SAVED))]
            opened.save_drafts(COLLECTION, edits, omit_content=True)


def _edit(number: int, step: int) -> DraftEdit:
    content = {"Major Genre": ("Drama", "Comedy", "Horror")[number % 3], "Worldwide Gross": number * 1_000}
    if number % round(1 / CREATED) == 0:
        return DraftEdit(f"new-{number}", create=content)
    return DraftEdit(record_id(number * step), content)


@contextmanager
def client(environment: Environment, count: int, user: str) -> Iterator[draftline.Client]:
    tenant_id = tenant_of(count)
    token = environment.token([tenant_id], user)
    with draftline.Client(environment.address, tenant_id=tenant_id, token=token, timeout=None) as opened:
        yield opened


async def _measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    connection = await asyncpg.connect(environment.url, server_settings={**SERVICE_SETTINGS, "statement_timeout": "0"})
    try:
        async with grpc.aio.insecure_channel(environment.address) as channel:
            calls = await _calls(environment, channel, sizes)
            for name, times_s in (await _times_s(calls, sizes.page_rounds)).items():
                measurements.add_times(name, times_s)
            started = time.perf_counter()
            await connection.fetch(LIVE_SQL, tenant_of(sizes.records), COLLECTION)
            measurements.add_times(LIVE, [time.perf_counter() - started])
            call = calls[read_of(sizes.records, max(sizes.own_drafts))]
            await _measure_old_snapshot(environment, connection, sizes, call, measurements)
    finally:
        await connection.close()


async def _calls(environment: Environment, channel: grpc.aio.Channel, sizes: Sizes) -> Mapping[str, Call]:
    ends = (sizes.lengths[0], sizes.records)
    most = max(sizes.own_drafts)
    calls = {read_of(count, most): await _call(environment, channel, count, "ada", statistic="genre") for count in ends}
    calls[read_of(sizes.records, 0)] = await _call(environment, channel, sizes.records, "eve", statistic="genre")
    calls[SHELF] = await _call(
        environment, channel, sizes.records, "ada", statistic="shelf", condition='Shelf != "another"'
    )
    calls[GROUPS] = await _call(
        environment, channel, sizes.records, "ada", statistic="shelf", group_by="/Shelf", as_columns=True
    )
    calls[RANGES] = await _call(environment, channel, sizes.records, "ada", statistic="range", condition=RANGE)
    return calls


async def _call(
    environment: Environment, channel: grpc.aio.Channel, count: int, user: str, *, statistic: str, condition: str = "",
    group_by: str = GENRE, as_columns: bool = False,
) -> Call:  # fmt: skip
    """Return a call of the sums by group. Raise BenchError if another statistic answers it."""
    request = draft_pb2.GetStatisticsRequest(
        tenant_id=tenant_of(count), collection=COLLECTION, filter=condition, limit=10_000,
        response_encoding=types_pb2.ENCODING_JSON, as_columns=as_columns,
    )  # fmt: skip
    request.group_by.add(path=group_by)
    request.measures.add(function=draft_pb2.STATISTIC_FUNCTION_COUNT)
    for path in (GROSS, BUDGET):
        request.measures.add(function=draft_pb2.STATISTIC_FUNCTION_SUM, path=path)
    rpc: Any = channel.unary_unary("/draftline.v1.DraftService/GetStatistics")
    metadata = (("authorization", f"Bearer {environment.token([tenant_of(count)], user)}"),)
    answer = draft_pb2.GetStatisticsResponse.FromString(await rpc(request.SerializeToString(), metadata=metadata))
    groups = answer.columns.group_count if as_columns else len(answer.groups)
    if answer.statistic != statistic or groups < 10:
        raise BenchError(f"{answer.statistic!r} answered with {groups} groups, not {statistic!r}")
    return lambda: rpc(request.SerializeToString(), metadata=metadata)


async def _times_s(calls: Mapping[str, Call], rounds: int) -> Mapping[str, Sequence[float]]:
    """Time the calls in rounds, so that other load on the machine affects all of them alike."""
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            for number in range(WARM_UP + SAMPLES):
                started = time.perf_counter()
                await call()
                if number >= WARM_UP:
                    times_s[name].append(time.perf_counter() - started)
    return times_s


async def _measure_old_snapshot(
    environment: Environment, connection: Any, sizes: Sizes, call: Call, measurements: Measurements
) -> None:
    """Measure an answer while a transaction keeps folded rows from being vacuumed."""
    measurements.add_times(BEFORE_FOLD, (await _times_s({"": call}, sizes.page_rounds))[""])
    holder = await asyncpg.connect(environment.url)
    try:
        async with holder.transaction(isolation="repeatable_read"):
            await holder.fetchval("SELECT count(*) FROM draftline.statistic")
            await connection.execute(APPEND, tenant_of(sizes.records), FOLDED)
            end = time.monotonic() + FOLD_S
            while await connection.fetchval(UNFOLDED, tenant_of(sizes.records)):
                if time.monotonic() > end:
                    raise BenchError(f"{FOLDED:,} rows were not folded within {FOLD_S:g} s")
                await asyncio.sleep(0.2)
            measurements.add_times(AFTER_FOLD, (await _times_s({"": call}, sizes.page_rounds))[""])
    finally:
        await holder.close()
