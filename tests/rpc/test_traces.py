"""Traces, as a collector gets them: OTLP over a real port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, content_pb2_grpc
from draftline_server.observability import tracing
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus
from support import servers
from support.log_capture import logged
from support.responses import TIMEOUT_S, document
from support.servers import serving

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "a-secret-in-a-content"
CREATE = "draftline.v1.ContentService/CreateContent"
PATCH = "draftline.v1.ContentService/PatchContent"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []

    def Export(self, request: Any, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:  # noqa: N802
        self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> Span:
        (span,) = [span for span in self.spans if span.name == name]
        return span


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield collector
    server.stop(None).wait()


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in span.attributes}


def traceparent(flags: str = "01") -> tuple[tuple[str, str], ...]:
    return (("x-draftline-user", "ada"), ("traceparent", f"00-{TRACE}-{CALLER}-{flags}"))


def create(address: str, record_id: str, metadata: Any = None) -> None:
    with grpc.insecure_channel(address) as channel:
        request = content_pb2.CreateContentRequest(
            tenant_id="acme", collection="films", record_id=record_id, content=document({"text": SECRET})
        )
        content_pb2_grpc.ContentServiceStub(channel).CreateContent(request, timeout=TIMEOUT_S, metadata=metadata)


def test_call_is_a_span_of_its_callers_trace_and_each_statement_one_of_its_own(
    database_url: str, collector: Collector
) -> None:
    with serving(database_url, trace_endpoint=collector.endpoint) as server:
        create(server.address, "m-1", traceparent())
        with pytest.raises(grpc.RpcError):
            create(server.address, "m-1")
    first, second = [span for span in collector.spans if span.name == CREATE]
    assert (first.trace_id.hex(), first.parent_span_id.hex(), first.kind) == (TRACE, CALLER, Span.SPAN_KIND_SERVER)
    assert attributes(first) == {
        "rpc.system": "grpc", "rpc.service": "draftline.v1.ContentService", "rpc.method": "CreateContent",
        "rpc.grpc.status_code": 0, "enduser.id": "ada", "draftline.tenant_id": "acme", "draftline.statements": 1,
    }  # fmt: skip
    (statement,) = [span for span in collector.spans if span.parent_span_id == first.span_id]
    assert (statement.trace_id, statement.name, statement.kind) == (
        first.trace_id, "create_content", Span.SPAN_KIND_CLIENT,
    )  # fmt: skip
    assert attributes(statement) == {"db.system.name": "postgresql", "db.query.summary": "create_content"}
    times = [
        first.start_time_unix_nano, statement.start_time_unix_nano,
        statement.end_time_unix_nano, first.end_time_unix_nano,
    ]  # fmt: skip
    assert times == sorted(times)
    assert second.trace_id != first.trace_id
    assert second.parent_span_id == b""
    assert attributes(second)["draftline.reason"] == "RECORD_EXISTS"
    assert second.status.code == SpanStatus.STATUS_CODE_UNSET  # the caller's fault
    assert SECRET not in str(collector.requests)


def test_statement_of_a_group_is_in_the_trace_of_each_of_its_calls(database_url: str, collector: Collector) -> None:
    with serving(database_url, trace_endpoint=collector.endpoint) as server:
        for number in range(20):
            create(server.address, f"m-{number}")
        with grpc.insecure_channel(server.address) as channel:
            stub = content_pb2_grpc.ContentServiceStub(channel)
            requests = [
                content_pb2.PatchContentRequest(
                    tenant_id="acme", collection="films", record_id=f"m-{number}", delta=document({"n": number})
                )
                for number in range(20)
            ]
            for call in [stub.PatchContent.future(request, timeout=TIMEOUT_S) for request in requests]:
                call.result()
    calls = {span.span_id for span in collector.spans if span.name == PATCH}
    assert len(calls) == 20
    assert {span.parent_span_id for span in collector.spans if span.name == "patch_content"} == calls


def test_failure_of_the_service_is_an_error(
    database_url: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("draftline_server.rpc.services.content.fill_record", None)
    with serving(database_url, trace_endpoint=collector.endpoint) as server, pytest.raises(grpc.RpcError):
        create(server.address, "m-1")
    assert collector.named(CREATE).status.code == SpanStatus.STATUS_CODE_ERROR


def test_trace_that_the_caller_does_not_keep_is_not_kept(database_url: str, collector: Collector) -> None:
    with serving(database_url, trace_endpoint=collector.endpoint, trace_sample_ratio=0) as server:
        create(server.address, "m-1", traceparent("00"))
        create(server.address, "m-2")
        create(server.address, "m-3", traceparent("01"))
    assert [span.trace_id.hex() for span in collector.spans if span.name == CREATE] == [TRACE]


def test_log_names_the_trace_that_a_call_began(database_url: str, collector: Collector) -> None:
    with logged() as events, serving(database_url, trace_endpoint=collector.endpoint) as server:
        create(server.address, "m-1")
    (line,) = [event for event in events if event["event"] == "call"]
    assert line["trace_id"] == collector.named(CREATE).trace_id.hex()


def test_calls_go_on_without_a_collector(database_url: str) -> None:
    with serving(database_url, trace_endpoint="http://127.0.0.1:1") as server:
        create(server.address, "m-1")


def test_service_loads_neither_traces_nor_migrations_if_it_needs_none() -> None:
    """Imports are most of the time that a start takes."""
    code = """
import sys, draftline_server.cli.serve, draftline_server.processes.single
unneeded = "opentelemetry", "alembic", "sqlalchemy.orm", "sqlalchemy.ext.asyncio"
print([name for name in unneeded if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_extra_that_is_not_there_is_told(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "draftline_server.observability.spans", None)
    with pytest.raises(ValueError, match=r"DRAFTLINE_TRACE_ENDPOINT needs .*draftline-server\[traces\]"):
        servers.start(database_url, trace_endpoint="http://127.0.0.1:4317")
    assert "pip install" in tracing.NEEDED
