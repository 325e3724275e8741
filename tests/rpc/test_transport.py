"""Connections: TLS, what grpc is told about them, and what callers cannot do with them."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from draftline.v1 import change_pb2, content_pb2, content_pb2_grpc
from draftline_server.auth import authentication as auth
from draftline_server.rpc import server as server_module
from draftline_server.rpc import tls as tls_module
from draftline_server.settings import Settings
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.authenticated_server import METHODS, guarded, key_settings
from support.certificates import Authority, Pair
from support.http2_frames import (
    ENHANCE_YOUR_CALM,
    GOAWAY,
    MAX_CONCURRENT_STREAMS,
    PING,
    RST_STREAM,
    SETTINGS,
    Frame,
    connected,
    opening,
    reset,
)
from support.log_capture import logged
from support.polling import until
from support.responses import TIMEOUT_S
from support.servers import RunningServer, cloned, serving, start

FIRST, SECOND = Authority("first"), Authority("second")
SERVING = health_pb2.HealthCheckResponse.SERVING
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
WATCH = "/draftline.v1.ChangeService/WatchChanges"


@pytest.fixture(scope="module")
def url(postgres_url: str, template: str) -> Iterator[str]:
    with cloned(postgres_url, template) as made:
        yield made


@pytest.fixture(autouse=True)
def _reloaded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers look for replaced certificates more often than once a second."""
    monkeypatch.setattr(tls_module, "INTERVAL_S", 0.02)


def health(channel: grpc.Channel) -> Any:
    """Call health over this connection and return the response or the error."""
    try:
        return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status
    except grpc.RpcError as error:
        return error.code()


def reaches(running: RunningServer, authority: Authority, client: Pair | None = None) -> Any:
    with authority.channel(running.address, client) as channel:
        return health(channel)


@contextmanager
def serving_tls(url: str, folder: Path, pair: Pair, client_ca: Authority | None = None) -> Iterator[RunningServer]:
    settings = pair.write(folder)
    if client_ca is not None:
        (folder / "client_ca").write_bytes(client_ca.certificate)
        settings["tls_client_ca_file"] = folder / "client_ca"
    with serving(url, **settings) as running:
        yield running


# TLS


def test_calls_go_over_tls_alone(url: str, tmp_path: Path) -> None:
    with serving_tls(url, tmp_path, FIRST.issue()) as running:
        assert reaches(running, FIRST) == SERVING
        assert reaches(running, SECOND) is UNAVAILABLE
        with grpc.insecure_channel(running.address) as channel:
            assert health(channel) is UNAVAILABLE


