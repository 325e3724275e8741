"""A call whose time is too short is told so; the database is not to blame, and the next caller finds it warm."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2_grpc
from draftline_server.concurrency.call_context import call_deadline
from draftline_server.domain.errors import DeadlineExceededError
from draftline_server.store.database import Database
from draftline_server.store.pool_settings import PoolSettings
from draftline_server.store.statements import Statement
from support.polling import until
from support.responses import TIMEOUT_S, Records
from support.tcp_proxy import before_postgres

ONE = Statement("one", "SELECT 1 AS one", ())


@pytest.mark.parametrize("timeout_s", [0.001, 0.002, 0.005])
def test_call_with_too_little_time_is_told_so(database_url: str, serving: Any, timeout_s: float) -> None:
    codes: Counter[str] = Counter()
    with serving(database_url) as running, grpc.insecure_channel(running.address) as channel:
        records = Records(content_pb2_grpc.ContentServiceStub(channel), "acme")
        records.create("m-1", {"n": 0})
        for number in range(200):
            try:
                records.stub.PatchContent(records.patching("m-1", {"n": number}), timeout=timeout_s)
                codes["OK"] += 1
            except grpc.RpcError as error:
                codes[error.code().name] += 1
        until(lambda: not running.app.server.calls.count)
        told = running.app.server.calls.telemetry.methods["draftline.v1.ContentService.PatchContent"].outcomes
        assert codes.keys() <= {"OK", "DEADLINE_EXCEEDED"}
        assert told.keys() <= {"OK", "DEADLINE_EXCEEDED", "CANCELLED"}
        records.stub.PatchContent(records.patching("m-1", {"n": -1}), timeout=TIMEOUT_S)


async def test_connecting_goes_on_when_the_call_that_began_it_is_gone(database_url: str) -> None:
    with before_postgres(database_url) as (proxy, url):
        database = Database(url, PoolSettings(size=2))
        await database.open()
        try:
            proxy.delay_s = 0.03  # each way: to connect takes several times that
            for _ in range(1_000):
                with suppress(DeadlineExceededError):
                    await within(database, 0.02)
                if database.connections.open_count:
                    return
            pytest.fail("no call found a connection made")
        finally:
            await database.close()


async def test_full_pool_is_no_excuse_for_a_call_whose_time_is_over(database_url: str) -> None:
    database = Database(database_url, PoolSettings(size=1))
    await database.open()
    try:
        async with database.dedicated_connection():
            with pytest.raises(DeadlineExceededError):
                await within(database, 0.02)
            assert database.connections.exhausted == 0
    finally:
        await database.close()


async def within(database: Database, timeout_s: float) -> None:
    """Sends a statement for a call that has so much time."""
    set_before = call_deadline.set(time.monotonic() + timeout_s)
    try:
        await database.fetch(ONE, {})
    finally:
        call_deadline.reset(set_before)
