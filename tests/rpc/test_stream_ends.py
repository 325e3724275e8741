"""However a call ends, its connection has room for the next: a place that were kept would close it for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest
from draftline.v1 import change_pb2, change_pb2_grpc, content_pb2, content_pb2_grpc, draft_pb2, draft_pb2_grpc
from support.polling import until
from support.responses import TIMEOUT_S, Records, document
from support.servers import RunningServer, serving

STREAMS = 8  # at once on a connection
TIMES = 4 * STREAMS
Part = content_pb2.ImportContentRequest


@pytest.fixture(scope="module")
def narrow(server: RunningServer) -> Iterator[RunningServer]:
    """A server whose connections have few places, and whose calls are short."""
    with serving(server.url, max_streams_per_connection=STREAMS, stream_idle_timeout_s=0.05) as running:
        yield running


def header(**options: Any) -> Part:
    return Part(header=content_pb2.ImportHeader(tenant_id="acme", collection="films", **options))


def chunk() -> Part:
    return Part(chunk=content_pb2.ImportChunk(records=[content_pb2.ImportRecord(record_id="a", content=document({}))]))


def importing(channel: grpc.Channel, *parts: Part) -> None:
    content_pb2_grpc.ContentServiceStub(channel).ImportContent(iter(parts), timeout=TIMEOUT_S)


def silent(channel: grpc.Channel) -> None:
    """An import that the server gives up."""
    over = []

    def parts() -> Iterator[Part]:
        yield header()
        yield chunk()
        until(lambda: over)

    call = content_pb2_grpc.ContentServiceStub(channel).ImportContent.future(parts(), timeout=TIMEOUT_S)
    call.add_done_callback(over.append)
    call.result()


def cancelled_import(channel: grpc.Channel) -> None:
    def parts() -> Iterator[Part]:
        yield header()
        call.cancel()

    call = content_pb2_grpc.ContentServiceStub(channel).ImportContent.future(parts(), timeout=TIMEOUT_S)
    call.result()


def cancelled_watch(channel: grpc.Channel) -> None:
    stream = change_pb2_grpc.ChangeServiceStub(channel).WatchChanges(
        change_pb2.WatchChangesRequest(tenant_id="acme"), timeout=TIMEOUT_S
    )
    next(stream)
    stream.cancel()


def refused_watch(channel: grpc.Channel) -> None:
    request = change_pb2.WatchChangesRequest(tenant_id="acme", resume_token="none of ours")
    list(change_pb2_grpc.ChangeServiceStub(channel).WatchChanges(request, timeout=TIMEOUT_S))


def refused_stream(channel: grpc.Channel) -> None:
    request = draft_pb2.StreamMergedRequest(tenant_id="acme", collection="films", filter="(")
    list(draft_pb2_grpc.DraftServiceStub(channel).StreamMerged(request, timeout=TIMEOUT_S))


def late(channel: grpc.Channel) -> None:
    request = draft_pb2.GetMergedRequest(tenant_id="acme", collection="films")
    draft_pb2_grpc.DraftServiceStub(channel).GetMerged(request, timeout=0.0005)


@pytest.mark.parametrize(
    "call",
    [
        lambda channel: importing(channel, header(mode=7), chunk()),
        lambda channel: importing(channel, header(), header()),
        lambda channel: importing(channel, header(), chunk()),
        importing,
        silent,
        cancelled_import,
        cancelled_watch,
        refused_watch,
        refused_stream,
        late,
    ],
    ids=["refused header", "refused message", "no end", "nothing", "silent", "cancelled import", "cancelled watch",
         "refused watch", "refused stream", "late"],
)  # fmt: skip
def test_call_that_fails_leaves_its_place_to_others(narrow: RunningServer, call: Callable[[Any], None]) -> None:
    with grpc.insecure_channel(narrow.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        records = Records(content_pb2_grpc.ContentServiceStub(channel), "acme")
        for _ in range(TIMES):
            with suppress(grpc.RpcError, grpc.FutureCancelledError):
                call(channel)
        assert records.is_missing("nobody")
        until(lambda: not narrow.app.server.calls.send_buffer.bytes)
