"""Calls for which there is no room: who waits, who is refused, and who is not counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, content_pb2_grpc
from draftline_server.rpc import call_tracker as calls
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.authenticated_server import ISSUER, bearer, guarded
from support.draft_calls import Drafts
from support.polling import until
from support.responses import TIMEOUT_S, Records, refusal_of, refused
from support.watch_stream import watching

OVERLOADED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")


class Full:
    """A server with room for one call, and one that takes it until it is let go."""

    def __init__(self, running: Any, locked_record: Callable[..., AbstractContextManager[None]]) -> None:
        self.channel = grpc.insecure_channel(running.address)
        self.records = Records(content_pb2_grpc.ContentServiceStub(self.channel), "acme")
        self.turns = running.app.server.calls.admission._slots
        for record_id in ("held", "free"):
            self.records.create(record_id, {"n": 0})
        self._held = ExitStack()
        self._held.enter_context(locked_record(running.url, "held"))
        self.first = self.patch("held")
        until(lambda: self.turns.in_use == 1)

    def patch(self, record_id: str) -> Any:
        """A patch that is on its way."""
        return self.records.stub.PatchContent.future(self.records.patching(record_id, {"n": 1}), timeout=TIMEOUT_S)

    def patch_that_waits(self) -> Any:
        waiting = self.patch("free")
        until(lambda: self.turns.waiting == 1)
        return waiting

    def let_go(self) -> None:
        self._held.close()
        assert self.first.result().record.version == 2

    @property
    def get(self) -> content_pb2.GetContentRequest:
        return content_pb2.GetContentRequest(**self.records.ids("free"))


@pytest.fixture
def full(database_url: str, serving: Any, locked_record: Any) -> Iterator[Callable[..., Full]]:
    with ExitStack() as opened:

        def make(**settings: object) -> Full:
            running = opened.enter_context(serving(database_url, max_in_flight=1, **settings))
            made = Full(running, locked_record)
            opened.callback(made.channel.close)
            opened.callback(made._held.close)
            return made

        yield make


def test_call_waits_for_room_and_the_next_is_refused(full: Callable[..., Full]) -> None:
    server = full(queue_limit=2, queue_timeout_s=600)
    waiting = server.patch_that_waits()
    refusal = refused(server.records.stub.GetContent, server.get)
    assert (refusal.code, refusal.reason) == OVERLOADED
    assert refusal.message == "1 calls are running and 1 are waiting; nothing was done, try again later"
    assert not waiting.done()
    server.let_go()
    assert waiting.result().record.version == 2
    assert server.records.content("free") == {"n": 1}


def test_call_that_waited_too_long_is_refused(full: Callable[..., Full]) -> None:
    server = full(queue_timeout_s=0.05)
    refusal = refused(server.records.stub.GetContent, server.get)
    assert (refusal.code, refusal.reason) == OVERLOADED


def test_call_that_is_given_up_while_it_waits_leaves(full: Callable[..., Full]) -> None:
    server = full(queue_timeout_s=600)
    with pytest.raises(grpc.RpcError) as caught:
        server.records.stub.GetContent(server.get, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
    server.patch_that_waits().cancel()
    until(lambda: server.turns.waiting == 0)
    server.let_go()
    assert server.records.content("free") == {"n": 0}


def test_pages_of_a_stream_are_read_in_turn(full: Callable[..., Full]) -> None:
    server = full(queue_limit=0)
    with pytest.raises(grpc.RpcError) as caught:
        list(Drafts(server.channel, "acme", "ada").stream())
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason) == OVERLOADED
    server.let_go()
    (page,) = Drafts(server.channel, "acme", "ada").stream()
    assert len(page.records) == 2
    until(lambda: server.turns.in_use == 0)


def test_imports_are_let_in_as_other_calls_are(full: Callable[..., Full]) -> None:
    server = full(queue_limit=0)
    header = content_pb2.ImportHeader(tenant_id="acme", collection="films")
    with pytest.raises(grpc.RpcError) as caught:
        server.records.stub.ImportContent(iter([content_pb2.ImportContentRequest(header=header)]), timeout=TIMEOUT_S)
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason) == OVERLOADED


def test_watchers_and_health_need_no_room(full: Callable[..., Full]) -> None:
    server = full(queue_limit=0)
    with watching(server.channel, "acme") as watcher:
        health = health_pb2_grpc.HealthStub(server.channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        server.let_go()
        assert watcher.versions(1) == [("held", 2)]


def test_calls_without_messages_leave_room_for_others(
    database_url: str, serving: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MIN_ARRIVING", 8)
    with guarded(database_url, tmp_path, max_in_flight=4, queue_limit=4) as server:
        over, stub = threading.Event(), content_pb2_grpc.ContentServiceStub(server.channel)
        silent = server.channel.stream_unary("/draftline.v1.ContentService/GetContent")

        def nothing() -> Iterator[bytes]:
            over.wait(TIMEOUT_S)
            yield from ()

        nosy = bearer(ISSUER.token(organization_ids=["nosy"], scope=""))
        waiting = [silent.future(nothing(), metadata=nosy, timeout=TIMEOUT_S) for _ in range(20)]
        until(lambda: sum(call.done() for call in waiting) == 16)
        assert server.running.app.server.calls.arriving == 4
        assert {refusal_of(call.exception()).reason for call in waiting if call.done()} == {"OVERLOADED"}
        request = content_pb2.GetContentRequest(tenant_id="acme", collection="films", record_id="x")
        for _ in range(20):
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetContent(request, metadata=bearer(ISSUER.token()), timeout=TIMEOUT_S)
            assert refusal_of(caught.value).reason == "RECORD_NOT_FOUND"
        over.set()


def test_message_has_to_come_in_time(database_url: str, serving: Any) -> None:
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(TIMEOUT_S)
        yield from ()

    with serving(database_url, message_timeout_s=0.2) as running, grpc.insecure_channel(running.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary("/draftline.v1.ContentService/GetContent")(nothing(), timeout=TIMEOUT_S)
        over.set()
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert refusal.message == "the request message did not arrive within 0.2 s; nothing was done"


def test_tenant_with_many_calls_leaves_room_for_others(database_url: str, serving: Any) -> None:
    with (
        serving(database_url, max_calls=16) as running,
        grpc.insecure_channel(running.address) as channel,
        ExitStack() as opened,
    ):
        for _ in range(14):
            opened.enter_context(watching(channel, "many"))
        until(lambda: running.app.server.calls.count == 14)
        request = content_pb2.GetContentRequest(tenant_id="many", collection="films", record_id="x")
        stub = content_pb2_grpc.ContentServiceStub(channel)
        refusal = refused(stub.GetContent, request)
        assert (refusal.code, refusal.reason) == OVERLOADED
        request.tenant_id = "few"
        assert refused(stub.GetContent, request).reason == "RECORD_NOT_FOUND"


def test_drain_refuses_who_waits_and_lets_the_others_end(database_url: str, serving: Any, locked_record: Any) -> None:
    with serving(database_url, max_in_flight=1, queue_timeout_s=600, drain_timeout_s=TIMEOUT_S) as running:
        server = Full(running, locked_record)
        waiting = server.patch_that_waits()

        def release() -> None:
            waiting.exception(timeout=TIMEOUT_S)
            server.let_go()

        releasing = threading.Thread(target=release)
        releasing.start()
    releasing.join()
    refusal = refusal_of(waiting.exception())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert server.first.result().record.version == 2
    server.channel.close()
