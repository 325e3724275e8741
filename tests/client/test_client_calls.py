"""Calls of both clients against a scripted server: requests, parsed responses and timeouts."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import draftline
import pytest
from draftline.v1 import collection_pb2, content_pb2, types_pb2
from support.both_clients import Connect
from support.scripted_responses import WAIT_S, found, record
from support.scripted_server import ScriptedServer, failure, info


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
async def test_timeout_of_the_call_overrides_that_of_the_client(
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


async def test_delete_of_a_missing_record_returns_none(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["DeleteContent"] = lambda _: content_pb2.DeleteContentResponse()
    async with connect(scripted.address, tenant_id="acme") as client:
        assert await client.delete_content("movies", "m-1", allow_missing=True) is None


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


async def test_unknown_call_is_unimplemented(connect: Connect, scripted: ScriptedServer) -> None:
    async with connect(scripted.address, tenant_id="acme") as client:
        scripted.answers["GetContent"] = lambda _: failure(12, "what?")
        with pytest.raises(draftline.UnimplementedError):
            await client.get_content("movies", "m-1")
