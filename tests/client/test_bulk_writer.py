"""The bulk writer of both clients: futures, order, back-pressure, and connections that break."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import draftline
import grpc
import pytest
from draftline import op
from support.authenticated_server import ISSUER, guarded
from support.both_clients import Connect
from support.responses import TIMEOUT_S
from support.tcp_proxy import before

MANY = 1_000


async def contents(client: Any, *names: str) -> list[Any]:
    return [(await client.get_content("films", name)).content for name in names]


async def test_writes_of_all_kinds_have_their_results(client: Any) -> None:
    async with client.bulk_writer() as writer:
        created = await writer.create("films", {"n": 1}, record_id="a")
        patched = await writer.patch("films", "a", {"n": 2})
        generated = await writer.create("films", {"n": 3})
        missing = await writer.delete("films", "none", allow_missing=True)
        deleted = await writer.delete("films", "a")
        await writer.flush()
        assert (created.result().version, patched.result().record.version) == (1, 2)
        assert patched.result().changed_fields == ("n",)
        assert generated.result().content == {"n": 3}
        assert missing.result() is None
        assert deleted.result().delete_time is not None
        assert writer.progress == draftline.BulkProgress(pending=0, succeeded=5, failed=0)


async def test_writes_of_one_record_keep_their_order_among_many(client: Any) -> None:
    async with client.bulk_writer() as writer:
        for number in range(50):
            for name in "abc":
                await writer.patch(
                    "films", name, {"seen": []}, allow_missing=True
                ) if not number else await writer.patch("films", name, operations=[op.add("/seen/-", number)])
    assert await contents(client, *"abc") == [{"seen": list(range(1, 50))}] * 3


async def test_failures_end_the_block_unless_they_are_handled(client: Any) -> None:
    writer = client.bulk_writer()
    await writer.patch("films", "a", {"n": 1}, allow_missing=True)
    failing = [await writer.patch("films", "none", {"n": 1}) for _ in range(2)]
    with pytest.raises(draftline.BulkWriteError, match="2 writes failed; the first one, of films/none") as caught:
        await writer.close()
    await writer.close()
    assert caught.value.failed_count == 2
    assert {type(each.error) for each in caught.value.failures} == {draftline.NotFoundError}
    assert all(isinstance(each.exception(), draftline.NotFoundError) for each in failing)
    handled: list[draftline.BulkFailure] = []
    async with client.bulk_writer(on_error=handled.append) as writer:
        await writer.patch("films", "none", {"n": 1})
    assert [(each.collection, each.record_id) for each in handled] == [("films", "none")]


async def raising_block(client: Any) -> None:
    async with client.bulk_writer() as writer:
        await writer.patch("films", "a", {"n": 1}, allow_missing=True)
        raise KeyError("of the block")


async def test_exception_of_the_block_is_not_replaced(client: Any) -> None:
    with pytest.raises(KeyError, match="of the block"):
        await raising_block(client)


async def test_closed_writer_takes_no_more_writes(client: Any) -> None:
    async with client.bulk_writer() as writer:
        await writer.patch("films", "a", {"n": 1}, allow_missing=True)
    with pytest.raises(RuntimeError, match="closed"):
        await writer.patch("films", "a", {"n": 1})


async def test_more_writes_than_may_be_pending_wait_for_room(client: Any) -> None:
    most = 0
    async with client.bulk_writer(max_pending=10) as writer:
        for number in range(200):
            await writer.patch("films", f"m-{number}", {"n": number}, allow_missing=True)
            most = max(most, writer.progress.pending)
    assert most <= 10
    assert writer.progress.succeeded == 200


async def test_arguments_that_cannot_be_sent_are_refused_at_once(client: Any) -> None:
    async with client.bulk_writer() as writer:
        with pytest.raises(ValueError, match="both delta and operations"):
            await writer.patch("films", "a", {"n": 1}, operations=[op.remove("/n")])
    with pytest.raises(ValueError, match="at least 1"):
        client.bulk_writer(max_pending=0)


async def test_connections_that_are_cut_lose_and_repeat_nothing(
    connect: Connect, server_address: str, tenant_id: str
) -> None:
    with before(server_address) as (proxy, address):
        retry = draftline.Retry(max_attempts=50, initial_backoff_s=0.01, max_backoff_s=0.1)
        async with connect(address, tenant_id=tenant_id, user="ada", retry=retry) as client:
            for name in "abcdefghij":
                await client.patch_content("films", name, {"n": 0}, allow_missing=True)
            async with client.bulk_writer(max_pending=100) as writer:
                for number in range(MANY):
                    await writer.patch("films", "abcdefghij"[number % 10], operations=[op.increment("/n", 1)])
                    if number % 250 == 249:
                        proxy.cut()
            assert proxy.cuts
            assert await contents(client, *"abcdefghij") == [{"n": MANY // 10}] * 10


async def test_service_that_is_gone_fails_every_write(connect: Connect) -> None:
    retry = draftline.Retry(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.01)
    async with connect("127.0.0.1:1", tenant_id="acme", retry=retry) as client:
        writer = client.bulk_writer()
        futures = [await writer.patch("films", f"m-{number}", {"n": 1}) for number in range(5)]
        with pytest.raises(draftline.BulkWriteError) as caught:
            await writer.close()
        assert caught.value.failed_count == 5
        assert {each.exception().code for each in futures} == {grpc.StatusCode.UNAVAILABLE}


async def test_token_function_that_raises_fails_the_writes(connect: Connect, server_address: str) -> None:
    def token() -> str:
        raise LookupError("no token")

    async with connect(server_address, tenant_id="acme", token=token) as client:
        writer = client.bulk_writer()
        await writer.patch("films", "a", {"n": 1})
        with pytest.raises(draftline.BulkWriteError, match="no token"):
            await writer.close()


async def test_callback_that_raises_stops_no_write_and_is_raised_at_the_end(client: Any) -> None:
    def on_error(_: draftline.BulkFailure) -> None:
        raise LookupError("of the callback")

    writer = client.bulk_writer(on_error=on_error)
    futures = [await writer.patch("films", name, {"n": 1}, allow_missing=name == "a") for name in ("x", "y", "a")]
    with pytest.raises(LookupError, match="of the callback"):
        await writer.close()
    assert [type(each.exception()) for each in futures] == [draftline.NotFoundError] * 2 + [type(None)]
    assert (writer.progress.failed, writer.progress.succeeded) == (2, 1)


async def test_writes_of_a_closed_client_fail(connect: Connect, server_address: str, tenant_id: str) -> None:
    async with connect(server_address, tenant_id=tenant_id) as client:
        writer = client.bulk_writer()
        await writer.patch("films", "a", {"n": 1}, allow_missing=True)
        await writer.flush()
    with pytest.raises(RuntimeError, match="closed"):
        await writer.patch("films", "a", {"n": 2})
    await writer.close()
    assert writer.progress == draftline.BulkProgress(pending=0, succeeded=1, failed=0)


async def test_token_that_expires_is_replaced_while_writes_go_on(
    connect: Connect, database_url: str, tmp_path: Path
) -> None:
    with guarded(database_url, tmp_path, auth_leeway_s=0.5) as server:
        lifetimes_s = iter([1, 600, 600, 600])
        issued: list[str] = []

        def token() -> str:
            issued.append(ISSUER.token(exp=int(time.time()) + next(lifetimes_s)))
            return issued[-1]

        async with connect(server.running.address, tenant_id="acme", token=token) as client:
            async with client.bulk_writer() as writer:
                await writer.patch("films", "a", {"n": 0}, allow_missing=True)
                writes_after = 20
                while writes_after:
                    await writer.flush()
                    await asyncio.sleep(0.005)
                    await writer.patch("films", "a", operations=[op.increment("/n", 1)])
                    writes_after -= len(issued) > 1
            ended = writer.progress
        assert ended.failed == 0


def test_callback_of_a_future_may_add_a_write_when_there_is_no_room(server_address: str, tenant_id: str) -> None:
    chains, length = 3, 20
    with draftline.Client(server_address, tenant_id=tenant_id) as client:
        writer = client.bulk_writer(max_pending=chains)

        def add(name: str, left: int) -> None:
            future = writer.patch("films", name, {"left": left}, allow_missing=True)
            if left:
                future.add_done_callback(lambda _: (add(name, left - 1), add(f"{name}-{left}", 0)))

        for number in range(chains):
            add(f"c{number}", length)
        while writer.progress.succeeded < chains * (2 * length + 1):
            writer.flush()
        writer.close()
        assert writer.progress.failed == 0


def test_interrupted_close_fails_the_writes_that_have_no_outcome(
    server_address: str, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with before(server_address) as (proxy, address), draftline.Client(address, tenant_id=tenant_id) as client:
        proxy.cut()
        writer = client.bulk_writer()
        future = writer.patch("films", "a", {"n": 1}, allow_missing=True)
        monkeypatch.setattr("draftline._threads.write_queue.WriteQueue.flush", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.close()
        assert future.exception(TIMEOUT_S) is None or isinstance(future.exception(), draftline.CallCancelledError)


UNCLOSED = """
import asyncio, sys, draftline
address, tenant = sys.argv[1:]
client = draftline.Client(address, tenant_id=tenant)
done = client.bulk_writer()
done.patch("films", "a", {"n": 1}, allow_missing=True).result()

