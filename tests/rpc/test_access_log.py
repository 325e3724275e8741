"""A line for each call: who did what, how it ended, and nothing of what was in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, content_pb2_grpc
from structlog.typing import EventDict
from support.log_capture import logged
from support.polling import until
from support.responses import TIMEOUT_S, document
from support.servers import serving
from support.watch_stream import watching

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
METADATA = (("x-draftline-user", "ada"), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"))
SECRET = "a-secret-in-a-content"


class Caller:
    """Calls a service, and hears what it logs of them."""

    def __init__(self, address: str, channel: grpc.Channel, events: list[EventDict]) -> None:
        self.address, self.channel, self.events = address, channel, events
        self.stub: Any = content_pb2_grpc.ContentServiceStub(channel)

    def create(self, record_id: str, tenant_id: str = "acme", **options: Any) -> Any:
        content = document({"text": SECRET})
        request = content_pb2.CreateContentRequest(
            tenant_id=tenant_id, collection="films", record_id=record_id, content=content, **options
        )
        return self.stub.CreateContent(request, timeout=TIMEOUT_S, metadata=METADATA)

    def fail(self, *arguments: Any, **options: Any) -> None:
        with pytest.raises(grpc.RpcError):
            self.create(*arguments, **options)

    def heard(self, event: str) -> list[EventDict]:
        return [each for each in self.events if each["event"] == event]


@contextmanager
def calling(url: str, **settings: object) -> Iterator[Caller]:
    with logged() as events, serving(url, **settings) as server, grpc.insecure_channel(server.address) as channel:
        yield Caller(server.address, channel, events)


def test_each_call_is_a_line(database_url: str) -> None:
    request_id = str(uuid.uuid4())
    with calling(database_url) as caller:
        caller.create("m-1", request_id=request_id)
        caller.fail("m-1")
    written, refused = caller.heard("call")
    for line in (written, refused):
        assert 0 < line.pop("duration_ms") < TIMEOUT_S * 1000
    assert written == {
        "event": "call", "log_level": "info", "method": "draftline.v1.ContentService/CreateContent", "code": "OK",
        "statements": 1, "tenant_id": "acme", "user_id": "ada", "request_id": request_id, "trace_id": TRACE,
    }  # fmt: skip
    assert (refused["code"], refused["reason"]) == ("ALREADY_EXISTS", "RECORD_EXISTS")
    assert refused["log_level"] == "info"
    assert "request_id" not in refused
    assert SECRET not in str(caller.events)


def test_stream_is_a_line_when_it_is_over(database_url: str) -> None:
    with calling(database_url, slow_call_s=0.001) as caller:
        with watching(caller.channel, "acme"):
            pass
        (line,) = until(lambda: caller.heard("call"))
    assert (line["code"], line["log_level"], line["user_id"]) == ("CANCELLED", "info", "ada")


def test_line_of_a_stream_of_writes_counts_them(database_url: str) -> None:
    with calling(database_url) as caller:
        caller.create("m-1")
        patches = [
            content_pb2.PatchContentRequest(
                tenant_id="acme", collection="films", record_id=record_id, delta=document({"text": SECRET})
            )
            for record_id in ("m-1", "missing", "m-1")
        ]
        message = content_pb2.StreamPatchesRequest(items=[{"patch": patch} for patch in patches])
        list(caller.stub.StreamPatches(iter([message]), timeout=TIMEOUT_S, metadata=METADATA))
        line = until(lambda: [each for each in caller.heard("call") if each["method"].endswith("/StreamPatches")])[0]
    assert (line["code"], line["writes"], line["failed_writes"]) == ("OK", 3, 1)
    assert SECRET not in str(caller.events)


def test_notable_calls_are_slow_ones_and_those_that_the_service_failed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with calling(database_url, access_log="notable") as caller:
        caller.create("m-1")
        caller.fail("m-1")
        assert caller.heard("call") == []
        monkeypatch.setattr("draftline_server.rpc.services.content.fill_record", None)
        caller.fail("m-2")
    (line,) = caller.heard("call")
    assert (line["code"], line["reason"], line["log_level"]) == ("INTERNAL", "INTERNAL", "warning")
    monkeypatch.undo()
    with calling(database_url, access_log="notable", slow_call_s=0.000001) as caller:
        caller.create("m-3")
    (line,) = caller.heard("call")
    assert (line["code"], line["log_level"]) == ("OK", "warning")


def test_calls_are_not_logged_if_the_settings_say_so(database_url: str) -> None:
    with calling(database_url, access_log="none", slow_call_s=0.000001) as caller:
        caller.create("m-1")
    assert caller.heard("call") == []


def test_slow_statements_are_logged_by_name(database_url: str) -> None:
    with calling(database_url, slow_statement_s=0.000001) as caller:
        caller.create("m-1")
    statements = [each for each in caller.heard("slow_statement") if each["tenant_id"] == "acme"]
    assert [each["statement"] for each in statements][-1] == "create_content"
    for each in statements:
        assert each.keys() == {"event", "log_level", "statement", "duration_ms", "failed", "tenant_id"}
    with calling(database_url) as caller:
        caller.create("m-2")
    assert caller.heard("slow_statement") == []


@pytest.mark.parametrize("tenant_id", ["a\nb [info] call", "\x1b[31m", "t" * 100_000])
def test_tenant_that_was_made_up_stays_a_short_word(database_url: str, tenant_id: str) -> None:
    with calling(database_url) as caller:
        caller.fail("m-1", tenant_id=tenant_id)
    (line,) = caller.heard("call")
    assert line["code"] == "INVALID_ARGUMENT"
    assert line["tenant_id"].isprintable()
    assert len(line["tenant_id"]) < 300
