"""Cached readers of both clients against a scripted server: fetches, sharing, caching and eviction."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import draftline
import pytest
from draftline.v1 import change_pb2, content_pb2
from support.both_clients import Connect, reader_of
from support.scripted_log import change, unreadable
from support.scripted_responses import OUT_OF_RANGE, QUICK, UNAVAILABLE, WAIT_S, record
from support.scripted_server import HOLD, ScriptedServer, failure, info

SOON_S = 0.01


@dataclass
class Service:
    """A service whose records and watch the test controls."""

    versions: dict[str, int] = field(default_factory=lambda: {"m-1": 1, "m-2": 1})
    fetches: list[str] = field(default_factory=list)
    watches: list[str] = field(default_factory=list)  # their resume tokens
    messages: queue.Queue[Any] = field(default_factory=queue.Queue)
    gate: threading.Event = field(default_factory=threading.Event)  # fetches wait for it
    is_refusing: bool = False

    def get(self, request: content_pb2.GetContentRequest) -> Any:
        self.fetches.append(request.record_id)
        version = self.versions.get(request.record_id)
        self.gate.wait(WAIT_S)
        if version is None:
            return failure(5, "none", info("RECORD_NOT_FOUND"))
        document = {"json": f'{{"n": {version}}}'}
        return content_pb2.GetContentResponse(
            record=record(record_id=request.record_id, version=version, content=document)
        )

    def watch(self, request: change_pb2.WatchChangesRequest) -> Iterator[Any]:
        self.watches.append(request.resume_token)
        if self.is_refusing:
            yield failure(UNAVAILABLE, "gone")
            return
        yield change_pb2.WatchChangesResponse(resume_token="t")
        while (message := self.messages.get()) is not None:
            yield message
        yield HOLD

    def write(self, record_id: str) -> None:
        """Write a version, and send its change over the watch."""
        version = self.versions[record_id] = self.versions[record_id] + 1
        paths = [{"path": "/n", "new_value": {"json": str(version)}}]
        self.tell(change(version, record_id=record_id, paths=paths))

    def tell(self, *changes: change_pb2.Change) -> None:
        self.messages.put(change_pb2.WatchChangesResponse(changes=changes, resume_token="t"))


@pytest.fixture
def service(scripted: ScriptedServer) -> Iterator[Service]:
    service = Service()
    service.gate.set()
    scripted.answers["GetContent"] = service.get
    scripted.answers["WatchChanges"] = service.watch
    yield service
    service.gate.set()
    service.messages.put(None)


@pytest.fixture
async def client(connect: Connect, scripted: ScriptedServer) -> AsyncIterator[Any]:
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as connected:
        yield connected


async def until(is_so: Callable[[], Any]) -> None:
    async def look() -> None:
        while not is_so():  # noqa: ASYNC110  made so by other threads
            await asyncio.sleep(SOON_S)

    await asyncio.wait_for(look(), WAIT_S)


async def until_heard(service: Service, reader: Any) -> None:
    """Wait until the reader has applied all changes: a change of another record, sent last, is cached."""
    await reader.get("movies", "m-2")
    service.write("m-2")
    while (await reader.get("movies", "m-2")).version < service.versions["m-2"]:  # noqa: ASYNC110  as above
        await asyncio.sleep(SOON_S)


async def test_record_is_fetched_once_and_then_updated(client: Any, service: Service) -> None:
    async with reader_of(client, "movies") as reader:
        await until(lambda: reader.is_watching)
        assert (await reader.get("movies", "m-1")).content == {"n": 1}
        for version in (2, 3):
            service.write("m-1")
            await until_heard(service, reader)
            got = await reader.get("movies", "m-1")
            assert (got.content, got.version, got.updated_by) == ({"n": version}, version, "ada")
    assert service.fetches.count("m-1") == 1
    assert service.fetches.count("m-2") == 1


async def test_reader_counts_hits_and_misses(client: Any, service: Service) -> None:
    async with reader_of(client, max_records=1) as reader:
        await until(lambda: reader.is_watching)
        for record_id in ("m-1", "m-1", "m-2", "m-1"):
            await reader.get("movies", record_id)
        assert reader.stats == draftline.CacheStats(hits=1, misses=3, records=1)


async def test_deleted_record_is_dropped(client: Any, service: Service) -> None:
    async with reader_of(client, "movies") as reader:
        await until(lambda: reader.is_watching)
        await reader.get("movies", "m-1")
        del service.versions["m-1"]
        service.tell(change(2, kind=change_pb2.CHANGE_KIND_DELETE))
        await until_heard(service, reader)
        for _ in range(2):
            with pytest.raises(draftline.NotFoundError):
                await reader.get("movies", "m-1")
    assert service.fetches.count("m-1") == 3


async def test_misses_of_one_record_share_one_fetch(client: Any, service: Service) -> None:
    service.gate.clear()
    async with reader_of(client, "movies") as reader:
        await until(lambda: reader.is_watching)
        getting = [asyncio.ensure_future(reader.get("movies", "m-1")) for _ in range(5)]
        await until(lambda: reader.stats.misses == 5)
        service.gate.set()
        got = await asyncio.gather(*getting)
        assert [each.version for each in got] == [1] * 5
        got[0].content["n"] = "mine"
        assert (await reader.get("movies", "m-1")).content == got[1].content == {"n": 1}
    assert service.fetches == ["m-1"]


async def test_failed_fetch_fails_for_all_callers_that_share_it(client: Any, service: Service) -> None:
    service.gate.clear()
    async with reader_of(client, "movies") as reader:
        await until(lambda: reader.is_watching)
        getting = [asyncio.ensure_future(reader.get("movies", "none")) for _ in range(3)]
        await until(lambda: reader.stats.misses == 3)
        service.gate.set()
        failures = await asyncio.gather(*getting, return_exceptions=True)
        assert {type(each) for each in failures} == {draftline.NotFoundError}
        assert service.fetches == ["none"]
        with pytest.raises(draftline.NotFoundError):
            await reader.get("movies", "none")


async def test_fetch_older_than_a_change_is_neither_cached_nor_shared(client: Any, service: Service) -> None:
    async with reader_of(client, "movies") as reader:
        await until(lambda: reader.is_watching)
        await reader.get("movies", "m-2")
        service.gate.clear()
        before = asyncio.ensure_future(reader.get("movies", "m-1"))
        await until(lambda: "m-1" in service.fetches)
        service.write("m-1")
        await until_heard(service, reader)
        after = asyncio.ensure_future(reader.get("movies", "m-1"))
        await until(lambda: service.fetches.count("m-1") == 2)
        service.gate.set()
        assert ((await before).version, (await after).version) == (1, 2)
        assert (await reader.get("movies", "m-1")).version == 2
    assert service.fetches.count("m-1") == 2


async def test_own_write_is_read_by_its_version(client: Any, service: Service) -> None:
    async with reader_of(client, "movies") as reader:
        await until(lambda: reader.is_watching)
        await reader.get("movies", "m-1")
        service.versions["m-1"] = 5  # written, and not told yet
        assert (await reader.get("movies", "m-1")).version == 1
        assert (await reader.get("movies", "m-1", min_version=5)).version == 5
        assert (await reader.get("movies", "m-1", min_version=5)).version == 5
        assert (await reader.get("movies", "m-1")).version == 5
    assert service.fetches == ["m-1", "m-1"]


async def test_disconnected_watch_lets_the_cache_answer_for_max_lost_s(client: Any, service: Service) -> None:
    async with reader_of(client, "movies", max_lost_s=0.0) as reader:
        await until(lambda: reader.is_watching)
        await reader.get("movies", "m-1")
        service.is_refusing = True
        service.messages.put(failure(UNAVAILABLE, "gone"))
        await until(lambda: not reader.is_watching)
        assert reader.stats.records == 0
        service.versions["m-1"] = 2
        assert [(await reader.get("movies", "m-1")).version for _ in range(2)] == [2, 2]
        assert service.fetches == ["m-1"] * 3
        service.is_refusing = False
        await until(lambda: reader.is_watching)
        await reader.get("movies", "m-1")
        await reader.get("movies", "m-1")
    assert service.fetches == ["m-1"] * 4
    assert set(service.watches[1:]) == {"t"}


async def test_watch_that_reconnects_soon_keeps_the_cache(client: Any, service: Service) -> None:
    async with reader_of(client, "movies", max_lost_s=1e6) as reader:
        await until(lambda: reader.is_watching)
        await reader.get("movies", "m-1")
        service.messages.put(failure(UNAVAILABLE, "gone"))
        service.write("m-1")
        await until_heard(service, reader)
        assert (await reader.get("movies", "m-1")).version == 2
    assert service.fetches.count("m-1") == 1
    assert service.watches == ["", "t"]


async def test_expired_resume_token_clears_the_cache_and_starts_a_new_watch(client: Any, service: Service) -> None:
    async with reader_of(client, "movies", max_lost_s=1e6) as reader:
        await until(lambda: reader.is_watching)
        await reader.get("movies", "m-1")
        service.versions["m-1"] = 9  # nobody tells
        service.messages.put(failure(OUT_OF_RANGE, "too old", info("TOKEN_EXPIRED")))
        await until(lambda: len(service.watches) == 2 and reader.is_watching)
        assert (await reader.get("movies", "m-1")).version == 9
        assert reader.error is None
    assert service.watches == ["", ""]


async def test_reader_that_may_not_watch_fetches(client: Any, service: Service, scripted: ScriptedServer) -> None:
    scripted.answers["WatchChanges"] = lambda _: [failure(7, "not yours")]
    async with reader_of(client, "movies") as reader:
        await until(lambda: isinstance(reader.error, draftline.PermissionDeniedError))
        assert [(await reader.get("movies", "m-1")).version for _ in range(2)] == [1, 1]
        assert reader.stats == draftline.CacheStats(hits=0, misses=2, records=0)
    assert service.fetches == ["m-1", "m-1"]


async def test_reader_whose_watch_delivers_invalid_values_fetches(client: Any, service: Service) -> None:
    async with reader_of(client, "movies") as reader:
        await until(lambda: reader.is_watching)
        await reader.get("movies", "m-1")
        service.tell(unreadable(2))
        await until(lambda: isinstance(reader.error, ValueError))
        assert (reader.is_watching, reader.stats.records) == (False, 0)
        await reader.get("movies", "m-1")
    assert service.fetches == ["m-1", "m-1"]


async def test_reader_fetches_after_a_change_of_unknown_kind(client: Any, service: Service) -> None:
    async with reader_of(client, "movies") as reader:
        await until(lambda: reader.is_watching)
        await reader.get("movies", "m-1")
        service.tell(change(2, kind=99))  # type: ignore[arg-type]
        await until(lambda: reader.stats.records == 0)
        assert reader.is_watching
        await reader.get("movies", "m-1")
    assert service.fetches == ["m-1", "m-1"]


async def test_reader_of_one_collection_rejects_others(client: Any, service: Service) -> None:
    async with reader_of(client, "movies") as reader:
        with pytest.raises(ValueError, match="for the collection 'movies', not"):
            await reader.get("actors", "a-1")


async def test_closed_reader_ends_its_watch_and_fetches(
    client: Any, service: Service, scripted: ScriptedServer
) -> None:
    reader = reader_of(client, "movies")
    await reader.get("movies", "m-1")  # begins the watch, too
    await until(lambda: reader.is_watching)
    await reader.close()
    await reader.close()
    assert await asyncio.to_thread(scripted.stream_ended.wait, WAIT_S)
    assert (reader.is_watching, reader.stats.records) == (False, 0)
    await reader.get("movies", "m-1")
    await reader.get("movies", "m-1")
    assert service.fetches == ["m-1"] * 3
    assert service.watches == [""]


async def test_closed_client_ends_the_watch(client: Any, service: Service) -> None:
    async with reader_of(client, "movies") as reader:
        await until(lambda: reader.is_watching)
        await client.close()
        await until(lambda: not reader.is_watching)
        with pytest.raises(RuntimeError, match="closed"):
            await reader.get("movies", "m-1")


async def test_cancelled_caller_leaves_the_fetch_to_the_others(scripted: ScriptedServer, service: Service) -> None:
    service.gate.clear()
    async with (
        draftline.AsyncClient(scripted.address, tenant_id="acme") as client,
        draftline.AsyncCachedReader(client, "movies") as reader,
    ):
        await until(lambda: reader.is_watching)
        first, second = (asyncio.ensure_future(reader.get("movies", "m-1")) for _ in range(2))
        await until(lambda: service.fetches)
        first.cancel()
        service.gate.set()
        assert (await second).version == 1
        assert first.cancelled()
        assert reader.stats.records == 1
    assert service.fetches == ["m-1"]
