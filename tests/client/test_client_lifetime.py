"""A client that is closed answers each use with a sentence; one that is never closed lets the interpreter end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import Mock

import draftline
import pytest
from draftline import BulkWriteError, DraftEdit, Patch
from draftline._core.connection import METHODS
from support.both_clients import Connect, Threaded
from support.scripted_server import ScriptedServer
from support.servers import RunningServer

CLOSED = "the client is closed: create a new one"


async def _next(iterator: Any) -> Any:
    return await iterator.__aiter__().__anext__()


async def _entered(block: Any) -> Any:
    async with block:
        return await _next(block)


async def _bulk(client: Any) -> None:
    async with client.bulk_writer() as writer:
        await writer.patch("m", "1", {})
        await writer.flush()


USES: dict[str, Callable[[Any], Any]] = {
    "get": lambda client: client.get_content("m", "1"),
    "patch": lambda client: client.patch_content("m", "1", {}),
    "batch": lambda client: client.batch_patch_content("m", [Patch("1", {})]),
    "save": lambda client: client.save_drafts("m", [DraftEdit("1", {})]),
    "import": lambda client: client.import_content("m", []),
    "list": lambda client: _next(client.get_merged("m")),
    "stream": lambda client: _next(client.stream_merged("m")),
    "changes": lambda client: _next(client.changes()),
    "watch": lambda client: _entered(client.watch()),
    "matching": lambda client: client.patch_matching("m", filter="a = 1", delta={}),
    "bulk writer": _bulk,
}


@pytest.mark.parametrize("use", USES)
async def test_use_after_close_raises_a_sentence(connect: Connect, use: str) -> None:
    async with connect("127.0.0.1:1", tenant_id="acme") as client:
        await client.close()
        with pytest.raises(RuntimeError, match=CLOSED):
            await USES[use](client)
        await client.close()


@pytest.mark.parametrize("use", sorted(USES.keys() - {"watch"}))  # a watch ends
def test_call_that_begins_while_another_thread_closes_the_client_is_refused(
    scripted: ScriptedServer, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = draftline.Client(scripted.address, tenant_id="acme")
    rpc_of = client._rpc

    def closing(*kind_and_method: Any) -> Any:
        rpc = rpc_of(*kind_and_method)

        def call(start: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            client.close()
            return start(*args, **kwargs)

        return Mock(side_effect=partial(call, rpc), future=partial(call, getattr(rpc, "future", None)))

    monkeypatch.setattr(client, "_rpc", closing)
    with pytest.raises((RuntimeError, BulkWriteError), match=CLOSED):
        asyncio.run(USES[use](Threaded(client)))


@pytest.mark.parametrize("use", ["get", "patch", "batch", "save", "import", "list", "stream", "changes", "matching"])
async def test_close_ends_running_calls_with_an_error(connect: Connect, scripted: ScriptedServer, use: str) -> None:
    called, answered = threading.Event(), threading.Event()

    def answer(_: Any) -> Any:
        called.set()
        answered.wait(60)
        return iter(())

    scripted.answers = dict.fromkeys([method.name for method in METHODS], answer)
    try:
        async with connect(scripted.address, tenant_id="acme") as client:
            call = asyncio.ensure_future(USES[use](client))
            await asyncio.to_thread(called.wait, 60)
            await client.close()
            with pytest.raises(draftline.CallCancelledError):
                await call
    finally:
        answered.set()


async def test_task_that_is_cancelled_after_the_client_is_closed_stays_cancelled(scripted: ScriptedServer) -> None:
    called, answered = threading.Event(), threading.Event()

    def answer(_: Any) -> Any:
        called.set()
        answered.wait(60)

    scripted.answers["GetContent"] = answer
    try:
        async with draftline.AsyncClient(scripted.address, tenant_id="acme") as client:
            call = asyncio.create_task(client.get_content("m", "1"))
            await asyncio.to_thread(called.wait, 60)
            call.cancel()
            await client.close()
            with pytest.raises(asyncio.CancelledError):
                await call
    finally:
        answered.set()


async def test_closed_client_is_not_entered_again() -> None:
    blocking, asynchronous = draftline.Client("127.0.0.1:1"), draftline.AsyncClient("127.0.0.1:1")
    blocking.close()
    await asynchronous.close()
    with pytest.raises(RuntimeError, match=CLOSED), blocking:
        pass
    with pytest.raises(RuntimeError, match=CLOSED):
        async with asynchronous:
            pass


UNCLOSED = """
import asyncio, sys, threading, draftline
address, tenant = sys.argv[1:]

def wait_for(watch, received):
    try:
        for each in watch:
            received.set()
    except Exception:
        pass

def blocking():
    client = draftline.Client(address, tenant_id=tenant)
    watch, received = client.watch("m"), threading.Event()
    threading.Thread(target=wait_for, args=(watch, received), daemon=True).start()
    while not received.wait(0.05):
        client.create_content("m", {})
    return client, watch

async def asynchronous():
    client = draftline.AsyncClient(address, tenant_id=tenant)
    watch = client.watch("m")
    task = asyncio.ensure_future(watch.__anext__())
    while not task.done():
        await client.create_content("m", {})
        await asyncio.sleep(0.05)
    return client, watch, asyncio.ensure_future(watch.__anext__())

kept = blocking()
kept += asyncio.run(asynchronous())
print("end")
"""


def test_interpreter_ends_quietly_while_clients_and_watches_are_open(server: RunningServer, tenant_id: str) -> None:
    command = [sys.executable, "-c", UNCLOSED, server.address, tenant_id]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
