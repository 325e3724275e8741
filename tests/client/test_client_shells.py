"""Both clients against a scripted server: what they send, raise, retry and cancel."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import Any

import draftline
import grpc
import grpc.aio
import pytest
from both_clients import Connect
from draftline.aio.ending import Ending
from draftline.channel import METHODS, RETRY_POLICY
from draftline.status import error_of_call
from draftline.v1 import collection_pb2, content_pb2, draft_pb2, types_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from scripted_server import STATUS_TRAILER, ScriptedServer, failure, info

UNAVAILABLE, INTERNAL, INVALID_ARGUMENT = 14, 13, 3
WAIT_S = 10
SELECTING = ("commit", "discard")


def record(**fields: Any) -> types_pb2.Record:
    message = types_pb2.Record(
        tenant_id="acme",
        collection="movies",
        record_id="m-1",
        content=types_pb2.Document(json='{"n": 0.1, "big": 123456789012345678901234567890.5}'),
        version=1,
        create_time=Timestamp(seconds=1_700_000_000, nanos=123_456_000),
        update_time=Timestamp(seconds=1_700_000_000),
        created_by="ada",
    )
    message.MergeFrom(types_pb2.Record(**fields))
    return message


class EndedCall:
    """What grpc.aio shows of a call that ended, possibly more than once."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callback = callback

    def end(self, code: int, details: str, trailers: tuple[tuple[str, bytes], ...]) -> None:
        canonical = next(each for each in grpc.StatusCode if each.value[0] == code)
        metadata = grpc.aio.Metadata(*trailers)
        self.failure = grpc.aio.AioRpcError(canonical, grpc.aio.Metadata(), metadata, details)
        self._callback(self)

    async def code(self) -> grpc.StatusCode:
        return self.failure.code()

    async def details(self) -> str | None:
        return self.failure.details()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return self.failure.trailing_metadata()


def found(_: Any) -> content_pb2.GetContentResponse:
    return content_pb2.GetContentResponse(record=record())


def assert_cancelled(scripted: ScriptedServer) -> None:
    if scripted.metadata:  # a call that was cancelled before it left never reaches the server
        assert scripted.import_ended.wait(WAIT_S)
    assert not scripted.import_completed