@pytest.mark.parametrize(("version", "spoken"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
def test_old_tls_is_refused(url: str, tmp_path: Path, version: str, spoken: bool) -> None:
    context = ssl.create_default_context(cadata=FIRST.certificate.decode())
    context.set_alpn_protocols(["h2"])
    context.set_ciphers("ALL:@SECLEVEL=0")  # this side would do it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with serving_tls(url, tmp_path, FIRST.issue()) as running:
        port = int(running.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="localhost") as secured:
                    assert secured.version() == version.replace("_", ".")
            except (ssl.SSLError, ConnectionError):
                assert not spoken
            else:
                assert spoken


def test_replaced_certificate_is_used_for_new_connections(url: str, tmp_path: Path) -> None:
    with serving_tls(url, tmp_path, FIRST.issue()) as running, FIRST.channel(running.address) as before:
        assert health(before) == SERVING
        SECOND.issue().write(tmp_path)
        until(lambda: reaches(running, SECOND) == SERVING)
        assert reaches(running, FIRST) is UNAVAILABLE
        assert health(before) == SERVING


def unusable() -> dict[str, tuple[Pair, str]]:
    good = SECOND.issue()
    return {
        "garbage": (Pair(b"garbage", b"garbage"), "the certificate is not a PEM certificate"),
        "empty": (Pair(b"", b""), "the certificate is not a PEM certificate"),
        "half a certificate": (Pair(good.certificate[:200], good.key), "the certificate is not a PEM certificate"),
        "no key": (Pair(good.certificate, good.certificate), "the key is not an unencrypted PEM key"),
        "the key of another": (Pair(good.certificate, FIRST.issue().key), "the key does not match the certificate"),
        "expired": (SECOND.issue(lifetime=timedelta(days=-1)), "the certificate expired at"),
    }


@pytest.mark.parametrize("kind", unusable())
def test_bad_certificate_leaves_the_last_in_use_and_is_told(url: str, tmp_path: Path, kind: str) -> None:
    bad, problem = unusable()[kind]
    with serving_tls(url, tmp_path, FIRST.issue()) as running, logged() as events:
        bad.write(tmp_path)
        until(lambda: [each for each in events if problem in each.get("reason", "")])
        assert reaches(running, FIRST) == SERVING
        SECOND.issue().write(tmp_path)
        until(lambda: reaches(running, SECOND) == SERVING)
    assert "PRIVATE KEY" not in str(events)


@pytest.mark.parametrize("kind", unusable())
def test_server_does_not_start_with_a_bad_certificate(url: str, tmp_path: Path, kind: str) -> None:
    bad, problem = unusable()[kind]
    with pytest.raises(ValueError, match=f"the TLS certificate cannot be used: {problem}"):
        start(url, **bad.write(tmp_path))


def test_callers_need_a_certificate_where_that_is_set(url: str, tmp_path: Path) -> None:
    with serving_tls(url, tmp_path, FIRST.issue(), client_ca=SECOND) as running:
        assert reaches(running, FIRST, SECOND.issue("caller")) == SERVING
        assert reaches(running, FIRST, FIRST.issue("caller")) is UNAVAILABLE
        assert reaches(running, FIRST, SECOND.issue("caller", timedelta(days=-1))) is UNAVAILABLE
        assert reaches(running, FIRST) is UNAVAILABLE
        (tmp_path / "client_ca").write_bytes(FIRST.certificate)
        until(lambda: reaches(running, FIRST, FIRST.issue("caller")) == SERVING)
        assert reaches(running, FIRST, SECOND.issue("caller")) is UNAVAILABLE


# Beyond loopback


@pytest.mark.parametrize(
    ("authenticates", "secures", "allowed", "starts"),
    [
        (False, False, False, False),
        (True, False, False, False),
        (False, True, False, False),
        (True, True, False, True),
        (False, False, True, True),
    ],
)
def test_server_listens_beyond_loopback_only_with_both_authentication_and_tls(
    url: str, tmp_path: Path, authenticates: bool, secures: bool, allowed: bool, starts: bool
) -> None:
    settings: dict[str, Any] = {"host": "0.0.0.0", "dangerously_serve_unprotected": allowed}
    settings |= FIRST.issue().write(tmp_path) if secures else {}
    settings |= key_settings(tmp_path) if authenticates else {}
    problem = "without both authentication and TLS, loopback alone is served"
    with nullcontext() if starts else pytest.raises(ValueError, match=problem):
        start(url, **settings)


def test_contract_is_told_to_callers_who_are_known_only_by_choice(url: str, tmp_path: Path) -> None:
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    with guarded(url, tmp_path, reflection=True) as server:
        assert len(server.send(path, (), b"")) == 1
    with guarded(url, tmp_path) as server, pytest.raises(grpc.RpcError) as caught:
        server.send(path, (), b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# What is served, and how much of it


def test_path_that_is_not_exactly_that_of_an_rpc_reaches_no_handler(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    identified: list[object] = []

    async def identify(_: object, metadata: object) -> None:
        identified.append(metadata)

    monkeypatch.setattr(auth.NoAuthentication, "identify", identify)
    paths = ["", "/", "//", "/draftline.v1.ContentService", "/draftline.v1.ContentService/", "/no.such.Service/Get"]
    for method in METHODS:
        service, name = method.containing_service.full_name, method.name
        paths += [f"/{service}/{name}/", f"/{service}/{name}x", f"/{service}/{name[:-1]}", f"/{service}/{name.lower()}",
                  f"//{service}/{name}", f"/{service}//{name}", f"/{service}/{name}?a", f"/x/../{service}/{name}",
                  f"/{service.lower()}/{name}", f"/x.{service}/{name}", f"/{service}.{name}", f" /{service}/{name}",
                  f"/{service}/%47{name[1:]}", f"{service}/{name}"]  # fmt: skip
    with serving(url) as running, grpc.insecure_channel(running.address) as channel:
        for path in paths:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(path)(b"", timeout=TIMEOUT_S)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, path
        assert not identified
        assert health(channel) == SERVING


@pytest.mark.parametrize("size", [8192, 12_000, 15_000])
def test_metadata_up_to_the_limit_is_always_taken(url: str, size: int) -> None:
    with serving(url) as running, grpc.insecure_channel(running.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for _ in range(20):  # grpc itself would refuse some of them
            stub.Check(health_pb2.HealthCheckRequest(), metadata=(("x-large", "x" * size),), timeout=TIMEOUT_S)


@pytest.mark.parametrize("count", [1, 40])
def test_metadata_over_the_limit_is_always_refused(url: str, count: int) -> None:
    metadata = tuple((f"x-large-{n}", "x" * (16_384 // count)) for n in range(count))
    with serving(url) as running, grpc.insecure_channel(running.address) as channel:
        for _ in range(5):
            with pytest.raises(grpc.RpcError) as caught:
                health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), metadata=metadata, timeout=TIMEOUT_S
                )
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert health(channel) == SERVING


def test_connection_serves_no_more_calls_at_once_than_is_set(url: str) -> None:
    request = change_pb2.WatchChangesRequest(tenant_id="acme").SerializeToString()
    with serving(url, max_streams_per_connection=10) as running, connected(running.address) as wire:
        frames = wire.frames()
        assert next(frame.settings() for frame in frames if frame.kind == SETTINGS)[MAX_CONCURRENT_STREAMS] == 10
        wire.send(*(frame for n in range(100) for frame in opening(2 * n + 1, WATCH, request)))
        refused = [next(frame for frame in frames if frame.kind == RST_STREAM) for _ in range(90)]
        assert {frame.payload for frame in refused} == {struct.pack(">I", ENHANCE_YOUR_CALM)}
        until(lambda: running.app.server.calls.count == 10)
        with grpc.insecure_channel(running.address) as channel:
            assert health(channel) == SERVING


def test_default_of_streams_is_told_to_every_caller(url: str) -> None:
    with serving(url) as running, connected(running.address) as wire:
        told = next(frame.settings() for frame in wire.frames() if frame.kind == SETTINGS)
    assert told[MAX_CONCURRENT_STREAMS] == Settings().limits.max_streams_per_connection == 100


@pytest.mark.parametrize("open_for", [0, 20, 300])
def test_rapid_resets_leave_nothing_behind(url: str, open_for: int) -> None:
    request = change_pb2.WatchChangesRequest(tenant_id="acme").SerializeToString()
    with serving(url) as running, grpc.insecure_channel(running.address) as channel:
        with connected(running.address) as wire:
            reading = threading.Thread(target=lambda: [None for _ in wire.frames()])
            reading.start()
            for n in range(2000 + open_for):
                frames = opening(2 * n + 1, WATCH, request) if n < 2000 else []
                wire.send(*frames, *([reset(2 * (n - open_for) + 1)] if n >= open_for else []))
            assert health(channel) == SERVING
            until(lambda: not running.app.server.calls.count)
            wire.socket.shutdown(socket.SHUT_RDWR)
            reading.join()
        records = content_pb2_grpc.ContentServiceStub(channel)
        request_of_new = content_pb2.CreateContentRequest(tenant_id="acme", collection=f"resets-{open_for}")
        request_of_new.content.json = "{}"
        assert records.CreateContent(request_of_new, timeout=TIMEOUT_S).record.version == 1


def test_caller_that_pings_too_often_loses_its_connection(url: str) -> None:
    with serving(url) as running, connected(running.address) as wire:
        wire.send(*(Frame(PING, 0, 0, bytes(8)) for _ in range(10)))
        farewells = [frame for frame in wire.frames() if frame.kind == GOAWAY]
        assert farewells[-1].payload[4:] == struct.pack(">I", ENHANCE_YOUR_CALM) + b"too_many_pings"


def test_silent_connection_is_tried_and_closed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "PING_TIMEOUT_S", 1.0)
    with serving(url, keepalive_interval_s=1.0) as running, connected(running.address) as wire:
        pings = [frame for frame in wire.frames() if frame.kind == PING]  # none of them is answered
        assert pings


def test_connection_ends_with_its_calls_when_it_is_old(url: str) -> None:
    with (
        serving(url, max_connection_age_s=0.5, max_connection_age_grace_s=0.5) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            next(watch)
        assert caught.value.code() is UNAVAILABLE
        assert health(channel) == SERVING
