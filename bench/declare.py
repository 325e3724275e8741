"""Measure PutCollection over many records against CREATE INDEX CONCURRENTLY, and patches that run meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
from draftline import Client

from .environment import Environment
from .measurements import Measurements
from .records import fill, record_id, settle
from .sizes import Sizes

TENANT, COLLECTION = "declare", "declared"
DECLARED = {"/Major Genre": "text", "/Production Budget": "number", "/Worldwide Gross": "number"}
DECLARE, CREATE_INDEX = "declaring three fields", "CREATE INDEX CONCURRENTLY of the same expressions"
PATCH_BEFORE = "PatchContent alone, before fields are declared"
PATCH_CREATING = "PatchContent alone, during CREATE INDEX CONCURRENTLY"
PATCH_MEANWHILE = "PatchContent alone, while fields are declared"
EXPRESSIONS = (
    """(draftline.indexed_text_at(content, ARRAY['Major Genre'])) COLLATE "C" """,
    "(draftline.number_at(content, ARRAY['Production Budget']))",
    "(draftline.number_at(content, ARRAY['Worldwide Gross']))",
)


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    asyncio.run(_fill(environment, sizes.records))
    token = environment.token([TENANT])
    with Client(environment.address, tenant_id=TENANT, token=token, timeout=None) as client:
        with _patching(client, sizes, measurements, PATCH_BEFORE):
            time.sleep(sizes.seconds)
        with _patching(client, sizes, measurements, PATCH_CREATING):
            measurements.add(CREATE_INDEX, "s", _timed(lambda: asyncio.run(_create_indexes(environment.url))))
        with _patching(client, sizes, measurements, PATCH_MEANWHILE):
            measurements.add(DECLARE, "s", _timed(lambda: _declare(client)), limit=CREATE_INDEX)
        client.put_collection(COLLECTION)


def _declare(client: Client) -> None:
    client.put_collection(COLLECTION, fields=DECLARED)
    client.wait_until_built(COLLECTION)


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def _patching(client: Client, sizes: Sizes, measurements: Measurements, name: str) -> Iterator[None]:
    """Patch random records one after another during the block, and measure that."""
    over = threading.Event()
    times_s: list[float] = []

    def patch() -> None:
        while not over.is_set():
            number = time.time_ns() * 7_919 % sizes.records
            began = time.perf_counter()
            client.patch_content(COLLECTION, record_id(number), {"Number": time.time_ns()})
            times_s.append(time.perf_counter() - began)

    thread = threading.Thread(target=patch, name="patching")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    measurements.add_times(name, times_s)


async def _fill(environment: Environment, records: int) -> None:
    connection = await asyncpg.connect(environment.url, server_settings={"statement_timeout": "0"})
    try:
        await fill(connection, TENANT, COLLECTION, records)
    finally:
        await connection.close()
    await settle(environment.url)


async def _create_indexes(url: str) -> None:
    """Create the indexes one after another, and drop them, so that later patches do not pay for them."""
    connection = await asyncpg.connect(url, server_settings={"statement_timeout": "0"})
    try:
        for number, expression in enumerate(EXPRESSIONS):
            await connection.execute(
                f"CREATE INDEX CONCURRENTLY declared_{number} ON draftline.record"
                f" (tenant_id, collection, {expression}, record_id)"
            )
        for number in range(len(EXPRESSIONS)):
            await connection.execute(f"DROP INDEX draftline.declared_{number}")
    finally:
        await connection.close()