def public_methods(client: type) -> dict[str, Any]:
    return {name: each for name, each in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")}


def test_both_clients_have_the_same_methods_and_arguments() -> None:
    blocking, asynchronous = public_methods(draftline.Client), public_methods(draftline.AsyncClient)
    assert set(blocking) == set(asynchronous)
    for name, method in blocking.items():
        ours, theirs = (inspect.signature(each).parameters for each in (method, asynchronous[name]))
        assert [(it.name, it.kind, it.default) for it in ours.values()] == [
            (it.name, it.kind, it.default) for it in theirs.values()
        ]
        assert method.__doc__
        assert asynchronous[name].__doc__ == method.__doc__
    assert inspect.signature(draftline.Client) == inspect.signature(draftline.AsyncClient)


@pytest.mark.parametrize("file", [content_pb2, collection_pb2, draft_pb2], ids=lambda file: file.DESCRIPTOR.name)
def test_every_rpc_of_the_contract_has_a_method(file: Any) -> None:
    ((service, described),) = file.DESCRIPTOR.services_by_name.items()
    rpcs = described.methods
    mine = {each.name: each for each in METHODS if each.service == service}
    assert {rpc.name for rpc in rpcs} == set(mine)
    for rpc in rpcs:
        assert mine[rpc.name].request.DESCRIPTOR is rpc.input_type
        assert mine[rpc.name].response.DESCRIPTOR is rpc.output_type
        assert hasattr(draftline.Client, re.sub(r"(?<!^)(?=[A-Z])", "_", rpc.name).lower())


async def test_record_is_parsed_into_plain_values(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetContent"] = found
    async with connect(scripted.address, tenant_id="acme") as client:
        got = await client.get_content("movies", "m-1", fields=["n"])
    assert got.content == {"n": 0.1, "big": Decimal("123456789012345678901234567890.5")}
    assert (got.parent_id, got.position, got.delete_time) == (None, None, None)
    assert got.create_time.isoformat() == "2023-11-14T22:13:20.123456+00:00"
    (request,) = scripted.requests
    assert request.response_encoding == types_pb2.ENCODING_JSON
    assert (request.tenant_id, list(request.fields)) == ("acme", ["n"])


async def test_user_token_and_agent_travel_as_metadata(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetContent"] = found
    tokens = iter(["t-1", "t-2"])
    async with connect(scripted.address, tenant_id="acme", user="ada", token=lambda: next(tokens)) as client:
        await client.get_content("movies", "m-1")
        await client.get_content("movies", "m-1")
    assert [each["x-draftline-user"] for each in scripted.metadata] == ["ada", "ada"]
    assert [each["authorization"] for each in scripted.metadata] == ["Bearer t-1", "Bearer t-2"]
    assert scripted.metadata[0]["user-agent"].startswith("draftline-python/")


@pytest.mark.parametrize(
    ("settings", "arguments", "least_s", "most_s"),
    [
        ({}, {}, 20, 30),
        ({"timeout": 100}, {}, 90, 100),
        ({"timeout": 100}, {"timeout": 50}, 40, 50),
        ({"timeout": None}, {"timeout": 50}, 40, 50),
    ],
)
async def test_timeout_of_the_call_wins_over_that_of_the_client(
    connect: Connect,
    scripted: ScriptedServer,
    settings: dict[str, Any],
    arguments: dict[str, Any],
    least_s: int,
    most_s: int,
) -> None:
    scripted.answers["GetContent"] = found
    async with connect(scripted.address, tenant_id="acme", **settings) as client:
        await client.get_content("movies", "m-1", **arguments)
    (remaining_s,) = scripted.time_remaining
    assert remaining_s is not None
    assert least_s < remaining_s < most_s + 2  # gRPC rounds a timeout up on its way


@pytest.mark.parametrize(("settings", "arguments"), [({}, {"timeout": None}), ({"timeout": None}, {})])
async def test_timeout_none_sets_no_deadline(
    connect: Connect, scripted: ScriptedServer, settings: dict[str, Any], arguments: dict[str, Any]
) -> None:
    scripted.answers["GetContent"] = found
    async with connect(scripted.address, tenant_id="acme", **settings) as client:
        await client.get_content("movies", "m-1", **arguments)
    (remaining_s,) = scripted.time_remaining
    assert remaining_s is None or remaining_s > 1e6


async def test_passed_deadline_is_raised(connect: Connect, scripted: ScriptedServer) -> None:
    release = threading.Event()
    scripted.answers["GetContent"] = lambda _: release.wait(WAIT_S) and found(_)
    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(draftline.DeadlineExceededError):
            await client.get_content("movies", "m-1", timeout=0.05)
        release.set()


async def test_error_details_are_raised(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["PatchContent"] = lambda _: failure(10, "stale", info("VERSION_MISMATCH", current_version="4"))
    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(draftline.VersionMismatchError, match="stale") as caught:
            await client.patch_content("movies", "m-1", {}, expected_version=3)
    assert caught.value.current_version == 4


async def test_batch_results_hold_a_result_or_an_error(connect: Connect, scripted: ScriptedServer) -> None:
    missing = types_pb2.Status.FromString(failure(5, "none", info("RECORD_NOT_FOUND")).SerializeToString())
    results = [
        content_pb2.BatchPatchContentResult(status=types_pb2.Status(), record=record(), changed_fields=["n"]),
        content_pb2.BatchPatchContentResult(status=missing),
    ]
    scripted.answers["BatchPatchContent"] = lambda _: content_pb2.BatchPatchContentResponse(results=results)
    async with connect(scripted.address, tenant_id="acme") as client:
        patches = [draftline.Patch("m-1", {"n": 0.1}), draftline.Patch("m-2", {})]
        first, second = await client.batch_patch_content("movies", patches, allow_partial=True)
    assert first.error is None
    assert first.unwrap().changed_fields == ("n",)
    assert second.result is None
    assert isinstance(second.error, draftline.NotFoundError)


async def test_delete_of_a_missing_record_answers_none(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["DeleteContent"] = lambda _: content_pb2.DeleteContentResponse()
    async with connect(scripted.address, tenant_id="acme") as client:
        assert await client.delete_content("movies", "m-1", allow_missing=True) is None


async def test_read_is_sent_again_while_unavailable(connect: Connect, scripted: ScriptedServer) -> None:
    answers = iter([failure(UNAVAILABLE, "draining"), failure(UNAVAILABLE, "draining"), found(None)])
    scripted.answers["GetContent"] = lambda _: next(answers)
    async with connect(scripted.address, tenant_id="acme") as client:
        assert (await client.get_content("movies", "m-1")).version == 1
    assert len(scripted.requests) == 3


async def test_read_gives_up_after_its_attempts(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetCollection"] = lambda _: failure(UNAVAILABLE, "gone", info("DATABASE_UNAVAILABLE"))
    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(draftline.UnavailableError) as caught:
            await client.get_collection("movies")
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    assert len(scripted.requests) == RETRY_POLICY["maxAttempts"]


@pytest.mark.parametrize("rpc", [each.name for each in METHODS if not each.is_read and each.name != "ImportContent"])
async def test_write_is_sent_once(connect: Connect, scripted: ScriptedServer, rpc: str) -> None:
    scripted.answers[rpc] = lambda _: failure(UNAVAILABLE, "gone")
    arguments: dict[str, tuple[Any, ...]] = {
        "create_content": ({},),
        "patch_content": ("m-1", {}),
        "batch_patch_content": ([draftline.Patch("m-1", {})],),
        "delete_content": ("m-1",),
        "undelete_content": ("m-1",),
        "put_collection": (),
        "save_draft": ("m-1", {}),
        "commit": (),
        "discard": (),
    }
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", rpc).lower()
    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(draftline.UnavailableError):
            await getattr(client, name)("movies", *arguments[name], **({"all": True} if name in SELECTING else {}))
    assert len(scripted.requests) == 1


async def test_list_fetches_page_after_page(connect: Connect, scripted: ScriptedServer) -> None:
    pages = {"": (["a", "b"], "1"), "1": ([], "2"), "2": (["c"], "")}

    def answer(request: collection_pb2.ListCollectionsRequest) -> collection_pb2.ListCollectionsResponse:
        names, token = pages[request.page_token]
        collections = [collection_pb2.Collection(collection=name) for name in names]
        return collection_pb2.ListCollectionsResponse(collections=collections, next_page_token=token)

    scripted.answers["ListCollections"] = answer
    async with connect(scripted.address, tenant_id="acme") as client:
        listed = [each.collection async for each in client.list_collections(page_size=2)]
    assert listed == ["a", "b", "c"]
    assert [each.page_size for each in scripted.requests] == [2, 2, 2]


async def test_import_sends_header_records_and_end(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda sent: content_pb2.ImportContentResponse(
        inserted_count=sum(len(each.chunk.records) for each in sent)
    )
    async with connect(scripted.address, tenant_id="acme") as client:
        records = ((str(number), {"n": number}) for number in range(12_345))
        result = await client.import_content("movies", records, mode="snapshot")
    assert result == draftline.ImportResult(12_345, 0, 0, 0)
    assert scripted.requests[0].header.mode == content_pb2.IMPORT_MODE_SNAPSHOT
    assert all(each.WhichOneof("part") == "chunk" for each in scripted.requests[1:-1])
    assert scripted.requests[-1].end.record_count == 12_345
    assert scripted.time_remaining[0] is None or scripted.time_remaining[0] > 1e6


async def test_import_of_records_that_raise_is_cancelled(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda _: content_pb2.ImportContentResponse()
    boom = OSError("disk")

    def records() -> Iterator[tuple[str, dict[str, int]]]:
        for number in range(5_000):
            yield str(number), {}
        raise boom

    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(OSError, match="disk") as caught:
            await client.import_content("movies", records())
    assert caught.value is boom
    assert_cancelled(scripted)


async def test_import_of_a_record_that_cannot_be_sent_is_cancelled(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda _: content_pb2.ImportContentResponse()
    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(ValueError, match="no JSON number"):
            await client.import_content("movies", [("1", {}), ("2", {"n": float("nan")})])
    assert_cancelled(scripted)


async def test_import_that_the_service_refuses_stops_reading(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["refuse_import"] = lambda _: failure(INVALID_ARGUMENT, "no", info("INVALID_DOCUMENT"))
    read = 0

    def endless() -> Iterator[tuple[str, dict[str, str]]]:
        nonlocal read
        while True:
            read += 1
            yield str(read), {"a": "x" * 100_000}

    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(draftline.InvalidArgumentError) as caught:
            await client.import_content("movies", endless())
    assert caught.value.reason == "INVALID_DOCUMENT"


@pytest.mark.parametrize("code", [INTERNAL, INVALID_ARGUMENT])
@pytest.mark.parametrize("order", [("service", "local"), ("local", "service")])
def test_ending_is_the_services_own_in_either_order(code: int, order: tuple[str, str]) -> None:
    refusal = failure(code, "no", info("INVALID_DOCUMENT"))
    statuses = {
        "service": (code, "no", ((STATUS_TRAILER, refusal.SerializeToString()),)),
        "local": (INTERNAL, "Internal error from Core", ()),
    }
    call = EndedCall()
    ending = Ending(call)
    for source in order:
        call.end(*statuses[source])
    error = error_of_call(ending.best(call.failure))
    assert (error.code.value[0], error.reason, error.message) == (code, "INVALID_DOCUMENT", "no")


async def test_import_takes_asynchronous_records(scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda sent: content_pb2.ImportContentResponse(
        inserted_count=sum(len(each.chunk.records) for each in sent)
    )

    async def records() -> AsyncIterator[draftline.ImportRecord]:
        for number in range(1_000):
            yield draftline.ImportRecord(str(number), {})

    async with draftline.AsyncClient(scripted.address, tenant_id="acme") as client:
        assert (await client.import_content("movies", records())).inserted_count == 1_000


def test_import_reads_the_records_in_the_callers_thread(scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda _: content_pb2.ImportContentResponse()
    threads = set()

    def records() -> Iterator[tuple[str, dict[str, int]]]:
        for number in range(2_000):
            threads.add(threading.current_thread())
            yield str(number), {}

    with draftline.Client(scripted.address, tenant_id="acme") as client:
        client.import_content("movies", records())
    assert threads == {threading.current_thread()}


async def test_server_out_of_reach_is_unavailable(connect: Connect) -> None:
    async with connect("127.0.0.1:1", tenant_id="acme") as client:
        with pytest.raises(draftline.UnavailableError):
            await client.patch_content("movies", "m-1", {})
        with pytest.raises(draftline.UnavailableError):
            await client.import_content("movies", [("1", {})])


async def test_unknown_call_is_unimplemented(connect: Connect, scripted: ScriptedServer) -> None:
    async with connect(scripted.address, tenant_id="acme") as client:
        scripted.answers["GetContent"] = lambda _: failure(12, "what?")
        with pytest.raises(draftline.UnimplementedError):
            await client.get_content("movies", "m-1")


async def test_client_that_is_closed_refuses_calls(connect: Connect, scripted: ScriptedServer) -> None:
    async with connect(scripted.address, tenant_id="acme") as client:
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.get_content("movies", "m-1")
        with pytest.raises(RuntimeError, match="closed"):
            await client.import_content("movies", [])


async def test_call_without_a_tenant_is_refused(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetContent"] = found
    async with connect(scripted.address) as client:
        with pytest.raises(ValueError, match="no tenant_id"):
            await client.get_content("movies", "m-1")
        await client.get_content("movies", "m-1", tenant_id="other")
    assert [each.tenant_id for each in scripted.requests] == ["other"]


@pytest.mark.parametrize("client", [draftline.Client, draftline.AsyncClient])
@pytest.mark.parametrize("user", ["", " ada", "Zoë", "a\nb"])
def test_user_that_cannot_be_sent_is_refused(client: type, user: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        client("127.0.0.1:1", user=user)


def test_client_does_not_show_its_token() -> None:
    with draftline.Client("127.0.0.1:1", tenant_id="acme", token="secret") as client:
        assert "secret" not in repr(client)
