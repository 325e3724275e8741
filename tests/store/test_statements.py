"""Calls send a fixed number of statements to PostgreSQL, in a fixed order, with the expected plans."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import grpc
import pytest
from draftline.v1 import collection_pb2, collection_pb2_grpc, content_pb2, content_pb2_grpc, types_pb2
from draftline_server.domain.changes import ChangeSource, Write
from draftline_server.domain.content import Limits
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.records import Actor, Delta, Operations, Patch
from draftline_server.store.collections.cache import CollectionSpecs
from draftline_server.store.database import Database
from draftline_server.store.in_place_patches import InPlacePatches
from draftline_server.store.statements import Statement, load
from support.partitioned import IS_PARTITIONED
from support.sent_statements import sent
from support.tenant_stores import SCHEMAS

TIMEOUT_S = 30
SQL = load("content")


@pytest.fixture(scope="module")
def stub(server: Any) -> Iterator[content_pb2_grpc.ContentServiceStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield content_pb2_grpc.ContentServiceStub(channel)


@pytest.fixture
def declare(server: Any, tenant_id: str) -> Any:
    """Declares a collection with an indexed text and an indexed number, and with a JSON Schema if there is one."""

    def put(json_schema: str = "") -> None:
        fields = [
            collection_pb2.DeclaredField(path="/title", type=collection_pb2.FIELD_TYPE_TEXT),
            collection_pb2.DeclaredField(path="/year", type=collection_pb2.FIELD_TYPE_NUMBER),
        ]
        request = collection_pb2.PutCollectionRequest(
            tenant_id=tenant_id, collection="films", fields=fields, json_schema=json_schema
        )
        with grpc.insecure_channel(server.address) as channel:
            collection_pb2_grpc.CollectionServiceStub(channel).PutCollection(request, timeout=TIMEOUT_S)

    return put


def work(seen: Sequence[str]) -> list[str]:
    """Return the statements without those of every transaction."""
    return [name for name in sent(seen) if not re.match(r"BEGIN|COMMIT", name)]


def patching(tenant_id: str, record_id: str = "1", **rest: Any) -> content_pb2.PatchContentRequest:
    return content_pb2.PatchContentRequest(tenant_id=tenant_id, collection="films", record_id=record_id, **rest)


def document(**content: Any) -> types_pb2.Document:
    return types_pb2.Document(json=json.dumps(content))


def operations(*steps: types_pb2.Operation) -> types_pb2.OperationList:
    return types_pb2.OperationList(operations=steps)


PATCHES: dict[str, dict[str, Any]] = {
    "shallow": {"delta": document(title="a")},
    "deep": {"delta": document(title={"a": 1}), "strategy": types_pb2.MERGE_STRATEGY_DEEP, "depth": 2},
    "merge patch": {"delta": document(title=None), "strategy": types_pb2.MERGE_STRATEGY_MERGE_PATCH},
    "replace": {"delta": document(year=1998), "strategy": types_pb2.MERGE_STRATEGY_REPLACE},
    "operations": {
        "operations": operations(
            types_pb2.Operation(op="test", path="/year", value=types_pb2.JsonValue(json="1998")),
            types_pb2.Operation(op="increment", path="/year", value=types_pb2.JsonValue(json="1")),
        )
    },
    "condition": {"delta": document(title="b"), "condition": "year = 1999 AND record.version > 1"},
    "expected version": {"delta": document(title="c"), "expected_version": 6},
    "upsert of a stored record": {"delta": document(title="d"), "allow_missing": True},
    "upsert of a new record": {"delta": document(title="d"), "allow_missing": True, "record_id": "2"},
    "parent and position": {"parent_id": "p", "position": 7},
    "nothing": {"delta": document()},
}
REFUSED: dict[str, dict[str, Any]] = {
    "no record": {"delta": document(), "record_id": "3"},
    "stale version": {"delta": document(title="x"), "expected_version": 1},
    "condition": {"delta": document(title="x"), "condition": "year = 7"},
    "test": {"operations": operations(types_pb2.Operation(op="test", path="/x", value=types_pb2.JsonValue(json="1")))},
}


@pytest.mark.parametrize("is_declared", [False, True], ids=["undeclared", "declared"])
def test_patch_content_sends_one_statement(
    server: Any, stub: Any, tenant_id: str, declare: Any, is_declared: bool
) -> None:
    if is_declared:
        declare()
        stub.PatchContent(patching(tenant_id, "0", delta=document(), allow_missing=True), timeout=TIMEOUT_S)
    with server.statements_of_calls() as seen:
        created = patching(tenant_id, delta=document(year=1998), allow_missing=True)
        stub.PatchContent(created, timeout=TIMEOUT_S)
    assert sent(seen) == ["patch_content"]
    for name, patch in PATCHES.items():
        with server.statements_of_calls() as seen:
            stub.PatchContent(patching(tenant_id, **patch), timeout=TIMEOUT_S)
        assert sent(seen) == ["patch_content"], name
    for name, patch in REFUSED.items():
        with server.statements_of_calls() as seen, pytest.raises(grpc.RpcError):
            stub.PatchContent(patching(tenant_id, **patch), timeout=TIMEOUT_S)
        assert sent(seen) == ["patch_content"], name


def test_patch_content_sends_one_statement_in_a_transaction_where_a_schema_holds(
    server: Any, stub: Any, tenant_id: str, declare: Any
) -> None:
    declare('{"required": ["year"]}')
    patch = patching(tenant_id, delta=document(year=1), allow_missing=True)
    stub.PatchContent(patch, timeout=TIMEOUT_S)
    with server.statements_of_calls() as seen:
        stub.PatchContent(patch, timeout=TIMEOUT_S)
    assert work(seen) == ["patch_content"]
    assert sent(seen)[0].startswith("BEGIN")
    assert sent(seen)[-1].startswith("COMMIT")


def test_patch_content_locks_the_record_before_it_edits() -> None:
    statement = SQL["patch_content"].sql
    lock, edit, update = (statement.index(part) for part in ("FOR UPDATE", "draftline.edit(", "DO UPDATE"))
    assert lock < edit < update
    # What is edited is what was locked, waiting for it, again or not; otherwise it is only looked which records exist.
    assert len(re.findall(r"(?:FROM|JOIN) draftline\.record\b", statement)) == 4
    assert len(re.findall(r"record_id = p.record_id\s+FOR UPDATE\b", statement)) == 3


def test_batch_patch_content_sends_one_statement(server: Any, stub: Any, tenant_id: str) -> None:
    requests = [patching(tenant_id, str(place), delta=document(n=place), allow_missing=True) for place in range(100)]
    for _ in ("created", "stored"):
        with server.statements_of_calls() as seen:
            batch = content_pb2.BatchPatchContentRequest(tenant_id=tenant_id, requests=requests)
            assert len(stub.BatchPatchContent(batch, timeout=TIMEOUT_S).results) == 100
        assert work(seen) == ["patch_content"]


def test_get_content_sends_one_statement(server: Any, stub: Any, tenant_id: str) -> None:
    stub.PatchContent(patching(tenant_id, delta=document(), allow_missing=True), timeout=TIMEOUT_S)
    with server.statements_of_calls() as seen:
        request = content_pb2.GetContentRequest(tenant_id=tenant_id, collection="films", record_id="1")
        stub.GetContent(request, timeout=TIMEOUT_S)
    assert sent(seen) == ["get_content"]


@pytest.mark.parametrize("server_name", ["server", "replacing_server"])
async def test_patch_that_changes_nothing_writes_nothing(
    request: pytest.FixtureRequest, server_name: str, tenant_id: str
) -> None:
    running = request.getfixturevalue(server_name)
    connection = await asyncpg.connect(running.url)
    read = "SELECT ctid, xmin, version, updated_at FROM draftline.record WHERE tenant_id = $1"
    stored = {"title": "a", "year": 1998, "cast": ["b"]}
    unchanging: list[dict[str, Any]] = [
        {"delta": document()},
        {"delta": types_pb2.Document(json='{"year": 1998.0, "title": "a"}')},
        {"delta": document(**stored), "strategy": types_pb2.MERGE_STRATEGY_REPLACE},
        {"delta": document(gone=None), "strategy": types_pb2.MERGE_STRATEGY_MERGE_PATCH},
        {
            "operations": operations(
                types_pb2.Operation(op="union", path="/cast", value=types_pb2.JsonValue(json='["b"]'))
            )
        },
        {"parent_id": "p", "position": 3},
    ]
    with grpc.insecure_channel(running.address) as channel:
        patch = content_pb2_grpc.ContentServiceStub(channel).PatchContent
        first = patching(tenant_id, delta=document(**stored), parent_id="p", position=3, allow_missing=True)
        patch(first, timeout=TIMEOUT_S)
        before = await connection.fetch(read, tenant_id)
        for change in unchanging:
            answer = patch(patching(tenant_id, **change), timeout=TIMEOUT_S)
            assert (answer.record.version, list(answer.changed_fields)) == (1, [])
        assert await connection.fetch(read, tenant_id) == before
    await connection.close()


class Capture(Database):
    """Keeps what would be sent."""

    statement: Statement
    values: dict[str, object]

    async def now(self) -> datetime:
        return datetime.now(UTC)

    async def fetch(self, statement: Statement, values: dict[str, object], *, idempotent: bool = False) -> Any:
        self.statement, self.values = statement, values
        return []


@pytest.fixture(scope="module")
async def crowded(postgres_url: str, template: str) -> AsyncIterator[asyncpg.Connection]:
    """50,000 records of ten tenants, four fifths of them one tenant's."""
    name = f"draftline_test_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    connection = await asyncpg.connect(postgres_url, database=name)
    await connection.execute(
        """
        INSERT INTO draftline.record (tenant_id, collection, record_id, content, version,
            created_at, created_by, updated_at, updated_by)
        SELECT 'tenant-' || greatest(n % 50 - 40, 0), 'films', n, jsonb_build_object('n', n), 1, now(), 'a', now(), 'a'
        FROM generate_series(1, 50000) AS n
        """
    )
    await connection.execute("ANALYZE draftline.record")
    # Within a function, EXPLAIN has no values to look at.
    await connection.execute(
        """
        CREATE FUNCTION pg_temp.generic_plan(statement text) RETURNS json LANGUAGE plpgsql AS $$
        DECLARE plan json;
        BEGIN
            EXECUTE 'EXPLAIN (GENERIC_PLAN, FORMAT JSON) ' || statement INTO plan;
            RETURN plan;
        END $$
        """
    )
    yield connection
    await connection.close()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan that read the table of records."""
    if re.fullmatch(r"record(_rest_\d+)?", node.get("Relation Name", "")) and node["Node Type"] != "ModifyTable":
        yield node
    for below in node.get("Plans", ()):
        yield from scans(below)


@pytest.mark.parametrize("plan", ["custom", "generic"])
@pytest.mark.parametrize("count", [1, 100])
async def test_patch_content_finds_records_by_primary_key(crowded: asyncpg.Connection, plan: str, count: int) -> None:
    changes = [Delta('{"a": 1}', Strategy.DEEP), Operations([Operation("increment", ("n",), value=1)])]
    condition = parse_filter("n > 0")
    patches = [
        Patch("films", str(50 * n), changes[n % 2], condition=condition, allow_missing=n % 3 == 0) for n in range(count)
    ]
    if IS_PARTITIONED:  # as the service: generic plans show partitions without rows too
        await crowded.execute("SET enable_seqscan = off")
    capture = Capture("")
    await InPlacePatches(CollectionSpecs(capture, SCHEMAS), Limits()).apply(
        capture,
        Write(Actor("tenant-0", "ada"), ChangeSource.PATCH_CONTENT, datetime.now(UTC)),
        patches,
        stores_responses=True,
    )
    if plan == "generic":
        explained = await crowded.fetchval("SELECT pg_temp.generic_plan($1)", capture.statement.sql)
    else:
        values = capture.statement.arguments(capture.values)
        explained = await crowded.fetchval(f"EXPLAIN (FORMAT JSON) {capture.statement.sql}", *values)
    found = list(scans(json.loads(explained)[0]["Plan"]))
    assert found
    for node in found:
        assert node["Node Type"] in ("Index Scan", "Index Only Scan"), node
        assert re.fullmatch(r"record(_rest_\d+)?_pkey", node["Index Name"]), node
        assert all(key in node["Index Cond"] for key in ("tenant_id", "collection", "record_id"))
