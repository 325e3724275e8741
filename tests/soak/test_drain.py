"""SIGTERM under load: what was acknowledged is kept, calls end with their answers or UNAVAILABLE, streams go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import grpc
from draftline.v1 import content_pb2, content_pb2_grpc, draft_pb2, draft_pb2_grpc
from support.call_history import End, History, Stored
from support.crash_harness import Stage, staged
from support.polling import eventually
from support.responses import document
from support.resuming_watchers import Watcher
from support.retrying_writers import CHANNEL_OPTIONS, Writer, prepare, reason_of
from support.soak_scale import length

DRAINS = length("DRAINS", 1, soak=20)
DRAIN_TIMEOUT_S = 2.0
CLOSING_S = 10.0  # what it may take to end what is left then
WRITERS = length("DRAIN_WRITERS", 6, soak=16)
BLIND = 4
WATCHERS = 3
LISTED = length("DRAIN_LISTED", 1_500, soak=3_000)  # records of the list that is streamed
PAUSE_S = 0.02
TENANT, OTHER = "acme", "umbrella"


@dataclass
class Lister:
    """Reads a list as a stream, slowly, again and again, and goes on with the last token wherever one ends."""

    channel: grpc.aio.Channel
    lists: list[list[str]] = field(default_factory=lambda: [[]])
    broken: list[tuple[grpc.StatusCode, str]] = field(default_factory=list)
    token: str = ""

    async def work(self) -> None:
        stub = draft_pb2_grpc.DraftServiceStub(self.channel)
        while True:
            request = draft_pb2.StreamMergedRequest(tenant_id=OTHER, collection="listed", page_token=self.token)
            try:
                async for message in stub.StreamMerged(request):
                    self.lists[-1] += [each.record.record_id for each in message.records]
                    self.token = message.next_page_token
                    await asyncio.sleep(PAUSE_S)
                self.lists.append([])
            except grpc.aio.AioRpcError as error:
                self.broken.append((error.code(), reason_of(error)))
                if self.lists[-1] and not self.token:  # the last message had come
                    self.lists.append([])
                await asyncio.sleep(PAUSE_S)


async def import_without_end(address: str) -> grpc.StatusCode:
    is_over = threading.Event()

    def parts() -> Iterator[content_pb2.ImportContentRequest]:
        yield content_pb2.ImportContentRequest(header=content_pb2.ImportHeader(tenant_id=OTHER, collection="slow"))
        record = content_pb2.ImportRecord(record_id="a", content=document({}))
        while not is_over.wait(PAUSE_S):
            yield content_pb2.ImportContentRequest(chunk=content_pb2.ImportChunk(records=[record]))

    def code() -> grpc.StatusCode:
        # By a thread: grpc.aio answers INTERNAL by itself where a call ends that still sends (grpc/grpc#36066).
        with grpc.insecure_channel(address, CHANNEL_OPTIONS) as channel:
            ended: grpc.StatusCode = content_pb2_grpc.ContentServiceStub(channel).ImportContent.future(parts()).code()
            is_over.set()
            return ended

    return await asyncio.to_thread(code)


async def patch_of_a_held_record(channel: grpc.aio.Channel) -> grpc.StatusCode:
    request = content_pb2.PatchContentRequest(
        tenant_id=OTHER, collection="held", record_id="held", delta=document({"a": 1})
    )
    return await content_pb2_grpc.ContentServiceStub(channel).PatchContent(request).code()


async def fill(connection: asyncpg.Connection) -> None:
    """The records of the list, and one to be held."""
    await connection.execute(
        f"""
        INSERT INTO draftline.record (tenant_id, collection, record_id, content, version,
            created_at, created_by, updated_at, updated_by)
        SELECT $1, collection, id, '{{}}', 1, now(), 'a', now(), 'a' FROM (
            SELECT 'listed' AS collection, lpad(n::text, 6, '0') AS id FROM generate_series(1, {LISTED}) AS n
            UNION ALL SELECT 'held', 'held') AS made
        """,
        OTHER,
    )


async def drained_once(
    stage: Stage, holder: asyncpg.Connection, channel: grpc.aio.Channel, history: History
) -> tuple[float, list[grpc.StatusCode]]:
    """Return the duration of the drain, and the status of each call that would not have ended by itself."""
    before = len(history.acknowledged)
    async with holder.transaction():
        await holder.execute(
            "SELECT FROM draftline.record WHERE tenant_id = $1 AND record_id = 'held' FOR UPDATE", OTHER
        )
        endless = [
            asyncio.create_task(each) for each in (import_without_end(stage.address), patch_of_a_held_record(channel))
        ]
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'draftline' AND wait_event_type = 'Lock'"
        )
        await eventually(lambda: is_true(holder, f"SELECT ({query}) > 0"))
        await eventually(lambda: len(history.acknowledged) > before + 100)
        status, took_s = await stage.drain_service()
        assert status == 0
        ends = await asyncio.gather(*endless)
    return took_s, ends


async def is_true(connection: asyncpg.Connection, query: str) -> bool:
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    return bool(await connection.fetchval(query))


async def test_drain_loses_nothing_and_leaves_nobody_without_an_answer(
    data_dir: Path, report: Callable[[str], None]
) -> None:
    history, is_over = History(), asyncio.Event()
    took_s, ends = [], []
    with staged(data_dir, drain_timeout_s=DRAIN_TIMEOUT_S, watch_heartbeat_s=1, max_imports=64) as stage:
        holder = await asyncpg.connect(stage.postgres.url)
        await fill(holder)
        async with grpc.aio.insecure_channel(stage.address, CHANNEL_OPTIONS) as channel:
            watchers, lister = [Watcher(stage.address, TENANT) for _ in range(WATCHERS)], Lister(channel)
            streaming = [*(asyncio.create_task(each.watch()) for each in watchers), asyncio.create_task(lister.work())]
            await asyncio.gather(*(watcher.is_ready.wait() for watcher in watchers))
            await prepare(channel, TENANT, history)
            writers = [Writer(channel, TENANT, f"w{number}", history) for number in range(WRITERS)]
            writers += [Writer(channel, TENANT, f"b{number}", history, has_ids=False) for number in range(BLIND)]
            working = [asyncio.create_task(writer.work(is_over.is_set)) for writer in writers]
            for _ in range(DRAINS):
                took, ended = await drained_once(stage, holder, channel, history)
                took_s.append(took)
                ends += ended
            is_over.set()
            await asyncio.gather(*working)
            stored = await Stored.read(stage.postgres.url, TENANT)
            await eventually(lambda: all(len(watcher.seen) >= len(stored.log) for watcher in watchers))
            await eventually(lambda: len(lister.lists) > 1 or streaming[-1].done())
            assert not any(task.done() for task in streaming)
            for task in streaming:
                task.cancel()
            await asyncio.gather(*streaming, return_exceptions=True)
        await holder.close()
    report(
        f"{DRAINS} drains: {history.count(End.DONE)} calls acknowledged, attempts refused: {dict(history.refusals)}, "
        f"{history.count(End.UNKNOWN)} unknown without an id; at most {max(took_s):.1f} s to the end, "
        f"calls without an end: { {code.name for code in ends} }, streams: {[dict(each.ends) for each in watchers]}"
    )
    assert history.problems(stored) == []
    assert set(history.refusals) <= {"UNAVAILABLE"}
    assert set(ends) == {grpc.StatusCode.UNAVAILABLE}
    assert max(took_s) < DRAIN_TIMEOUT_S + CLOSING_S
    assert {code for code, _ in lister.broken} <= {grpc.StatusCode.UNAVAILABLE}
    expected = [f"{number:06}" for number in range(1, LISTED + 1)]
    assert all(each == expected for each in lister.lists[:-1])
    for watcher in watchers:
        assert watcher.surprises == []
        assert watcher.ends["DRAINING"] >= DRAINS  # one that comes back at once is told so again
        assert len(watcher.seen) == len(stored.log)
