"""Metrics are served over a real port and count calls of every kind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, content_pb2_grpc, draft_pb2
from draftline_server.observability import http_endpoints as monitoring
from draftline_server.observability.http_endpoints import Address, serving_metrics
from draftline_server.settings import Settings
from draftline_server.wiring import metrics_address
from support import servers
from support.draft_calls import Drafts, edit
from support.log_capture import logged
from support.metrics import Scrape, page, scrape
from support.polling import eventually, until
from support.responses import TIMEOUT_S, document
from support.servers import RunningServer, cloned, serving
from support.watch_stream import watching

PATCH = "draftline.v1.ContentService/PatchContent"


@pytest.fixture(scope="module")
def measured(postgres_url: str, template: str) -> Iterator[RunningServer]:
    with cloned(postgres_url, template) as url, serving(url, metrics_port=0) as running:
        yield running


@pytest.fixture
def channel(measured: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(measured.address) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> content_pb2_grpc.ContentServiceStub:
    return content_pb2_grpc.ContentServiceStub(channel)


@pytest.fixture
def ada(channel: grpc.Channel, tenant_id: str) -> Drafts:
    return Drafts(channel, tenant_id, "ada")


def read(server: RunningServer) -> Scrape:
    assert server.app.metrics_port is not None
    return scrape(server.app.metrics_port)


class Since:
    """The growth of metrics since a point in time."""

    def __init__(self, server: RunningServer) -> None:
        self._server, self._before = server, read(server)

    def __call__(self, name: str, **labels: str) -> float:
        return read(self._server).value(name, **labels) - self._before.value(name, **labels)


def create(stub: Any, tenant_id: str, *record_ids: str) -> None:
    for record_id in record_ids:
        request = content_pb2.CreateContentRequest(
            tenant_id=tenant_id, collection="films", record_id=record_id, content=document({"n": 1})
        )
        stub.CreateContent(request, timeout=TIMEOUT_S)


def patch(tenant_id: str, record_id: str, **options: Any) -> content_pb2.PatchContentRequest:
    return content_pb2.PatchContentRequest(
        tenant_id=tenant_id, collection="films", record_id=record_id, delta=document({"n": 2}), **options
    )


def test_writes_of_a_stream_are_counted_by_code(measured: RunningServer, stub: Any, tenant_id: str) -> None:
    create(stub, tenant_id, "m-1")
    grown = Since(measured)
    items = [{"patch": patch(tenant_id, record_id)} for record_id in ("m-1", "none", "m-1")]
    list(stub.StreamPatches(iter([content_pb2.StreamPatchesRequest(items=items)]), timeout=TIMEOUT_S))
    assert grown("draftline_streamed_writes_total", grpc_status="OK") == 2
    assert grown("draftline_streamed_writes_total", grpc_status="NOT_FOUND") == 1


def test_calls_are_counted_by_method_and_code_with_time_sizes_and_statements(
    measured: RunningServer, stub: Any, tenant_id: str
) -> None:
    create(stub, tenant_id, "m-1")
    grown, request = Since(measured), patch(tenant_id, "m-1")
    answer = stub.PatchContent(request, timeout=TIMEOUT_S)
    with pytest.raises(grpc.RpcError):
        stub.PatchContent(patch(tenant_id, "none"), timeout=TIMEOUT_S)
    assert grown("grpc_server_call_started_total", grpc_method=PATCH) == 2
    for code in ("OK", "NOT_FOUND"):
        labels = {"grpc_method": PATCH, "grpc_status": code}
        assert grown("grpc_server_call_duration_seconds_count", **labels) == 1
        assert 0 < grown("grpc_server_call_duration_seconds_sum", **labels) < TIMEOUT_S
    ok = {"grpc_method": PATCH, "grpc_status": "OK"}
    assert grown("grpc_server_call_rcvd_total_compressed_message_size_bytes_sum", **ok) == request.ByteSize()
    assert grown("grpc_server_call_sent_total_compressed_message_size_bytes_sum", **ok) == answer.ByteSize()
    assert grown("draftline_call_statements_sum", grpc_method=PATCH) == 2
    assert grown("draftline_call_statements_bucket", grpc_method=PATCH, le="1.0") == 2
    assert grown("draftline_statement_duration_seconds_count", statement="patch_content") == 2
    assert grown("draftline_batch_size_count", kind="patches") == 2


def test_statements_of_a_group_are_each_calls_and_are_counted_once(
    measured: RunningServer, stub: Any, tenant_id: str
) -> None:
    ids = [f"m-{number}" for number in range(40)]
    create(stub, tenant_id, *ids)
    grown = Since(measured)
    for call in [stub.PatchContent.future(patch(tenant_id, record_id), timeout=TIMEOUT_S) for record_id in ids]:
        call.result()
    statements = grown("draftline_statement_duration_seconds_count", statement="patch_content")
    assert grown("draftline_call_statements_sum", grpc_method=PATCH) == len(ids)
    assert 1 <= statements == grown("draftline_batch_size_count", kind="patches") < len(ids)
    assert grown("draftline_batch_size_sum", kind="patches") == len(ids)


def test_reads_that_share_a_statement_are_counted(measured: RunningServer, stub: Any, tenant_id: str) -> None:
    create(stub, tenant_id, "m-1")
    grown = Since(measured)
    get = content_pb2.GetContentRequest(tenant_id=tenant_id, collection="films", record_id="m-1")
    for call in [stub.GetContent.future(get, timeout=TIMEOUT_S) for _ in range(40)]:
        call.result()
    assert grown("draftline_batch_size_sum", kind="reads") == 40
    assert 1 <= grown("draftline_batch_size_count", kind="reads") < 40
    assert grown("draftline_call_statements_sum", grpc_method="draftline.v1.ContentService/GetContent") == 40


def test_transactions_are_counted_with_their_beginning_and_end(
    replacing_measured: RunningServer, tenant_id: str
) -> None:
    with grpc.insecure_channel(replacing_measured.address) as channel:
        stub = content_pb2_grpc.ContentServiceStub(channel)
        create(stub, tenant_id, "m-1", "m-2")
        stub.PatchContent(patch(tenant_id, "m-2"), timeout=TIMEOUT_S)  # after which the declaration is known
        grown = Since(replacing_measured)
        stub.PatchContent(patch(tenant_id, "m-1"), timeout=TIMEOUT_S)
    assert grown("draftline_call_statements_sum", grpc_method=PATCH) == 8
    assert [grown("draftline_statement_duration_seconds_count", statement=name) for name in ("begin", "commit")] == [
        1,
        1,
    ]


@pytest.fixture
def replacing_measured(postgres_url: str, template: str) -> Iterator[RunningServer]:
    settings = {"metrics_port": 0, "enable_partial_updates": False}
    with cloned(postgres_url, template) as url, serving(url, **settings) as running:
        yield running


def test_drafts_are_counted_but_for_previews_and_refused_edits(
    measured: RunningServer, stub: Any, ada: Drafts, tenant_id: str
) -> None:
    create(stub, tenant_id, "m-1", "m-2")
    grown = Since(measured)
    ada.save(edit("m-1", {"n": 3}), edit("m-2", {"n": 3}), edit("none", {"n": 3}), allow_partial=True)
    stub.PatchContent(patch(tenant_id, "m-1"), timeout=TIMEOUT_S)
    selection = {**ada.where, "all": True}
    for options in ({"validate_only": True}, {}):
        with pytest.raises(grpc.RpcError):
            ada.send("Commit", draft_pb2.CommitRequest(**selection, **options))
    ada.send("Commit", draft_pb2.CommitRequest(**selection, allow_partial=True))
    ada.send("Discard", draft_pb2.DiscardRequest(**selection, validate_only=True))
    ada.send("Discard", draft_pb2.DiscardRequest(**selection))
    assert [grown(f"draftline_drafts_{done}_total") for done in ("saved", "committed", "discarded")] == [2, 1, 1]
    assert grown("draftline_draft_conflicts_total") == 2


def test_watchers_are_shown_while_they_watch(measured: RunningServer, channel: grpc.Channel, tenant_id: str) -> None:
    with watching(channel, tenant_id):
        assert read(measured).value("draftline_watchers") == 1
    until(lambda: read(measured).value("draftline_watchers") == 0)
    method = "draftline.v1.ChangeService/WatchChanges"
    assert read(measured).value("grpc_server_call_duration_seconds_count", grpc_method=method, grpc_status="CANCELLED")


def test_no_label_holds_what_callers_send(measured: RunningServer, stub: Any, tenant_id: str) -> None:
    create(stub, tenant_id, "m-1")
    with pytest.raises(grpc.RpcError):
        stub.GetContent(content_pb2.GetContentRequest(tenant_id=tenant_id), timeout=TIMEOUT_S)
    assert tenant_id not in read(measured).text


def test_probes_answer_and_anything_else_is_refused(measured: RunningServer) -> None:
    port = measured.app.metrics_port or 0
    assert page(port, "/livez") == page(port, "/readyz") == (200, "ok\n")
    assert page(port, "/metrics", "HEAD") == (200, "")
    assert page(port, "/") == (404, "/metrics /livez /readyz\n")
    assert page(port, "/metrics", "POST")[0] == 405


def test_probes_go_on_while_nonsense_is_sent(measured: RunningServer) -> None:
    address = ("127.0.0.1", measured.app.metrics_port or 0)
    for nonsense in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"x" * 100_000, b"GET /metrics"):
        with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
            connection.sendall(nonsense)
    assert page(address[1], "/livez") == (200, "ok\n")


async def test_answer_that_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "REQUEST_TIMEOUT_S", 0.1)

    asked = asyncio.Event()

    async def much() -> bytes:
        asked.set()
        return b"x" * (32 << 20)

    async def ready() -> bool:
        return True

    async with serving_metrics(much, ready, Address("127.0.0.1", 0)) as port:
        with socket.create_connection(("127.0.0.1", port or 0)) as connection:
            others = asyncio.all_tasks()
            connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            await asked.wait()
            await eventually(lambda: asyncio.all_tasks() == others)


async def test_port_that_nobody_named_gives_way_where_it_is_taken() -> None:
    async def nothing() -> bytes:
        return b""

    async def ready() -> bool:
        return True

    with socket.create_server(("127.0.0.1", 0)) as other, logged() as events:
        taken = other.getsockname()[1]
        async with serving_metrics(nothing, ready, Address("127.0.0.1", taken, falls_back=True)) as port:
            assert port not in (None, 0, taken)
            assert await asyncio.to_thread(page, port or 0, "/readyz") == (200, "ok\n")
    assert [(event["event"], event["port"]) for event in events] == [("metrics_port_in_use", taken)]


def test_port_gives_way_unless_it_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert metrics_address(Settings().metrics) == Address("127.0.0.1", 9464, falls_back=True)
    assert metrics_address(Settings(metrics_port=9464).metrics) == Address("127.0.0.1", 9464, falls_back=False)
    monkeypatch.setenv("DRAFTLINE_METRICS_PORT", "9000")
    assert metrics_address(Settings().metrics) == Address("127.0.0.1", 9000, falls_back=False)
    monkeypatch.setenv("DRAFTLINE_METRICS_PORT", "")
    assert metrics_address(Settings().metrics) is None


def test_port_that_is_taken_is_told_by_its_setting(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"DRAFTLINE_METRICS_PORT: cannot listen on 127.0.0.1:{port}"):
            servers.start(database_url, metrics_port=port)
