"""Tokens from a function: fetched for each attempt, and once more after a rejection."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import draftline
import pytest
from draftline._core.retries import Attempts
from draftline.v1 import change_pb2, content_pb2, draft_pb2
from support.authenticated_server import Guarded, guarded
from support.both_clients import Connect
from support.scripted_log import ScriptedLog, change
from support.scripted_responses import QUICK, UNAUTHENTICATED, WAIT_S, found, record
from support.scripted_server import ScriptedServer, failure, info
from support.servers import cloned
from support.tokens import In, secret_token

EXPIRED = failure(UNAUTHENTICATED, "the token has expired", info("UNAUTHENTICATED", expired="true"))
ONCE = draftline.Retry(max_attempts=1)


def numbered() -> Callable[[], str]:
    """Return a different token at each call."""
    tokens = iter(range(1, 100))
    return lambda: f"t-{next(tokens)}"


def sent(scripted: ScriptedServer) -> list[str]:
    return [each["authorization"].removeprefix("Bearer ") for each in scripted.metadata]


def unless_new(answer: Callable[[Any], Any], scripted: ScriptedServer) -> Callable[[Any], Any]:
    """Reject the first token."""
    return lambda request: EXPIRED if sent(scripted)[-1] == "t-1" else answer(request)


async def test_refused_call_is_sent_once_more_with_the_next_token(connect: Connect, scripted: ScriptedServer) -> None:
    answer = content_pb2.PatchContentResponse(record=record())
    scripted.answers["PatchContent"] = unless_new(lambda _: answer, scripted)
    async with connect(scripted.address, tenant_id="acme", token=numbered(), retry=ONCE) as client:
        # Without a request id as well: what was refused wrote nothing.
        await client.patch_content("movies", "m-1", {}, request_id="")
    assert sent(scripted) == ["t-1", "t-2"]


async def test_call_that_is_refused_twice_fails(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetContent"] = lambda _: EXPIRED
    async with connect(scripted.address, tenant_id="acme", token=numbered()) as client:
        with pytest.raises(draftline.UnauthenticatedError, match="expired") as caught:
            await client.get_content("movies", "m-1")
    assert caught.value.is_expired
    assert sent(scripted) == ["t-1", "t-2"]


async def test_token_that_is_a_string_is_sent_once(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetContent"] = lambda _: failure(UNAUTHENTICATED, "who?", info("UNAUTHENTICATED"))
    async with connect(scripted.address, tenant_id="acme", token="t-1") as client:
        with pytest.raises(draftline.UnauthenticatedError) as caught:
            await client.get_content("movies", "m-1")
    assert not caught.value.is_expired
    assert sent(scripted) == ["t-1"]


async def test_refused_import_is_sent_once_more_if_it_can_be(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = unless_new(lambda _: content_pb2.ImportContentResponse(), scripted)
    records = [("m-1", {})]
    async with connect(scripted.address, tenant_id="acme", token=numbered()) as client:
        await client.import_content("movies", records)
    assert sent(scripted) == ["t-1", "t-2"]
    scripted.metadata.clear()
    async with connect(scripted.address, tenant_id="acme", token=numbered()) as client:
        with pytest.raises(draftline.UnauthenticatedError):
            await client.import_content("movies", iter(records))
    assert sent(scripted) == ["t-1"]


async def test_long_list_outlives_its_tokens(connect: Connect, scripted: ScriptedServer) -> None:
    """Each connection ends after one page."""

    def answer(request: draft_pb2.StreamMergedRequest) -> Iterator[Any]:
        page = int(request.page_token or 0)
        merged = draft_pb2.MergedRecord(state=draft_pb2.RECORD_STATE_PRISTINE, record=record(record_id=f"m-{page}"))
        yield draft_pb2.StreamMergedResponse(records=[merged], next_page_token=str(page + 1) if page < 4 else "")
        yield EXPIRED

    scripted.answers["StreamMerged"] = answer
    async with connect(scripted.address, tenant_id="acme", token=numbered()) as client:
        read = client.stream_merged("movies")
        assert [(await anext(read)).record_id for _ in range(5)] == [f"m-{page}" for page in range(5)]
        await read.aclose()
    assert sent(scripted)[:5] == [f"t-{number}" for number in range(1, 6)]


async def test_watch_goes_on_with_the_next_token(connect: Connect, scripted: ScriptedServer) -> None:
    log = [[change(1)], [change(2)], [change(3)], [change(4)]]
    scripted.answers["WatchChanges"] = ScriptedLog(log, [(0, EXPIRED), (2, EXPIRED), (3, EXPIRED)])
    async with (
        connect(scripted.address, tenant_id="acme", token=numbered(), retry=ONCE) as client,
        client.watch("movies") as watch,
    ):
        assert [(await anext(watch)).version for _ in range(4)] == [1, 2, 3, 4]
    assert sent(scripted) == ["t-1", "t-2", "t-3", "t-4"]


async def test_watch_without_another_token_ends(connect: Connect, scripted: ScriptedServer) -> None:
    """Each connection is rejected after its first message, which has no items."""

    def answer(_: Any) -> Iterator[Any]:
        yield change_pb2.WatchChangesResponse(resume_token="1")
        yield EXPIRED

    scripted.answers["WatchChanges"] = answer
    async with (
        connect(scripted.address, tenant_id="acme", token=lambda: "t-1", retry=QUICK) as client,
        client.watch("movies") as watch,
    ):
        with pytest.raises(draftline.UnauthenticatedError):
            await anext(watch)
    assert sent(scripted) == ["t-1", "t-1"]


async def test_exception_of_the_token_function_is_raised(connect: Connect, scripted: ScriptedServer) -> None:
    def broken() -> str:
        raise KeyError("no session")

    async with connect(scripted.address, tenant_id="acme", token=broken) as client:
        for call in (client.get_content("movies", "m-1"), client.import_content("movies", [])):
            with pytest.raises(KeyError, match="no session"):
                await call
    assert scripted.metadata == []


async def test_asyncio_client_awaits_its_token(scripted: ScriptedServer) -> None:
    async def token() -> str:
        await asyncio.sleep(0)
        return "t-1"

    scripted.answers["GetContent"] = found
    scripted.answers["ImportContent"] = lambda _: content_pb2.ImportContentResponse()
    scripted.answers["WatchChanges"] = ScriptedLog([[change(1)]])
    async with draftline.AsyncClient(scripted.address, tenant_id="acme", token=token) as client:
        await client.get_content("movies", "m-1")
        await client.import_content("movies", [])
        async with client.watch("movies") as watch:
            assert (await anext(watch)).version == 1
    assert sent(scripted) == ["t-1", "t-1", "t-1"]


async def test_time_to_fetch_a_token_counts_for_the_timeout(
    connect: Connect, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def token() -> str:
        asked.append("token")
        return "t-1"

    def left_s(_: Attempts) -> float:
        asked.append("time")
        return WAIT_S

    monkeypatch.setattr(Attempts, "left_s", left_s)
    scripted.answers["GetContent"] = found
    scripted.answers["ImportContent"] = lambda _: content_pb2.ImportContentResponse()
    scripted.answers["StreamMerged"] = lambda _: iter([draft_pb2.StreamMergedResponse()])
    async with connect(scripted.address, tenant_id="acme", token=token) as client:
        await client.get_content("movies", "m-1")
        await client.import_content("movies", [])
        assert [each async for each in client.stream_merged("movies")] == []
    assert asked == ["token", "time"] * 3


async def test_watch_that_is_closed_while_its_token_is_awaited_leaves_no_stream(scripted: ScriptedServer) -> None:
    asked, given = asyncio.Event(), asyncio.Event()

    async def token() -> str:
        asked.set()
        await given.wait()
        return "t-1"

    async def read(watch: draftline.AsyncWatch[draftline.Change]) -> list[draftline.Change]:
        return [each async for each in watch]

    scripted.answers["WatchChanges"] = ScriptedLog([[change(1)]])
    async with draftline.AsyncClient(scripted.address, tenant_id="acme", token=token) as client:
        watch = client.watch("movies")
        reading = asyncio.create_task(read(watch))
        await asked.wait()
        await watch.close()
        given.set()
        assert await asyncio.wait_for(reading, WAIT_S) == []
    assert scripted.metadata == []


def test_blocking_client_rejects_a_token_that_is_not_a_string(scripted: ScriptedServer) -> None:
    numbers: Any = lambda: 7  # noqa: E731
    with (
        draftline.Client(scripted.address, tenant_id="acme", token=numbers) as client,
        pytest.raises(TypeError, match="the token must be a string, not int"),
    ):
        client.get_content("movies", "m-1")


@pytest.fixture(scope="module")
def keyed(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with cloned(postgres_url, template) as url, guarded(url, tmp_path_factory.mktemp("keys"), auth_leeway_s=0) as made:
        yield made


async def test_watch_of_the_service_outlives_its_token(connect: Connect, keyed: Guarded) -> None:
    """The service ends the stream after two seconds; no change is lost or repeated."""
    record_id = uuid.uuid4().hex
    minted: list[float] = []

    def short() -> str:
        minted.append(time.monotonic())
        return secret_token(exp=In(2 if len(minted) == 1 else 600))

    address = keyed.running.address
    async with (
        draftline.AsyncClient(address, tenant_id="acme", token=secret_token()) as writer,
        connect(address, tenant_id="acme", token=short) as client,
        client.watch("films") as watch,
    ):
        await writer.create_content("films", {"n": 0}, record_id=record_id)
        seen = [await anext(watch)]
        while len(minted) < 2:  # until the service has ended the stream, and another is open
            await writer.patch_content("films", record_id, {"n": len(seen)})
            seen.append(await asyncio.wait_for(anext(watch), WAIT_S))
        await writer.patch_content("films", record_id, {"n": -1})
        seen.append(await asyncio.wait_for(anext(watch), WAIT_S))
    assert [each.version for each in seen] == list(range(1, len(seen) + 1))
    assert minted[1] - minted[0] > 1
