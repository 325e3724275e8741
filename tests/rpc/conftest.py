"""Records of the test's own tenant, over a real channel."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import asyncpg
import grpc
import pytest
from draftline.v1 import collection_pb2_grpc, content_pb2_grpc
from support import servers
from support.draft_calls import Drafts
from support.responses import Records
from support.sql import fetch

Serving = Callable[..., AbstractContextManager[Any]]
Sql = Callable[..., list[asyncpg.Record]]


@pytest.fixture(scope="session")
def serving() -> Serving:
    """Starts a server with other settings: `with serving(url, **settings) as running`."""
    return servers.serving


@pytest.fixture
def records(grpc_stub: Any, tenant_id: str) -> Records:
    return Records(grpc_stub, tenant_id)


@pytest.fixture
def ada(grpc_channel: grpc.Channel, tenant_id: str) -> Drafts:
    """The drafts of a user, over the collection of `records`."""
    return Drafts(grpc_channel, tenant_id, "ada")


@pytest.fixture
def bob(ada: Drafts) -> Drafts:
    """Those of another."""
    return ada.of(user="bob")


@pytest.fixture(scope="module", params=["in_place", "replacing"])
def patching_server(request: pytest.FixtureRequest) -> Any:
    """Each of the two ways to patch: what they answer must be the same."""
    return request.getfixturevalue("server" if request.param == "in_place" else "replacing_server")


@pytest.fixture(scope="module")
def patching_stub(patching_server: Any) -> Iterator[content_pb2_grpc.ContentServiceStub]:
    with grpc.insecure_channel(patching_server.address) as channel:
        yield content_pb2_grpc.ContentServiceStub(channel)


@pytest.fixture(scope="module")
def patching_collection_stub(patching_server: Any) -> Iterator[collection_pb2_grpc.CollectionServiceStub]:
    with grpc.insecure_channel(patching_server.address) as channel:
        yield collection_pb2_grpc.CollectionServiceStub(channel)


@pytest.fixture
def patched(patching_stub: Any, tenant_id: str) -> Records:
    """Records on each of the two."""
    return Records(patching_stub, tenant_id)


@pytest.fixture(scope="session")
def sql() -> Sql:
    """Run one statement on a database: `sql(url, query, *values)`."""
    return fetch


LockedRecord = Callable[..., AbstractContextManager[None]]


@pytest.fixture(scope="session")
def locked_record() -> LockedRecord:
    """Holds a record's row lock: `with locked_record(url, record_id, tenant_id)`."""

    @contextmanager
    def locked(url: str, record_id: str, tenant_id: str = "acme") -> Iterator[None]:
        ready, done = threading.Event(), threading.Event()

        async def hold() -> None:
            connection = await asyncpg.connect(url)
            async with connection.transaction():
                query = "SELECT 1 FROM draftline.record WHERE tenant_id = $1 AND record_id = $2 FOR UPDATE"
                assert await connection.fetch(query, tenant_id, record_id)
                ready.set()
                await asyncio.to_thread(done.wait)
            await connection.close()

        thread = threading.Thread(target=asyncio.run, args=(hold(),))
        thread.start()
        assert ready.wait(30)
        try:
            yield
        finally:
            done.set()
            thread.join()

    return locked
