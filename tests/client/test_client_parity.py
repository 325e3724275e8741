"""Both clients have the same methods, one for each rpc, and reject arguments that cannot be sent."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import draftline
import pytest
from draftline._core.connection import METHODS
from draftline.v1 import change_pb2, collection_pb2, content_pb2, draft_pb2, sync_pb2, tenant_pb2
from support.both_clients import Connect
from support.scripted_responses import found
from support.scripted_server import ScriptedServer

# Where the method is not called after its rpc.
NAMES = {
    "ListChanges": "changes",
    "RevertChange": "revert",
    "WatchChanges": "watch",
    "StreamPatches": "bulk_writer",
    "GetStatistics": "statistics",
}


def public_methods(client: type) -> dict[str, Any]:
    return {name: each for name, each in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")}


PAIRS = [
    (draftline.Client, draftline.AsyncClient),
    (draftline.Session, draftline.AsyncSession),
    (draftline.Watch, draftline.AsyncWatch),
    (draftline.CachedReader, draftline.AsyncCachedReader),
    (draftline.BulkWriter, draftline.AsyncBulkWriter),
    (draftline.TypedCollection, draftline.AsyncTypedCollection),
    (draftline.TypedBulkWriter, draftline.AsyncTypedBulkWriter),
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].__name__)
def test_both_clients_have_the_same_methods_and_arguments(pair: tuple[type, type]) -> None:
    blocking, asynchronous = map(public_methods, pair)
    assert set(blocking) == set(asynchronous)
    for name, method in blocking.items():
        ours, theirs = (inspect.signature(each).parameters for each in (method, asynchronous[name]))
        assert [(it.name, it.kind, it.default) for it in ours.values()] == [
            (it.name, it.kind, it.default) for it in theirs.values()
        ]
        assert asynchronous[name].__doc__
        assert method.__doc__
        assert not re.search(r"await|async|Async", method.__doc__)
    ours, theirs = (inspect.signature(each).parameters.values() for each in pair)
    assert [(it.name, it.kind, it.default) for it in ours] == [(it.name, it.kind, it.default) for it in theirs]


TWINS = ["background_task", "import_stream", "message_reader", "reconnect_wait", "shared_cache", "write_queue"]


def signatures(module: str) -> dict[str, list[str]]:
    """Return the parameters of the public functions and methods that a module of the client defines."""
    members = vars(importlib.import_module(module))
    defined = {name: each for name, each in members.items() if getattr(each, "__module__", "") == module}
    found = {
        name: list(inspect.signature(each).parameters) for name, each in defined.items() if inspect.isfunction(each)
    }
    for name, each in defined.items():
        if inspect.isclass(each):
            found |= {
                f"{name}.{method}": list(inspect.signature(it).parameters)
                for method, it in public_methods(each).items()
            }
    return {name: parameters for name, parameters in found.items() if not name.startswith("_")}


@pytest.mark.parametrize("name", TWINS)
def test_part_for_threads_has_the_signatures_of_the_part_for_asyncio(name: str) -> None:
    blocking, asynchronous = signatures(f"draftline._threads.{name}"), signatures(f"draftline._aio.{name}")
    assert asynchronous
    assert {each: blocking.get(each) for each in asynchronous} == asynchronous


FILES = [content_pb2, collection_pb2, draft_pb2, change_pb2, sync_pb2, tenant_pb2]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.DESCRIPTOR.name)
def test_every_rpc_of_the_contract_has_a_method(file: Any) -> None:
    ((service, described),) = file.DESCRIPTOR.services_by_name.items()
    rpcs = described.methods
    mine = {each.name: each for each in METHODS if each.service == service}
    assert {rpc.name for rpc in rpcs} == set(mine)
    for rpc in rpcs:
        assert mine[rpc.name].request.DESCRIPTOR is rpc.input_type
        assert mine[rpc.name].response.DESCRIPTOR is rpc.output_type
        name = NAMES.get(rpc.name) or re.sub(r"(?<!^)(?=[A-Z])", "_", rpc.name).lower()
        assert hasattr(draftline.Client, name)


async def test_client_that_is_closed_refuses_calls(connect: Connect, scripted: ScriptedServer) -> None:
    async with connect(scripted.address, tenant_id="acme") as client:
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.get_content("movies", "m-1")
        with pytest.raises(RuntimeError, match="closed"):
            await client.import_content("movies", [])
        with pytest.raises(RuntimeError, match="closed"):
            await anext(client.stream_merged("movies"))


async def test_call_without_a_tenant_is_refused(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetContent"] = found
    async with connect(scripted.address) as client:
        with pytest.raises(ValueError, match="no tenant_id"):
            await client.get_content("movies", "m-1")
        await client.get_content("movies", "m-1", tenant_id="other")
    assert [each.tenant_id for each in scripted.requests] == ["other"]


@pytest.mark.parametrize("client", [draftline.Client, draftline.AsyncClient])
@pytest.mark.parametrize("user", ["", " ada", "Zoë", "a\nb"])
def test_user_that_is_not_printable_ascii_is_rejected(client: type, user: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        client("127.0.0.1:1", user=user)


@pytest.mark.parametrize("client", [draftline.Client, draftline.AsyncClient])
def test_url_is_rejected_as_a_target(client: type) -> None:
    with pytest.raises(ValueError, match="target must be host:port"):
        client("http://127.0.0.1:1", tenant_id="acme")


def test_client_does_not_show_its_token() -> None:
    with draftline.Client("127.0.0.1:1", tenant_id="acme", token="secret") as client:
        assert "secret" not in repr(client)
