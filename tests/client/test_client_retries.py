"""Retries: which calls, when, and with which request id."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import draftline
import grpc
import pytest
from draftline import Retry
from draftline._core.connection import METHODS
from draftline._core.retries import Attempts
from draftline.v1 import change_pb2, collection_pb2, content_pb2, draft_pb2, sync_pb2
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st
from support.both_clients import Connect
from support.scripted_responses import ABORTED, INTERNAL, QUICK, RESOURCE_EXHAUSTED, UNAVAILABLE, found, record
from support.scripted_server import ScriptedServer, failure, info

REQUEST_ID = "5f0a1f4e-1111-4222-8333-444455556666"
GONE = failure(UNAVAILABLE, "gone")
UNAVAILABLE_ERROR = draftline.UnavailableError(grpc.StatusCode.UNAVAILABLE, "gone")

# Every method that writes, by its rpc, and what the service answers.
WRITES: dict[str, tuple[Callable[..., Any], Any]] = {
    "CreateContent": (
        lambda it, **id: it.create_content("movies", {}, **id),
        content_pb2.CreateContentResponse(record=record()),
    ),
    "PatchContent": (
        lambda it, **id: it.patch_content("movies", "m-1", {}, **id),
        content_pb2.PatchContentResponse(record=record()),
    ),
    "BatchPatchContent": (
        lambda it, **id: it.batch_patch_content("movies", [draftline.Patch("m-1", {})], **id),
        content_pb2.BatchPatchContentResponse(),
    ),
    "DeleteContent": (
        lambda it, **id: it.delete_content("movies", "m-1", **id),
        content_pb2.DeleteContentResponse(record=record()),
    ),
    "UndeleteContent": (
        lambda it, **id: it.undelete_content("movies", "m-1", **id),
        content_pb2.UndeleteContentResponse(record=record()),
    ),
    "PurgeContent": (
        lambda it, **id: it.purge_content("movies", ["m-1"], **id),
        content_pb2.PurgeContentResponse(),
    ),
    "ImportContent": (
        lambda it, **id: it.import_content("movies", [("m-1", {})], **id),
        content_pb2.ImportContentResponse(),
    ),
    "PutCollection": (lambda it, **id: it.put_collection("movies", **id), collection_pb2.PutCollectionResponse()),
    "SaveDraft": (
        lambda it, **id: it.save_drafts("movies", [draftline.DraftEdit("m-1", {})], **id),
        draft_pb2.SaveDraftResponse(),
    ),
    "Commit": (lambda it, **id: it.commit("movies", all=True, **id), draft_pb2.CommitResponse()),
    "Discard": (lambda it, **id: it.discard("movies", all=True, **id), draft_pb2.DiscardResponse()),
    "PutSync": (lambda it, **id: it.put_sync("toy", "toy", ["movies"], **id), sync_pb2.PutSyncResponse()),
    "PauseSync": (lambda it, **id: it.pause_sync("toy", **id), sync_pb2.PauseSyncResponse()),
    "ResumeSync": (lambda it, **id: it.resume_sync("toy", **id), sync_pb2.ResumeSyncResponse()),
    "RunSync": (lambda it, **id: it.run_sync("toy", "push", **id), sync_pb2.RunSyncResponse()),
    "RetrySync": (lambda it, **id: it.retry_sync("movies", ["m-1"], **id), sync_pb2.RetrySyncResponse()),
    "ResolveSync": (
        lambda it, **id: it.resolve_sync("movies", "m-1", mine=["/n"], **id),
        sync_pb2.ResolveSyncResponse(),
    ),
    "LinkRecord": (lambda it, **id: it.link_record("movies", "m-1", "r-1", **id), sync_pb2.LinkRecordResponse()),
    "RevertChange": (lambda it, **id: it.revert(("movies", "m-1", 2), **id), change_pb2.RevertChangeResponse()),
}


def ids_of(scripted: ScriptedServer) -> list[str]:
    """Return the request id of each attempt; an import has it in its header."""
    headers = (
        each.header if isinstance(each, content_pb2.ImportContentRequest) else each
        for each in scripted.requests
        if not isinstance(each, content_pb2.ImportContentRequest) or each.HasField("header")
    )
    return [each.request_id for each in headers]


def then(*answers: Any) -> Callable[[Any], Any]:
    """Return a handler that responds with one item after the other."""
    following = iter(answers)
    return lambda _: next(following)


def test_every_write_is_tried() -> None:
    streamed = {"StreamPatches"}  # by the bulk writer, see test_bulk_writer.py
    assert set(WRITES) | streamed == {each.name for each in METHODS if not each.is_read}


@pytest.mark.parametrize("rpc", WRITES)
async def test_write_is_sent_again_with_the_same_id(connect: Connect, scripted: ScriptedServer, rpc: str) -> None:
    write, answer = WRITES[rpc]
    ids = []
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        for arguments in ({}, {}, {"request_id": REQUEST_ID}):
            scripted.requests.clear()
            scripted.answers[rpc] = then(GONE, failure(ABORTED, "collided", info("CONTENTION")), answer)
            await write(client, **arguments)
            sent = ids_of(scripted)
            assert len(sent) == 3
            ids += set(sent)
    first, second, given_id = ids
    assert (uuid.UUID(first).version, uuid.UUID(second).version, given_id) == (4, 4, REQUEST_ID)
    assert first != second


@pytest.mark.parametrize("rpc", WRITES)
async def test_write_without_an_id_is_sent_once(connect: Connect, scripted: ScriptedServer, rpc: str) -> None:
    scripted.answers[rpc] = lambda _: GONE
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        with pytest.raises(draftline.UnavailableError):
            await WRITES[rpc][0](client, request_id="")
    assert ids_of(scripted) == [""]


async def test_read_is_sent_again_while_unavailable(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetContent"] = then(GONE, GONE, found(None))
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        assert (await client.get_content("movies", "m-1")).version == 1
    assert len(scripted.requests) == 3


async def test_call_gives_up_after_its_attempts(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetCollection"] = lambda _: failure(UNAVAILABLE, "gone", info("DATABASE_UNAVAILABLE"))
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        with pytest.raises(draftline.UnavailableError) as caught:
            await client.get_collection("movies")
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert len(scripted.requests) == QUICK.max_attempts


async def test_call_with_one_attempt_is_sent_once(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetContent"] = lambda _: GONE
    async with connect(scripted.address, tenant_id="acme", retry=Retry(max_attempts=1)) as client:
        with pytest.raises(draftline.UnavailableError):
            await client.get_content("movies", "m-1")
    assert len(scripted.requests) == 1


async def test_attempts_share_one_deadline(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetContent"] = then(failure(UNAVAILABLE, "gone", retry_after(0.5)), found(None))
    async with connect(scripted.address, tenant_id="acme", retry=QUICK, timeout=5) as client:
        await client.get_content("movies", "m-1")
    _, remaining_s = scripted.time_remaining
    assert remaining_s is not None
    assert remaining_s < 4.6  # gRPC rounds a timeout up on its way


async def test_call_whose_pause_would_pass_its_deadline_fails_at_once(
    connect: Connect, scripted: ScriptedServer
) -> None:
    scripted.answers["GetContent"] = lambda _: failure(UNAVAILABLE, "gone", retry_after(60))
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        with pytest.raises(draftline.UnavailableError) as caught:
            await client.get_content("movies", "m-1", timeout=30)
    assert caught.value.retry_delay_s == 60
    assert len(scripted.requests) == 1


async def test_each_attempt_asks_for_the_token(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["PatchContent"] = then(GONE, WRITES["PatchContent"][1])
    tokens = iter(["t-1", "t-2"])
    async with connect(scripted.address, tenant_id="acme", retry=QUICK, token=lambda: next(tokens)) as client:
        await client.patch_content("movies", "m-1", {})
    assert [each["authorization"] for each in scripted.metadata] == ["Bearer t-1", "Bearer t-2"]


def retry_after(seconds: float) -> error_details_pb2.RetryInfo:
    message = error_details_pb2.RetryInfo()
    message.retry_delay.FromTimedelta(timedelta(seconds=seconds))
    return message


@pytest.mark.parametrize(
    ("status", "attempts"),
    [
        (failure(ABORTED, "collided", info("CONTENTION")), 2),
        (failure(RESOURCE_EXHAUSTED, "slow down", info("OVERLOADED"), retry_after(0.001)), 2),
        (failure(RESOURCE_EXHAUSTED, "full", info("OVERLOADED")), 1),
        (failure(ABORTED, "stale", info("VERSION_MISMATCH")), 1),
        (failure(ABORTED, "conflict", info("CONFLICT")), 1),
        (failure(INTERNAL, "sorry", info("INTERNAL")), 1),
        (failure(4, "late", info("DEADLINE_EXCEEDED")), 1),
    ],
    ids=lambda value: value.message if hasattr(value, "message") else value,
)
async def test_error_decides_whether_a_call_is_sent_again(
    connect: Connect, scripted: ScriptedServer, status: Any, attempts: int
) -> None:
    scripted.answers["PatchContent"] = then(status, WRITES["PatchContent"][1])
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        if attempts == 1:
            with pytest.raises(draftline.DraftlineError):
                await client.patch_content("movies", "m-1", {})
        else:
            await client.patch_content("movies", "m-1", {})
    assert len(scripted.requests) == attempts


async def test_import_of_a_collection_is_read_again(connect: Connect, scripted: ScriptedServer) -> None:
    received: list[list[str]] = []

    def answer(messages: list[content_pb2.ImportContentRequest]) -> Any:
        received.append([each.record_id for message in messages for each in message.chunk.records])
        return GONE if len(received) < 3 else content_pb2.ImportContentResponse(inserted_count=2)

    scripted.answers["ImportContent"] = answer
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        assert (await client.import_content("movies", [("1", {}), ("2", {})])).inserted_count == 2
    assert received == [["1", "2"]] * 3


async def test_import_of_an_iterator_is_sent_once(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda _: GONE

    class Cursor:
        """Iterable more than once, but not a collection: the second iteration may yield other items."""

        def __iter__(self) -> Iterator[tuple[str, dict[str, int]]]:
            return iter([("1", {})])

    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        for records in (iter([("1", {})]), Cursor()):
            scripted.requests.clear()
            with pytest.raises(draftline.UnavailableError):
                await client.import_content("movies", records)
            assert len(ids_of(scripted)) == 1


async def test_import_whose_records_raise_is_not_sent_again(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda _: content_pb2.ImportContentResponse()
    read = 0

    def records() -> Iterator[tuple[str, dict[str, int]]]:
        nonlocal read
        read += 1
        yield "1", {}
        raise UNAVAILABLE_ERROR

    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        with pytest.raises(draftline.UnavailableError) as caught:
            await client.import_content("movies", records())
    assert (caught.value, read) == (UNAVAILABLE_ERROR, 1)


async def test_server_out_of_reach_is_unavailable(connect: Connect) -> None:
    async with connect("127.0.0.1:1", tenant_id="acme", retry=QUICK) as client:
        with pytest.raises(draftline.UnavailableError):
            await client.patch_content("movies", "m-1", {}, timeout=0.3)
        with pytest.raises(draftline.UnavailableError):
            await client.import_content("movies", [("1", {})], timeout=0.3)
        with pytest.raises(draftline.UnavailableError):  # without a timeout, the number of attempts is the limit
            await client.get_content("movies", "m-1", timeout=None)


async def test_refused_connection_is_tried_until_the_service_listens(connect: Connect) -> None:
    with socket.socket() as reserved:  # holds the port, without listening
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        tries = Retry(max_attempts=2, initial_backoff_s=0.001, max_backoff_s=0.01)
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]
        async with connect(address, tenant_id="acme", retry=tries, options=options) as client:
            waiting = asyncio.ensure_future(client.get_content("movies", "m-1"))
            await asyncio.sleep(0.5)  # many times as long as two attempts
            assert not waiting.done()
            reserved.close()
            with ScriptedServer(address=address) as server:
                server.answers["GetContent"] = found
                assert (await waiting).version == 1


@pytest.mark.parametrize("retry", [Retry(max_attempts=1), Retry(max_attempts=2, wait_for_connection=False)])
async def test_refused_connection_fails_soon_if_the_retry_says_so(connect: Connect, retry: Retry) -> None:
    async with connect("127.0.0.1:1", tenant_id="acme", retry=retry) as client:
        with pytest.raises(draftline.UnavailableError):
            await asyncio.wait_for(asyncio.ensure_future(client.get_content("movies", "m-1")), 10)


@given(st.integers(1, 10), st.floats(0, 10), st.floats(0, 100), st.integers(1, 2_000))
def test_pause_is_random_up_to_a_bound_that_doubles(attempts: int, initial: float, more: float, failures: int) -> None:
    retry = Retry(attempts, initial, initial + more)
    pause_s = retry.pause_s(failures, UNAVAILABLE_ERROR)
    assert 0 <= pause_s <= min(initial + more, initial * 2.0 ** min(failures - 1, 1_000))


def test_pause_is_no_shorter_than_the_service_asks_for() -> None:
    error = draftline.UnavailableError(grpc.StatusCode.UNAVAILABLE, "gone", retry_delay_s=7.5)
    assert 7.5 <= Retry().pause_s(1, error) <= 7.5 + Retry().initial_backoff_s


def test_attempts_end_with_their_time() -> None:
    now = 0.0
    attempts = Attempts(Retry(100, 1, 1), 3.0, may_repeat=True, clock=lambda: now)
    assert attempts.left_s() == 3.0
    assert attempts.pause_s(UNAVAILABLE_ERROR) is not None
    now = 2.99999999
    late = draftline.UnavailableError(grpc.StatusCode.UNAVAILABLE, "gone", retry_delay_s=0.5)
    assert attempts.pause_s(late) is None


def test_attempts_are_counted_again_after_progress() -> None:
    attempts = Attempts(Retry(2, 0, 0), None, may_repeat=True)
    assert attempts.left_s() is None
    for _ in range(5):
        assert attempts.pause_s(UNAVAILABLE_ERROR) == 0
        attempts.progress()
    assert attempts.pause_s(UNAVAILABLE_ERROR) == 0
    assert attempts.pause_s(UNAVAILABLE_ERROR) is None


@pytest.mark.parametrize("options", [{"max_attempts": 0}, {"initial_backoff_s": -1}, {"max_backoff_s": 0.1}])
def test_invalid_retry_is_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"attempt|backoff"):
        Retry(**options)
