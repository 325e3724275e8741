"""The gRPC connector says exactly what is known of a write when calls fail."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import pytest
from draftline.upstreams import (
    Applied,
    BatchRefusedError,
    CollectionBinding,
    Create,
    CursorExpiredError,
    FieldMapping,
    FieldProblem,
    Outcome,
    Refused,
    ThrottledError,
    UnauthorizedError,
    Unknown,
    UnreachableError,
    WriteItem,
)
from draftline.v1 import upstream_pb2
from draftline_server.upstreams import grpc_connector
from draftline_server.upstreams.registry import UnknownEndpointError, Upstreams
from support.toy_upstream import endpoints, grpc_endpoint, toy

SECRET = "the-token-of-the-operator"


@pytest.fixture
def running() -> Iterator[Any]:
    """A toy system of record whose faults a test sets."""
    served = toy.Running(toy.System())
    served.system = served._http.RequestHandlerClass.system
    yield served
    served.stop()


def opened(running: Any, *fields: FieldMapping, **definition: Any) -> Any:
    auth = {"kind": "bearer", "secret_file": "toy.key"}
    toy_endpoint = grpc_endpoint(running.grpc_port, **{"auth": auth, "timeout_s": 5, **definition})
    upstreams = Upstreams(lambda: endpoints({"toy.key": SECRET}, toy=toy_endpoint))
    return upstreams.open("toy", "acme", [CollectionBinding(collection="parts", fields=fields)])


async def written(upstream: Any, *documents: dict[str, Any]) -> list[Outcome]:
    items = [
        WriteItem(idempotency_key=str(uuid.uuid4()), record_id=str(index), write=Create(document))
        for index, document in enumerate(documents)
    ]
    try:
        return list(await upstream.write("parts", items))
    finally:
        await upstream.close()


@pytest.mark.parametrize("fault", ["lost-before", "timeout-after-apply", "error"])
async def test_outcome_of_a_call_that_failed_on_the_way_is_unknown(running: Any, fault: str) -> None:
    running.system.rates[fault] = 1.0
    (outcome,) = await written(opened(running), {"rate": 1})
    assert isinstance(outcome, Unknown)


async def test_throttled_call_has_the_time_to_wait(running: Any) -> None:
    running.system.rates["throttle"] = 1.0
    with pytest.raises(ThrottledError) as raised:
        await written(opened(running), {"rate": 1})
    assert raised.value.after_s == 1.0


async def test_refused_item_names_its_field_in_local_names(running: Any) -> None:
    running.system.rates["refuse"] = 1.0
    field = FieldMapping(local="/price", remote="/rate")
    assert await written(opened(running, field), {"price": 1}) == [
        Refused("INVALID", "it is refused", (FieldProblem("/price", "is not allowed"),))
    ]


async def test_value_without_a_form_in_the_system_is_refused_and_the_others_are_sent(running: Any) -> None:
    field = FieldMapping(local="/state", remote="/state", type="enum", values={"on": 1})
    refused, applied = await written(opened(running, field), {"state": "off"}, {"state": "on"})
    assert refused == Refused(
        "UNMAPPABLE",
        "/state has a value that the mapping does not contain",
        (FieldProblem("/state", "has a value that the mapping does not contain"),),
    )
    assert isinstance(applied, Applied)
    assert running.system.parts[applied.remote_id].content == {"state": 1}


async def test_system_that_is_not_there_is_unreachable_and_found_when_it_is_back(running: Any) -> None:
    upstream = opened(running)
    await upstream.describe("parts")
    port = running.grpc_port
    await asyncio.to_thread(running.stop)
    item = WriteItem(idempotency_key="k", record_id="r", write=Create({}))
    with pytest.raises(UnreachableError):
        await upstream.lookup("parts", ["x"])
    again = toy.Running(toy.System(), grpc_port=port)
    try:
        assert [type(each) for each in await upstream.write("parts", [item])] == [Applied]
    finally:
        await upstream.close()
        await asyncio.to_thread(again.stop)


async def test_request_above_the_size_limit_of_the_system_is_refused_and_not_throttled(running: Any) -> None:
    """Refuse the batch, so that its halves are sent: the libraries of gRPC accept 4 MiB by default."""
    with pytest.raises(BatchRefusedError) as raised:
        await written(opened(running), *[{"text": "x" * 1_100_000}] * 4)
    assert raised.value.refused.reason == "TOO_LARGE"
    assert not running.system.parts


async def test_response_above_the_size_limit_leaves_the_outcome_unknown(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeat a write whose response could not be received, and read nothing as throttled."""
    monkeypatch.setattr(grpc_connector, "MAX_MESSAGE_BYTES", 1_000)
    upstream = opened(running)
    (outcome,) = await written(upstream, {"text": "x" * 2_000})
    assert isinstance(outcome, Unknown)
    assert len(running.system.parts) == 1
    try:
        with pytest.raises(UnreachableError, match="larger than max"):
            await upstream.lookup("parts", list(running.system.parts))
    finally:
        await upstream.close()


