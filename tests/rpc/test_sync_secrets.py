"""No secret of a system of record reaches a table, the log, an event or a response, also if the system repeats it."""

from __future__ import annotations

import base64
import logging
from functools import partial
from typing import Any

import asyncpg
import draftline
from draftline_server import sync_workers
from draftline_server.sync.worker import SyncWorker
from draftline_server.upstreams.registry import Upstreams
from support.log_capture import libraries_logged, logged
from support.polling import eventually
from support.scripted_http import Reply, scripted
from support.sync_worlds import UPSTREAM, SyncWorld
from support.tenant_stores import COLLECTION, connected
from support.toy_upstream import endpoints, http_endpoint

SECRET = "a-secret-of-the-operator"
ENCODED = base64.b64encode(f"ada:{SECRET}".encode()).decode()


def repeating(request: Any) -> Reply:
    """Refuse the record `refused`, fail with `failing`, reject the credentials with `rejected`, and repeat them."""
    credentials = f"{request.headers['authorization']} {SECRET}"
    problem = {"code": credentials, "message": credentials, "fields": [{"path": "rate", "message": credentials}]}
    headers = {"retry-after": "1", "x-debug": credentials}
    if request.method == "GET":
        return (200, headers, {"items": [], "next": None, "changes": "0", "cursor": "0", "more": False})
    return ({"refused": 422, "failing": 500}.get(request.json["reference"], 401), headers, problem)


async def tables_with(url: str, *texts: str) -> list[str]:
    """Return the tables with a row that contains a text, also as bytes."""
    patterns = [f"%{form}%" for text in texts for form in (text, text.encode().hex())]
    connection = await asyncpg.connect(url)
    try:
        names = await connection.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'draftline'")
        query = "SELECT EXISTS (SELECT FROM draftline.{} AS t WHERE t::text LIKE ANY ($1::text[]))"
        return [each["name"] for each in names if await connection.fetchval(query.format(each["name"]), patterns)]
    finally:
        await connection.close()


async def responses(client: draftline.AsyncClient) -> str:
    """Return what every call that shows a sync or its records returns."""
    found: list[Any] = [await client.get_sync(UPSTREAM), await client.get_sync_status(UPSTREAM)]
    found += await client.run_sync(UPSTREAM, "push", validate_only=True)
    for listed in (
        client.list_syncs(), client.list_sync_records(COLLECTION), client.list_sync_events(UPSTREAM),
        client.get_merged(COLLECTION), client.changes(COLLECTION),
    ):  # fmt: skip
        found += [each async for each in listed]
    return repr(found)


async def test_secret_that_the_system_repeats_is_nowhere(server: Any, tenant_id: str) -> None:
    """Refuse a record, fail, and reject the credentials with responses that contain them; then search everything."""
    async with (
        scripted(repeating) as system,
        connected(server.url) as database,
        draftline.AsyncClient(server.address, tenant_id=tenant_id, user="ada") as client,
    ):
        auth = {"kind": "basic", "user": "ada", "secret_file": "api.secret"}
        definition = http_endpoint(system.port, auth=auth, tenants=[tenant_id])
        definition["resources"]["parts"] |= {"batch": None}
        current = endpoints({"api.secret": SECRET}, toy=definition)
        connect = partial(sync_workers._connect, Upstreams(lambda: current))
        await client.put_sync(UPSTREAM, "toy", [draftline.SyncCollection(COLLECTION, resource="parts")])
        for record_id in ("refused", "failing"):
            await client.create_content(COLLECTION, {"rate": 1}, record_id=record_id)

        async def is_tried() -> bool:
            status = await client.get_sync_status(UPSTREAM)
            return (status.failed, status.syncing) == (1, 1)

        async def is_suspended() -> bool:
            return bool((await client.get_sync(UPSTREAM)).suspended_reason)

        # The service never logs what libraries log at DEBUG.
        with logged() as events, libraries_logged(logging.INFO) as libraries:
            world = SyncWorld(database, tenant_id)
            async with world.working(SyncWorker(world.stores, connect, tenant_id, UPSTREAM)):
                await eventually(is_tried)
                await client.create_content(COLLECTION, {"rate": 1}, record_id="rejected")
                await eventually(is_suspended)
        shown = await responses(client)
        assert "***" in shown
        assert [text for text in (SECRET, ENCODED) if text in f"{shown} {events} {libraries.getvalue()}"] == []
        assert {"sync_event", "sync_record"} <= set(await tables_with(server.url, "***"))
        assert await tables_with(server.url, SECRET, ENCODED) == []
