"""A reader who leaves in the middle of an answer has cancelled it: nothing is wrong, and nobody is alerted."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from draftline.v1 import change_pb2, content_pb2_grpc, draft_pb2
from support.http2_frames import HEADERS, SETTINGS, Frame, Wire, connected, opening, reset
from support.log_capture import logged
from support.polling import until
from support.responses import Records
from support.servers import RunningServer, serving

COUNT, TEXT = 40, "x" * 50_000  # 2 MB in all, more than a connection takes before it is read
LARGE = {
    "/draftline.v1.DraftService/StreamMerged": draft_pb2.StreamMergedRequest(tenant_id="acme", collection="films"),
    "/draftline.v1.DraftService/GetMerged": draft_pb2.GetMergedRequest(
        tenant_id="acme", collection="films", page_size=COUNT
    ),
    "/draftline.v1.ChangeService/ListChanges": change_pb2.ListChangesRequest(tenant_id="acme", page_size=COUNT),
    "/draftline.v1.ChangeService/WatchChanges": change_pb2.WatchChangesRequest(tenant_id="acme", snapshot=True)
    if "snapshot" in change_pb2.WatchChangesRequest.DESCRIPTOR.fields_by_name
    else change_pb2.WatchChangesRequest(tenant_id="acme"),
}


@pytest.fixture(scope="module")
def filled(server: RunningServer) -> Iterator[RunningServer]:
    never_slow = {"slow_call_s": 600, "slow_statement_s": 600}  # which would be logged as a warning
    with (
        serving(server.url, log_level="info", **never_slow) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        records = Records(content_pb2_grpc.ContentServiceStub(channel), "acme")
        for number in range(COUNT):
            records.create(f"m-{number}", {"text": TEXT})
        yield running


def by_reset(wire: Wire) -> None:
    wire.send(reset(1))
    wire.send(Frame(SETTINGS, 0, 0, b""))


def by_closing(wire: Wire) -> None:
    wire.socket.close()


def by_breaking(wire: Wire) -> None:
    """Reset the connection, as the kernel does for a process that is killed with unread data."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.socket.close()


@pytest.mark.parametrize("leave", [by_reset, by_closing, by_breaking])
@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.rpartition("/")[2])
@pytest.mark.parametrize("reads_first", [False, True])
def test_reader_who_leaves_is_told_as_cancelled(
    filled: RunningServer, path: str, leave: Callable[[Wire], None], reads_first: bool
) -> None:
    methods = filled.app.server.calls.telemetry.methods
    method = methods[path[1:].replace("/", ".")]
    before = {code: outcome.duration_s.counts[:] for code, outcome in method.outcomes.items()}
    with logged() as events:
        for _ in range(5):
            with connected(filled.address) as wire:
                wire.send(*opening(1, path, LARGE[path].SerializeToString()))
                if reads_first:
                    next(frame for frame in wire.frames() if frame.kind == HEADERS)
                leave(wire)
            until(lambda: not filled.app.server.calls.count)
    until(lambda: not filled.app.server.calls.send_buffer.bytes)  # what nobody reads any more counts no longer
    grown = {code for code, outcome in method.outcomes.items() if outcome.duration_s.counts != before.get(code)}
    assert grown <= {"CANCELLED", "OK"}, events
    assert not [event for event in events if event["log_level"] in ("warning", "error") and not is_of_two_loops(event)]


def is_of_two_loops(event: Any) -> bool:
    """Return whether grpc.aio reports that the loop of another test server in this process read first."""
    return isinstance(event.get("exc_info"), BlockingIOError)
