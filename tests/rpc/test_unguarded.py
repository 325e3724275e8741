"""Public services accept calls without credentials, and survive any input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from draftline_server.rpc import public_services as unguarded
from draftline_server.rpc.services.health import Health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.responses import TIMEOUT_S, refusal_of
from support.servers import RunningServer, serving

INVALID = grpc.StatusCode.INVALID_ARGUMENT
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
CALLS = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]
CALLS += [f"/{service}/ServerReflectionInfo" for service in unguarded.REFLECTION]


@pytest.fixture(scope="module")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with serving(server.url, stream_idle_timeout_s=0.2) as running, grpc.insecure_channel(running.address) as opened:
        yield opened


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x02\xff\xfe", b"\x0a\x05abc", b"\x0a\x88\x27" + b"a" * 5000])
def test_request_that_is_none_is_refused(channel: grpc.Channel, path: str, data: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.stream_stream(path)(iter([data]), timeout=TIMEOUT_S))
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason) == (INVALID, "UNDECODABLE_REQUEST")


@pytest.mark.parametrize("path", CALLS[:2])
def test_call_without_a_message_is_refused(channel: grpc.Channel, path: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.stream_stream(path)(iter([]), timeout=TIMEOUT_S))
    assert refusal_of(caught.value).code is INVALID


def test_reflection_that_asks_for_nothing_ends(channel: grpc.Channel) -> None:
    for path in CALLS[2:]:
        assert list(channel.stream_stream(path)(iter([]), timeout=TIMEOUT_S)) == []


def test_streams_are_bounded_and_checks_go_on(channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unguarded, "MAX_STREAMS", 2)
    health = health_pb2_grpc.HealthStub(channel)
    watches = [health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S) for _ in range(2)]
    assert [next(watch).status for watch in watches] == [SERVING, SERVING]
    with pytest.raises(grpc.RpcError) as caught:
        next(health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S))
    assert refusal_of(caught.value).reason == "OVERLOADED"
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status == SERVING
    for watch in watches:
        watch.cancel()


async def test_watcher_of_health_is_told_when_another_has_gone() -> None:
    is_away = False

    async def probe() -> None:
        if is_away:
            raise OSError

    health = Health(["a"], probe)
    await health.start()
    stays, goes, unknown = health.follow("a"), health.follow("a"), health.follow("b")
    for each in (stays, goes):
        assert await anext(each) == SERVING
    assert await anext(unknown) == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    closing: Any = goes
    await closing.aclose()
    is_away = True
    assert await anext(stays) == NOT_SERVING
    assert health.status("b") is None
    await health.drain()
