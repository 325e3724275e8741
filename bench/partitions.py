"""Measure partitioned tables, and plain ones during a switchover, against plain tables with the same rows.

Each layout has a database and a server of its own. The figures of the layouts are measured in turn.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import uvloop
from draftline import AsyncClient, DraftEdit, Patch
from draftline_server.domain.filters.ast import Field, SortKey
from draftline_server.domain.merged import MergedQuery
from draftline_server.domain.records import Actor
from draftline_server.ops import migrate
from draftline_server.partitions.conversion import partition_tables
from draftline_server.partitions.pace import Pace
from draftline_server.partitions.session import open_session
from draftline_server.partitions.switchover import Switchover
from draftline_server.store.collections.cache import CollectionSpecs
from draftline_server.store.database import Database
from draftline_server.store.json_schema.pool import Schemas
from draftline_server.store.lists.merged import MergedStore
from draftline_server.store.page_tokens import PageTokens
from draftline_server.store.pool_settings import PoolSettings

from .environment import Environment
from .measurements import Measurements
from .processes import BenchError
from .records import fill, record_id, records, settle
from .sizes import Sizes

PLAIN, HASH, LIST, SYNCED = "plain", "hash 16", "list and default", "plain, in a switchover"
LAYOUTS = (PLAIN, HASH, LIST, SYNCED)
FILMS, IMPORTED = "movies", "imported"
TENANT, USER = "small-0", "ada"
SMALL_TENANTS, BIG_TENANTS = 20, 3
OWN_DRAFTS, IMPORTED_RECORDS = 100, 10_000
ORDER = '"Worldwide Gross" desc'
ORDER_KEYS = (SortKey(Field(("Worldwide Gross",)), descending=True),)
PAGE, PATCHED, WRITERS = 50, 64, 8
WARM_UP, SAMPLES = 1, 3
POOL = 8
CONNECTIONS = 5  # whose first page is measured, in each round
IMPORTS = 2  # in each round
EACH_S = 1.0  # of a rate, in each round

GET, PATCH, FIRST_PAGE, NEXT_PAGE = "GetContent", f"BatchPatchContent of {PATCHED}", "GetMerged", "GetMerged, next page"
IMPORT_NEW, IMPORT_CHANGED = "ImportContent of new records", "ImportContent of changed records"
RATE, PLANNED = f"PatchContent, {WRITERS} in flight", "GetMerged, the first of a connection"

CHOICE = random.Random(1)  # noqa: S311 - a load needs no secrets
Call = Callable[[], Awaitable[object]]


def of(name: str, layout: str) -> str:
    """Return the name of a figure of a layout."""
    return f"{name}, {layout} tables" if layout != SYNCED else f"{name}, {layout}"


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    urls = {layout: _at(environment.url, f"partitions_{number}") for number, layout in enumerate(LAYOUTS)}
    asyncio.run(_prepare(environment, sizes, urls))
    with ExitStack() as servers:
        started = {
            layout: servers.enter_context(environment.start_server_at(url, pool_size=POOL)).address
            for layout, url in urls.items()
        }
        uvloop.run(_measure(environment, sizes, started, measurements))
    for _ in range(CONNECTIONS * sizes.rounds):
        for layout in (PLAIN, HASH, LIST):
            asyncio.run(_measure_first(urls[layout], layout, measurements))
    asyncio.run(_drop(environment.url, list(urls.values())))


def _at(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def _prepare(environment: Environment, sizes: Sizes, urls: Mapping[str, str]) -> None:
    """Fill the plain database, and copy it to the others."""
    await _execute(environment.url, f"CREATE DATABASE {_name(urls[PLAIN])} TEMPLATE template0")
    await asyncio.to_thread(migrate.upgrade, urls[PLAIN])
    await _fill(urls[PLAIN], sizes)
    with environment.start_server_at(urls[PLAIN]) as server:
        async with _client(environment, server.address) as client:
            for collection in (FILMS, IMPORTED):
                await client.put_collection(collection, fields={"/Worldwide Gross": "number"})
                await client.wait_until_built(collection)
            edits = [DraftEdit(record_id(7 * number), {"Worldwide Gross": number}) for number in range(OWN_DRAFTS)]
            await client.save_drafts(FILMS, edits, omit_content=True)
    for layout in (HASH, LIST, SYNCED):
        await _execute(environment.url, f"CREATE DATABASE {_name(urls[layout])} TEMPLATE {_name(urls[PLAIN])}")
    for layout, tenants in ((HASH, []), (LIST, [f"big-{number}" for number in range(BIG_TENANTS)])):
        connection = await asyncpg.connect(urls[layout])
        try:
            await partition_tables(connection, tenants)
        finally:
            await connection.close()
    async with open_session(urls[SYNCED]) as session:
        switchover = Switchover(session)
        await switchover.load()
        await switchover.start([], 16, Pace(rest=0.0))
    for url in urls.values():
        await settle(url)


async def _fill(url: str, sizes: Sizes) -> None:
    connection = await asyncpg.connect(url, server_settings={"statement_timeout": "0"})
    small = max(OWN_DRAFTS * 7, sizes.records // 4 // SMALL_TENANTS)
    try:
        for number in range(SMALL_TENANTS):
            await fill(connection, f"small-{number}", FILMS, small)
        for number in range(BIG_TENANTS):
            await fill(connection, f"big-{number}", FILMS, sizes.records // 4)
    finally:
        await connection.close()


async def _drop(url: str, urls: list[str]) -> None:
    for each in urls:
        await _execute(url, f"DROP DATABASE {_name(each)} WITH (FORCE)")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


@asynccontextmanager
async def _client(environment: Environment, address: str) -> AsyncIterator[AsyncClient]:
    token = environment.token([TENANT], USER)
    async with AsyncClient(address, tenant_id=TENANT, token=token, timeout=None) as client:
        yield client


async def _measure(
    environment: Environment, sizes: Sizes, addresses: Mapping[str, str], measurements: Measurements
) -> None:
    async with AsyncExitStack() as stack:
        clients = {
            layout: await stack.enter_async_context(_client(environment, address))
            for layout, address in addresses.items()
        }
        calls = {(name, layout): call for layout, client in clients.items()
                 for name, call in (await _calls(client)).items()}  # fmt: skip
        times_s: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
        for _ in range(sizes.page_rounds):
            for name in (GET, PATCH, FIRST_PAGE, NEXT_PAGE):
                for layout in CHOICE.sample(LAYOUTS, len(LAYOUTS)):
                    times_s[name, layout] += await _times_s(calls[name, layout])
        for (name, layout), times in times_s.items():
            measurements.add_times(of(name, layout), times)
        for number in range(IMPORTS * sizes.rounds):
            for layout in CHOICE.sample(LAYOUTS, len(LAYOUTS)):
                await _import(clients[layout], layout, number, measurements)
        rates: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
        for _ in range(max(1, round(sizes.rounds * sizes.seconds / EACH_S))):
            for layout in CHOICE.sample(LAYOUTS, len(LAYOUTS)):
                rates[layout].append(await _rate(clients[layout]))
        for layout in LAYOUTS:
            measurements.add(of(RATE, layout), "calls/s", statistics.median(rates[layout]))


async def _calls(client: AsyncClient) -> Mapping[str, Call]:
    first = await client.get_merged_page(FILMS, order_by=ORDER, page_size=PAGE)
    numbers = itertools.count()

    async def patch() -> object:
        start = CHOICE.randrange(OWN_DRAFTS * 6)
        patches = [Patch(record_id(start + n), {"IMDB Votes": next(numbers)}) for n in range(PATCHED)]
        return await client.batch_patch_content(FILMS, patches)

    async def get() -> object:
        return await client.get_content(FILMS, record_id(CHOICE.randrange(OWN_DRAFTS * 7)))

    async def page() -> object:
        return await client.get_merged_page(FILMS, order_by=ORDER, page_size=PAGE)

    async def next_page() -> object:
        return await client.get_merged_page(FILMS, order_by=ORDER, page_size=PAGE, page_token=first.next_page_token)

    return {GET: get, PATCH: patch, FIRST_PAGE: page, NEXT_PAGE: next_page}


async def _times_s(call: Call) -> list[float]:
    times_s = []
    for number in range(WARM_UP + SAMPLES):
        started = time.perf_counter()
        await call()
        if number >= WARM_UP:
            times_s.append(time.perf_counter() - started)
    return times_s


async def _import(client: AsyncClient, layout: str, number: int, measurements: Measurements) -> None:
    """Import new records, and the same records changed."""
    known = [(f"{number}-{record}", content) for record, content in records(IMPORTED_RECORDS)]
    for name, change in ((IMPORT_NEW, {}), (IMPORT_CHANGED, {"Changed": True})):
        started = time.perf_counter()
        await client.import_content(IMPORTED, [(each, {**content, **change}) for each, content in known])
        measurements.add(of(name, layout), "s", time.perf_counter() - started)


async def _rate(client: AsyncClient) -> float:
    """Return the patches a second of concurrent writers."""
    end, count = time.perf_counter() + EACH_S, 0

    async def write() -> None:
        nonlocal count
        while time.perf_counter() < end:
            name = record_id(CHOICE.randrange(OWN_DRAFTS * 7))
            await client.patch_content(FILMS, name, {"IMDB Votes": CHOICE.random()})
            count += 1

    started = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(WRITERS)))
    return count / (time.perf_counter() - started)


async def _measure_first(url: str, layout: str, measurements: Measurements) -> None:
    """Time the first page that a new connection reads, for which PostgreSQL plans the statements.

    The store reads it, without a server: the background work of one that has just started would hold the connection up.
    """
    database = Database(url, PoolSettings(size=1))
    await database.open()
    try:
        specs = CollectionSpecs(database, Schemas())
        lists = MergedStore(database, specs, PageTokens(b"bench"))
        await specs.current(TENANT, FILMS)
        started = time.perf_counter()
        page = await lists.page(Actor(TENANT, USER), MergedQuery(FILMS, order=ORDER_KEYS), PAGE, "")
        measurements.add(of(PLANNED, layout), "ms", (time.perf_counter() - started) * 1000)
        if len(page.records) != PAGE:
            raise BenchError(f"a page of {len(page.records)} records instead of {PAGE}")
    finally:
        await database.close()