async def test_address_outside_of_the_networks_is_refused(running: Any) -> None:
    with pytest.raises(UnreachableError, match="neither global nor in `networks`"):
        await written(opened(running, networks=["10.0.0.0/8"]), {})


def test_endpoint_of_another_tenant_is_as_one_that_is_not_there(running: Any) -> None:
    upstreams = Upstreams(lambda: endpoints(toy=grpc_endpoint(running.grpc_port)))
    messages = []
    for name, tenant in [("toy", "umbrella"), ("toi", "acme")]:
        with pytest.raises(UnknownEndpointError) as raised:
            upstreams.open(name, tenant, [])
        messages.append(str(raised.value).replace(name, "NAME"))
    assert messages[0] == messages[1]


class Scripted(toy.UpstreamService):  # type: ignore[misc, name-defined]
    """The toy, whose calls end with a status that a test sets."""

    status = grpc.StatusCode.OK

    def Write(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._end(context)
        return super().Write(request, context)

    def ReadChanges(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._end(context)
        yield upstream_pb2.ReadChangesResponse()

    def _end(self, context: Any) -> None:
        credentials = dict(context.invocation_metadata())["authorization"]
        context.abort(type(self).status, f"rejected {credentials}")


@asynccontextmanager
async def scripted(monkeypatch: pytest.MonkeyPatch, status: grpc.StatusCode) -> AsyncIterator[Any]:
    """Serve a system whose calls end with a status, to a connector to it, which is closed first."""
    monkeypatch.setattr(toy, "UpstreamService", Scripted)
    monkeypatch.setattr(Scripted, "status", status)
    served = toy.Running(toy.System())
    upstream = opened(served)
    try:
        yield upstream
    finally:
        await upstream.close()
        await asyncio.to_thread(served.stop)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, UnauthorizedError),
        (grpc.StatusCode.PERMISSION_DENIED, UnauthorizedError),
        (grpc.StatusCode.INVALID_ARGUMENT, BatchRefusedError),
        (grpc.StatusCode.UNIMPLEMENTED, UnreachableError),
    ],
)
async def test_status_after_which_nothing_was_applied_is_an_error_without_the_secret(
    monkeypatch: pytest.MonkeyPatch, status: grpc.StatusCode, kind: type[Exception]
) -> None:
    async with scripted(monkeypatch, status) as upstream:
        with pytest.raises(kind) as raised:
            await written(upstream, {})
    assert "rejected Bearer ***" in str(raised.value)
    assert SECRET not in repr(raised.value)


async def test_cursor_that_has_expired_asks_for_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(monkeypatch, grpc.StatusCode.OUT_OF_RANGE) as upstream:
        with pytest.raises(CursorExpiredError):
            async with aclosing(upstream.changes("parts", "1")) as pages:
                await anext(pages)
