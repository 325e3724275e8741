"""Watches that go on far behind, and are abandoned, do not delay the changes of another tenant."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from contextlib import suppress

import asyncpg
import grpc
from draftline.v1 import change_pb2, change_pb2_grpc, content_pb2, content_pb2_grpc, types_pb2
from support.servers import RunningServer, cloned, serving
from support.soak_scale import length

CHANGES = length("ABANDONED_CHANGES", 10_000, soak=1_500_000)  # in the log of the tenant who abandons
RESUMES = length("ABANDONED_RESUMES", 30, soak=120)
WRITES = 20
BUSY, QUIET = "busy", "quiet"
FILL = f"""
    INSERT INTO draftline.change (tenant_id, log_xact, collection, record_id, version, kind, source, edit, base,
        user_id, session_id, change_reason, created_at)
    SELECT '{BUSY}', draftline.log_xact(), 'films', (n % 1000)::text, 2 + n / 1000, 'UPDATE', 'PATCH_CONTENT',
        '{{"s": {{"a": 1}}}}', '{{"s": {{"a": 2}}}}', 'ada', '', '', now()
    FROM generate_series(1, {CHANGES}) AS n
"""


def request(tenant_id: str, token: str = "", filter_text: str = "") -> change_pb2.WatchChangesRequest:
    return change_pb2.WatchChangesRequest(tenant_id=tenant_id, resume_token=token, filter=filter_text)


async def latencies(channel: grpc.aio.Channel, over: asyncio.Event) -> list[float]:
    """Return the time from the acknowledgement of each write of the quiet tenant to its arrival at the watcher."""
    content = content_pb2_grpc.ContentServiceStub(channel)
    watch = change_pb2_grpc.ChangeServiceStub(channel).WatchChanges(request(QUIET))
    await watch.read()
    found = []
    for n in range(WRITES):
        await content.CreateContent(
            content_pb2.CreateContentRequest(
                tenant_id=QUIET, collection="films", content=types_pb2.Document(json=json.dumps({"n": n}))
            )
        )
        acknowledged = time.monotonic()
        while not (await watch.read()).changes:
            pass
        found.append(time.monotonic() - acknowledged)
    watch.cancel()
    over.set()
    return found


async def abandon(channel: grpc.aio.Channel, filter_text: str, filled: asyncio.Event, over: asyncio.Event) -> None:
    """Go on far behind with a filter of one's own that nothing satisfies, and leave soon; again and again."""
    stub = change_pb2_grpc.ChangeServiceStub(channel)
    start = stub.WatchChanges(request(BUSY, "", filter_text))
    token = (await start.read()).resume_token
    start.cancel()
    await filled.wait()
    while not over.is_set():
        watch = stub.WatchChanges(request(BUSY, token, filter_text))
        with suppress(TimeoutError, grpc.aio.AioRpcError):
            async with asyncio.timeout(0.2):
                async for _ in watch:
                    pass
        watch.cancel()


async def test_abandoned_watches_do_not_delay_another_tenants_changes(
    postgres_url: str, template: str, report: Callable[[str], None]
) -> None:
    filled, over = asyncio.Event(), asyncio.Event()
    with cloned(postgres_url, template) as url, serving(url) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            alone = await latencies(channel, asyncio.Event())
            leaving = [
                asyncio.create_task(abandon(channel, f"version = -{n + 1}", filled, over)) for n in range(RESUMES)
            ]
            await fill(server)
            filled.set()
            crowded = await asyncio.wait_for(latencies(channel, over), 300)
            await asyncio.gather(*leaving)
    report(
        f"{RESUMES} abandoned resumes over {CHANGES:,} changes: another tenant's changes come after "
        f"{statistics.median(crowded) * 1000:.0f} ms, at most {max(crowded) * 1000:.0f} ms (alone "
        f"{statistics.median(alone) * 1000:.0f} and {max(alone) * 1000:.0f})"
    )


async def fill(server: RunningServer) -> None:
    connection = await asyncpg.connect(server.url)
    await connection.execute(FILL)
    await connection.close()
