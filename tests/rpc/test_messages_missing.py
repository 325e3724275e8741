"""A call whose message never comes ends all the same, and leaves its place to others."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from support.request_bytes import METHODS, name_of
from support.responses import TIMEOUT_S, refusal_of
from support.servers import RunningServer, serving

EACH = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@pytest.fixture(scope="module")
def hasty(server: RunningServer) -> Iterator[RunningServer]:
    """A server that waits for nobody for long."""
    with serving(server.url, call_timeout_s=0.2, stream_idle_timeout_s=0.2) as running:
        yield running


def refusal(channel: grpc.Channel, method: MethodDescriptor, messages: Iterator[bytes]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.stream_stream(name_of(method))(messages, timeout=TIMEOUT_S))
    return refusal_of(caught.value)


@EACH
def test_call_that_ends_without_a_message_is_refused(hasty: RunningServer, method: MethodDescriptor) -> None:
    with grpc.insecure_channel(hasty.address) as channel:
        assert refusal(channel, method, iter(())).code is grpc.StatusCode.INVALID_ARGUMENT


@EACH
def test_call_without_a_message_ends_by_the_servers_limit(hasty: RunningServer, method: MethodDescriptor) -> None:
    is_over = Event()

    def none() -> Iterator[bytes]:
        is_over.wait(TIMEOUT_S)
        yield from ()

    with grpc.insecure_channel(hasty.address) as channel:
        refused = refusal(channel, method, none())
        is_over.set()
    assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


def test_message_after_the_only_one_is_not_read(server: RunningServer) -> None:
    (method,) = [each for each in METHODS if each.name == "ListCollections"]
    request = b"\x0a\x04acme"
    with grpc.insecure_channel(server.address) as channel:
        call = channel.stream_unary(name_of(method))
        assert call(iter([request, b"\xff"]), timeout=TIMEOUT_S) == call(iter([request]), timeout=TIMEOUT_S)
