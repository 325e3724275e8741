"""Collection specs take effect: indexes, validation of writes, and on every server."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import grpc
import pytest
from draftline.v1 import collection_pb2, collection_pb2_grpc, content_pb2, content_pb2_grpc
from draftline_server.store.collections import cache as cache_module
from draftline_server.store.collections import store as store_module
from support.polling import until
from support.responses import INVALID, TIMEOUT_S, Records, content_of, document, refused, steps

TEXT, NUMBER = collection_pb2.FIELD_TYPE_TEXT, collection_pb2.FIELD_TYPE_NUMBER
BUILDING = collection_pb2.INDEX_STATE_BUILDING
READY = collection_pb2.INDEX_STATE_READY
Put = collection_pb2.PutCollectionRequest


@pytest.fixture
def records(grpc_stub: Any, tenant_id: str) -> Records:
    return Records(grpc_stub, tenant_id, "films 'x'")


def putting(records: Records, fields: Any = (), orders: Any = (), **options: Any) -> Put:
    request = Put(tenant_id=records.tenant_id, collection=records.collection, **options)
    for path, type_ in dict(fields).items():
        request.fields.add(path=path, type=type_)
    for order in orders:
        request.orders.add(keys=[collection_pb2.SortKey(path=k.lstrip("-"), descending=k[0] == "-") for k in order])
    return request


def put(stub: Any, records: Records, fields: Any = (), orders: Any = (), **options: Any) -> collection_pb2.Collection:
    return stub.PutCollection(putting(records, fields, orders, **options), timeout=TIMEOUT_S).collection


def entries(sql: Any, url: str, records: Records) -> dict[str, int]:
    """Return the number of record entries of each declared order, by its keys."""
    query = """SELECT o.keys::text AS keys, count(e.record_id)::int AS count FROM draftline.collection_order AS o
        LEFT JOIN draftline.order_entry AS e USING (tenant_id, collection, order_id)
        WHERE o.tenant_id = $1 AND o.collection = $2 AND o.state = 'READY' GROUP BY o.keys"""
    return {row["keys"]: row["count"] for row in sql(url, query, records.tenant_id, records.collection)}


@contextmanager
def held_record(server: Any, records: Records, record_id: str) -> Iterator[None]:
    """A lock of a record that a build must wait for, until the end of the block."""
    ready, done = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(server.url)
        async with connection.transaction():
            await connection.execute(
                "SELECT FROM draftline.record WHERE tenant_id = $1 AND collection = $2 AND record_id = $3 FOR UPDATE",
                records.tenant_id, records.collection, record_id,
            )  # fmt: skip
            ready.set()
            await asyncio.to_thread(done.wait)
        await connection.close()

    thread = threading.Thread(target=asyncio.run, args=(hold(),))
    thread.start()
    assert ready.wait(TIMEOUT_S)
    try:
        yield
    finally:
        done.set()
        thread.join()


def states(stub: Any, records: Records) -> list[int]:
    request = collection_pb2.GetCollectionRequest(tenant_id=records.tenant_id, collection=records.collection)
    return [index.state for index in stub.GetCollection(request, timeout=TIMEOUT_S).collection.indexes]


def test_orders_of_a_declaration_have_entries_of_the_records(
    records: Records, server: Any, sql: Any, collection_stub: Any
) -> None:
    for number in range(3):
        records.create(f"m-{number}", {"Major Genre": "x", "n": number})
    put(collection_stub, records, {"/Major Genre": TEXT, "/n": NUMBER}, [["-/n", "/Major Genre"], ["/n"]])
    assert states(collection_stub, records) == [READY] * 3
    assert list(entries(sql, server.url, records).values()) == [3, 3, 3]
    records.create("m-3", {})
    assert list(entries(sql, server.url, records).values()) == [4, 4, 4]


def test_declaration_of_another_tenant_changes_nothing(
    records: Records, server: Any, sql: Any, collection_stub: Any
) -> None:
    other = Records(records.stub, f"{records.tenant_id}x", records.collection)
    other.create("m-1", {"b": "x"})
    records.create("m-1", {"b": "x"})
    put(collection_stub, records, {"/a": TEXT, "/b": TEXT})
    assert entries(sql, server.url, other) == {}
    put(collection_stub, other, {"/b": TEXT, "/c": NUMBER})
    before = entries(sql, server.url, other)
    assert list(before.values()) == [1, 1]
    put(collection_stub, records)
    assert entries(sql, server.url, records) == {}
    assert entries(sql, server.url, other) == before


def test_fields_of_another_type_have_another_order(
    records: Records, server: Any, sql: Any, collection_stub: Any
) -> None:
    put(collection_stub, records, {"/a": TEXT})
    (before,) = entries(sql, server.url, records)
    put(collection_stub, records, {"/a": NUMBER})
    (after,) = entries(sql, server.url, records)
    assert before != after


def test_declaration_changes_no_table(records: Records, server: Any, sql: Any, collection_stub: Any) -> None:
    query = "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'draftline'::regnamespace ORDER BY 1"
    before = sql(server.url, query)
    put(collection_stub, records, {"/a": TEXT, "/n": NUMBER}, [["-/n", "/a"]])
    assert sql(server.url, query) == before


def test_declaration_with_a_short_deadline_returns_while_its_indexes_are_built(
    records: Records, server: Any, collection_stub: Any
) -> None:
    records.create("m-1", {"a": "x"})
    with held_record(server, records, "m-1"):  # for which the build waits
        stored = collection_stub.PutCollection(putting(records, {"/a": TEXT}), timeout=3).collection
        assert [index.state for index in stored.indexes] == [BUILDING]
        assert states(collection_stub, records) == [BUILDING]
        records.create("m-2", {"a": "y"})
    until(lambda: states(collection_stub, records) == [READY])


def test_text_that_is_too_long_stands_in_the_way_of_its_declaration(records: Records, collection_stub: Any) -> None:
    records.create("m-1", {"in": {"t": "ü" * 400}})
    records.create("m-2", {"in": {"t": "ü" * 400 + "x"}})
    refusal = refused(collection_stub.PutCollection, putting(records, {"/in/t": TEXT}))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "COLLECTION_CONFLICT")
    assert refusal.metadata == {"path": "/in/t", "record_id": "m-2"}
    assert put(collection_stub, records, {"/in/t": NUMBER}).version == 1
    records.patch("m-2", {"in": {"t": "short"}})
    assert put(collection_stub, records, {"/in/t": TEXT}).version == 2


ODD = [
    '"text"',
    '"12"',
    "null",
    "true",
    "[]",
    "{}",
    "1e999",
    "-1e-1000",
    '"2026-02-30"',
    '"9999-12-31T23:59:60Z"',
    '""',
]


@pytest.mark.parametrize("type_", [TEXT, NUMBER, 3, 4, 5])
def test_value_of_another_type_never_breaks_a_write(records: Records, collection_stub: Any, type_: int) -> None:
    for n, value in enumerate(ODD):
        records.create(f"before-{n}", f'{{"v": {value}}}')
    put(collection_stub, records, {"/v": type_, "/v/w": NUMBER}, [["-/v", "/v/w"]])
    for n, value in enumerate(ODD):
        record = records.create(f"after-{n}", f'{{"v": {value}}}')
        assert records.content(record.record_id) == records.content(f"before-{n}")
        records.patch(f"before-{n}", f'{{"v": {{"w": {value}}}}}')


def test_schema_holds_for_the_merged_result_of_every_write(records: Records, collection_stub: Any) -> None:
    schema = '{"required": ["title"], "properties": {"n": {"type": "integer", "maximum": 9}}}'
    put(collection_stub, records, json_schema=schema)
    records.create("m-1", {"title": "A", "n": 1})
    assert records.patch("m-1", {"n": 2.0}).record.version == 2
    broken = [
        (records.stub.CreateContent, records.creation("m-2", {"n": 1}), "content"),
        (records.stub.CreateContent, records.creation("m-2", {"n": 1}, validate_only=True), "content"),
        (records.stub.PatchContent, records.patching("m-1", {"n": 10}), "delta"),
        (records.stub.PatchContent, records.patching("m-1", {"n": 10}, validate_only=True), "delta"),
        (records.stub.PatchContent, records.patching("m-1", {"title": None}, strategy=3), "delta"),
        (records.stub.PatchContent, records.patching("m-1", {"n": 10}, fields=["title"]), "delta"),
        (records.stub.PatchContent, records.patching("m-2", {"n": 1}, allow_missing=True), "delta"),
        (
            records.stub.PatchContent,
            records.patching("m-1", operations=steps({"op": "increment", "path": "/n", "value": 8})),
            "operations",
        ),
    ]
    for method, request, field in broken:
        refusal = refused(method, request)
        assert (refusal.code, refusal.reason, [*refusal.fields]) == (INVALID, "SCHEMA_VIOLATION", [field])
        assert refusal.metadata["path"] in ("", "/n")
    assert records.content("m-1") == {"title": "A", "n": 2}
    assert records.is_missing("m-2")


def test_partial_batch_writes_only_what_the_schema_accepts(records: Records, collection_stub: Any) -> None:
    put(collection_stub, records, json_schema='{"properties": {"n": {"maximum": 9}}}')
    for number in range(3):
        records.create(f"m-{number}", {"n": 1})
    batch = content_pb2.BatchPatchContentRequest(
        tenant_id=records.tenant_id,
        requests=[
            records.patching("m-0", {"n": 2}),
            records.patching("m-1", {"n": 10}),
            records.patching("m-2", operations=steps({"op": "increment", "path": "/n", "value": 2})),
            records.patching("m-3", {"n": 99}, allow_missing=True),
        ],
        allow_partial=True,
        request_id=str(uuid.uuid4()),
    )
    response = records.stub.BatchPatchContent(batch)
    assert [bool(result.status.code) for result in response.results] == [False, True, False, True]
    assert [content_of(response.results[index].record) for index in (0, 2)] == [{"n": 2}, {"n": 3}]
    assert [records.content(f"m-{number}")["n"] for number in range(3)] == [2, 1, 3]
    assert records.is_missing("m-3")
    assert response.commit_id
    assert records.stub.BatchPatchContent(batch) == response
    assert records.content("m-2") == {"n": 3}


def test_schema_that_refers_to_itself_is_followed(records: Records, collection_stub: Any) -> None:
    put(collection_stub, records, json_schema='{"additionalProperties": {"$ref": "#"}, "maxProperties": 1}')
    assert records.create("m-1", {"a": {"b": {"c": {}}}}).version == 1
    refusal = refused(records.stub.PatchContent, records.patching("m-1", {"a": {"b": {"c": {"d": {}, "e": {}}}}}))
    assert refusal.metadata["path"] == "/a/b/c"
    put(collection_stub, records, json_schema='{"$ref": "#"}')
    assert records.patch("m-1", {"x": 1, "y": 2}).record.version == 2


def test_record_from_before_the_schema_is_checked_when_written(records: Records, collection_stub: Any) -> None:
    records.create("m-1", {"n": "old"})
    put(collection_stub, records, json_schema='{"properties": {"n": {"type": "number"}}}')
    assert records.content("m-1") == {"n": "old"}
    assert refused(records.stub.PatchContent, records.patching("m-1", {"x": 1})).reason == "SCHEMA_VIOLATION"
    assert content_of(records.patch("m-1", {"n": 1}).record) == {"n": 1}


@pytest.fixture
def neighbours(serving: Any, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """Channels of two servers on one database, whose reads use a spec for a tenth of a second."""
    for module in (cache_module, store_module):
        monkeypatch.setattr(module, "READ_AGE_S", 0.1)
    with serving(database_url) as one, serving(database_url) as other:  # noqa: SIM117
        with grpc.insecure_channel(one.address) as first, grpc.insecure_channel(other.address) as second:
            yield first, second


def test_declaration_holds_at_once_for_every_server(neighbours: Any, tenant_id: str) -> None:
    declaring = collection_pb2_grpc.CollectionServiceStub(neighbours[0])
    records = Records(content_pb2_grpc.ContentServiceStub(neighbours[1]), tenant_id)
    records.create("m-1", {"n": 1, "t": "x"})
    for round_, schema in enumerate(['{"maxProperties": 2}', '{"maxProperties": 3}', '{"maxProperties": 2}']):
        put(declaring, records, {"/t": TEXT}, json_schema=schema)
        wide = {f"k{n}": n for n in range(int(schema[-2]) + 1)}
        header = content_pb2.ImportHeader(tenant_id=tenant_id, collection="films")
        row = content_pb2.ImportRecord(record_id="m-2", content=document(wide))
        parts = [
            content_pb2.ImportContentRequest(header=header),
            content_pb2.ImportContentRequest(chunk=content_pb2.ImportChunk(records=[row])),
            content_pb2.ImportContentRequest(end=content_pb2.ImportEnd(record_count=1)),
        ]
        batch = content_pb2.BatchPatchContentRequest(tenant_id=tenant_id, requests=[records.patching("m-1", wide)])
        refusals = [
            refused(records.stub.CreateContent, records.creation("m-2", wide)),
            refused(records.stub.PatchContent, records.patching("m-1", wide, strategy=4)),
            refused(records.stub.BatchPatchContent, batch),
            refused(records.stub.ImportContent, iter(parts)),
        ][round_:]  # each round another write is the first to meet the new declaration
        assert {refusal.reason for refusal in refusals} == {"SCHEMA_VIOLATION"}
        refusal = refused(records.stub.PatchContent, records.patching("m-1", {"t": "x" * 801}))
        assert refusal.reason == "INDEXED_TEXT_TOO_LONG"
    put(declaring, records)
    assert records.patch("m-1", {"t": "x" * 801, "k": 1, "l": 2}).record.version == 2