gone = draftline.Client("127.0.0.1:1", tenant_id=tenant)
lost = gone.bulk_writer()
lost.patch("films", "a", {"n": 1}), lost.patch("films", "b", {"n": 1})

failing = client.bulk_writer()
failing.patch("films", "none", {"n": 1}).exception()
handled = client.bulk_writer(on_error=print)
handled.patch("films", "none", {"n": 1}).exception()
discarded = gone.bulk_writer()
try:
    with discarded:
        discarded.patch("films", "a", {"n": 1})
        raise KeyError
except KeyError:
    pass

async def leave():
    writer = draftline.AsyncClient("127.0.0.1:1", tenant_id=tenant).bulk_writer()
    for name in "abc":
        await writer.patch("films", name, {"n": 1})
    await asyncio.sleep(0)

asyncio.run(leave())
"""


def test_program_that_leaves_writers_open_ends_with_a_warning_of_what_is_lost(
    server_address: str, tenant_id: str
) -> None:
    command = [sys.executable, "-c", UNCLOSED, server_address, tenant_id]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lost = ("1 failed", "2 of its writes have no outcome", "3 of its writes have no outcome")
    advice = "use it in a `with` block, or call close()"
    expected = [f"a bulk writer was not closed, and {each}: {advice}" for each in lost]
    assert (ended.returncode, sorted(ended.stderr.splitlines())) == (0, expected)
