"""Fixtures that run each test body over both clients, through the interface of the asyncio client."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import draftline
import pytest
from support.both_clients import Connect, Threaded
from support.scripted_server import ScriptedServer


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Return a factory of clients of the kind under test: `async with connect(address, user="ada") as client`."""

    @asynccontextmanager
    async def connected(address: str, **settings: Any) -> AsyncIterator[Any]:
        if request.param == "async":
            async with draftline.AsyncClient(address, **settings) as client:
                yield client
        else:
            with draftline.Client(address, **settings) as client:
                yield Threaded(client)

    return connected


@pytest.fixture
async def client(connect: Connect, server_address: str) -> AsyncIterator[Any]:
    """A client of the live service, with its own tenant."""
    async with connect(server_address, tenant_id=f"tenant-{uuid.uuid4()}", user="ada") as connected:
        yield connected


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A gRPC server whose responses the test sets, for behaviour that the real server does not show on demand."""
    with ScriptedServer() as server:
        yield server
